//! What the system says of a worker: whether it is as it was made. Linux only; elsewhere it cannot be seen.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use rustix::process::getuid;

use super::{check::Outcome, isolate::Isolation, measure::Measure, worker::Worker};

/// Whether its environment is what was put there, and nothing else.
pub(super) fn environment(worker: &Worker) -> Result<(), Outcome> {
    let found = read(&of(worker, "environ"))?;
    let found: BTreeSet<&str> = found.split_terminator('\0').collect();
    let put: Vec<String> = worker.slot().environment().iter().map(|(name, value)| format!("{name}={value}")).collect();
    let put: BTreeSet<&str> = put.iter().map(String::as_str).collect();
    // Names only: what was not put there may be anything.
    let other = found.symmetric_difference(&put).map(|entry| entry.split('=').next().unwrap_or_default());
    let other: Vec<&str> = other.collect();
    if other.is_empty() { Ok(()) } else { Err(format!("it differs in {}", other.join(", ")).into()) }
}

/// Whether every measure that is in force has reached it.
pub(super) fn isolation(worker: &Worker, isolation: &Isolation) -> Result<(), Outcome> {
    let (status, stat) = (read(&of(worker, "status"))?, read(&of(worker, "stat"))?);
    let user = worker.slot().user().unwrap_or_else(|| getuid().as_raw());
    let seen = [
        (Measure::OwnUser, field(&status, "Uid:").split_whitespace().eq([user; 4].map(|user| user.to_string()))),
        (Measure::NoNewPrivileges, field(&status, "NoNewPrivs:") == "1"),
        (Measure::ProcessGroup, group(&stat) == Some(worker.id())),
        (Measure::Limits, field(&read(&of(worker, "limits"))?, "Max core file size").starts_with("0 ")),
    ];
    let in_force = |measure| isolation.missing(measure).is_none();
    let lacking: Vec<Measure> =
        seen.into_iter().filter(|(measure, holds)| in_force(*measure) && !holds).map(|(measure, _)| measure).collect();
    if !lacking.is_empty() {
        return Err(format!("it lacks {lacking:?}").into());
    }
    // Last, as it is this that a container may not let us see.
    let has_ours =
        in_force(Measure::NoNetwork) && link(&of(worker, "ns/net"))? == link(Path::new("/proc/self/ns/net"))?;
    if has_ours { Err("it has our network".to_owned().into()) } else { Ok(()) }
}

/// What follows the name at the beginning of a line.
fn field<'a>(lines: &'a str, name: &str) -> &'a str {
    lines.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim()
}

/// The group stands third after the name, which may have blanks and brackets in it.
fn group(stat: &str) -> Option<i32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(2)?.parse().ok()
}

fn of(worker: &Worker, file: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{}/{file}", worker.id()))
}

fn read(path: &Path) -> Result<String, Outcome> {
    fs::read_to_string(path).map_err(|error| unseen(path, &error))
}

fn link(path: &Path) -> Result<PathBuf, Outcome> {
    fs::read_link(path).map_err(|error| unseen(path, &error))
}

/// A container may keep even root from looking at another user's process.
fn unseen(path: &Path, error: &io::Error) -> Outcome {
    let why = format!("{} cannot be read: {error}", path.display());
    let is_gone = cfg!(target_os = "linux") && error.kind() == io::ErrorKind::NotFound;
    if is_gone { Outcome::Failed(why) } else { Outcome::NotSeen(why) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_writes_is_read() {
        assert_eq!(group("77 (a) b (c)) S 1 42 42 0 -1"), Some(42));
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax core file size        0    0    bytes\n";
        assert_eq!(field(limits, "Max core file size"), "0    0    bytes");
    }
}
