//! `auto`, over a socket: which tier is chosen, what it goes by, and that nothing in a prompt can make that slow.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use claude_code_api_router::Router;
use claude_code_api_service::{config::Settings, project::ProjectId};
use claude_code_api_testkit::{Answer, Program, Simulator, TestServer, json_of, run, send};
use claude_code_api_wire::{BatchEvent, BatchResponse, BatchResult, ErrorCode, Period, Route, RouteResponse, Routing};
use serde_json::{Value, json};

const EASY: &str = "Which planet is the largest of the solar system?\nA. Mars\nB. Jupiter\nC. Venus\nD. Earth";
const HARD: &str = "Let $f(n)$ be the number of ordered triples of positive integers with $abc = n$. Find the sum of all integers $n \\le 1000$ \
    such that $f(n) = 45$, and prove that $\\sum_{d \\mid n} \\mu(d) f(n/d) > 0$ for every squarefree $n$.";

async fn route(server: &TestServer, request: Value) -> Answer {
    server.caller().post("/v1/route", request.to_string()).await
}

async fn routed(server: &TestServer, request: Value) -> RouteResponse {
    let answer = route(server, request).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// The tier at a certain routing.
async fn tier(server: &TestServer, prompt: &str, routing: &str) -> String {
    routed(server, json!({"prompt": prompt, "routing": routing})).await.route.tier
}

#[tokio::test]
async fn a_hard_prompt_gets_a_stronger_model_than_an_easy_one_and_the_answer_says_why() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let [easy, hard] = [EASY, HARD].map(|prompt| json!({"prompt": prompt, "max_tokens": 1_000, "routing": "economy"}));
    let (foreseen, answer) = (routed(&server, easy.clone()).await, server.caller().complete(easy).await.done());
    let chosen = answer.route.expect("the service chose");
    assert_eq!(foreseen.route, chosen, "what is foreseen is what happens");
    assert_eq!((chosen.tier.as_str(), answer.model.as_str(), foreseen.model_id), ("haiku", "haiku", answer.model_id));
    let harder = routed(&server, hard).await.route;
    assert!(["sonnet", "opus"].contains(&harder.tier.as_str()), "{harder:?}");
    for route in [chosen, harder] {
        assert_eq!(route.tiers.iter().map(|tier| tier.tier.as_str()).collect::<Vec<_>>(), ["haiku", "sonnet", "opus"]);
        assert!(route.tiers.windows(2).all(|pair| pair[0].right <= pair[1].right && pair[0].cost < pair[1].cost));
        assert!(!route.reasons.is_empty() && route.worth.is_some_and(|usd| usd > 0.0) && route.router.is_some());
    }
    assert!(server.caller().complete(json!({"prompt": "Hi", "model": "haiku"})).await.done().route.is_none());
    assert_eq!(simulator.requests().len(), 2, "to foresee asks nobody");
}

#[tokio::test]
async fn what_may_be_lost_decides_how_dear_the_model_is() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let mut worth = Vec::new();
    for routing in [json!("economy"), json!("balanced"), json!("quality"), json!(0.5)] {
        let route = routed(&server, json!({"prompt": EASY, "routing": routing})).await.route;
        worth.push(route.worth.unwrap_or(f64::INFINITY));
    }
    assert!(worth.windows(2).all(|pair| pair[0] < pair[1]), "{worth:?}");
    let free = routed(&server, json!({"prompt": EASY})).await.route;
    assert_eq!(free.worth, Some(worth[1]), "balanced, where nobody says otherwise");
    for wrong in [json!("cheap"), json!(-1), json!(60), json!("2")] {
        let error = route(&server, json!({"prompt": EASY, "routing": wrong})).await.error().error;
        assert_eq!((error.code, error.field.as_deref()), (ErrorCode::InvalidRequest, Some("routing")), "{wrong}");
    }
    let error = route(&server, json!({"prompt": EASY, "model": "opus"})).await.error().error;
    assert_eq!(error.field.as_deref(), Some("model"), "where a model is named, nothing is chosen");
}

