//! Step 6 of 7: the call's entry, exactly once, on every way out. The terminal update leaves only after this.
//!
//! An entry is exact only when the backend said what the call had used. An answer that was cut off is estimated, never below
//! the truth; an attempt of which nothing is known is charged at its worst case.

use std::{sync::Arc, time::Duration};

use claude_code_api_wire::{
    StopReason,
    anthropic::{RawEvent, say},
};

use super::{Answer, CallFailure, Request, claim, feed::Feed, relay::End, relay::Seen, reserve::Reservation};
use crate::{
    app::App,
    backend::{Cost, Generated, Hides, Spend},
    failpoint::Failpoint,
    ledger::{Ended, Settle, Settled, Spent},
    money::Nanos,
    store::StoreError,
    usage::Usage,
};

/// What an answer that was cut off may hold beyond the bytes that came: tokens that were on their way.
const ON_THE_WAY_TOKENS: u64 = 256;

/// Closes the reservation. Consuming it is what makes "exactly once" hold in this process; the store sees to the rest.
pub(super) async fn close(
    app: &App,
    request: &Request,
    mut reservation: Reservation<'_>,
    feed: &Feed,
    end: End,
) -> Result<Answer, CallFailure> {
    let End { result, seen } = end;
    let ended = result.as_ref().map_or_else(ended, |_| Ended::Complete);
    let spent = spent(app, &reservation, &seen, ended);
    log(&reservation, spent.as_ref(), &result);
    let answer = result.map(|stop_reason| {
        let spent = spent.clone().expect("a complete answer has a final usage");
        answer(&reservation, spent, stop_reason, seen)
    });
    let kept = answer.as_ref().ok().and_then(|answer| claim::kept(answer, request, feed));
    reservation.close();
    record(app, Settle { answer: kept, ..settle(&reservation, spent) }).await?;
    answer
}

fn answer(reservation: &Reservation<'_>, spent: Spent, stop_reason: StopReason, seen: Seen) -> Answer {
    let target = seen.target.expect("an answer has a target");
    Answer {
        id: reservation.call.to_string(),
        model: spent.model,
        model_id: spent.model_id,
        stop_reason,
        usage: spent.usage,
        cost_nanos: spent.cost.0,
        project: reservation.project.as_str().to_owned(),
        backend: spent.backend,
        route: target.route,
        clamped: target.clamped,
        replayed: false,
        closing: closing(seen.closing),
    }
}

/// The events that end an answer, whole even where the upstream's last word is missing.
fn closing(mut events: Vec<RawEvent>) -> Vec<RawEvent> {
    let stop = say::stop();
    if events.last().is_none_or(|last| last.name != stop.name) {
        events.push(stop);
    }
    events
}

/// The charge for an attempt that has failed while its call goes on.
pub(super) fn failed_attempt(app: &App, reservation: &Reservation<'_>, seen: &Seen, failure: &CallFailure) -> Settle {
    settle(reservation, spent(app, reservation, seen, ended(failure)))
}

fn ended(failure: &CallFailure) -> Ended {
    match failure {
        CallFailure::Backend { .. }
        | CallFailure::Overloaded { .. }
        | CallFailure::UpstreamLimited { .. }
        | CallFailure::Refused { .. }
        | CallFailure::Invalid { .. } => Ended::Failed,
        _ => Ended::Aborted,
    }
}

/// What the attempt came to; `None` when nothing was spent.
fn spent(app: &App, reservation: &Reservation<'_>, seen: &Seen, ended: Ended) -> Option<Spent> {
    let target = seen.target.as_ref()?;
    let (usage, exact) = match seen.spend {
        Some(Spend::Unspent) => return None,
        None if !seen.started && seen.sent.withdraw() => return None,
        None if seen.usage_is_final => (seen.usage, true),
        None | Some(Spend::Spent(_)) if seen.started => (estimated(seen, target.max_tokens), false),
        // The backend alone has heard how it began.
        Some(Spend::Spent(_)) if seen.sent.heard().is_some() => (estimated(seen, target.max_tokens), false),
        None | Some(Spend::Unknown | Spend::Spent(_)) => return Some(worst_case(reservation, seen, ended)),
    };
    let model_id = if seen.model_id.is_empty() { &target.model_id } else { &seen.model_id };
    let priced = app.prices().cost(model_id, reservation.grant.reserved_at, &usage, seen.terms);
    let (cost, notional, unpriced) = match target.cost {
        Cost::Price => (priced.cost, Nanos::ZERO, priced.unpriced),
        Cost::Notional => (Nanos::ZERO, priced.cost, priced.unpriced),
        Cost::Nothing => (Nanos::ZERO, Nanos::ZERO, false),
    };
    let (model_id, backend, model) = (model_id.clone(), target.backend.to_owned(), seen.model.clone());
    Some(Spent { model, model_id, backend, usage, cost, notional, exact, unpriced, ended })
}

