//! A PostgreSQL server of a test's own, from Debian's package, in a temporary folder and on a socket in it: nobody else's, and
//! nobody else reaches it. It ends with the value that holds it.

use std::{
    fs,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// How long the server may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// A running server.
pub struct PostgresServer {
    folder: TempDir,
    /// The user that it runs as, where we are root, which it refuses to run as.
    user: Option<(u32, u32)>,
    child: Option<Child>,
    databases: AtomicU32,
}

impl PostgresServer {
    /// Makes and starts one. What it writes does not wait for the disk, as no test takes the power away.
    pub fn start() -> Self {
        Self::start_with(&["fsync=off"])
    }

    /// The same, with settings of its configuration.
    pub fn start_with(settings: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("ccapi-pg").tempdir_in("/tmp").expect("a folder");
        let user = owner_other_than_root(folder.path());
        let mut server = Self { folder, user, child: None, databases: AtomicU32::new(0) };
        let data = server.data();
        let made =
            server.command("initdb").args(["--no-sync", "--auth=trust", "--username=test", "-D"]).arg(&data).output();
        let made = made.expect("initdb runs");
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let own = ["listen_addresses=''", "max_connections=200", "shared_buffers=128MB", "log_min_messages=fatal"];
        let mut lines: Vec<String> = own.iter().chain(settings).map(|line| format!("{line}\n")).collect();
        lines.push(format!("unix_socket_directories='{}'\n", server.folder.path().display()));
        let file = data.join("postgresql.auto.conf");
        fs::write(&file, lines.concat()).expect("a configuration");
        server.start_again();
        server
    }

    /// URL of a new, empty database.
    pub fn database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::SeqCst));
        self.sql("postgres", &format!("create database {name}"));
        format!("postgres://test@/{name}?host={}", self.folder.path().display())
    }

    /// The name of the database of this URL.
    pub fn name(url: &str) -> &str {
        url.split_once("@/").and_then(|(_, rest)| rest.split_once('?')).expect("one of ours").0
    }

    /// Runs SQL in the database of this name; what it prints.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let output = self.psql(database).args(["-c", sql]).output().expect("psql runs");
        assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    fn psql(&self, database: &str) -> Command {
        let mut psql = self.command("psql");
        psql.args(["-X", "-q", "-t", "-A", "-U", "test", "-d", database, "-h"]).arg(self.folder.path());
        psql
    }

    /// Kills it, as a machine would that goes down.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // SIGQUIT: every process of it ends at once, without writing anything more.
            let sent = Command::new("kill").args(["-QUIT", &child.id().to_string()]).status();
            assert!(sent.expect("there is a kill").success(), "SIGQUIT could not be sent");
            child.wait().expect("it can be waited for");
        }
    }

    /// Starts it on what it has left.
    pub fn start_again(&mut self) {
        let log = fs::File::create(self.folder.path().join("log")).expect("a file");
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.data()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().expect("postgres runs"));
        let begun = Instant::now();
        loop {
            let asked = self.psql("postgres").args(["-c", "select 1"]).output().expect("psql runs");
            if asked.status.success() {
                return;
            }
            let log = || fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(begun.elapsed() < START_TIMEOUT, "postgres did not start: {}", log());
            #[expect(clippy::disallowed_methods, reason = "a test's own thread waits for another program")]
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(programs().join(program));
        // In a folder that its user may be in.
        command.env_clear().env("LC_ALL", "C.UTF-8").env("PATH", "/usr/bin:/bin").current_dir(self.folder.path());
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.kill();
        } else if let Some(mut child) = self.child.take() {
            let _ = Command::new("kill").args(["-QUIT", &child.id().to_string()]).status();
            let _ = child.wait();
        }
    }
}

/// Where Debian keeps the programs of the newest version there is.
fn programs() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = versions.map(|version| version.path().join("bin")).filter(|bin| bin.join("initdb").exists());
    found.max().expect("PostgreSQL is missing; run `apt-get install postgresql`")
}

/// As root: gives the folder to the user that Debian's package makes for this.
fn owner_other_than_root(folder: &Path) -> Option<(u32, u32)> {
    use std::os::unix::fs::MetadataExt;
    if fs::metadata(folder).expect("the folder is there").uid() != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").expect("a list of users");
    let fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let user = fields.into_iter().find(|fields| fields[0] == "postgres").expect("the package makes a user postgres");
    let (user, group) = (user[2].parse().expect("a number"), user[3].parse().expect("a number"));
    chown(folder, Some(user), Some(group)).expect("root gives away what is its own");
    Some((user, group))
}
