//! `POST /v1/complete`, whole and as a stream: both agree with the contract, and with each other. Nothing here depends
//! on what the model says.

use claude_code_api_service::config::Settings;
use claude_code_api_testkit::{Caller, TestServer};
use claude_code_api_wire::{CompleteResponse, StopReason};
use serde_json::{Value, json};

async fn done(caller: &Caller, request: Value) -> CompleteResponse {
    caller.complete(request).await.done()
}

async fn input_tokens(caller: &Caller, mut request: Value) -> u64 {
    request["max_tokens"] = json!(1);
    done(caller, request).await.usage.input_tokens
}

#[tokio::test]
async fn whole_and_streamed_answers_are_the_same() {
    let server = TestServer::start().await;
    let caller = server.caller();
    let requests = [
        json!({"prompt": "Name three colours.", "max_tokens": 24, "temperature": 0}),
        json!({"prompt": "Grüße! 😀 Say something in Japanese.", "max_tokens": 24, "seed": 3, "temperature": 0.9}),
        json!({"prompt": "Hello", "system": "You are a pirate.", "max_tokens": 24, "seed": 1, "model": "haiku"}),
    ];
    for request in requests {
        let whole = done(&caller, request.clone()).await;
        let streamed = caller.stream(request).await.to_the_end().await.done();
        assert_ne!(whole.id, streamed.id);
        assert_eq!(CompleteResponse { id: whole.id.clone(), ..streamed }, whole);
    }
}

#[tokio::test]
async fn the_route_is_told_when_the_service_chose() {
    let server = TestServer::start().await;
    let caller = server.caller();
    let cases = [(None, true), (Some("auto"), true), (Some("opus"), false), (Some("smollm2-135m-instruct"), false)];
    for (model, chosen) in cases {
        let mut request = json!({"prompt": "Hello", "max_tokens": 2});
        if let Some(model) = model {
            request["model"] = json!(model);
        }
        for answer in
            [done(&caller, request.clone()).await, caller.stream(request.clone()).await.to_the_end().await.done()]
        {
            assert_eq!((answer.route.is_some(), answer.model.as_str()), (chosen, "smollm2-135m-instruct"), "{model:?}");
        }
    }
}

#[tokio::test]
async fn the_same_seed_gives_the_same_text() {
    let server = TestServer::start().await;
    let caller = server.caller();
    let story = |seed: u32| json!({"prompt": "Tell a story.", "max_tokens": 32, "temperature": 0.9, "seed": seed});
    let first = done(&caller, story(7)).await.content;
    assert_eq!(done(&caller, story(7)).await.content, first);
    assert_ne!(done(&caller, story(8)).await.content, first, "the seed changes nothing");
}

#[tokio::test]
async fn an_answer_ends_before_a_stop_sequence() {
    let server = TestServer::start().await;
    let caller = server.caller();
    let mut request = json!({"prompt": "Tell a long story about the sea.", "max_tokens": 48, "temperature": 0});
    let free = done(&caller, request.clone()).await.content;
    // Six characters from the middle of what it says anyway: across tokens, as a rule.
    let stop: String = free.chars().skip(free.chars().count() / 2).take(6).collect();
    let (before, _) = free.split_once(&stop).expect("taken from there");
    request["stop_sequences"] = json!(["never said \u{1F980}", stop]);
    let stopped = done(&caller, request.clone()).await;
    assert_eq!((stopped.content.as_str(), stopped.stop_reason), (before, StopReason::StopSequence));
    let streamed = caller.stream(request.clone()).await.to_the_end().await.done();
    assert_eq!((streamed.content.as_str(), streamed.usage), (before, stopped.usage));
    let prompt = request["prompt"].take();
    request.as_object_mut().expect("an object").remove("prompt");
    (request["messages"], request["model"]) = (json!([{"role": "user", "content": prompt}]), json!("haiku"));
    let message: Value = caller.post("/v1/messages", request.to_string()).await.json();
    assert_eq!((&message["stop_reason"], &message["stop_sequence"]), (&json!("stop_sequence"), &json!(stop)));
}

#[tokio::test]
async fn an_answer_has_at_most_max_tokens() {
    let server = TestServer::start().await;
    for max_tokens in [1, 2, 5] {
        let request = json!({"prompt": "Tell a long story about the sea.", "max_tokens": max_tokens});
        let answer = done(&server.caller(), request).await;
        assert_eq!((answer.usage.output_tokens, answer.stop_reason), (max_tokens, StopReason::MaxTokens));
    }
}

#[tokio::test]
async fn a_typed_control_token_is_text() {
    let server = TestServer::start().await;
    let caller = server.caller();
    for control in ["<|im_end|>", "<|im_start|>", "<|endoftext|>"] {
        let plain = input_tokens(&caller, json!({"prompt": "Hello"})).await;
        let typed = input_tokens(&caller, json!({"prompt": format!("Hello{control}")})).await;
        assert!(typed > plain + 1, "{control} is {} tokens", typed - plain);
        let system = input_tokens(&caller, json!({"prompt": "Hello", "system": control})).await;
        let none = input_tokens(&caller, json!({"prompt": "Hello", "system": "."})).await;
        assert!(system > none + 1, "{control} as system text is {} tokens", system - none);
    }
}

#[tokio::test]
async fn every_part_of_a_conversation_is_counted() {
    let server = TestServer::start().await;
    let caller = server.caller();
    let system = "You are a careful editor who answers in one short sentence and never more than that.";
    let plain = input_tokens(&caller, json!({"prompt": "Hello"})).await;
    assert!(input_tokens(&caller, json!({"prompt": "Hello", "system": system})).await > plain);
    let one = json!({"messages": [{"role": "user", "content": "Hello"}]});
    assert_eq!(input_tokens(&caller, one).await, plain, "a prompt is a conversation of one message");
    let three = json!({"messages": [
        {"role": "user", "content": "My name is Ada."},
        {"role": "assistant", "content": "Nice to meet you, Ada."},
        {"role": "user", "content": "Hello"},
    ]});
    assert!(input_tokens(&caller, three).await > plain + 10);
}

#[tokio::test]
async fn the_project_that_pays_is_named() {
    let server = TestServer::start().await;
    let caller = server.caller();
    let longest = "p".repeat(128);
    let cases = [(json!(null), "default"), (json!("default"), "default"), (json!("team-a.x:1_2"), "team-a.x:1_2")];
    for (asked, named) in cases.into_iter().chain([(json!(longest), longest.as_str())]) {
        let request = json!({"prompt": "Hello", "max_tokens": 1, "project_id": asked});
        assert_eq!(done(&caller, request).await.project_id, named);
    }
}

#[tokio::test]
async fn an_answer_that_fills_the_context_says_so() {
    let small = Settings { local_cache_tokens: Some(256), local_slots: Some(1), ..Settings::default() };
    let server = TestServer::start_with(small).await;
    let caller = server.caller();
    // Greedy, and asked for more than fits: it tells its story until the context is full.
    let request = json!({"prompt": "Tell a long story about the sea.", "max_tokens": 8_000, "temperature": 0});
    let answer = done(&caller, request).await;
    assert_eq!(answer.stop_reason, StopReason::ModelContextWindowExceeded, "{answer:?}");
    assert_eq!(answer.usage.total_tokens, 256);
    let error = caller.complete(json!({"prompt": "word ".repeat(300)})).await.error().error;
    assert!(error.message.contains("256"), "{error:?}");
}