/// The usage of an answer that was cut off. What is generated out of sight may be anything up to the bound.
fn estimated(seen: &Seen, max_tokens: u32) -> Usage {
    let Generated { bytes, hides } = seen.sent.heard().unwrap_or(seen.generated);
    let may_think = bytes == 0 && seen.target.as_ref().is_some_and(|target| target.thinks);
    let is_out_of_sight = hides != Hides::Nothing || may_think;
    let came = if is_out_of_sight { u64::MAX } else { bytes as u64 + ON_THE_WAY_TOKENS };
    // What was said to be generated was, the bound or not.
    let output_tokens = came.min(max_tokens.into()).max(seen.usage.output_tokens);
    Usage { output_tokens, ..seen.usage }
}

/// All that is held, for an attempt of which nothing is known.
fn worst_case(reservation: &Reservation<'_>, seen: &Seen, ended: Ended) -> Spent {
    let target = seen.target.as_ref().expect("an attempt has a target");
    let held = held(reservation);
    // The hold may be over a subscription, too, or over both.
    let (cost, notional) = match target.cost {
        Cost::Price => (held.cost, Nanos::ZERO),
        Cost::Notional => (Nanos::ZERO, held.notional),
        Cost::Nothing => (Nanos::ZERO, Nanos::ZERO),
    };
    Spent {
        model: target.model.clone(),
        model_id: target.model_id.clone(),
        backend: target.backend.to_owned(),
        cost,
        notional,
        ended,
        ..held
    }
}

/// The charge for a call that can no longer say what became of it.
pub(super) fn in_full(reservation: &Reservation<'_>) -> Settle {
    settle(reservation, Some(held(reservation)))
}

fn settle(reservation: &Reservation<'_>, spent: Option<Spent>) -> Settle {
    let Reservation { id, claim, .. } = *reservation;
    Settle { id, project: reservation.project.clone(), spent, claim, answer: None }
}

fn held(reservation: &Reservation<'_>) -> Spent {
    let (held, input_tokens) = (reservation.grant.held, reservation.input_tokens);
    Spent {
        model: "unknown".to_owned(),
        model_id: String::new(),
        backend: String::new(),
        usage: Usage {
            input_tokens: input_tokens.cast_unsigned(),
            output_tokens: (held.tokens - input_tokens).max(0).cast_unsigned(),
            ..Usage::default()
        },
        cost: Nanos(held.nanos),
        notional: reservation.grant.notional,
        exact: false,
        unpriced: false,
        ended: Ended::Failed,
    }
}

/// Writes the entry, or sees to its being written when that fails now.
async fn record(app: &App, settle: Settle) -> Result<(), CallFailure> {
    match once(app, &settle).await {
        Ok(Settled::Superseded) => {
            tracing::warn!(entry = %settle.id, "a call that was taken for dead has ended, and runs again elsewhere");
            Err(CallFailure::LedgerDown)
        }
        Ok(_) => Ok(()),
        Err(error) => {
            tracing::error!(entry = %settle.id, %error, "a call could not be settled; trying again until it is");
            until_done(app, settle);
            Err(CallFailure::LedgerDown)
        }
    }
}

/// Settles, where the store can.
pub(super) async fn once(app: &App, settle: &Settle) -> Result<Settled, StoreError> {
    Failpoint::Settling.reach();
    let settled = app.store().settle(settle.clone()).await;
    Failpoint::Settled.reach();
    app.lines().room(&settle.project);
    if let Ok(Settled::Closed(overrun)) = settled
        && (overrun.tokens > 0 || overrun.nanos > 0)
    {
        tracing::error!(
            entry = %settle.id,
            tokens = overrun.tokens,
            nanos = overrun.nanos,
            "a call came to more than was held for it; the bound on its input is wrong"
        );
    }
    settled
}

/// Settles however long it takes; what is left when the process ends, the next one charges.
pub(super) fn until_done(app: &App, settle: Settle) {
    const WAIT_MAX: Duration = Duration::from_secs(5);
    let (store, lines, cut_off) = (Arc::clone(app.store()), Arc::clone(app.lines()), app.cut_off_token());
    let trying = async move {
        let mut wait = Duration::from_millis(50);
        while store.settle(settle.clone()).await.is_err() {
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(WAIT_MAX);
        }
        lines.room(&settle.project);
    };
    app.spawn(async move {
        tokio::select! {
            // Whatever happens, it is tried once.
            biased;
            () = trying => {}
            () = cut_off.cancelled_owned() => {}
        }
    });
}

fn log(reservation: &Reservation<'_>, spent: Option<&Spent>, result: &Result<StopReason, CallFailure>) {
    let ended = result.as_ref().map_or_else(CallFailure::word, |_| "complete");
    let elapsed_ms = u64::try_from(reservation.opened_at.elapsed().as_millis()).unwrap_or(u64::MAX);
    let Some(spent) = spent else {
        tracing::info!(ended, elapsed_ms, "released: nothing was spent");
        return;
    };
    tracing::info!(
        backend = spent.backend,
        model_id = spent.model_id,
        input_tokens = spent.usage.input_tokens,
        output_tokens = spent.usage.output_tokens,
        cost_nanos = spent.cost.0,
        notional_nanos = spent.notional.0,
        exact = spent.exact,
        ended,
        elapsed_ms,
        "settled"
    );
}
