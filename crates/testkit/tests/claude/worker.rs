//! Workers of scripts: what they get, what they may, and how they end.

use std::{
    fs,
    os::unix::{fs::FileTypeExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command},
    time::Duration,
};

use claude_code_api_service::{
    backend::claude_code::{
        isolate::{Isolation, SLOTS_MAX, USERS_FROM},
        login::Login,
        measure::Measure,
        slot::{Slot, Slots},
        worker::{Worker, WorkerError},
    },
    store::sqlite::{Options, Sqlite},
};
use claude_code_api_testkit::until;
use rustix::process::getuid;
use tempfile::TempDir;

use crate::program;

const SLOT: u32 = 7;
const TIME_MAX: Duration = Duration::from_secs(5);

/// What a script does to be ready, once it has written this down.
fn ready(noting: &str) -> String {
    let answer = r#"{"type":"control_response","response":{"subtype":"success","request_id":"ready"}}"#;
    format!("#!/bin/sh\n{noting}\necho '{answer}'\nwhile read line; do :; done\n")
}

/// A folder that others may enter, and a script in it.
struct Machine {
    folder: TempDir,
    slots: Slots,
    isolation: Isolation,
}

impl Machine {
    fn with(script: &str) -> Self {
        let folder = TempDir::new().expect("a folder");
        open(folder.path(), 0o755);
        let path = program(folder.path(), script);
        let slots = Slots::open(&data_dir(&folder)).expect("it can be written to");
        let isolation = Isolation::of_system(&path, slots.folder()).expect("there is room");
        Self { folder, slots, isolation }
    }

    fn program(&self) -> PathBuf {
        self.folder.path().join("claude")
    }

    async fn worker(&self) -> Result<Worker, WorkerError> {
        let slot = Slot::open(&self.slots, SLOT, &self.isolation, None).expect("it can be written to");
        let mut worker = Worker::start(&self.program(), slot, &self.isolation).await?;
        worker.ready(TIME_MAX).await.map(|()| worker)
    }
}

fn data_dir(folder: &TempDir) -> PathBuf {
    folder.path().join("data")
}

fn open(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
}

fn noted(worker: &Worker, file: &str) -> String {
    fs::read_to_string(worker.slot().temporary().join(file)).expect("the script has written it")
}

/// Its user, seen from here: in a namespace of its own it may have another name.
fn user(worker: &Worker) -> u32 {
    let status = fs::read_to_string(format!("/proc/{}/status", worker.id())).expect("Linux says so");
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:")).expect("it has one");
    line.split_whitespace().next().expect("a number").parse().expect("a number")
}

/// A process that is dead and was not waited for is gone, too.
fn is_gone(id: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", id.trim())).unwrap_or_default();
    !status.lines().any(|line| line.starts_with("State:") && !line.contains('Z'))
}

#[tokio::test]
async fn a_worker_has_the_environment_of_its_slot_and_nothing_of_ours() {
    let machine = Machine::with(&ready("/usr/bin/env > \"$TMPDIR/env\"; /bin/ls -A > \"$TMPDIR/ls\""));
    let worker = machine.worker().await.expect("ready");
    let found = noted(&worker, "env");
    // The shell's own.
    let found =
        found.lines().filter(|line| !["PWD=", "OLDPWD=", "SHLVL=", "_="].iter().any(|own| line.starts_with(own)));
    let mut found: Vec<String> = found.map(str::to_owned).collect();
    let mut put: Vec<String> =
        worker.slot().environment().iter().map(|(name, value)| format!("{name}={value}")).collect();
    found.sort();
    put.sort();
    assert_eq!(found, put);
    assert!(std::env::vars_os().count() > 0, "we have one that it could have had");
    assert_eq!(noted(&worker, "ls"), "", "its folder is not empty");
}

#[tokio::test]
async fn what_is_said_to_be_in_force_is() {
    let note = "/bin/cat /proc/net/dev > \"$TMPDIR/net\"; \
                /bin/grep NoNewPrivs /proc/self/status > \"$TMPDIR/privileges\"; ulimit -c > \"$TMPDIR/core\"";
    let machine = Machine::with(&ready(note));
    let worker = machine.worker().await.expect("ready");
    let is_in_force = |measure| machine.isolation.missing(measure).is_none();
    println!("{:?}", Measure::ALL.map(|measure| (measure, machine.isolation.missing(measure))));
    assert_eq!(is_in_force(Measure::OwnUser), getuid().is_root(), "root can give it a user, and nobody else can");
    if is_in_force(Measure::OwnUser) {
        assert_eq!(Some(user(&worker)), worker.slot().user());
        assert!((USERS_FROM..USERS_FROM + SLOTS_MAX).contains(&user(&worker)));
    }
    if is_in_force(Measure::NoNetwork) {
        let others = noted(&worker, "net").lines().skip(2).filter(|line| !line.trim().starts_with("lo:")).count();
        assert_eq!(others, 0, "{}", noted(&worker, "net"));
    }
    assert_eq!((noted(&worker, "privileges").as_str(), noted(&worker, "core").as_str()), ("NoNewPrivs:\t1\n", "0\n"));
}

