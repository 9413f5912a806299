//! What can go wrong: a file that cannot be believed, or too little to learn from. A prediction cannot.

use std::path::PathBuf;

/// Why there is no router, or no training.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RouterError {
    /// The model file cannot be used.
    #[error("the router's model file {0}")]
    File(String),
    /// Training data cannot be read.
    #[error("{}{}: {what}", path.display(), line.map(|line| format!(":{line}")).unwrap_or_default())]
    Data {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: Option<usize>,
        /// What is wrong.
        what: String,
    },
    /// The data holds nothing that this can be learned from.
    #[error("the data holds {0}")]
    TooLittle(String),
    /// Too few outcomes to calibrate with.
    #[error("there are {outcomes} outcomes, and calibrating takes {} or more", crate::calibrate::OUTCOMES_MIN)]
    TooFewOutcomes {
        /// How many there are.
        outcomes: usize,
    },
}
