//! A budget that does not cover a call, in figures and in words.

use claude_code_api_wire::{BudgetState, BudgetUnit, Period};

use super::error::ApiError;
use crate::{
    ledger::{Shortage, Unit},
    project::ProjectId,
    window::Moment,
};

pub(super) fn exceeded(project: &ProjectId, shortage: &Shortage, now: Moment) -> ApiError {
    let state = state(shortage, now);
    ApiError::budget_exceeded(message(project, shortage, &state), state)
}

#[expect(clippy::cast_precision_loss, reason = "the wire's figures are JSON numbers")]
fn state(shortage: &Shortage, now: Moment) -> BudgetState {
    let (unit, scale) = match shortage.unit {
        Unit::Tokens => (BudgetUnit::Tokens, 1.0),
        Unit::Nanos => (BudgetUnit::Usd, 1e9),
    };
    let figure = |count: i64| count as f64 / scale;
    BudgetState {
        unit,
        period: shortage.period,
        limit: figure(shortage.limit),
        used: figure(shortage.spent),
        held: figure(shortage.held),
        remaining: figure((shortage.limit - shortage.spent - shortage.held).max(0)),
        resets_at: shortage.period.map(|period| now.day().end_of(period).begins_at().rfc3339()),
    }
}

fn message(project: &ProjectId, shortage: &Shortage, state: &BudgetState) -> String {
    let figure = |count: i64| match shortage.unit {
        Unit::Tokens => format!("{count} tokens"),
        Unit::Nanos => format!("${}", crate::money::Nanos(count).usd()),
    };
    let wanted = figure(shortage.wanted);
    let (Some(period), Some(resets_at)) = (shortage.period, &state.resets_at) else {
        return format!(
            "Budget exceeded: the call may cost {} by its max_cost, and could cost {wanted}",
            figure(shortage.limit)
        );
    };
    let of_period = match period {
        Period::Day => "a day",
        Period::Week => "a week",
        Period::Month => "a month",
    };
    format!(
        "Budget exceeded: project {} has used {} of its {} {of_period}, and this call could take {wanted}; ask for fewer \
         max_tokens, raise the limit, or wait until {resets_at}",
        project.as_str(),
        figure(shortage.spent),
        figure(shortage.limit),
    )
}
