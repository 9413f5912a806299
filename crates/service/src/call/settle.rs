//! Step 6 of 7: the call's entry, exactly once, on every way out. The terminal update leaves only after this.
//!
//! There is no ledger yet: the entry is a line of the log. It says what was spent and on what, and nothing of the prompt or
//! the answer.

use claude_code_api_wire::CompleteResponse;

use super::{CallFailure, relay::End, reserve::Reservation, route::Routed};
use crate::money::Nanos;

/// Closes the reservation. Consuming it is what makes "exactly once" hold.
#[expect(clippy::needless_pass_by_value, reason = "a reservation that is used up cannot be settled twice")]
pub(super) fn close(reservation: Reservation, routed: Routed, end: End) -> Result<CompleteResponse, CallFailure> {
    let End { result, seen } = end;
    // The embedded model is the only backend so far, and it costs nothing.
    let cost = Nanos::ZERO;
    tracing::info!(
        backend = seen.backend,
        model_id = seen.model_id,
        input_tokens = seen.usage.input_tokens,
        output_tokens = seen.usage.output_tokens,
        cost_nanos = cost.0,
        exact = seen.usage_is_final,
        ended = result.as_ref().map_or_else(CallFailure::word, |_| "complete"),
        elapsed_ms = u64::try_from(reservation.opened_at.elapsed().as_millis()).unwrap_or(u64::MAX),
        "settled"
    );
    let stop_reason = result?;
    Ok(CompleteResponse {
        id: reservation.id.to_string(),
        model: seen.model,
        model_id: seen.model_id,
        content: seen.content,
        stop_reason,
        usage: seen.usage.into(),
        cache: seen.usage.into(),
        cost: cost.usd(),
        cost_nanos: cost.0,
        project_id: reservation.project.as_str().to_owned(),
        backend: seen.backend.to_owned(),
        route: routed.route,
        replayed: false,
        clamped_max_tokens: None,
    })
}
