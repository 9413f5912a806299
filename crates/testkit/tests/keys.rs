//! Keys: who is let in, for which project, and who manages that; over HTTP with an admin key, and from the command line beside
//! a running service.

use std::time::{Duration, Instant};

use claude_code_api_service::{
    config::{BackendName, Settings},
    key::{Key, Scope},
    project::ProjectId,
    window::Moment,
};
use claude_code_api_testkit::{Caller, Ended, Program, TestServer, run, until};
use claude_code_api_wire::{BatchJob, BatchJobList, ErrorCode, KeyList, NewKey, Project, ProjectList};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

/// A caller with an admin key that another process has made in the store.
async fn new_key(admin: &Caller, request: Value) -> NewKey {
    let answer = admin.post("/v1/keys", request.to_string()).await;
    assert_eq!((answer.status, answer.header("cache-control")), (201, "no-store"), "{}", answer.status);
    answer.json()
}

fn hello() -> Value {
    json!({"prompt": "Hello", "max_tokens": 2})
}

fn hello_of(project: &str) -> Value {
    json!({"prompt": "Hello", "max_tokens": 2, "project_id": project})
}

#[tokio::test]
async fn a_key_is_its_project_s_and_no_other_s() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    for name in ["blue", "red"] {
        assert_eq!(admin.put(&format!("/v1/projects/{name}"), json!({})).await.status, 200);
    }
    let blue = server.caller().with_key(new_key(&admin, json!({"project_id": "blue", "name": "ci"})).await.key);
    for own in [hello(), hello_of("default"), hello_of("blue")] {
        assert_eq!(blue.complete(own).await.done().project_id, "blue");
    }
    let error = blue.complete(hello_of("red")).await.error().error;
    assert_eq!(error.code, ErrorCode::Forbidden);
    assert!(error.message.contains("of project blue"), "{}", error.message);
    assert_eq!(blue.get("/v1/usage?project_id=red").await.error().error.code, ErrorCode::Forbidden);
    let usage: Value = blue.get("/v1/usage").await.json();
    assert_eq!(
        (&usage["project_id"], &usage["by_model"]["smollm2-135m-instruct"]["requests"]),
        (&json!("blue"), &json!(3))
    );
    assert_eq!(admin.complete(hello_of("red")).await.done().project_id, "red");
    for (path, method) in [("/v1/projects", "GET"), ("/v1/keys", "GET"), ("/v1/projects/blue", "GET")] {
        let error = blue.get(path).await.error().error;
        assert_eq!(error.code, ErrorCode::Forbidden, "{method} {path}");
    }
}

#[tokio::test]
async fn on_a_login_that_is_not_shared_no_key_of_a_project_is_made_or_let_in() {
    let settings = |is_shared| Settings {
        backend: Some(vec![BackendName::ClaudeCode]),
        claude_code_login: Some(true),
        claude_code_login_shared: Some(is_shared),
        claude_code_oauth_token: Some("made-up".into()),
        ..Settings::default()
    };
    for is_shared in [false, true] {
        let server = TestServer::start_with(settings(is_shared)).await;
        let admin = server.admin().await;
        assert_eq!(admin.put("/v1/projects/blue", json!({})).await.status, 200);
        let made = admin.post("/v1/keys", json!({"project_id": "blue"}).to_string()).await;
        // As another process on the same database would.
        let scope = Scope::Project(ProjectId::parse("blue").expect("a name"));
        let (key, secret) = Key::new("test".to_owned(), scope, Moment::of_system(), None);
        let hash = key.hash;
        server.app().store().add_key(key).await.expect("the store works");
        until("the key is known", || server.app().directory().key(hash).is_some()).await;
        let blue = server.caller().with_key(secret.expose_secret()).complete(hello()).await;
        assert_eq!(admin.complete(hello_of("blue")).await.done().project_id, "blue");
        if is_shared {
            assert_eq!((made.status, blue.status), (201, 200));
        } else {
            for refused in [made.error().error, blue.error().error] {
                assert_eq!(refused.code, ErrorCode::Forbidden);
                assert!(refused.message.contains("claude_code_login_shared"), "{}", refused.message);
            }
        }
    }
}

