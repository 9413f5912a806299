//! `claude install`, of packages that are made here, from a registry that is.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Stdio, time::Duration};

use claude_code_api_service::backend::claude_code::{
    find::installed_at,
    install::{Install, InstallError, Installed, Step},
    package::Package,
};
use claude_code_api_testkit::{BOUND, command, ended, in_time, run, signal, until};
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::{
    files,
    registry::{Gives, Registry, package},
};

const PROGRAM: &[u8] = b"#!/bin/sh\necho 'a program of some length, so that it has a half'\n";

async fn install(package: &Package, registry: &str, folder: &Path, force: bool) -> Result<Installed, InstallError> {
    let silence_max = Duration::from_millis(500);
    Install { package, registry, data_dir: folder, force, silence_max }.run(&mut |_| {}).await
}

#[tokio::test]
async fn what_was_installed_can_be_run_and_is_not_fetched_again() {
    let (folder, (package, tarball)) = (TempDir::new().expect("a folder"), package(PROGRAM));
    let registry = Registry::start(&tarball, Gives::Whole).await;
    let program = installed_at(folder.path());
    let first = install(&package, &registry.url, folder.path(), false).await.expect("installed");
    assert_eq!(first, Installed::Now(program.clone()));
    assert_eq!(fs::read(&program).expect("a file"), PROGRAM);
    assert_eq!(fs::metadata(&program).expect("a file").permissions().mode() & 0o111, 0o111, "it cannot be run");
    let second = install(&package, &registry.url, folder.path(), false).await.expect("installed");
    assert_eq!((second, registry.requests()), (Installed::Before(program.clone()), 1));
    let forced = install(&package, &registry.url, folder.path(), true).await.expect("installed");
    assert_eq!((forced, registry.requests()), (Installed::Now(program.clone()), 2));
    fs::write(&program, "half of i").expect("it can be broken");
    let mended = install(&package, &registry.url, folder.path(), false).await.expect("installed");
    assert_eq!((mended, registry.requests()), (Installed::Now(program), 3));
    assert_eq!(files(folder.path()), ["claude", "install.lock"]);
}

#[tokio::test]
async fn what_goes_wrong_is_said_and_leaves_what_was_there() {
    let (package, tarball) = package(PROGRAM);
    let cases = [
        (Gives::Corrupted, "is not the published package"),
        (Gives::Half, "broke off after"),
        (Gives::HalfAndSilence, "broke off after"),
        (Gives::Status(404), "answers 404; name a registry"),
        (Gives::Status(503), "answers 503"),
    ];
    for (gives, words) in cases {
        let registry = Registry::start(&tarball, gives).await;
        let folder = TempDir::new().expect("a folder");
        let error = install(&package, &registry.url, folder.path(), false).await.expect_err("it fails").to_string();
        assert!(error.contains(words) && error.contains(&registry.url) && !error.contains('\n'), "{gives:?}: {error}");
        assert_eq!(files(folder.path()), ["install.lock"], "{gives:?}");
        let good = Registry::start(&tarball, Gives::Whole).await;
        install(&package, &good.url, folder.path(), false).await.expect("installed");
        install(&package, &registry.url, folder.path(), true).await.expect_err("it fails");
        assert_eq!(fs::read(installed_at(folder.path())).expect("a file"), PROGRAM, "{gives:?}");
    }
}

#[tokio::test]
async fn a_registry_that_is_not_there_or_no_address_is_named() {
    let (folder, (package, _)) = (TempDir::new().expect("a folder"), package(PROGRAM));
    for (registry, words) in
        [("http://127.0.0.1:1", "cannot be reached"), ("nowhere", "the address of an npm registry")]
    {
        let error = install(&package, registry, folder.path(), false).await.expect_err("it fails").to_string();
        assert!(error.contains(words) && error.contains(registry), "{error}");
    }
    let error = install(&package, "http://me:secret@127.0.0.1:1", folder.path(), false).await.expect_err("it fails");
    assert!(error.to_string().contains("127.0.0.1:1") && !error.to_string().contains("secret"), "{error}");
}

#[tokio::test]
async fn a_slow_registry_is_waited_for() {
    let (folder, (package, tarball)) = (TempDir::new().expect("a folder"), package(PROGRAM));
    let registry = Registry::start(&tarball, Gives::Slowly).await;
    install(&package, &registry.url, folder.path(), false).await.expect("installed");
}

