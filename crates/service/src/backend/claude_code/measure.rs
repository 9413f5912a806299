//! What there is to keep a worker apart.

use serde::Serialize;

/// One of the things that keep a worker apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// It runs as a user that nothing else on the machine runs as.
    OwnUser,
    /// It cannot gain privileges.
    NoNewPrivileges,
    /// It has no network. Sockets that are files are a matter of its user: its own, to the gateway, is one.
    NoNetwork,
    /// It is the leader of a process group: what it starts is killed with it.
    ProcessGroup,
    /// It is killed when this process dies.
    DiesWithUs,
    /// It has limits of processes, files, memory.
    Limits,
    /// It has a home, a folder for temporary files and a working folder that are its own, and an environment that is ours.
    OwnFolders,
}

impl Measure {
    /// Every one.
    pub const ALL: [Self; 7] = [
        Self::OwnUser,
        Self::NoNewPrivileges,
        Self::NoNetwork,
        Self::ProcessGroup,
        Self::DiesWithUs,
        Self::Limits,
        Self::OwnFolders,
    ];
}