#[tokio::test]
async fn a_stored_batch_is_its_project_s_and_no_other_s() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let mut of = Vec::new();
    for name in ["blue", "red"] {
        assert_eq!(admin.put(&format!("/v1/projects/{name}"), json!({})).await.status, 200);
        of.push(server.caller().with_key(new_key(&admin, json!({"project_id": name})).await.key));
    }
    let (blue, red) = (&of[0], &of[1]);
    let batch = json!({"prompts": ["Hello"], "max_tokens": 2}).to_string();
    let taken = blue.post("/v1/batches", batch.clone()).await;
    assert_eq!(taken.status, 202);
    let id = taken.json::<BatchJob>().id;
    for path in [format!("/v1/batches/{id}"), format!("/v1/batches/{id}/results")] {
        assert_eq!(red.get(&path).await.error().error.code, ErrorCode::NotFound, "{path}");
        assert_eq!((blue.get(&path).await.status, admin.get(&path).await.status), (200, 200), "{path}");
    }
    assert_eq!(red.post(&format!("/v1/batches/{id}/cancel"), "{}").await.error().error.code, ErrorCode::NotFound);
    assert_eq!(red.get("/v1/batches").await.json::<BatchJobList>(), BatchJobList::default());
    assert_eq!(admin.get("/v1/batches?project_id=blue").await.json::<BatchJobList>().batches.len(), 1);
    assert_eq!(red.get("/v1/batches?project_id=blue").await.error().error.code, ErrorCode::Forbidden);
    let nobody = json!({"prompts": ["Hello"], "project_id": "nobody"}).to_string();
    assert_eq!(admin.post("/v1/batches", nobody).await.error().error.code, ErrorCode::NotFound);
    assert_eq!(server.caller().post("/v1/batches", batch).await.error().error.code, ErrorCode::Unauthenticated);
    let begun = Instant::now();
    while blue.get(&format!("/v1/batches/{id}")).await.json::<BatchJob>().completed == 0 {
        assert!(begun.elapsed() < Duration::from_secs(20), "it runs");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let usage: Value = blue.get("/v1/usage").await.json();
    assert_eq!(usage["by_model"]["smollm2-135m-instruct"]["requests"], 1);
}

#[tokio::test]
async fn with_keys_on_a_project_that_was_not_set_up_is_not_found() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    for call in [hello(), hello_of("nobody")] {
        assert_eq!(admin.complete(call).await.error().error.code, ErrorCode::NotFound);
    }
    for path in ["/v1/usage?project_id=nobody", "/v1/projects/nobody"] {
        let error = admin.get(path).await.error().error;
        assert_eq!(error.code, ErrorCode::NotFound, "{path}");
        assert!(error.message.contains("project set nobody"), "{}", error.message);
    }
    let refused = admin.post("/v1/keys", json!({"project_id": "nobody"}).to_string()).await.error().error;
    assert_eq!(refused.code, ErrorCode::NotFound);
}

#[tokio::test]
async fn who_shows_no_key_that_is_known_is_told_what_to_send() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let caller = server.caller();
    let unknown = format!("ccak_{}", "0".repeat(64));
    for (shown, says) in [
        (None, "no key"),
        (Some(""), "not one of this service"),
        (Some("sk-ant-api03-abc"), "not one of this service"),
        (Some("ccak_short"), "not one of this service"),
        (Some(unknown.as_str()), "not known here"),
    ] {
        let caller = shown.map_or_else(|| caller.clone(), |key| caller.with_key(key));
        let error = caller.complete(hello()).await.error().error;
        assert_eq!(error.code, ErrorCode::Unauthenticated, "{shown:?}");
        assert!(error.message.contains(says), "{shown:?}: {}", error.message);
        assert_eq!(caller.get("/v1/keys").await.status, 401);
    }
    assert_eq!(caller.get("/health").await.status, 200, "probes have no key");
    let x_api_key = caller.request(http::Method::GET, "/v1/keys").header("x-api-key", "ccak_short");
    assert_eq!(claude_code_api_testkit::send(x_api_key).await.expect("an answer").status, 401);
    assert_eq!(admin.get("/v1/keys").await.status, 200);
}

#[tokio::test]
async fn a_key_ends_when_it_is_revoked_or_expires() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    admin.put("/v1/projects/blue", json!({})).await;
    let short = new_key(&admin, json!({"project_id": "blue", "expires_in": 1})).await;
    let made = new_key(&admin, json!({"project_id": "blue"})).await;
    let (expires, revoked) = (server.caller().with_key(short.key), server.caller().with_key(made.key.clone()));
    assert_eq!(revoked.complete(hello()).await.status, 200);
    let path = format!("/v1/keys/{}", made.about.id);
    assert_eq!(admin.delete(&path).await.status, 200);
    let error = revoked.complete(hello()).await.error().error;
    assert!(error.message.contains("was revoked at"), "{}", error.message);
    let first: Value = admin.delete(&path).await.json();
    let again: Value = admin.delete(&path).await.json();
    assert_eq!(first, again, "revoked once");
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let error = expires.complete(hello()).await.error().error;
    assert_eq!(error.code, ErrorCode::Unauthenticated);
    assert!(error.message.contains("has expired at"), "{}", error.message);
    let list = admin.get("/v1/keys").await;
    assert!(!list.body.contains(&made.key) && !list.body.contains("hash"), "the list shows what it must not");
    let list: KeyList = list.json();
    assert_eq!(list.keys.iter().filter(|key| key.revoked_at.is_some()).count(), 1);
    assert!(list.keys.iter().any(|key| made.key.ends_with(&key.hint) && key.id == made.about.id));
}

