//! A disk without room: what runs is settled and answered, nothing is taken on, nothing is lost, and with room all goes on.

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use claude_code_api_service::{
    project::ProjectId,
    store::{
        EntriesWanted, Store,
        sqlite::{Options, Sqlite},
    },
};
use claude_code_api_testkit::{BOUND, Caller, Program, Simulator};
use claude_code_api_wire::{ErrorCode, Health, HealthStatus};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A file system of a few megabytes, in memory. Only root may have one.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount() -> Self {
        let folder = TempDir::new().expect("a folder");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"]).arg(folder.path()).status();
        assert!(mounted.expect("there is a mount").success(), "a small disk cannot be mounted: run this test as root");
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }

    /// Takes all the room there is.
    fn fill(&self) {
        let mut file = File::create(self.filler()).expect("a file");
        for block_bytes in [1 << 20, 4_096, 1] {
            let block = vec![1; block_bytes];
            while file.write_all(&block).is_ok() {}
        }
    }

    fn clear(&self) {
        fs::remove_file(self.filler()).expect("it is there");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("there is an id");
    id.stdout.trim_ascii() == b"0"
}

fn call(script: &Value) -> Value {
    json!({"prompt": format!("Hello sim:{script}"), "model": "haiku", "max_tokens": 100})
}

async fn health(caller: &Caller) -> Health {
    caller.get("/health").await.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_is_settled_and_with_room_all_goes_on() {
    const RUNNING: usize = 64;
    if !is_root() {
        #[expect(clippy::disallowed_methods, reason = "no setting of the product")]
        let is_ci = std::env::var_os("CI").is_some();
        assert!(!is_ci, "a full disk is tested by root only, and CI is to test it");
        println!("SKIPPED: a full disk is tested by root only");
        return;
    }
    let (disk, simulator) = (SmallDisk::mount(), Simulator::start());
    let folder = TempDir::new_in(disk.path()).expect("a folder");
    let program = Program::serve_on(&simulator, folder, &[], &[]).await;
    let caller = program.caller();
    let slow = call(&json!({"delay_ms": 1_500, "output": 7}));
    let running = join_all((0..RUNNING).map(|number| {
        let (caller, slow) = (caller.once(format!("key-{number}")), &slow);
        async move { caller.complete(slow.clone()).await }
    }));
    let filled = async {
        let begun = Instant::now();
        while simulator.requests().len() < RUNNING {
            assert!(begun.elapsed() < BOUND, "not all calls run");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        disk.fill();
        // The log has some room of its own: it may take a few calls until there is none.
        let mut taken = 0;
        loop {
            let answer = caller.complete(call(&json!({"output": 1}))).await;
            if answer.status != 200 {
                return (taken, answer.error().error);
            }
            taken += 1;
            assert!(taken < 100_000, "a full disk is noticed");
        }
    };
    let (running, (taken, refused)) = tokio::join!(running, filled);
    assert_eq!((refused.code, refused.retryable), (ErrorCode::Internal, true), "{refused:?}");
    for answer in &running {
        answer.done();
    }
    let down = health(&caller).await;
    assert_eq!(down.status, HealthStatus::Degraded);
    assert!(down.services["store"].detail.as_ref().is_some_and(|detail| detail.contains("disk is full")), "{down:?}");
    // It dies now, and the next one starts on a disk without room.
    let program = Program::serve_on(&simulator, program.kill().await, &[], &[]).await;
    let caller = program.caller();
    let refused = caller.complete(call(&json!({"output": 1}))).await.error().error;
    assert_eq!(refused.code, ErrorCode::Internal, "{refused:?}");
    assert_eq!(health(&caller).await.status, HealthStatus::Degraded);
    disk.clear();
    let begun = Instant::now();
    while caller.complete(call(&json!({"output": 2}))).await.status != 200 {
        assert!(begun.elapsed() < BOUND, "with room, calls are taken");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    println!("{taken} calls until the disk was full, {RUNNING} settled after; taken again after {:?}", begun.elapsed());
    assert_eq!(health(&caller).await.status, HealthStatus::Ok);
    let folder = program.kill().await;
    let store = Sqlite::open(folder.path(), Options::default()).expect("the store opens");
    let verified = store.verify().await.expect("verified");
    assert_eq!((verified.differences, verified.reservations), (Vec::new(), 0));
    let wanted = EntriesWanted {
        project: Some(ProjectId::default_project()),
        count_max: u32::MAX >> 1,
        ..EntriesWanted::default()
    };
    let entries = store.entries(wanted).await.expect("the store works");
    assert!(entries.iter().all(|entry| entry.spent.exact), "nothing had to be estimated");
    assert_eq!(entries.len(), simulator.bill().len(), "what was paid for upstream is in the ledger, once");
}