#[tokio::test]
async fn every_dialect_is_routed_alike_by_fields_or_headers() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    for (prompt, routing) in [(EASY, "economy"), (HARD, "economy"), (EASY, "quality"), (HARD, "quality")] {
        let expected = routed(&server, json!({"prompt": prompt, "routing": routing, "max_tokens": 500})).await.model_id;
        let body = json!({"model": "auto", "max_tokens": 500, "messages": [{"role": "user", "content": prompt}]});
        for path in ["/v1/messages", "/v1/chat/completions"] {
            let asked = server.caller().request(http::Method::POST, path).header("x-routing", routing);
            let asked = json_of(asked, body.to_string());
            let answer = send(asked).await.expect("an answer");
            assert_eq!(answer.json::<Value>()["model"], json!(expected), "{path} {routing} {prompt}");
            let told: Route = serde_json::from_str(answer.header("x-route")).expect("a route");
            assert!(expected.contains(&told.tier) && told.tiers.len() == 3, "{told:?}");
        }
    }
    let wrong = server.caller().request(http::Method::POST, "/v1/messages").header("x-routing", "cheap");
    let body = json!({"model": "auto", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]});
    let answer = send(json_of(wrong, body.to_string())).await;
    assert_eq!(answer.expect("an answer").status, 400);
}

#[tokio::test]
async fn a_nearly_spent_budget_gives_haiku_and_one_that_covers_nothing_is_exceeded() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    server.limit_money("spender", 10_000_000_000).await;
    let asked = json!({"prompt": HARD, "project_id": "spender", "max_tokens": 1_000, "routing": "quality"});
    assert_ne!(routed(&server, asked.clone()).await.route.tier, "haiku");
    // All of it but a hundredth, and that still covers any of them.
    let script = json!({"output": 495_000, "tokens_per_delta": 50_000});
    let most =
        json!({"prompt": format!("x sim:{script}"), "project_id": "spender", "model": "opus", "max_tokens": 495_000});
    server.caller().complete(most).await.done();
    let used = server.app().store().usage(ProjectId::parse("spender").expect("a name"), Period::Day).await;
    let spent = used.expect("the store works").spent.nanos;
    assert!((9_800_000_000..9_990_000_000).contains(&spent), "{spent}");
    let foreseen = routed(&server, asked.clone()).await.route;
    assert_eq!(
        (foreseen.tier.as_str(), foreseen.reason.contains("left of the budget")),
        ("haiku", true),
        "{foreseen:?}"
    );
    let answer = server.caller().complete(asked).await.done();
    assert_eq!((answer.model.as_str(), answer.route), ("haiku", Some(foreseen)));
    let batch =
        json!({"prompts": [HARD], "project_id": "spender", "max_tokens": 1_000, "routing": "quality", "economy": true});
    let [event] = results(&server, &batch).await.try_into().expect("one prompt");
    assert_eq!(chosen([&event.result].into_iter())[0].tier, "haiku", "at half the price, too");

    server.limit_money("broke", 1_000).await;
    let asked = json!({"prompt": HARD, "project_id": "broke", "max_tokens": 1_000});
    for error in [route(&server, asked.clone()).await.error(), server.caller().complete(asked).await.error()] {
        assert_eq!(error.error.code, ErrorCode::BudgetExceeded);
    }
}

