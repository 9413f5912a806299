//! The user of a worker: for as long as its slot is there it is given to no other worker on this machine, whichever service that
//! is a worker of.

use std::{io, os::unix::net::UnixDatagram};

use rustix::{
    io::Errno,
    process::{Uid, getpriority_user},
};

use super::{
    isolate::{SLOTS_MAX, USERS_FROM},
    processes,
};

/// One, until it is dropped.
#[derive(Debug)]
pub struct User {
    id: u32,
    _claim: UnixDatagram,
}

impl User {
    /// One that nothing runs as: that of this number, or the next that is free.
    ///
    /// # Errors
    /// None is free, or there is no room for a socket.
    pub fn claim(number: u32) -> io::Result<Self> {
        for next in 0..SLOTS_MAX {
            let id = USERS_FROM + (number + next) % SLOTS_MAX;
            match bind(&format!("claude-code-api/user/{id}")) {
                Ok(claim) if is_idle(id) => return Ok(Self { id, _claim: claim }),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::new(io::ErrorKind::ResourceBusy, "all users that workers may have are in use"))
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.id
    }
}

/// Whether nothing runs as this user. The dead who were not waited for do not count.
pub(super) fn is_idle(user: u32) -> bool {
    getpriority_user(Uid::from_raw(user)) == Err(Errno::SRCH) || !processes::is_any(|process| process.is_of(user))
}

/// A name that only one process on the machine has, and the kernel takes back when that dies.
#[cfg(target_os = "linux")]
fn bind(name: &str) -> io::Result<UnixDatagram> {
    use std::os::{linux::net::SocketAddrExt, unix::net::SocketAddr};
    UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(name)?)
}

#[cfg(not(target_os = "linux"))]
fn bind(_: &str) -> io::Result<UnixDatagram> {
    Err(io::ErrorKind::Unsupported.into())
}
