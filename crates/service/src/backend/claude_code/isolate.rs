//! What keeps a worker from the machine that it runs on: applied between fork and exec, as far as the system allows it, which
//! is tried out beforehand.
//!
//! A measure that was found to work and then fails fails the worker: none is left out in silence.

use std::{collections::BTreeMap, ffi::CString, io, os::unix::ffi::OsStrExt, path::Path, process::Command};

use super::{measure::Measure, user::User};
use rustix::{
    fs::{Access, access},
    io::Errno,
    process::{Resource, Rlimit, setrlimit},
};

/// Users of workers begin here: systemd gives none of the 478 from here on to anything, nor does Debian without being asked.
pub const USERS_FROM: u32 = 60_706;

/// The most slots, and the most users that workers of all services on a machine have.
pub const SLOTS_MAX: u32 = 478;

/// What is in force on this system, and why the rest is not.
#[derive(Clone, Debug)]
pub struct Isolation {
    plan: Plan,
    missing: BTreeMap<Measure, String>,
}

/// How a worker's network is taken from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Network {
    Kept,
    /// By a privilege, which the worker's user does not have any more.
    Privileged,
    /// In a namespace of users too, which needs no privilege.
    Unprivileged,
}

/// What is done between fork and exec: plain data, as nothing there may allocate.
#[derive(Clone, Copy, Debug)]
struct Plan {
    user: Option<u32>,
    network: Network,
    no_new_privileges: bool,
    dies_with: Option<u32>,
    limits: bool,
}

impl Plan {
    const NOTHING: Self =
        Self { user: None, network: Network::Kept, no_new_privileges: false, dies_with: None, limits: false };
}

impl Isolation {
    /// Tries out what this system allows for a program, and for slots in a folder.
    ///
    /// # Errors
    /// There is no room to try it: what is not seen now may be allowed all the same.
    pub fn of_system(program: &Path, slots: &Path) -> io::Result<Self> {
        let mut found = Self { plan: Plan::NOTHING, missing: BTreeMap::new() };
        found.take(Measure::OwnUser, |plan| plan.user = Some(USERS_FROM), &[program, slots])?;
        found.take(Measure::NoNetwork, |plan| plan.network = Network::Privileged, &[])?;
        if found.plan.network == Network::Kept {
            found.take(Measure::NoNetwork, |plan| plan.network = Network::Unprivileged, &[])?;
        }
        found.take(Measure::NoNewPrivileges, |plan| plan.no_new_privileges = true, &[])?;
        found.take(Measure::DiesWithUs, |plan| plan.dies_with = Some(std::process::id()), &[])?;
        found.take(Measure::Limits, |plan| plan.limits = true, &[])?;
        Ok(found)
    }

    /// Why a measure is not in force; `None`: it is.
    pub fn missing(&self, measure: Measure) -> Option<&str> {
        self.missing.get(&measure).map(String::as_str)
    }

    /// Says what is not in force.
    pub fn log(&self) {
        for (measure, why) in &self.missing {
            tracing::info!(
                ?measure,
                why,
                "workers of Claude Code are less apart: this system does not allow a measure"
            );
        }
    }

    /// A user for the worker of this slot, where it has one of its own.
    ///
    /// # Errors
    /// None is free.
    pub fn user(&self, slot: u32) -> io::Result<Option<User>> {
        self.plan.user.map(|_| User::claim(slot)).transpose()
    }

    /// Adds a measure, if a child gets through with it and can then use these files.
    fn take(&mut self, measure: Measure, add: fn(&mut Plan), files: &[&Path]) -> io::Result<()> {
        let mut plan = self.plan;
        add(&mut plan);
        match attempt(plan, files) {
            Ok(()) => {
                self.plan = plan;
                self.missing.remove(&measure);
            }
            Err(error) if lacks_room(&error) => return Err(error),
            Err(why) => {
                self.missing.insert(measure, explain(measure, &why));
            }
        }
        Ok(())
    }

    /// Makes a command start a worker of this user apart from everything.
    pub fn apply(&self, command: &mut Command, user: Option<u32>) {
        use std::os::unix::process::CommandExt;
        let plan = Plan { user, ..self.plan };
        command.process_group(0);
        between_fork_and_exec(command, move || enter(plan));
    }
}

fn explain(measure: Measure, error: &io::Error) -> String {
    match measure {
        // Root may do what others may not, but the files are in a folder that others may not enter.
        Measure::OwnUser if error.raw_os_error() == Some(Errno::ACCESS.raw_os_error()) => {
            "users other than root cannot get to the program or the data folder; keep both below folders that everyone may enter"
                .to_owned()
        }
        Measure::OwnUser => format!("only root can give it one, so it may read what this process may ({error})"),
        Measure::NoNetwork => format!("this system allows neither a namespace of networks nor one of users ({error})"),
        _ => error.to_string(),
    }
}

/// Whether there is no room for a process, which may pass: in the tables of processes and files, in memory, or among the users.
pub fn lacks_room(error: &io::Error) -> bool {
    let full = [Errno::AGAIN, Errno::MFILE, Errno::NFILE, Errno::NOMEM].map(Errno::raw_os_error);
    error.kind() == io::ErrorKind::ResourceBusy || error.raw_os_error().is_some_and(|code| full.contains(&code))
}

