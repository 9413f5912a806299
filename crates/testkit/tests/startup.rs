//! The real binary does not start on what it cannot use, and says in one line what to do about it.

use std::{
    fs,
    io::Write,
    net::TcpListener,
    path::{Path, PathBuf},
    time::Instant,
};

use claude_code_api_client::Client;
use claude_code_api_service::backend::local::MODEL_FILE;
use claude_code_api_testkit::{BOUND, Ended, Program, model_file, run};
use claude_code_api_wire::ErrorCode;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Runs `serve` in `folder` with these flags besides; where flags repeat what is set here, they take its place.
async fn serve(folder: &TempDir, flags: &[&str]) -> Ended {
    let data_dir = folder.path().join("data");
    let (data_dir, model) = (data_dir.to_str().expect("text").to_owned(), model_file().display().to_string());
    let defaults = [("--listen", "localhost:0"), ("--data-dir", &data_dir), ("--model-path", &model)];
    let mut args = vec!["serve"];
    for (flag, value) in defaults.iter().filter(|(flag, _)| !flags.contains(flag)) {
        args.extend([*flag, *value]);
    }
    args.extend(flags);
    run(args, &[]).await
}

/// It failed, and said so in one line on standard error that has all of these words in it.
fn assert_explained(ended: &Ended, words: &[&str]) {
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let line = ended.stderr.strip_prefix("error: ").unwrap_or_else(|| panic!("no `error: `: {ended:?}"));
    assert_eq!(line.trim_end().lines().count(), 1, "not one line: {}", ended.stderr);
    for word in words {
        assert!(line.contains(word), "{word:?} is not in {line:?}");
    }
    assert_eq!(ended.stdout, "", "it said that it started");
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn file(folder: &TempDir, name: &str, content: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, content).expect("a file");
    path
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    for host in ["localhost", "127.0.0.1"] {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = format!("{host}:{}", taken.local_addr().expect("bound").port());
        let ended = serve(&folder(), &["--listen", &address]).await;
        assert_explained(&ended, &[&address, "stop what listens there", "--listen", "in use"]);
    }
}

#[tokio::test]
async fn an_address_that_cannot_be_listened_on_is_refused() {
    let cases = [
        ("localhost", "takes HOST:PORT"),
        ("8080", "takes HOST:PORT"),
        ("localhost:99999", "takes HOST:PORT"),
        ("example.com:80", "takes HOST:PORT"),
        ("", "takes HOST:PORT"),
        ("0.0.0.0:0", "no keys"),
        ("[::]:0", "no keys"),
    ];
    for (listen, hint) in cases {
        let ended = serve(&folder(), &["--listen", listen]).await;
        assert_explained(&ended, &["listen", hint]);
    }
}

#[tokio::test]
async fn a_missing_model_is_looked_for_and_its_installation_explained() {
    let folder = folder();
    let nowhere = folder.path().join("no.gguf");
    let ended = serve(&folder, &["--model-path", text(&nowhere)]).await;
    assert_explained(&ended, &[text(&nowhere), "claude-code-api model install", "--model-path"]);
}