#[tokio::test]
async fn results_of_batches_say_why_as_well() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let batch = |routing: &str| json!({"prompts": [EASY, HARD], "max_tokens": 1_000, "routing": routing});
    let (mut expected, mut stored) = (Vec::new(), batch("economy"));
    for prompt in [EASY, HARD] {
        let asked = json!({"prompt": prompt, "max_tokens": 1_000, "routing": "economy"});
        expected.push(routed(&server, asked).await.route);
    }
    assert_ne!(expected[0].tier, expected[1].tier);
    let waited: BatchResponse = server.caller().post("/v1/batch", batch("economy").to_string()).await.json();
    assert_eq!(chosen(waited.results.expect("of each prompt").iter()), expected);
    assert_eq!(chosen(results(&server, &stored).await.iter().map(|event| &event.result)), expected);
    stored["economy"] = json!(true);
    let half = chosen(results(&server, &stored).await.iter().map(|event| &event.result));
    for (half, whole) in half.iter().zip(&expected) {
        assert_eq!((&half.tier, &half.reason), (&whole.tier, &whole.reason));
        let costs = half.tiers.iter().zip(&whole.tiers).map(|(half, whole)| half.cost / whole.cost);
        let worth = half.worth.expect("as before") / whole.worth.expect("as before");
        assert!(costs.chain([worth]).all(|ratio| (ratio - 0.5).abs() < 1e-9), "{half:?}");
    }
    stored["model"] = json!("haiku");
    assert!(results(&server, &stored).await.iter().all(|event| event.result.route.is_none()), "nobody chose");

    // Haiku's worst case, and no other's.
    server.limit_money("thrifty", 1_000_000).await;
    let mut dear = batch("quality");
    (dear["project_id"], dear["economy"], dear["prompts"]) = (json!("thrifty"), json!(true), json!([HARD]));
    let [event] = results(&server, &dear).await.try_into().expect("one prompt");
    let route = event.result.route.expect("the service chose");
    assert_eq!((event.result.model.as_deref(), route.tier.as_str()), (Some("haiku"), "haiku"));
    assert!(route.reason.starts_with("what may be spent does not cover "), "{route:?}");
}

/// Those of a stored batch, by their places.
async fn results(server: &TestServer, batch: &Value) -> Vec<BatchEvent> {
    let id = server.caller().store_batch(batch).await.id;
    server.caller().batch_over(&id).await;
    let mut results = server.caller().batch_results(&id, 0).await;
    results.sort_by_key(|event| event.index);
    results
}

fn chosen<'a>(results: impl Iterator<Item = &'a BatchResult>) -> Vec<Route> {
    results.map(|result| result.route.clone().expect("the service chose")).collect()
}

#[tokio::test]
async fn a_project_has_a_floor_a_ceiling_and_a_routing_of_its_own() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let admin = server.admin().await;
    let set = async |change: Value| admin.put("/v1/projects/bounded", change).await;
    let asked = |prompt: &str| json!({"prompt": prompt, "project_id": "bounded"});
    assert_eq!(set(json!({"routing": 20, "tier_min": "sonnet"})).await.status, 200);
    let routed =
        async |request: Value| admin.post("/v1/route", request.to_string()).await.json::<RouteResponse>().route;
    let lifted = routed(asked(EASY)).await;
    assert_eq!((lifted.tier.as_str(), lifted.routing.map(Routing::loss_percent)), ("sonnet", Some(20.0)), "{lifted:?}");
    assert_eq!(lifted.tiers[0].excluded.as_deref(), Some("below the project's tier_min"));
    assert_eq!(set(json!({"routing": 0, "tier_min": null, "tier_max": "haiku"})).await.status, 200);
    let lowered = routed(asked(HARD)).await;
    assert_eq!((lowered.tier.as_str(), lowered.tiers[2].excluded.is_some()), ("haiku", true), "{lowered:?}");
    let own = routed(json!({"prompt": HARD, "project_id": "bounded", "routing": "economy"})).await;
    assert_eq!(own.routing, Some(Routing::Economy), "a request's own goes first");
    for (wrong, field) in [
        (json!({"tier_min": "best"}), "tier_min"),
        (json!({"tier_min": "opus"}), "tier_min"),
        (json!({"routing": "cheap"}), "routing"),
    ] {
        let error = set(wrong.clone()).await.error().error;
        assert_eq!((error.code, error.field.as_deref()), (ErrorCode::InvalidRequest, Some(field)), "{wrong}");
    }
}