#[tokio::test]
async fn a_key_that_another_process_revokes_is_refused_within_a_second() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let list: KeyList = admin.get("/v1/keys").await.json();
    let id = claude_code_api_service::id::KeyId::parse(&list.keys[0].id).expect("an id");
    let begun = Instant::now();
    server.app().store().revoke_key(id, Moment::of_system()).await.expect("the store works").expect("the key");
    while admin.get("/v1/keys").await.status == 200 {
        assert!(begun.elapsed() < Duration::from_secs(3), "a revoked key is still let in");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!("refused after {:?}", begun.elapsed());
    assert_eq!(server.caller().complete(hello()).await.status, 401, "revoking the last key opens nothing");
}

#[tokio::test]
async fn limits_are_set_over_http_and_what_is_not_named_stays() {
    let server = TestServer::start().await;
    let admin = server.admin().await;
    let set = json!({"tokens_per_day": 1_000, "usd_per_month": 12.345_678_901, "calls_max": 3, "clamp": "always",
        "allow_notional": true});
    let made: Project = admin.put("/v1/projects/blue", set).await.json();
    assert_eq!((made.limits.tokens_per_day, made.limits.usd_per_month), (Some(1_000), Some(12.345_678_901)));
    let changed: Project =
        admin.put("/v1/projects/blue", json!({"tokens_per_day": null, "tokens_per_week": 5})).await.json();
    assert_eq!((changed.limits.tokens_per_day, changed.limits.tokens_per_week), (None, Some(5)));
    assert_eq!((changed.limits.usd_per_month, changed.limits.calls_max), (Some(12.345_678_901), Some(3)));
    assert!(changed.limits.allow_notional);
    let list: ProjectList = admin.get("/v1/projects").await.json();
    assert_eq!(list.projects, [changed]);
    for (wrong, field) in [
        (json!({"tokens_per_day": -1}), "tokens_per_day"),
        (json!({"tokens_per_day": 1.5}), "tokens_per_day"),
        (json!({"usd_per_week": -0.01}), "usd_per_week"),
        (json!({"usd_per_week": 1e12}), "usd_per_week"),
        (json!({"requests_per_minute": 0}), "requests_per_minute"),
        (json!({"calls_max": -1}), "calls_max"),
        (json!({"clamp": "sometimes"}), "clamp"),
        (json!({"tokens_per_year": 1}), "tokens_per_year"),
    ] {
        let error = admin.put("/v1/projects/blue", wrong.clone()).await.error().error;
        assert_eq!((error.code, error.field.as_deref()), (ErrorCode::InvalidRequest, Some(field)), "{wrong}");
    }
    assert_eq!(admin.put("/v1/projects/a%20b", json!({})).await.error().error.field.as_deref(), Some("project_id"));
    for wrong in [
        json!({}),
        json!({"project_id": "blue", "admin": true}),
        json!({"project_id": "default"}),
        json!({"project_id": "blue", "expires_in": 0}),
        json!({"project_id": "blue", "name": "a\nb"}),
    ] {
        let error = admin.post("/v1/keys", wrong.to_string()).await.error().error;
        assert_eq!(error.code, ErrorCode::InvalidRequest, "{wrong}");
    }
    assert_eq!(admin.delete("/v1/keys/key_0").await.error().error.code, ErrorCode::NotFound);
}

#[tokio::test]
async fn in_open_mode_nothing_is_managed_over_http() {
    let server = TestServer::start_with(Settings::default()).await;
    for path in ["/v1/projects", "/v1/keys"] {
        let error = server.caller().get(path).await.error().error;
        assert_eq!(error.code, ErrorCode::Forbidden);
        assert!(error.message.contains("key create --admin"), "{}", error.message);
    }
    assert_eq!(server.caller().get("/v1/ledger/verify").await.error().error.code, ErrorCode::NotFound);
}

async fn command(folder: &str, args: &[&str]) -> Ended {
    run(args.iter().copied().chain(["--data-dir", folder]), &[]).await
}

async fn said(folder: &str, args: &[&str]) -> String {
    let ended = command(folder, args).await;
    assert!(ended.status.success(), "{args:?}: {ended:?}");
    ended.stdout
}

