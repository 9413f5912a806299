//! The real binary, as an operator runs it: flags in, lines and an exit code out. `cargo build` builds it; it is
//! looked for beside the test that runs.

use std::{
    ffi::OsString,
    fs::File,
    net::SocketAddr,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use claude_code_api_service::{backend::local, config::data_dir_default};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
};

use crate::{Caller, Simulator, in_time, simulator::KEY};

/// How long the program may take to start: it hashes and loads the model.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// The file of the embedded model, which has to be installed.
pub fn model_file() -> PathBuf {
    let data_dir = data_dir_default();
    let path = local::model_path(None, &data_dir, &data_dir);
    assert!(path.exists(), "there is no model file at {}; run `claude-code-api model install`", path.display());
    path
}

/// A run of the program that has ended.
#[derive(Debug)]
pub struct Ended {
    /// How.
    pub status: ExitStatus,
    /// What it said on standard output.
    pub stdout: String,
    /// What it said on standard error.
    pub stderr: String,
}

impl Ended {
    /// How it ended, as a shell shows it: the exit code, or 128 and the signal.
    pub fn code(&self) -> Option<i32> {
        self.status.code().or(self.status.signal().map(|signal| 128 + signal))
    }
}

/// Runs the program to its end, with these arguments and this environment and no other.
pub async fn run<A: Into<OsString>>(args: impl IntoIterator<Item = A>, environment: &[(&str, &str)]) -> Ended {
    let mut command = command();
    command.args(args.into_iter().map(Into::into)).envs(environment.iter().copied());
    ended(piped(command)).await
}

/// Runs an example of the Rust client to its end, in the same way. Running the tests of the whole workspace builds it.
pub async fn run_example(name: &str, args: &[&str], environment: &[(&str, &str)]) -> Ended {
    let mut command = built(&format!("examples/{name}"), "cargo build --examples");
    command.args(args).envs(environment.iter().copied());
    ended(piped(command)).await
}

fn piped(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program runs")
}

/// Waits for the end of a program whose output is piped, and gives what was not read of it yet.
pub async fn ended(child: Child) -> Ended {
    let output = in_time("the program ends", START_TIMEOUT, child.wait_with_output()).await.expect("it can be read");
    let text = |bytes| String::from_utf8(bytes).expect("the program speaks UTF-8");
    Ended { status: output.status, stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Sends a signal, such as `-STOP`, to a program that runs.
pub async fn signal(child: &Child, name: &str) {
    let id = child.id().expect("it runs").to_string();
    let sent = Command::new("kill").args([name, &id]).status().await.expect("there is a kill");
    assert!(sent.success(), "{name} could not be sent");
}

/// The program, with no environment and nothing on standard input; dropped, it is killed.
pub fn command() -> Command {
    built("claude-code-api", "cargo build")
}

/// A program that `how` has built.
fn built(name: &str, how: &str) -> Command {
    let own = std::env::current_exe().expect("a test knows where it is");
    // Tests are in target/<profile>/deps, the program and benchmarks in target/<profile>.
    let found = own.ancestors().skip(1).take(2).map(|folder| folder.join(name)).find(|path| path.exists());
    let path = found.unwrap_or_else(|| panic!("there is no {name} beside {}; run `{how}`", own.display()));
    let mut command = Command::new(path);
    // Nothing of the developer's environment may decide a test.
    command.env_clear().stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// A running `claude-code-api serve`. Dropping it kills it, by its own id.
pub struct Program {
    child: Child,
    address: SocketAddr,
    folder: TempDir,
    /// Kept open: a program whose standard output is closed behaves differently. `None`: that is what is wanted.
    _stdout: Option<Lines<BufReader<ChildStdout>>>,
}

impl Program {
    /// Starts it on a free port, in a data folder of its own, with `flags` besides.
    pub async fn serve(flags: &[&str]) -> Self {
        Self::serve_in(tempfile::tempdir().expect("a folder"), flags).await
    }

    /// Starts it on what an earlier one has left in its data folder.
    pub async fn serve_in(folder: TempDir, flags: &[&str]) -> Self {
        Self::serve_with(folder, flags, &[]).await
    }

    /// Starts it with answers from a simulated Claude, which is quick.
    pub async fn serve_on(
        simulator: &Simulator,
        folder: TempDir,
        flags: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let url = simulator.base_url();
        let of_claude = [("ANTHROPIC_API_KEY", KEY), ("ANTHROPIC_BASE_URL", url.as_str())];
        Self::serve_with(folder, flags, &[&of_claude, environment].concat()).await
    }

    async fn serve_with(folder: TempDir, flags: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut child = Self::spawn(&folder, flags, environment);
        let mut stdout = BufReader::new(child.stdout.take().expect("piped")).lines();
        let line = in_time("the program has started", START_TIMEOUT, stdout.next_line()).await.expect("text");
        let line = line.unwrap_or_else(|| panic!("it did not start: {}", read(&stderr_of(&folder))));
        let address = line.split_once(" listens on http://").and_then(|(_, address)| address.parse().ok());
        let address = address.unwrap_or_else(|| panic!("its first line names no address: {line:?}"));
        Self { child, address, folder, _stdout: Some(stdout) }
    }

    /// Starts it at this address, with nobody who reads what it says; it may not answer yet.
    pub fn serve_unheard(address: SocketAddr) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut child = Self::spawn(&folder, &["--listen", &address.to_string()], &[]);
        drop(child.stdout.take());
        Self { child, address, folder, _stdout: None }
    }

    fn spawn(folder: &TempDir, flags: &[&str], environment: &[(&str, &str)]) -> Child {
        let stderr = File::create(stderr_of(folder)).expect("a file");
        let mut command = command();
        command
            .args(["serve", "--local-batch-threads", "1", "--data-dir"])
            .arg(folder.path())
            .env("CLAUDE_CODE_API_SERVER_LISTEN", "localhost:0");
        command.arg("--model-path").arg(model_file()).args(flags).envs(environment.iter().copied());
        command.stdout(Stdio::piped()).stderr(stderr).spawn().expect("the program runs")
    }

    /// Where it is reached.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its data folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// One who calls it.
    pub fn caller(&self) -> Caller {
        Caller::new(format!("http://{}", self.address))
    }

    /// What it has logged.
    pub fn stderr(&self) -> String {
        read(&stderr_of(&self.folder))
    }

    /// The most memory that it has had, in KiB. Linux only.
    pub fn memory_peak_kib(&self) -> u64 {
        let id = self.child.id().expect("it runs");
        let status = read(Path::new(&format!("/proc/{id}/status")));
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux says so");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// Sends SIGTERM.
    pub async fn terminate(&self) {
        self.signal("-TERM").await;
    }

    /// Sends a signal, such as `-STOP`.
    pub async fn signal(&self, name: &str) {
        signal(&self.child, name).await;
    }

    /// Ends it with SIGKILL, and gives its data folder as it was left.
    pub async fn kill(mut self) -> TempDir {
        self.child.kill().await.expect("it can be killed");
        self.folder
    }

    /// Waits until it has ended, at most `bound`.
    pub async fn ended(&mut self, bound: Duration) -> ExitStatus {
        in_time("the program has ended", bound, self.child.wait()).await.expect("it can be waited for")
    }
}

fn stderr_of(folder: &TempDir) -> PathBuf {
    folder.path().join("stderr.log")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("a log of text")
}