fn conversation(turns: &[&str]) -> Value {
    let turn = |(place, text): (usize, &&str)| json!({"role": if place % 2 == 0 { "user" } else { "assistant" }, "content": text});
    turns.iter().enumerate().map(turn).collect()
}

#[tokio::test]
async fn a_conversation_keeps_its_model_and_changes_only_to_a_stronger_one() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let complete = async |request: Value| server.caller().complete(request).await.done().route.expect("chosen");
    let first = complete(json!({"prompt": HARD, "routing": "economy", "max_tokens": 1_000})).await.tier;
    assert_ne!(first, "haiku");
    let next = json!({"messages": conversation(&[HARD, "I see.", EASY]), "routing": "economy", "max_tokens": 1_000});
    let again = complete(next.clone()).await;
    assert_eq!((&again.tier, again.reason.contains("conversation")), (&first, true), "{again:?}");
    assert_eq!(tier(&server, EASY, "economy").await, "haiku", "by itself it would be");
    let begun_easy =
        json!({"messages": conversation(&[EASY, "Waves.", HARD]), "routing": "economy", "max_tokens": 1_000});
    assert_eq!(complete(begun_easy).await.tier, first, "it goes up");
    // One by name, of which each prompt is all that is sent.
    let named = |prompt: &str| json!({"prompt": prompt, "conversation_id": "ticket-17", "routing": "economy", "max_tokens": 1_000});
    let tiers = [complete(named(EASY)).await.tier, complete(named(HARD)).await.tier, complete(named(EASY)).await.tier];
    assert_eq!(tiers, ["haiku", &first, &first]);
    drop(server);
    // To a process that has not heard of it, a conversation is with what its turns have wanted.
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    assert_eq!(routed(&server, next).await.route.tier, first);
}

/// What a tool has answered is no turn of the user's, and makes the input larger and larger.
#[tokio::test]
async fn a_turn_of_many_tool_calls_keeps_its_model() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let tools = json!([{"name": "look", "description": "Looks", "input_schema": {"type": "object"}}]);
    let mut messages = vec![json!({"role": "user", "content": HARD})];
    let mut models = Vec::new();
    for round in 0..4 {
        let asked = json!({"model": "auto", "max_tokens": 1_000, "tools": tools, "messages": messages});
        let economy = server.caller().request(http::Method::POST, "/v1/messages").header("x-routing", "economy");
        let answer = send(json_of(economy, asked.to_string())).await.expect("an answer");
        models.push(answer.json::<Value>()["model"].clone());
        let id = format!("toolu_{round}");
        messages.push(
            json!({"role": "assistant", "content": [{"type": "tool_use", "id": id, "name": "look", "input": {}}]}),
        );
        messages.push(json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": id, "content": "a line of what was found ".repeat(2_000)}]}));
    }
    assert_eq!(models, vec![models[0].clone(); 4]);
    assert_ne!(models[0], "claude-haiku-5-5");
}

#[tokio::test]
async fn an_answer_that_is_told_again_says_why_in_every_dialect() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    for path in ["/v1/messages", "/v1/chat/completions"] {
        let asked = json!({"model": "auto", "max_tokens": 100, "messages": conversation(&[EASY])}).to_string();
        let caller = server.caller().once(path.rsplit('/').next().expect("a word"));
        let (first, again) = (caller.post(path, asked.clone()).await, caller.post(path, asked).await);
        assert_eq!(first.body, again.body);
        assert_eq!(simulator.requests().len(), if path == "/v1/messages" { 1 } else { 2 }, "it was asked once");
        let route: Route = serde_json::from_str(again.header("x-route")).expect("a route");
        assert_eq!(route, serde_json::from_str(first.header("x-route")).expect("a route"));
    }
}

#[tokio::test]
async fn the_same_bytes_are_routed_alike_whoever_asks_and_however_often() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let prompts = [EASY, HARD, "\u{1f600}\u{301}", "a", "Translate to German: good morning"];
    for prompt in prompts {
        let first = routed(&server, json!({"prompt": prompt})).await.route;
        for project in ["one", "other"] {
            assert_eq!(
                routed(&server, json!({"prompt": prompt, "project_id": project})).await.route,
                first,
                "{prompt}"
            );
        }
    }
}