/// What a child says that got through: it never becomes another program.
const GOT_THROUGH: i32 = Errno::CANCELED.raw_os_error();

/// Forks a child that enters the plan, looks whether it can use the files, and ends.
fn attempt(plan: Plan, files: &[&Path]) -> io::Result<()> {
    let files: Vec<CString> =
        files.iter().map(|path| CString::new(path.as_os_str().as_bytes())).collect::<Result<_, _>>()?;
    let mut command = Command::new("/");
    between_fork_and_exec(&mut command, move || {
        enter(plan)?;
        for file in &files {
            access(file.as_c_str(), Access::EXEC_OK)?;
        }
        Err(io::Error::from_raw_os_error(GOT_THROUGH))
    });
    match command.spawn() {
        Err(error) if error.raw_os_error() == Some(GOT_THROUGH) => Ok(()),
        Err(error) => Err(error),
        Ok(_) => unreachable!("the child never becomes a program"),
    }
}

#[expect(unsafe_code, reason = "there is no other way to do something between fork and exec")]
fn between_fork_and_exec(command: &mut Command, step: impl FnMut() -> io::Result<()> + Send + Sync + 'static) {
    use std::os::unix::process::CommandExt;
    // SAFETY: only `enter` and `access` are called, on data that was there before the fork: system calls without a lock or an
    // allocation, and errors that are numbers.
    unsafe { command.pre_exec(step) };
}

/// Applies the plan to this process. The order matters: privileges are used before they are given up, and the kernel forgets
/// whose death a process dies of when its user changes.
#[cfg(target_os = "linux")]
fn enter(plan: Plan) -> io::Result<()> {
    use rustix::thread::UnshareFlags;
    if plan.limits {
        limit(plan)?;
    }
    if plan.network == Network::Privileged {
        unshare(UnshareFlags::NEWNET)?;
    }
    if let Some(user) = plan.user {
        become_user(user)?;
    }
    if plan.network == Network::Unprivileged {
        unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNET)?;
    }
    if plan.no_new_privileges {
        rustix::thread::set_no_new_privs(true)?;
    }
    plan.dies_with.map_or(Ok(()), die_with)
}

#[cfg(not(target_os = "linux"))]
fn enter(plan: Plan) -> io::Result<()> {
    if plan.limits {
        limit(plan)?;
    }
    let is_linux_needed =
        plan.user.is_some() || plan.network != Network::Kept || plan.no_new_privileges || plan.dies_with.is_some();
    if is_linux_needed { Err(Errno::NOSYS.into()) } else { Ok(()) }
}

#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "rustix leaves it to the caller to keep file descriptors out of it")]
fn unshare(flags: rustix::thread::UnshareFlags) -> io::Result<()> {
    // SAFETY: the table of file descriptors is not among what is unshared.
    Ok(unsafe { rustix::thread::unshare_unsafe(flags) }?)
}

#[cfg(target_os = "linux")]
fn become_user(user: u32) -> io::Result<()> {
    use rustix::thread::{CapabilitySet, capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid};
    // Its files are to be given to it, and it is to be killed.
    if !capabilities(None)?.effective.contains(CapabilitySet::CHOWN | CapabilitySet::KILL) {
        return Err(Errno::PERM.into());
    }
    let (uid, gid) = (rustix::process::Uid::from_raw(user), rustix::process::Gid::from_raw(user));
    set_thread_groups(&[])?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)?;
    Ok(())
}

#[cfg(target_os = "linux")]
fn die_with(parent: u32) -> io::Result<()> {
    use rustix::process::{Signal, getppid, set_parent_process_death_signal};
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have died before it was said.
    let is_there = getppid().is_some_and(|id| id.as_raw_nonzero().get().unsigned_abs() == parent);
    if is_there { Ok(()) } else { Err(Errno::SRCH.into()) }
}

/// The most of a file that a worker writes: notes about itself, and what it complains of.
const FILE_BYTES_MAX: u64 = 1_000_000;
const FILES_OPEN_MAX: u64 = 128;
/// Threads among them.
#[cfg(target_os = "linux")]
const PROCESSES_MAX: u64 = 64;
/// Addresses, most of which are never used. Other processors may need other figures.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
const MEMORY_BYTES_MAX: u64 = 4 << 30;

#[cfg_attr(not(target_os = "linux"), expect(unused_variables))]
fn limit(plan: Plan) -> io::Result<()> {
    let set = |resource, most: u64| setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) });
    set(Resource::Core, 0)?;
    set(Resource::Fsize, FILE_BYTES_MAX)?;
    set(Resource::Nofile, FILES_OPEN_MAX)?;
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    set(Resource::As, MEMORY_BYTES_MAX)?;
    // The system counts by user: a user who has others besides would be counted with all of them.
    #[cfg(target_os = "linux")]
    if plan.user.is_some() {
        set(Resource::Nproc, PROCESSES_MAX)?;
    }
    Ok(())
}
