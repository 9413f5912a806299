//! Key: what a caller shows to be let in. Who has it may spend a project's budget, or manage the service.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::{digest::hex, id::KeyId, project::ProjectId, window::Moment};

/// What every key begins with, so that one that leaked is found by a search.
const PREFIX: &str = "ccak_";

/// The hash of a key. A key has 256 random bits: nobody finds it from its hash, so that the hash needs no salt.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// The hash of what a caller sent.
    pub fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret).into())
    }

    /// The hash as stores keep it.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads what [`KeyHash::as_bytes`] gives.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(…)")
    }
}

/// What a key allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Everything: to spend on every project, and to manage projects and keys.
    Admin,
    /// To spend on this project, and to see what it has used.
    Project(ProjectId),
}

/// A key, as far as it is known once it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its id.
    pub id: KeyId,
    /// Its hash.
    pub hash: KeyHash,
    /// Its last characters, by which people tell keys apart.
    pub hint: String,
    /// What its maker calls it.
    pub name: String,
    /// What it allows.
    pub scope: Scope,
    /// When it was made.
    pub created_at: Moment,
    /// From when on it is refused.
    pub expires_at: Option<Moment>,
    /// Since when it is refused, by hand.
    pub revoked_at: Option<Moment>,
}

impl Key {
    /// A new key, and the secret itself, which is known only now.
    pub fn new(name: String, scope: Scope, created_at: Moment, expires_at: Option<Moment>) -> (Self, SecretString) {
        let mut random = [0; 32];
        getrandom::fill(&mut random).expect("the system has randomness");
        let hex = hex(&random);
        let secret = SecretString::from(format!("{PREFIX}{hex}"));
        let hash = KeyHash::of(secret.expose_secret());
        let hint = hex[hex.len() - 4..].to_owned();
        (Self { id: KeyId::new(), hash, hint, name, scope, created_at, expires_at, revoked_at: None }, secret)
    }

    /// Whether a text has the form of a key.
    pub fn is_well_formed(text: &str) -> bool {
        let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        text.strip_prefix(PREFIX).is_some_and(|hex| hex.len() == 64 && hex.bytes().all(digit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_by_its_hash_and_shows_nothing_of_itself() {
        let (key, secret) = Key::new("ci".to_owned(), Scope::Admin, Moment(0), None);
        let text = secret.expose_secret();
        assert!(Key::is_well_formed(text) && text.ends_with(&key.hint), "not the form of a key");
        assert_eq!(KeyHash::of(text), key.hash);
        assert!(!format!("{key:?} {secret:?}").contains(&text[5..60]));
        let (_, another) = Key::new("ci".to_owned(), Scope::Admin, Moment(0), None);
        assert_ne!(another.expose_secret(), text);
        for other in ["", "ccak_", "sk-ant-x", &text[1..], &text.to_uppercase(), &format!("{text}0")] {
            assert!(!Key::is_well_formed(other), "{other}");
        }
    }
}
