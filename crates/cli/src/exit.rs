//! How the program ends: a code for each thing that a script would do about a failure, and what is said of it.

use std::{
    fmt,
    io::{self, Write},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use claude_code_api_client::{Error, ErrorBody, ErrorCode, ErrorKind};
use claude_code_api_service::operator::OperatorError;
use serde_json::{Value, json};
use signal_hook::consts::SIGINT;

/// For `--help`. docs/command-line.md says more.
pub(crate) const CODES: &str = "\
Exit codes:
    0  done
    1  failed in another way than these
    2  the command line is wrong
    3  prompts of a batch failed; the others have their results
    4  the request cannot be carried out as it stands
    5  the key is missing, unknown, or not allowed to
    6  the budget does not cover it
    7  rate limited or overloaded: try again later
    8  time is up
    9  the service cannot be reached, or the connection broke
   10  what was asked about is not well (health, claude doctor)
  130  Ctrl-C";

/// Every way to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Other = 1,
    Usage = 2,
    PromptsFailed = 3,
    InvalidRequest = 4,
    Authentication = 5,
    BudgetExceeded = 6,
    TryLater = 7,
    Timeout = 8,
    Unreachable = 9,
    NotOk = 10,
    /// What a shell makes of a program that SIGINT has ended.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Exit {
    fn of(error: &anyhow::Error) -> Self {
        match error.downcast_ref::<Error>() {
            Some(error) => Self::of_kind(error.kind()),
            None if error.is::<Interrupted>() => Self::Interrupted,
            None => refused(error).map_or(Self::Other, |body| Self::of_code(body.code)),
        }
    }

    fn of_kind(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Configuration => Self::Usage,
            ErrorKind::Connection => Self::Unreachable,
            ErrorKind::Timeout => Self::Timeout,
            ErrorKind::Interrupted => Self::Interrupted,
            ErrorKind::Api(code) => Self::of_code(code),
            _ => Self::Other,
        }
    }

    fn of_code(code: ErrorCode) -> Self {
        match code {
            ErrorCode::InvalidRequest | ErrorCode::RequestTooLarge | ErrorCode::NotFound | ErrorCode::Conflict => {
                Self::InvalidRequest
            }
            ErrorCode::Unauthenticated | ErrorCode::Forbidden => Self::Authentication,
            ErrorCode::BudgetExceeded => Self::BudgetExceeded,
            ErrorCode::RateLimited | ErrorCode::Overloaded => Self::TryLater,
            ErrorCode::Timeout => Self::Timeout,
            _ => Self::Other,
        }
    }
}

/// Says on standard error what went wrong, and gives the code to end with.
pub(crate) fn report(error: &anyhow::Error, as_json: bool) -> ExitCode {
    // Who reads our output has had enough of it, as `head` has.
    if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    if as_json {
        let _ = writeln!(io::stderr(), "{}", envelope(error));
    } else {
        let _ = writeln!(io::stderr(), "error: {error:#}");
    }
    let exit = Exit::of(error);
    if exit == Exit::Interrupted {
        // Dead of the signal itself: a shell's loop round this program then ends too.
        let _ = signal_hook::low_level::emulate_default_handler(SIGINT);
    }
    exit.into()
}

/// What the service has said to the operator.
fn refused(error: &anyhow::Error) -> Option<&ErrorBody> {
    match error.downcast_ref::<OperatorError>() {
        Some(OperatorError::Refused(body)) => Some(body),
        _ => None,
    }
}

/// The service's envelope, and one like it where the service has said nothing.
fn envelope(error: &anyhow::Error) -> Value {
    let from_client = error.downcast_ref::<Error>();
    if let Some(body) = from_client.and_then(Error::body).or_else(|| refused(error)) {
        return json!({"error": body, "detail": body.message});
    }
    let message = format!("{error:#}");
    let mut body = json!({
        "code": word(Exit::of(error), from_client),
        "message": message,
        "retryable": from_client.is_some_and(Error::is_retryable),
    });
    if let Some(wait) = from_client.and_then(Error::retry_after) {
        body["retry_after"] = json!(wait.as_secs_f64());
    }
    json!({"error": body, "detail": message})
}

/// The service's word where it has one.
fn word(exit: Exit, error: Option<&Error>) -> &'static str {
    match (error.map(Error::kind), exit) {
        (Some(ErrorKind::Api(code)), _) => code.as_str(),
        (_, Exit::Timeout) => ErrorCode::Timeout.as_str(),
        (_, Exit::Unreachable) => "connection",
        (_, Exit::Usage) => "usage",
        (_, Exit::Interrupted) => "interrupted",
        _ => "other",
    }
}

/// Ctrl-C, as something to ask for and not as the end of the process.
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    pub(crate) fn listen() -> io::Result<Self> {
        let came = Arc::new(AtomicBool::new(false));
        // The second one ends the program where it stands: it may be writing to a reader that does not read.
        signal_hook::flag::register_conditional_default(SIGINT, Arc::clone(&came))?;
        signal_hook::flag::register(SIGINT, Arc::clone(&came))?;
        Ok(Self(came))
    }

    pub(crate) fn came(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Ctrl-C came.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of the table: a number, and what stands in it between backquotes.
    fn rows(text: &str) -> impl Iterator<Item = (u8, Vec<&str>)> {
        text.lines().filter_map(|line| {
            let (number, rest) = line.strip_prefix("| ")?.split_once(" |")?;
            Some((number.parse().ok()?, rest.split('`').skip(1).step_by(2).collect()))
        })
    }

    fn document() -> String {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/command-line.md");
        std::fs::read_to_string(path).expect("docs/command-line.md is there")
    }

    #[test]
    fn every_code_of_the_service_stands_in_the_row_of_the_exit_code_that_it_becomes() {
        let document = document();
        for code in ErrorCode::ALL {
            let kind = if code == ErrorCode::Timeout { ErrorKind::Timeout } else { ErrorKind::Api(code) };
            let rows = rows(&document).filter(|(_, words)| words.contains(&code.as_str()));
            let numbers: Vec<u8> = rows.map(|(number, _)| number).collect();
            assert_eq!(numbers, [Exit::of_kind(kind) as u8], "{}", code.as_str());
        }
    }

    #[test]
    fn help_and_the_document_have_the_same_exit_codes() {
        let in_help = CODES.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok());
        assert_eq!(in_help.collect::<Vec<u8>>(), rows(&document()).map(|(number, _)| number).collect::<Vec<u8>>());
    }

    #[test]
    fn what_the_service_did_not_say_has_the_envelope_of_what_it_does() {
        let interrupted = anyhow::Error::new(Interrupted).context("after 2 of 3 results");
        let said = envelope(&interrupted);
        assert_eq!((&said["error"]["code"], &said["error"]["retryable"]), (&json!("interrupted"), &json!(false)));
        assert_eq!(said["detail"], "after 2 of 3 results: interrupted");
        assert_eq!(Exit::of(&interrupted), Exit::Interrupted);
        assert_eq!(envelope(&anyhow::anyhow!("no such file"))["error"]["code"], "other");
    }
}