#[tokio::test]
async fn whatever_a_prompt_is_its_route_is_found_in_bounded_time() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let megabyte = |part: &str| part.repeat((1 << 20) / part.len());
    let prompts = [
        megabyte("word "),
        megabyte("a"),
        megabyte("("),
        megabyte("\n") + "x",
        megabyte("\u{1f600}"),
        megabyte("\u{0}\u{1}\u{fffd}\u{202e}"),
        megabyte("((((]]]]{{{{"),
        megabyte("1234567890"),
        megabyte("?!.,;:"),
        "\u{0}".to_owned(),
    ];
    for prompt in prompts {
        let begun = Instant::now();
        let tier = routed(&server, json!({"prompt": prompt})).await.route.tier;
        let took = begun.elapsed();
        println!("{} bytes of {:?}: {tier}, {took:?}", prompt.len(), prompt.chars().next());
        assert!(took < Duration::from_secs(5), "a megabyte is read, and the rest takes no time: {took:?}");
    }
    let error = route(&server, json!({"prompt": "  "})).await.error().error;
    assert_eq!((error.code, error.field.as_deref()), (ErrorCode::InvalidRequest, Some("prompt")));
}

#[tokio::test]
async fn a_router_file_that_is_none_is_refused_at_the_start_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("router.bin");
    let shown = path.display().to_string();
    let data = folder.path().join("data").display().to_string();
    let flags =
        ["serve", "--listen", "127.0.0.1:0", "--data-dir", &data, "--backend", "anthropic", "--router-path", &shown];
    for (bytes, why) in [(None, "No such file"), (Some(Vec::new()), ""), (Some(vec![7; 50_000]), "")] {
        if let Some(bytes) = bytes {
            std::fs::write(&path, bytes).expect("the folder can be written to");
        }
        let ended = run(flags, &[("ANTHROPIC_API_KEY", "k")]).await;
        assert_eq!(ended.code(), Some(1), "{ended:?}");
        assert!(ended.stderr.contains(&shown) && ended.stderr.contains(why), "{ended:?}");
    }
}

#[tokio::test]
async fn the_command_shows_the_choice_as_a_table() {
    let simulator = Simulator::start();
    let (folder, flags) = (tempfile::tempdir().expect("a folder"), ["--backend", "anthropic", "--routing", "economy"]);
    let program = Program::serve_on(&simulator, folder, &flags, &[]).await;
    let url = format!("http://{}", program.address());
    let ended = run(["route", EASY], &[("CLAUDE_CODE_API_BASE_URL", &url)]).await;
    assert_eq!(ended.code(), Some(0), "{ended:?}");
    for part in ["haiku (claude-haiku-5-5 on anthropic)", "* haiku", "  sonnet", "  opus", "routing economy: "] {
        assert!(ended.stdout.contains(part), "{part:?} in {}", ended.stdout);
    }
    let ended = run(["route", "--json", "--routing", "1", HARD], &[("CLAUDE_CODE_API_BASE_URL", &url)]).await;
    let response: RouteResponse =
        serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
    assert_eq!(response.route.routing.map(Routing::loss_percent), Some(1.0));
    let ended = run(["route", "--routing", "cheap", EASY], &[("CLAUDE_CODE_API_BASE_URL", &url)]).await;
    assert!(ended.code() == Some(2) && ended.stderr.contains("economy, balanced, quality"), "{ended:?}");
}

#[tokio::test]
async fn settings_of_routing_are_checked() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("service.toml");
    let shown = file.display().to_string();
    for (text, code, expected) in [
        ("routing = \"quality\"\ntier_default = \"opus\"", 0, "Quality"),
        ("routing = 2", 0, "BasisPoints(200)"),
        ("routing = \"cheap\"", 1, "economy, balanced, quality"),
        ("tier_default = \"best\"", 1, "takes haiku, sonnet or opus"),
    ] {
        std::fs::write(&file, text).expect("the folder can be written to");
        let ended = run(["config", "check", "--config", &shown], &[]).await;
        assert_eq!(ended.code(), Some(code), "{text}: {ended:?}");
        assert!((ended.stdout + &ended.stderr).contains(expected), "{text}");
    }
}