#[tokio::test]
async fn a_corrupt_model_is_found_and_its_replacement_explained() {
    let folder = folder();
    let model = fs::read(model_file()).expect("installed");
    let begun = Instant::now();
    let mut flipped = model.clone();
    flipped[50_000_000] ^= 1;
    let nonsense = [b"GGUF\x03\0\0\0".as_slice(), &[0xFF; 4096]].concat();
    let cases = [
        (file(&folder, "empty.gguf", b""), "too short"),
        (file(&folder, "magic.gguf", b"this is no model"), "no GGUF file"),
        (file(&folder, "magic-only.gguf", b"GGUF"), "corrupt"),
        (file(&folder, "nonsense.gguf", &nonsense), "corrupt"),
        (file(&folder, "truncated.gguf", &model[..1 << 20]), "corrupt"),
        (file(&folder, "cut-off.gguf", &model[..90_000_000]), "corrupt"),
        (file(&folder, MODEL_FILE, &flipped), "SHA-256"),
    ];
    for (path, problem) in cases {
        let ended = serve(&folder, &["--model-path", text(&path)]).await;
        assert_explained(&ended, &[text(&path), problem, "claude-code-api model install --force"]);
    }
    println!("seven corrupt models: {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_model_path_that_is_a_folder_is_refused() {
    let folder = folder();
    let ended = serve(&folder, &["--model-path", text(folder.path())]).await;
    assert_explained(&ended, &["cannot read the model file", text(folder.path())]);
}

#[tokio::test]
async fn a_data_folder_that_cannot_be_written_to_is_named() {
    let folder = folder();
    let below_a_file = file(&folder, "file", b"").join("data");
    let ended = serve(&folder, &["--data-dir", text(&below_a_file)]).await;
    assert_explained(&ended, &["cannot write to the data folder", text(&below_a_file), "--data-dir"]);
}

#[tokio::test]
async fn a_configuration_file_that_is_wrong_is_named_with_the_place() {
    let folder = folder();
    let cases = [
        ("listne = \"localhost:0\"\n", "listne"),
        ("local_slots = \"many\"\n", "line 1"),
        ("log = \"info\"\nlocal_slots = \n", "line 2"),
    ];
    for (content, problem) in cases {
        let path = file(&folder, "config.toml", content.as_bytes());
        let ended = serve(&folder, &["--config", text(&path)]).await;
        assert_explained(&ended, &[text(&path), problem]);
    }
}

#[tokio::test]
async fn a_configuration_file_that_cannot_be_read_is_named() {
    let folder = folder();
    let missing = folder.path().join("missing.toml");
    let binary = file(&folder, "binary.toml", b"\xFF\xFE\0");
    for path in [missing.as_path(), folder.path(), &binary] {
        let ended = serve(&folder, &["--config", text(path)]).await;
        assert_explained(&ended, &["cannot read the configuration file", text(path)]);
    }
}

#[tokio::test]
async fn a_value_out_of_range_is_named_with_its_origin() {
    let cases = [
        (["--local-slots", "0"], "local_slots (from command line)"),
        (["--drain-timeout", "-1"], "drain_timeout (from command line)"),
        (["--drain-timeout", "NaN"], "drain_timeout (from command line)"),
        (["--body-bytes-max", "0"], "body_bytes_max (from command line)"),
        (["--log", "info,=,"], "log takes"),
    ];
    for (flags, hint) in cases {
        let [flag, value] = flags;
        let joined = format!("{flag}={value}");
        assert_explained(&serve(&folder(), &[joined.as_str()]).await, &[hint]);
    }
}

#[tokio::test]
async fn settings_too_large_for_any_machine_are_explained() {
    let too_large = [
        ("--local-slots=4294967295", "local_slots"),
        ("--local-threads=4000000000", "local_threads"),
        ("--local-cache-tokens=4000000000", "local_cache_tokens"),
    ];
    for (flag, name) in too_large {
        println!("{flag}");
        assert_explained(&serve(&folder(), &[flag]).await, &[name, "takes"]);
    }
}

/// The line of `config check` about `name`, as name, value and origin.
fn setting(ended: &Ended, name: &str) -> (String, String) {
    assert_eq!((ended.status.code(), ended.stderr.as_str()), (Some(0), ""));
    let mut lines = ended.stdout.lines().filter(|line| line.split_whitespace().next() == Some(name));
    let line = lines.next().unwrap_or_else(|| panic!("no {name} in {}", ended.stdout));
    let (value, origin) = line[name.len()..].trim().split_once("  ").expect("value and origin");
    (value.to_owned(), origin.trim().to_owned())
}

/// Arguments and environment of `config check`, and the value and origin that it prints.
type Layered<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a str, &'a str);

#[tokio::test]
async fn flag_beats_environment_beats_file_beats_default() {
    let folder = folder();
    let path = file(&folder, "config.toml", b"local_slots = 5\nlog = \"debug\"\n");
    let file_flags = ["config", "check", "--config", text(&path)];
    let with_flag = [file_flags.as_slice(), &["--local-slots", "3"]].concat();
    let environment = [("CLAUDE_CODE_API_SERVER_LOCAL_SLOTS", "4")];
    let named = "environment CLAUDE_CODE_API_SERVER_LOCAL_SLOTS";
    let cases: [Layered<'_>; 4] = [
        (&with_flag, &environment, "3", "command line"),
        (&file_flags, &environment, "4", named),
        (&file_flags, &[], "5", text(&path)),
        (&["config", "check"], &[], "16", "default"),
    ];
    for (args, environment, value, origin) in cases {
        let ended = run(args.iter().copied(), environment).await;
        assert_eq!(setting(&ended, "local_slots"), (value.to_owned(), origin.to_owned()));
    }
    let ended = run(["config", "check"], &[("CLAUDE_CODE_API_SERVER_CONFIG", text(&path))]).await;
    assert_eq!(setting(&ended, "log"), ("\"debug\"".to_owned(), text(&path).to_owned()));
}

#[tokio::test]
async fn a_configuration_that_is_wrong_fails_the_check() {
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(b"local_slots = 0\n").expect("written");
    let ended = run(["config", "check", "--config", text(file.path())], &[]).await;
    assert_explained(&ended, &["local_slots", text(file.path()), "takes 1 to 64"]);
    let no_address = run(["config", "check"], &[("CLAUDE_CODE_API_SERVER_LISTEN", "example.com:80")]).await;
    assert_explained(&no_address, &["environment CLAUDE_CODE_API_SERVER_LISTEN", "HOST:PORT"]);
}

#[tokio::test]
async fn claude_without_a_key_is_explained() {
    let ended = serve(&folder(), &["--backend", "anthropic"]).await;
    assert_explained(&ended, &["needs a key", "ANTHROPIC_API_KEY", "anthropic_api_key"]);
}

#[tokio::test]
async fn a_key_makes_claude_the_default_and_is_never_shown() {
    let folder = folder();
    let path = file(&folder, "config.toml", b"anthropic_api_key = \"sk-ant-of-the-file\"\n");
    let from_file = run(["config", "check", "--config", text(&path)], &[]).await;
    assert_eq!(setting(&from_file, "anthropic_api_key"), ("set".to_owned(), text(&path).to_owned()));
    let environment =
        [("ANTHROPIC_API_KEY", "sk-ant-of-the-environment"), ("ANTHROPIC_BASE_URL", "http://localhost:1")];
    let ended = run(["config", "check"], &environment).await;
    let named = |name: &str| format!("environment {name}");
    assert_eq!(setting(&ended, "anthropic_api_key"), ("set".to_owned(), named("ANTHROPIC_API_KEY")));
    assert_eq!(setting(&ended, "anthropic_base_url").1, named("ANTHROPIC_BASE_URL"));
    assert_eq!(setting(&ended, "backend"), ("[Anthropic]".to_owned(), "default".to_owned()));
    assert!(!ended.stdout.contains("sk-ant") && !from_file.stdout.contains("sk-ant"));
    let neither = run(["config", "check"], &[]).await;
    assert_eq!(setting(&neither, "anthropic_api_key"), ("not set".to_owned(), "default".to_owned()));
    assert_eq!(setting(&neither, "backend").0, "[Local]");
}

#[tokio::test]
async fn a_data_folder_that_another_service_has_is_named() {
    let program = Program::serve(&[]).await;
    let ended = serve(&folder(), &["--data-dir", text(program.folder())]).await;
    assert_explained(&ended, &["in use by another claude-code-api", text(program.folder()), "--data-dir"]);
}

#[tokio::test]
async fn limits_set_by_hand_are_in_force_at_the_next_start() {
    let folder = folder();
    let data_dir = text(folder.path()).to_owned();
    let set =
        ["project", "set", "tight", "--tokens-per-day", "150", "--usd-per-month", "12.50", "--data-dir", &data_dir];
    let ended = run(set, &[]).await;
    assert_eq!(ended.stdout, "tight: 150 tokens a day, $12.5 a month; clamp unset\n", "{ended:?}");
    let program = Program::serve_in(folder, &[]).await;
    let request = json!({"prompt": "Hello", "project_id": "tight", "max_tokens": 150});
    let error = program.caller().complete(request).await.error().error;
    assert_eq!(error.code, ErrorCode::BudgetExceeded);
    for wrong in [["--tokens-per-day", "-1"], ["--usd-per-day", "1e3"], ["--calls-max", "many"]] {
        let ended = run(["project", "set", "tight", wrong[0], wrong[1]], &[]).await;
        assert!(!ended.status.success() && ended.stderr.contains(wrong[0]), "{ended:?}");
    }
}

#[tokio::test]
async fn prices_of_the_configuration_are_in_force_and_wrong_ones_are_named() {
    const ROW: &str = "[[prices]]\nmodel = 'claude-next-6'\ninput = 1.5\noutput = '7.25'\ncache_write_5m = 2\n\
                       cache_write_1h = 3\ncache_read = 0.000000001\n";
    let folder = folder();
    let own = file(&folder, "own.toml", ROW.as_bytes());
    let ended = run(["prices", "--json", "--config", text(&own)], &[]).await;
    let rows: Vec<Value> = serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
    let row = rows.iter().find(|row| row["model"] == "claude-next-6").expect("our own row");
    assert_eq!((&row["input"], &row["output"]), (&json!(1_500_000_000_u64), &json!(7_250_000_000_u64)));
    assert_eq!((&row["cache_read"], &row["from"], &row["prompt_tokens_max"]), (&json!(1), &Value::Null, &Value::Null));
    assert!(rows.iter().any(|row| row["model"] == "claude-haiku-5-5"), "the published ones stay");
    let listed = run(["config", "check", "--config", text(&own)], &[]).await;
    let line = listed.stdout.lines().find(|line| line.starts_with("prices ")).expect("prices are a setting");
    assert!(line.contains("1 row") && line.contains("own.toml"), "{line}");
    for (wrong, told) in [
        (ROW.replace("1.5", "-1.5"), "takes USD"),
        (ROW.replace("1.5", "true"), "takes USD"),
        (ROW.replace("input", "imput"), "imput"),
        (format!("{ROW}from = '2027'\n"), "takes a date"),
    ] {
        let own = file(&folder, "wrong.toml", wrong.as_bytes());
        for args in [&["prices"][..], &["config", "check"]] {
            let ended = run(args.iter().copied().chain(["--config", text(&own)]), &[]).await;
            assert_explained(&ended, &[told, "wrong.toml"]);
        }
    }
}

#[tokio::test]
async fn who_does_not_read_the_banner_has_a_service_all_the_same() {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|port| port.local_addr()).expect("a free port");
    let program = Program::serve_unheard(free);
    let begun = Instant::now();
    let client = Client::builder().base_url(format!("http://{}", program.address())).max_retries(1);
    let client = client.build().expect("a client");
    while client.health().await.is_err() {
        assert!(begun.elapsed() < BOUND, "{}", program.stderr());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