#[tokio::test]
async fn a_folder_that_others_may_not_enter_costs_a_worker_its_user_and_nothing_else() {
    let machine = Machine::with(&ready(""));
    open(machine.folder.path(), 0o700);
    let isolation = Isolation::of_system(&machine.program(), machine.slots.folder()).expect("there is room");
    let why = isolation.missing(Measure::OwnUser).expect("it has none");
    assert!(why.contains(if getuid().is_root() { "may enter" } else { "only root" }), "{why}");
    let machine = Machine { isolation, ..machine };
    let worker = machine.worker().await.expect("ready");
    assert_eq!(user(&worker), getuid().as_raw());
}

#[tokio::test]
async fn a_worker_is_killed_with_what_it_has_started() {
    let machine = Machine::with(&ready("/bin/sleep 1000 & echo $! > \"$TMPDIR/child\""));
    let worker = machine.worker().await.expect("ready");
    let (id, child) = (worker.id().to_string(), noted(&worker, "child"));
    assert!(!is_gone(&id) && !is_gone(&child), "they do not run");
    worker.kill().await.expect("it can be killed");
    until("both are gone", || is_gone(&id) && is_gone(&child)).await;
    let worker = machine.worker().await.expect("ready");
    let (id, child) = (worker.id().to_string(), noted(&worker, "child"));
    drop(worker);
    until("both are gone of a worker that was dropped", || is_gone(&id) && is_gone(&child)).await;
}

#[tokio::test]
async fn a_line_that_does_not_end_is_given_up() {
    let machine = Machine::with("#!/bin/sh\n/usr/bin/head -c 20000000 /dev/zero\n/bin/sleep 1000\n");
    assert!(matches!(machine.worker().await, Err(WorkerError::Garbage(_))));
}

#[tokio::test]
async fn a_worker_has_a_dummy_key_or_the_login_and_never_both() {
    let machine = Machine::with("");
    for login in [None, Some(Login::made_up())] {
        let slot = Slot::open(&machine.slots, SLOT, &machine.isolation, login.as_ref()).expect("it can be written to");
        let has = |name: &str| slot.environment().iter().any(|(found, _)| *found == name);
        assert_eq!((has("ANTHROPIC_API_KEY"), has("CLAUDE_CODE_OAUTH_TOKEN")), (login.is_none(), login.is_some()));
        let arguments = slot.worker(&machine.program(), &machine.isolation).expect("it can be written to");
        assert_eq!(arguments.get_args().any(|argument| argument == "--bare"), login.is_none());
    }
}

#[tokio::test]
async fn a_slot_on_a_login_has_room_for_the_cli_s_own_socket() {
    let folder = TempDir::new().expect("a folder");
    let slots = "/claude/slots/00000000".len();
    // As long as it may be without a login.
    let data_dir =
        format!("{}/{}", folder.path().display(), "d".repeat(103 - 17 - slots - folder.path().as_os_str().len() - 1));
    let slots = Slots::open(Path::new(&data_dir)).expect("it is not too long");
    let isolation = Isolation::of_system(Path::new("/bin/true"), slots.folder()).expect("there is room");
    Slot::open(&slots, SLOT, &isolation, None).expect("it is not too long");
    let problem = Slot::open(&slots, SLOT, &isolation, Some(&Login::made_up())).expect_err("it is too long");
    assert!(problem.to_string().contains("too long a path for sockets"), "{problem}");
}

#[tokio::test]
async fn slots_of_a_process_that_has_died_are_removed_and_those_of_one_that_lives_are_not() {
    let machine = Machine::with("");
    let left = data_dir(&machine.folder).join("claude/slots/1/3/home");
    fs::create_dir_all(&left).expect("a folder");
    let again = Slots::open(&data_dir(&machine.folder)).expect("it can be written to");
    assert!(!left.exists() && machine.slots.folder().exists() && again.folder().exists());
    let folder = again.folder().to_owned();
    drop(again);
    assert!(!folder.exists() && machine.slots.folder().exists());
}

/// A process of the test's own, which ends with it.
struct Other(Child);

impl Other {
    fn start(command: &mut Command) -> Self {
        Self(command.arg("1000").spawn().expect("there is a program of that name"))
    }

    fn that_works_in(folder: &Path, home: &Path) -> Self {
        Self::start(Command::new("/bin/sleep").current_dir(folder).env("HOME", home))
    }

