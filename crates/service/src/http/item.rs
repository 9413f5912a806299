//! The items of batches, in the native dialect: how a prompt becomes a request, and what came of it a result. For batches that are
//! waited for, and for those that are stored.

use claude_code_api_wire::{BatchPrompt, BatchResult, BatchStatus, CompleteRequest};

use super::{complete, error::ApiError};
use crate::{
    batch::{End, runner::Dialect},
    call::{CallFailure, Request},
    job::{EndedItem, ItemResult, Sums},
    money::Nanos,
};

/// For those that are stored.
pub(crate) const STORED: Dialect = Dialect { request, result: stored };

/// A prompt, with what is asked beside it.
pub(super) fn decoded(all: &CompleteRequest, prompt: String) -> Result<Request, ApiError> {
    complete::decode(CompleteRequest { prompt: Some(prompt), ..all.clone() })
}

fn request(all: &str, prompt: String) -> Result<Request, CallFailure> {
    let invalid = |message| CallFailure::Invalid { field: "prompt".into(), message };
    let all = serde_json::from_str(all).map_err(|error| invalid(error.to_string()))?;
    decoded(&all, prompt).map_err(|error| invalid(error.told().1))
}

fn stored(place: u32, end: End) -> EndedItem {
    let result = result(BatchPrompt::default(), end);
    let sums = match result.status {
        BatchStatus::Completed => Sums {
            completed: 1,
            failed: 0,
            nanos: result.cost_nanos.unwrap_or(0),
            tokens: result.usage.map_or(0, |usage| usage.total_tokens),
        },
        BatchStatus::Failed => Sums { failed: 1, ..Sums::default() },
    };
    EndedItem { place, result: serde_json::to_string(&result).expect("JSON serializes"), sums }
}

/// A result as it was stored, with its prompt.
pub(super) fn read(stored: ItemResult) -> Result<BatchResult, serde_json::Error> {
    let result: BatchResult = serde_json::from_str(&stored.result)?;
    Ok(BatchResult { prompt: stored.prompt, id: stored.name, ..result })
}

/// What came of a prompt.
pub(super) fn result(BatchPrompt { prompt, id }: BatchPrompt, end: End) -> BatchResult {
    let failed = BatchResult {
        id,
        prompt,
        status: BatchStatus::Failed,
        content: None,
        usage: None,
        cost: None,
        cost_nanos: None,
        error: None,
        error_code: None,
        call_id: None,
        model: None,
        model_id: None,
        route: None,
    };
    match end {
        Ok((answer, text)) => BatchResult {
            status: BatchStatus::Completed,
            content: Some(text),
            usage: Some(answer.usage.into()),
            cost: Some(Nanos(answer.cost_nanos).usd()),
            cost_nanos: Some(answer.cost_nanos),
            call_id: Some(answer.id.clone()),
            model: Some(answer.model.clone()),
            model_id: Some(answer.model_id.clone()),
            route: answer.route.clone(),
            ..failed
        },
        Err(failure) => {
            let (code, message) = ApiError::from(failure).told();
            BatchResult { error: Some(message), error_code: Some(code), ..failed }
        }
    }
}
