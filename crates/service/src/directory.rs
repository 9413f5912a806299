//! Directory: the keys and the projects that were set up, in memory, as every request needs them.

use std::collections::BTreeMap;

use crate::{
    key::{Key, KeyHash, Scope},
    ledger::Project,
    project::ProjectId,
    window::Moment,
};

/// A snapshot of what the store knows of keys and projects.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Directory {
    /// The store's count of changes, by which it knows whether there is anything new.
    pub version: i64,
    /// How many processes serve from this store: each lets its share of a project's pace through.
    pub replicas: u32,
    keys: BTreeMap<KeyHash, Key>,
    projects: BTreeMap<ProjectId, Project>,
}

impl Directory {
    /// A directory of these.
    pub fn new(version: i64, keys: impl IntoIterator<Item = Key>, projects: impl IntoIterator<Item = Project>) -> Self {
        Self {
            version,
            replicas: 1,
            keys: keys.into_iter().map(|key| (key.hash, key)).collect(),
            projects: projects.into_iter().map(|project| (project.id.clone(), project)).collect(),
        }
    }

    /// Whether the service is in open mode: no key was ever made. Revoking the last one does not open it again.
    pub fn is_open(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether a project has a key that is let in.
    pub fn has_project_keys(&self, now: Moment) -> bool {
        let lives = |key: &Key| key.revoked_at.is_none() && key.expires_at.is_none_or(|at| at > now);
        self.keys.values().any(|key| lives(key) && key.scope != Scope::Admin)
    }

    /// The key of this hash, valid or not.
    pub fn key(&self, hash: KeyHash) -> Option<&Key> {
        self.keys.get(&hash)
    }

    /// Every key, in the order in which they were made.
    pub fn keys(&self) -> Vec<&Key> {
        let mut keys: Vec<&Key> = self.keys.values().collect();
        keys.sort_by_key(|key| key.id);
        keys
    }

    /// The project, where it was set up or was there when this was read.
    pub fn project(&self, id: &ProjectId) -> Option<&Project> {
        self.projects.get(id)
    }
}