#[tokio::test]
async fn the_command_line_manages_a_running_service_and_its_folder_alike() {
    let program = Program::serve(&[]).await;
    let folder = program.folder().to_str().expect("text").to_owned();
    let caller = program.caller();
    assert_eq!(caller.complete(hello()).await.done().project_id, "default");
    assert!(said(&folder, &["project", "set", "blue", "--tokens-per-day", "1000"]).await.contains("1000 tokens a day"));
    let key = said(&folder, &["key", "create", "--project", "blue", "--name", "ci"]).await.trim().to_owned();
    let error = caller.complete(hello()).await.error().error;
    assert_eq!(error.code, ErrorCode::Unauthenticated, "open mode has ended with the first key");
    assert_eq!(caller.with_key(&key).complete(hello()).await.done().project_id, "blue");
    assert!(said(&folder, &["ledger", "verify"]).await.starts_with("ok: 2 entries"));
    let refused = command(&folder, &["key", "create", "--project", "nobody"]).await;
    assert!(!refused.status.success() && refused.stderr.contains("no project nobody"), "{refused:?}");
    program.terminate().await;
    let mut program = program;
    program.ended(Duration::from_secs(20)).await;
    // Nothing runs: the same commands work on the folder.
    let list = said(&folder, &["key", "list"]).await;
    let id = list.split_whitespace().next().expect("an id").to_owned();
    assert!(list.contains("project blue, \"ci\"") && !list.contains(&key), "{list}");
    assert!(said(&folder, &["key", "revoke", &id]).await.contains("revoked"));
    assert!(said(&folder, &["project", "list"]).await.contains("blue: 1000 tokens a day"));
    let set = ["project", "set", "blue", "--routing", "economy", "--tier-max", "sonnet"];
    assert!(said(&folder, &set).await.contains("; routing economy; tier_max sonnet"));
    assert!(
        !said(&folder, &["project", "set", "blue", "--routing", "none", "--tier-max", "none"]).await.contains("sonnet")
    );
    let socket = program.folder().join("operator.sock");
    assert!(!socket.exists(), "a service that has stopped leaves no door");
}

#[tokio::test]
async fn an_estimated_entry_is_corrected_by_hand() {
    let program = Program::serve(&["--drain-timeout", "0"]).await;
    let folder = program.folder().to_str().expect("text").to_owned();
    let mut events = program.caller().stream(json!({"prompt": "Tell a long story.", "max_tokens": 200})).await;
    events.first_delta().await;
    drop(events);
    let find = async || {
        let list = said(&folder, &["ledger", "list", "--estimated", "--json"]).await;
        let list: Value = serde_json::from_str(&list).expect("JSON");
        list["entries"].get(0).cloned()
    };
    let begun = Instant::now();
    let entry = loop {
        if let Some(entry) = find().await {
            break entry;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "the call that was left is not in the ledger");
    };
    let id = entry["id"].as_str().expect("an id");
    let resolve = ["ledger", "resolve", id, "--input-tokens", "7", "--output-tokens", "3", "--usd", "0.5"];
    assert!(said(&folder, &resolve).await.contains("7 tokens in, 3 out, $0.5; aborted, estimated, by correction"));
    let usage: Value = program.caller().get("/v1/usage").await.json();
    assert_eq!((&usage["total_tokens"], &usage["total_cost_nanos"]), (&json!(10), &json!(500_000_000)));
    assert!(said(&folder, &["ledger", "verify"]).await.starts_with("ok: 1 entries, 10 tokens, $0.5"));
    let exact = program.caller().complete(hello()).await.done();
    let list = said(&folder, &["ledger", "list"]).await;
    let row = list.lines().find(|row| row.contains("complete, exact")).expect("the entry");
    let id = row.split_whitespace().nth(1).expect("an id");
    let refused =
        command(&folder, &["ledger", "resolve", id, "--input-tokens", "0", "--output-tokens", "0", "--usd", "0"]).await;
    assert!(refused.stderr.contains("the entry is exact"), "{refused:?} {exact:?}");
}

#[tokio::test]
async fn without_keys_nobody_else_can_reach_the_service() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("text").to_owned();
    let model = claude_code_api_testkit::model_file();
    let serve = ["serve", "--listen", "0.0.0.0:0", "--model-path", model.to_str().expect("text")];
    let refused = command(&path, &serve).await;
    assert!(!refused.status.success() && refused.stderr.contains("key create --admin"), "{refused:?}");
    said(&path, &["key", "create", "--admin"]).await;
    let program = Program::serve_in(folder, &["--listen", "127.0.0.2:0"]).await;
    assert_eq!(program.caller().get("/v1/keys").await.error().error.code, ErrorCode::Unauthenticated);
}
