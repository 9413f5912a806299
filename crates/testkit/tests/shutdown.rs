//! SIGTERM, on the real binary: what runs is finished or ended with an error that says so, what is new is refused, and
//! the exit code is 0. What the program warns of meanwhile is its own affair.

use std::{io::ErrorKind, time::Duration};

use claude_code_api_testkit::{BOUND, Caller, Program, Raw, in_time};
use claude_code_api_wire::{CompleteResponse, ErrorCode, ErrorEnvelope};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::net::TcpStream;

const CALLERS: u32 = 24;

fn story(seed: u32, max_tokens: u32) -> Value {
    json!({"prompt": "Tell a long story about the sea.", "max_tokens": max_tokens, "seed": seed})
}

/// How one call ended; half of them are streams. Reading it checks that it is well-formed.
async fn ending(caller: &Caller, seed: u32, max_tokens: u32) -> Result<CompleteResponse, ErrorEnvelope> {
    let request = story(seed, max_tokens);
    let whole = if seed.is_multiple_of(2) {
        match caller.try_stream(request).await {
            Ok(events) => return events.to_the_end().await.end.map(|done| *done).map_err(|error| *error),
            Err(answer) => answer,
        }
    } else {
        caller.complete(request).await
    };
    if whole.status == 200 { Ok(whole.done()) } else { Err(whole.error()) }
}

/// Waits until `running` calls run and `waiting` wait, as /health says.
async fn loaded(caller: &Caller, running: u32, waiting: u32) {
    let says = format!("{running} calls running, {waiting} waiting");
    let there = async { while !caller.get("/health").await.body.contains(&says) {} };
    in_time(&says, 2 * BOUND, there).await;
}

async fn new_connections_are_refused(program: &Program) {
    let refused = async {
        loop {
            match TcpStream::connect(program.address()).await {
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => return,
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    in_time("new connections are refused", BOUND, refused).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_were_taken_are_finished() {
    let mut program = Program::serve(&["--drain-timeout", "60"]).await;
    let caller = program.caller();
    let calls = join_all((0..CALLERS).map(|seed| ending(&caller, seed, 24)));
    let stop = async {
        loaded(&caller, 16, CALLERS - 16).await;
        program.terminate().await;
        new_connections_are_refused(&program).await;
    };
    let (endings, ()) = tokio::join!(calls, stop);
    for ending in endings {
        ending.unwrap_or_else(|error| panic!("there was time to finish: {error:?}"));
    }
    assert_eq!(program.ended(BOUND).await.code(), Some(0), "{}", program.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_take_too_long_are_ended_with_an_error_that_can_be_retried() {
    let mut program = Program::serve(&["--drain-timeout", "1"]).await;
    let caller = program.caller();
    let calls = join_all((0..CALLERS).map(|seed| ending(&caller, seed, 900)));
    let stop = async {
        loaded(&caller, 16, CALLERS - 16).await;
        program.terminate().await;
    };
    let (endings, ()) = tokio::join!(calls, stop);
    let errors: Vec<ErrorEnvelope> = endings.into_iter().filter_map(Result::err).collect();
    assert!(errors.len() > 8, "only {} of {CALLERS} calls were cut off", errors.len());
    for error in errors {
        assert_eq!((error.error.code, error.error.retryable), (ErrorCode::Overloaded, true), "{error:?}");
        assert!(error.detail.contains("shutting down"), "{error:?}");
    }
    assert_eq!(program.ended(BOUND).await.code(), Some(0), "{}", program.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_calls_during_a_shutdown_gets_an_answer_an_error_or_no_connection() {
    let mut program = Program::serve(&[]).await;
    let caller = program.caller();
    let calls = join_all((0..8).map(async |seed| {
        // Until the service is gone; a connection that breaks after the answer has begun panics in here.
        while TcpStream::connect(program.address()).await.is_ok() {
            let request = story(seed, 2);
            match caller.try_complete(request).await {
                Ok(answer) if answer.status == 200 => drop(answer.done()),
                Ok(answer) => assert_eq!(answer.error().error.code, ErrorCode::Overloaded),
                Err(error) => assert!(!error.is_body() && !error.is_decode(), "{error:?}"),
            }
        }
    }));
    let stop = async {
        loaded(&caller, 8, 0).await;
        program.terminate().await;
    };
    tokio::join!(calls, stop);
    assert_eq!(program.ended(BOUND).await.code(), Some(0), "{}", program.stderr());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_program_ends_at_once() {
    let mut program = Program::serve(&[]).await;
    program.caller().get("/health").await;
    // One connection kept alive by that, and one that has never said a word.
    let silent = Raw::connect(program.address()).await;
    program.terminate().await;
    assert_eq!(program.ended(BOUND).await.code(), Some(0), "{}", program.stderr());
    drop(silent);
}

#[tokio::test]
async fn half_a_request_does_not_hold_up_the_end() {
    let mut program = Program::serve(&["--drain-timeout", "60"]).await;
    let mut half = Raw::connect(program.address()).await;
    half.write("GET /health HTTP/1.1\r\nHost: localhost\r\n").await;
    program.terminate().await;
    assert_eq!(program.ended(3 * BOUND).await.code(), Some(0), "{}", program.stderr());
}