#[tokio::test]
async fn a_package_with_another_program_in_it_is_not_put_in_place() {
    let (folder, (good, tarball)) = (TempDir::new().expect("a folder"), package(PROGRAM));
    let registry = Registry::start(&tarball, Gives::Whole).await;
    let package = Package { program_sha256: package(b"another").0.program_sha256, ..good };
    let error = install(&package, &registry.url, folder.path(), false).await.expect_err("it fails").to_string();
    assert!(error.contains("is not the pinned program"), "{error}");
    assert_eq!(files(folder.path()), ["install.lock"]);
}

#[tokio::test]
async fn of_two_at_a_time_one_fetches_and_the_other_finds_it_there() {
    let (folder, (package, tarball)) = (TempDir::new().expect("a folder"), package(PROGRAM));
    let registry = Registry::start(&tarball, Gives::Slowly).await;
    let install = || install(&package, &registry.url, folder.path(), false);
    let (one, other) = tokio::join!(install(), install());
    let mut came = [one.expect("installed"), other.expect("installed")].map(|one| matches!(one, Installed::Now(_)));
    came.sort_unstable();
    assert_eq!((came, registry.requests()), ([false, true], 1));
}

#[tokio::test]
async fn one_that_is_dropped_leaves_nothing_and_what_a_killed_one_left_is_removed() {
    let (folder, (package, tarball)) = (TempDir::new().expect("a folder"), package(PROGRAM));
    let silent = Registry::start(&tarball, Gives::HalfAndSilence).await;
    let silence_max = BOUND;
    let endless =
        Install { package: &package, registry: &silent.url, data_dir: folder.path(), force: false, silence_max };
    let (came, mut coming) = mpsc::unbounded_channel();
    let mut told = |step| came.send(step).expect("somebody listens");
    tokio::select! {
        _ = endless.run(&mut told) => panic!("it does not end"),
        step = in_time("half of it has come", BOUND, coming.recv()) => assert!(matches!(step, Some(Step::Fetching { .. }))),
    }
    assert_eq!(files(folder.path()), ["install.lock"]);
    let left = folder.path().join("claude/.install");
    fs::create_dir(&left).and_then(|()| fs::write(left.join("claude"), "half")).expect("a folder");
    let registry = Registry::start(&tarball, Gives::Whole).await;
    install(&package, &registry.url, folder.path(), false).await.expect("installed");
    assert_eq!((files(folder.path()), left.exists()), (vec!["claude".to_owned(), "install.lock".to_owned()], false));
}

#[tokio::test]
async fn the_command_fetches_from_the_registry_of_npm_and_takes_only_what_is_published() {
    let (folder, (_, tarball)) = (TempDir::new().expect("a folder"), package(PROGRAM));
    let registry = Registry::start(&tarball, Gives::Whole).await;
    let data_dir = folder.path().to_str().expect("text");
    let arguments = ["claude", "install", "--data-dir", data_dir];
    let ended = run(arguments, &[("npm_config_registry", registry.url.as_str())]).await;
    assert_eq!((ended.code(), ended.stdout.as_str()), (Some(1), ""), "{ended:?}");
    let said = ended.stderr.lines().last().unwrap_or_default();
    assert!(said.starts_with("error: what http://127.0.0.1") && said.contains("not the published package"), "{said}");
    assert_eq!((registry.requests(), files(folder.path())), (1, vec!["install.lock".to_owned()]));
}

#[tokio::test]
async fn ctrl_c_ends_the_command_and_leaves_nothing() {
    let (folder, (_, tarball)) = (TempDir::new().expect("a folder"), package(PROGRAM));
    let registry = Registry::start(&tarball, Gives::HalfAndSilence).await;
    let mut command = command();
    command.args(["claude", "install", "--registry", &registry.url, "--data-dir"]).arg(folder.path());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program runs");
    let fetched = folder.path().join("claude/.install/package.tgz");
    until("it fetches", || fetched.exists()).await;
    signal(&child, "-INT").await;
    let ended = ended(child).await;
    assert_eq!(ended.code(), Some(130), "{ended:?}");
    assert_eq!(files(folder.path()), ["install.lock"]);
}
