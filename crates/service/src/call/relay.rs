//! Between dispatch and settle: the events of the backend become updates for the reader, until the answer is complete or
//! something ends it early. Whatever ends it, what was seen until then is known and gets settled.

use std::time::Duration;

use claude_code_api_wire::{Start, StopReason};
use futures_util::StreamExt;
use tokio::{sync::mpsc, time::Instant};

use super::{CallFailure, Update, dispatch::Answer, reserve::Reservation};
use crate::{
    app::App,
    backend::{Event, Spend},
    usage::Usage,
};

/// How a call ended, and what was seen of it until then.
pub(super) struct End {
    pub(super) result: Result<StopReason, CallFailure>,
    pub(super) seen: Seen,
}

/// What was seen of an answer.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) backend: &'static str,
    pub(super) model: String,
    pub(super) model_id: String,
    pub(super) content: String,
    pub(super) usage: Usage,
    /// The backend said that `usage` is final.
    pub(super) usage_is_final: bool,
}

impl End {
    /// The end of a call that no backend has taken on.
    pub(super) fn unspent(failure: CallFailure) -> Self {
        Self { result: Err(failure), seen: Seen { usage_is_final: true, ..Seen::default() } }
    }
}

/// What may end a call before its answer is complete.
pub(super) struct Interrupts<'a> {
    pub(super) app: &'a App,
    pub(super) updates: &'a mpsc::Sender<Update>,
    pub(super) timeout: Duration,
    pub(super) deadline: Instant,
}

impl Interrupts<'_> {
    /// Waits for `step`, but not past the deadline, a forced shutdown, or the reader's departure. A step that is cut off is
    /// dropped, and that cancels it.
    pub(super) async fn or<T>(&self, step: impl Future<Output = Result<T, CallFailure>>) -> Result<T, CallFailure> {
        tokio::select! {
            biased;
            result = step => result,
            () = self.updates.closed() => Err(CallFailure::Abandoned),
            () = tokio::time::sleep_until(self.deadline) => Err(CallFailure::DeadlinePassed { timeout: self.timeout }),
            () = self.app.cut_off() => Err(CallFailure::ShuttingDown),
        }
    }
}

/// Relays an answer to its end.
pub(super) async fn to_the_end(answer: Answer, reservation: &Reservation, interrupts: &Interrupts<'_>) -> End {
    let mut seen = Seen { backend: answer.backend, ..Seen::default() };
    let result = interrupts.or(relay(answer, reservation, interrupts.updates, &mut seen)).await;
    End { result, seen }
}

async fn relay(
    mut answer: Answer,
    reservation: &Reservation,
    updates: &mpsc::Sender<Update>,
    seen: &mut Seen,
) -> Result<StopReason, CallFailure> {
    while let Some(event) = answer.events.next().await {
        let update = match event {
            Ok(Event::Start { model_id, input_tokens }) => {
                seen.usage.input_tokens = input_tokens;
                seen.model = answer.tier.map_or_else(|| model_id.clone(), str::to_owned);
                seen.model_id = model_id;
                let (model, model_id) = (seen.model.clone(), seen.model_id.clone());
                Update::Started(Start { id: reservation.id.to_string(), model, model_id })
            }
            Ok(Event::Text { text, output_tokens }) => {
                seen.usage.output_tokens = output_tokens;
                seen.content.push_str(&text);
                Update::Text(text)
            }
            Ok(Event::End { stop_reason, usage, .. }) => {
                seen.usage = usage;
                seen.usage_is_final = true;
                return Ok(stop_reason);
            }
            Err(failure) => {
                if let Spend::Spent(usage) = failure.spend {
                    seen.usage = usage;
                }
                return Err(CallFailure::from_backend(answer.backend, failure.reason));
            }
        };
        updates.send(update).await.map_err(|_| CallFailure::Abandoned)?;
    }
    Err(CallFailure::Backend { backend: answer.backend, message: "it stopped in the middle of an answer".into() })
}
