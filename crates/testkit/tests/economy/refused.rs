//! What cannot be had at half price is refused by name.

use claude_code_api_service::config::Settings;
use claude_code_api_testkit::{Caller, Simulator, TestServer};
use claude_code_api_wire::{BatchJobList, ErrorCode};
use serde_json::{Value, json};

async fn assert_refused(caller: &Caller, path: &str, batch: &Value, field: &str) {
    let answer = caller.post(path, batch.to_string()).await;
    let error = answer.error().error;
    let refused = (answer.status, error.code, error.field.as_deref());
    assert_eq!(refused, (400, ErrorCode::InvalidRequest, Some(field)), "{batch}: {error:?}");
    assert!(error.message.contains("economy"), "{}", error.message);
}

#[tokio::test]
async fn fields_that_mean_nothing_in_an_economy_batch_are_named() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    for (field, value) in
        [("timeout", json!(60)), ("max_concurrency", json!(4)), ("parallel", json!(true)), ("parallel", json!(false))]
    {
        let mut batch = json!({"prompts": ["p"], "model": "haiku", "economy": true});
        batch[field] = value;
        assert_refused(&server.caller(), "/v1/batches", &batch, field).await;
    }
    let listed: BatchJobList = server.caller().get("/v1/batches").await.json();
    assert_eq!(listed, BatchJobList::default(), "nothing of it was stored");
}

#[tokio::test]
async fn a_batch_that_is_waited_for_cannot_be_an_economy_batch() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    for stream in [false, true] {
        let batch = json!({"prompts": ["p"], "model": "haiku", "economy": true, "stream": stream});
        assert_refused(&server.caller(), "/v1/batch", &batch, "economy").await;
    }
    assert!(simulator.batches().is_empty() && simulator.bill().is_empty());
}

#[tokio::test]
async fn a_backend_that_has_no_batches_refuses_them() {
    let server = TestServer::start().await;
    for model in ["auto", "smollm2-135m-instruct"] {
        let batch = json!({"prompts": ["p"], "model": model, "economy": true});
        assert_refused(&server.caller(), "/v1/batches", &batch, "economy").await;
    }
}

#[tokio::test]
async fn an_economy_batch_of_no_prompts_has_ended() {
    let simulator = Simulator::start();
    let server = TestServer::start_on(&simulator, Settings::default()).await;
    let taken = server.caller().store_batch(&json!({"prompts": [], "economy": true})).await;
    let ended = server.caller().batch_over(&taken.id).await;
    assert_eq!((ended.total, ended.economy), (0, true));
    assert!(simulator.batches().is_empty());
}