    fn is_gone(&mut self) -> bool {
        self.0.try_wait().expect("it is ours").is_some()
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn what_a_service_that_has_died_has_left_running_is_killed_and_nothing_else_is() {
    let machine = Machine::with("");
    let slots = data_dir(&machine.folder).join("claude/slots");
    let slot = |name: &str| {
        let (work, home) = (slots.join(name).join("3/work"), slots.join(name).join("3/home"));
        fs::create_dir_all(&work).and_then(|()| fs::create_dir_all(&home)).expect("they can be made");
        (work, home)
    };
    let (work, home) = slot("left");
    let (work_removed, home_removed) = slot("removed");
    let alive = Slot::open(&machine.slots, SLOT, &machine.isolation, None).expect("it can be written to");
    let mut left =
        [(&work, &home), (&work_removed, &home_removed)].map(|(work, home)| Other::that_works_in(work, home));
    let others = [
        (alive.work(), alive.home()),
        (work.clone(), alive.home()),
        (work, slots.clone()),
        (slots, home.clone()),
        (machine.folder.path().to_owned(), home),
    ];
    let mut others = others.map(|(work, home)| Other::that_works_in(&work, &home));
    fs::remove_dir_all(work_removed.ancestors().nth(2).expect("it is deep")).expect("it is ours");
    Slots::open(&data_dir(&machine.folder)).expect("it can be written to");
    until("it has ended, which it may take a moment to do once it is killed", || left.iter_mut().all(Other::is_gone))
        .await;
    assert!(!others.iter_mut().any(Other::is_gone), "it was somebody else's");
}

#[tokio::test]
async fn a_worker_with_a_user_of_its_own_is_killed_with_what_has_left_its_group_and_though_it_has_died_itself() {
    let child = "/bin/sleep 1000 & echo $! > \"$TMPDIR/child\"";
    let machine = Machine::with(&ready(&format!("/usr/bin/setsid {child}")));
    if machine.isolation.missing(Measure::OwnUser).is_some() {
        println!("SKIPPED: only root can give a worker a user of its own");
        return;
    }
    let worker = machine.worker().await.expect("ready");
    let child_that_left = noted(&worker, "child");
    let group = || fs::read_to_string(format!("/proc/{}/stat", child_that_left.trim())).expect("it runs");
    until("it has left", || group().split(' ').nth(4) == Some(child_that_left.trim())).await;
    worker.kill().await.expect("it can be killed");
    assert!(is_gone(&child_that_left));

    let machine = Machine::with(&ready(child).replace("while", "read line; exit; while"));
    let mut worker = machine.worker().await.expect("ready");
    let child = noted(&worker, "child");
    until("it has died", || !worker.is_alive()).await;
    assert!(!is_gone(&child), "it runs on");
    worker.kill().await.expect("it can be killed");
    assert!(is_gone(&child));
}

#[test]
fn no_two_workers_on_a_machine_have_the_same_user_and_none_has_one_that_something_runs_as() {
    let machines = [Machine::with(""), Machine::with("")];
    if machines[0].isolation.missing(Measure::OwnUser).is_some() {
        println!("SKIPPED: only root can give a worker a user of its own");
        return;
    }
    let slot = |machine: &Machine| Slot::open(&machine.slots, SLOT, &machine.isolation, None).expect("there is a user");
    let slots = [slot(&machines[0]), slot(&machines[1])];
    let [first, second] = slots.each_ref().map(|slot| slot.user().expect("it has one"));
    assert_ne!(first, second);
    let _other = Other::start(Command::new("/bin/sleep").uid(second));
    drop(slots);
    assert!(![slot(&machines[0]), slot(&machines[1])].iter().any(|slot| slot.user() == Some(second)));
}

#[tokio::test]
async fn a_worker_puts_nothing_in_the_place_of_what_is_ours() {
    let note = "cd ..; for file in stderr.log gateway.sock; do /bin/ln -sf /etc/passwd $file; /bin/rm -f $file; done 2>/dev/null";
    let machine = Machine::with(&ready(note));
    if machine.isolation.missing(Measure::OwnUser).is_some() {
        println!("SKIPPED: without a user of its own a worker may do what we may");
        return;
    }
    let worker = machine.worker().await.expect("ready");
    let kind = |path: PathBuf| fs::symlink_metadata(path).expect("it is there").file_type();
    assert!(kind(worker.slot().complaints()).is_file() && kind(worker.slot().socket()).is_socket());
}

#[tokio::test]
async fn a_worker_with_a_user_of_its_own_cannot_open_the_ledger_or_a_lock() {
    let files = "../../lock ../../../lock ../../../../../ledger.lock ../../../../../ledger.sqlite ../../../../../ledger.sqlite-wal";
    let note = format!(
        "/bin/ls {files} | /usr/bin/wc -l > \"$TMPDIR/there\"; \
         for file in {files}; do (exec 3< $file && echo $file); done > \"$TMPDIR/opened\" 2>/dev/null"
    );
    let machine = Machine::with(&ready(&note));
    if machine.isolation.missing(Measure::OwnUser).is_some() {
        println!("SKIPPED: without a user of its own a worker may open what we may");
        return;
    }
    let _ledger = Sqlite::open(&data_dir(&machine.folder), Options::default()).expect("a ledger");
    let worker = machine.worker().await.expect("ready");
    assert_eq!((noted(&worker, "there").as_str(), noted(&worker, "opened").as_str()), ("5\n", ""));
}