/// A folder as docs/router.md has it: sums, of which the small model knows those of one digit.
fn prompts_with_outcomes(folder: &Path) {
    let models = json!(["claude-3-haiku-20240307", "claude-3-sonnet-20240229", "claude-3-opus-20240229"]);
    let manifest = json!({"sums": {"kind": "marks", "train": 400, "models": models}});
    std::fs::write(folder.join("manifest.json"), manifest.to_string()).expect("the folder can be written to");
    let row = |number: usize| {
        let (is_hard, other) = (number % 2 == 1, number % 7);
        let prompt = if is_hard {
            format!("What is {} times {}{}?", number * 7919, number * 104_729, number)
        } else {
            format!("Add {other} and 2, please, in words.")
        };
        let marks = match (is_hard, other) {
            (false, _) => "111",
            (true, 0) => "011",
            (true, _) => "001",
        };
        json!({"id": format!("sums/{number}"), "group": format!("g{}", number / 2), "prompt": prompt, "domain": "sums", "marks": marks}).to_string()
    };
    let lines: Vec<String> = (0..400).map(row).collect();
    std::fs::write(folder.join("sums.jsonl"), lines.join("\n")).expect("the folder can be written to");
}

#[tokio::test]
async fn a_router_is_trained_judged_calibrated_and_served_by_the_command_line() {
    let folder = tempfile::tempdir().expect("a folder");
    prompts_with_outcomes(folder.path());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (data, trained, fitted) = (folder.path().display().to_string(), path("router.bin"), path("fitted.bin"));
    let router = async |args: &[&str]| run([&["router"], args].concat(), &[]).await;
    for _ in 0..2 {
        let ended = router(&["train", "--data", &data, "-o", &trained]).await;
        assert_eq!(ended.code(), Some(0), "{ended:?}");
    }
    let judged = router(&["bench", "--data", &data, "--judge", "router", "--router", &trained]).await;
    assert!(judged.code() == Some(0) && judged.stdout.contains("APGR") && judged.stdout.contains("sums"), "{judged:?}");
    let outcomes = path("outcomes.jsonl");
    let line =
        |right: usize| json!({"prompt": format!("Add {right} and 2"), "tier": "haiku", "right": right % 2}).to_string();
    for (count, code, said) in [(99, 1, "99"), (100, 0, "fitted.bin: router ")] {
        std::fs::write(&outcomes, (0..count).map(line).collect::<Vec<_>>().join("\n")).expect("it can be written");
        let ended = router(&["calibrate", &outcomes, "--router", &trained, "-o", &fitted]).await;
        assert_eq!(ended.code(), Some(code), "{ended:?}");
        assert!((ended.stdout + &ended.stderr).contains(said), "{count}");
    }
    std::fs::write(&outcomes, "{\"prompt\": \"x\", \"tier\": \"best\", \"right\": 1}").expect("it can be written");
    let ended = router(&["calibrate", &outcomes, "-o", &fitted]).await;
    assert!(ended.code() == Some(1) && ended.stderr.contains("line 1"), "{ended:?}");

    let simulator = Simulator::start();
    let flags = ["--backend", "anthropic", "--router-path", &fitted];
    let program = Program::serve_on(&simulator, tempfile::tempdir().expect("a folder"), &flags, &[]).await;
    let route = program.caller().post("/v1/route", json!({"prompt": "Add 1 and 2"}).to_string()).await;
    let version = route.json::<RouteResponse>().route.router.expect("a version");
    let file = std::fs::read(&fitted).expect("it is there");
    assert_eq!(Router::parse(&file).expect("a router").version(), version);
}
