//! Layers: flags, then environment, then file, then defaults; and where each value came from.

use std::{fmt::Debug, ops::RangeInclusive, path::Path};

use clap::{ArgMatches, parser::ValueSource};
use secrecy::SecretString;

use super::{ConfigError, InForce, Settings};

pub(super) fn read(path: &Path) -> Result<Settings, ConfigError> {
    let text =
        std::fs::read_to_string(path).map_err(|error| ConfigError::Unreadable { path: path.to_owned(), error })?;
    toml::from_str(&text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let line = text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
        ConfigError::Malformed { path: path.to_owned(), line, problem: error.message().replace('\n', " ") }
    })
}

/// What settings are picked from, and what was picked.
pub(super) struct Layers<'a> {
    pub(super) matches: Option<&'a ArgMatches>,
    pub(super) file: Option<&'a Path>,
    pub(super) in_force: Vec<InForce>,
}

impl Layers<'_> {
    /// The value of the first layer that has one.
    pub(super) fn pick<T: Debug>(
        &mut self,
        name: &'static str,
        given: Option<T>,
        file: Option<T>,
        default: impl FnOnce() -> T,
    ) -> T {
        let (value, source) = match (given, file) {
            (Some(value), _) => (value, self.source_of(name)),
            (None, Some(value)) => (value, self.file.map_or_else(String::new, |path| path.display().to_string())),
            (None, None) => (default(), "default".to_owned()),
        };
        self.in_force.push(InForce { name, value: format!("{value:?}"), source });
        value
    }

    pub(super) fn pick_optional<T: Debug>(
        &mut self,
        name: &'static str,
        given: Option<T>,
        file: Option<T>,
    ) -> Option<T> {
        self.pick(name, given.map(Some), file.map(Some), || None)
    }

    pub(super) fn model(
        &mut self,
        name: &'static str,
        given: Option<String>,
        file: Option<String>,
        default: &str,
    ) -> String {
        self.pick(name, given, file, || default.to_owned())
    }

    pub(super) fn base_url(&mut self, given: Option<String>, file: Option<String>) -> String {
        const VARIABLE: &str = "ANTHROPIC_BASE_URL";
        let from_environment = if given.is_none() { self.environment(VARIABLE) } else { None };
        let Some(url) = from_environment else {
            return self.pick("anthropic_base_url", given, file, || "https://api.anthropic.com".to_owned());
        };
        let (value, source) = (format!("{url:?}"), format!("environment {VARIABLE}"));
        self.in_force.push(InForce { name: "anthropic_base_url", value, source });
        url
    }

    /// A value that is told as "set", and never shown.
    pub(super) fn secret(
        &mut self,
        name: &'static str,
        variable: &'static str,
        given: Option<SecretString>,
        file: Option<SecretString>,
    ) -> Option<SecretString> {
        let from_environment = self.environment(variable).map(SecretString::from);
        let (value, source) = match (given, from_environment, file) {
            (Some(value), ..) => (Some(value), "command line".to_owned()),
            (None, Some(value), _) => (Some(value), format!("environment {variable}")),
            (None, None, Some(value)) => {
                (Some(value), self.file.map_or_else(String::new, |path| path.display().to_string()))
            }
            (None, None, None) => (None, "default".to_owned()),
        };
        let shown = if value.is_some() { "set" } else { "not set" };
        self.in_force.push(InForce { name, value: shown.to_owned(), source });
        value
    }

    /// A setting of our own that is told as "set", and never shown.
    pub(super) fn secret_setting(
        &mut self,
        name: &'static str,
        given: Option<SecretString>,
        file: Option<SecretString>,
    ) -> Option<SecretString> {
        let value = self.pick_optional(name, given, file);
        if let Some(told) = self.in_force.last_mut() {
            told.value = if value.is_some() { "set".to_owned() } else { "not set".to_owned() };
        }
        value
    }

    /// A variable that others than us have named. Read only where there is a command line: a test has an environment of its own.
    #[expect(clippy::disallowed_methods, reason = "this is the place that reads the environment")]
    pub(super) fn environment(&self, variable: &str) -> Option<String> {
        self.matches?;
        std::env::var(variable).ok().filter(|value| !value.is_empty())
    }

    pub(super) fn within<T: Debug + PartialOrd>(
        &mut self,
        name: &'static str,
        given: Option<T>,
        file: Option<T>,
        default: impl FnOnce() -> T,
        range: RangeInclusive<T>,
    ) -> Result<T, ConfigError> {
        let value = self.pick(name, given, file, default);
        let within = if range.contains(&value) {
            Ok(value)
        } else {
            Err(format!("takes {:?} to {:?}; it was {value:?}", range.start(), range.end()))
        };
        self.checked(name, within)
    }

    pub(super) fn checked<T>(&self, name: &'static str, result: Result<T, String>) -> Result<T, ConfigError> {
        let origin = || self.in_force.last().map_or_else(String::new, |setting| setting.source.clone());
        result.map_err(|problem| ConfigError::Value { name, origin: origin(), problem })
    }

    pub(super) fn source_of(&self, name: &'static str) -> String {
        let from_environment =
            self.matches.is_some_and(|matches| matches.value_source(name) == Some(ValueSource::EnvVariable));
        if from_environment {
            format!("environment CLAUDE_CODE_API_SERVER_{}", name.to_ascii_uppercase())
        } else {
            "command line".to_owned()
        }
    }
}
