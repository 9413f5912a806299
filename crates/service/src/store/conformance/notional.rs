//! Calls that a subscription pays for: they cost no money, their tokens count, and what they would have cost is known.

use std::sync::Arc;

use super::{candidate, granted, reserve, settle, spent, usage, with_limits};
use crate::{
    ledger::{Amount, Candidate, Limit, Limits, Reserve, Reserved, Resolve, Resolved, Settled, Spent},
    money::Nanos,
    project::ProjectId,
    store::{EntriesWanted, Store},
    window::{PERIODS, Period},
};

pub(super) async fn passes(store: &Arc<dyn Store>) {
    tokens_are_held_and_spent_and_money_is_not(&**store).await;
    an_estimate_that_is_corrected_stays_notional(&**store).await;
    where_only_money_is_limited_they_are_made_only_if_that_is_allowed(&**store).await;
    money_that_is_spent_does_not_limit_them(&**store).await;
}

fn on_a_subscription(project: &ProjectId) -> Reserve {
    reserve(project, vec![Candidate { is_notional: true, ..candidate(100, 200) }])
}

fn notional(input_tokens: u64, output_tokens: u64) -> Spent {
    let spent = spent(input_tokens, output_tokens);
    Spent { notional: spent.cost, cost: Nanos::ZERO, ..spent }
}

fn limit(tokens: Option<i64>, nanos: Option<i64>) -> Limits {
    Limits { windows: [Limit::default(), Limit::default(), Limit { tokens, nanos }], ..Limits::default() }
}

async fn tokens_are_held_and_spent_and_money_is_not(store: &dyn Store) {
    let project = with_limits(store, "notional", limit(Some(1_000), Some(0))).await;
    let call = on_a_subscription(&project);
    let grant = granted(store, &call).await;
    assert_eq!((grant.held, grant.notional), (Amount { tokens: 300, nanos: 0 }, Nanos(300)));
    assert_eq!(granted(store, &call).await, grant, "the same operation, sent again");
    assert_eq!(settle(store, &call, Some(notional(100, 50))).await, Settled::Closed(Amount::ZERO));
    for period in PERIODS {
        let usage = usage(store, &project, period).await;
        assert_eq!((usage.spent, usage.held), (Amount { tokens: 150, nanos: 0 }, Amount::ZERO), "{period:?}");
        let [(_, by_model)] = usage.by_model.as_slice() else { panic!("{usage:?}") };
        assert_eq!((by_model.cost_nanos, by_model.notional_nanos), (0, 150), "{period:?}");
    }
    for _ in 0..2 {
        settle(store, &granted_call(store, &project).await, Some(notional(100, 200))).await;
    }
    let refused = store.reserve(on_a_subscription(&project)).await;
    assert!(matches!(refused, Ok(Reserved::Exceeded(..))), "750 of 1,000 tokens are spent: {refused:?}");
}

async fn granted_call(store: &dyn Store, project: &ProjectId) -> Reserve {
    let call = on_a_subscription(project);
    granted(store, &call).await;
    call
}

async fn an_estimate_that_is_corrected_stays_notional(store: &dyn Store) {
    let project = with_limits(store, "notional-estimate", Limits::default()).await;
    let call = granted_call(store, &project).await;
    settle(store, &call, Some(Spent { exact: false, ..notional(100, 200) })).await;
    let resolve = Resolve { id: call.id, input_tokens: 100, output_tokens: 20, cost: Nanos(120) };
    let resolved = store.resolve(resolve).await;
    assert!(matches!(resolved, Ok(Resolved::Corrected(_))), "{resolved:?}");
    let wanted = EntriesWanted { project: Some(project.clone()), estimated: false, count_max: 10 };
    let entries = store.entries(wanted).await.expect("the store works");
    assert_eq!((entries[0].spent.cost, entries[0].spent.notional), (Nanos::ZERO, Nanos(120)));
    let usage = usage(store, &project, Period::Day).await;
    assert_eq!((usage.spent.nanos, usage.by_model[0].1.notional_nanos), (0, 120));
}

async fn where_only_money_is_limited_they_are_made_only_if_that_is_allowed(store: &dyn Store) {
    let money_only = limit(None, Some(1_000));
    let project = with_limits(store, "notional-money", money_only.clone()).await;
    assert_eq!(store.reserve(on_a_subscription(&project)).await, Ok(Reserved::Notional));
    let either = reserve(&project, [on_a_subscription(&project).candidates, vec![candidate(100, 200)]].concat());
    let kept = granted(store, &either).await.kept;
    assert_eq!(kept.iter().map(|kept| kept.index).collect::<Vec<_>>(), [1], "the other target is open to it");
    let too_much = Reserve { nanos_max: Some(1), ..reserve(&project, either.candidates.clone()) };
    let refused = store.reserve(too_much).await;
    assert!(matches!(refused, Ok(Reserved::Exceeded(..))), "{refused:?}");
    let allowed = with_limits(store, "notional-money", Limits { allow_notional: true, ..money_only }).await;
    granted(store, &on_a_subscription(&allowed)).await;
    let kept = store.project(allowed).await.expect("the store works").expect("it is there");
    assert!(kept.limits.allow_notional);
}

async fn money_that_is_spent_does_not_limit_them(store: &dyn Store) {
    let project = with_limits(store, "notional-spent", limit(Some(10_000), Some(1_000))).await;
    let paid = reserve(&project, vec![candidate(100, 200)]);
    granted(store, &paid).await;
    settle(store, &paid, Some(spent(100, 200))).await;
    let lowered = with_limits(store, "notional-spent", limit(Some(10_000), Some(10))).await;
    granted(store, &on_a_subscription(&lowered)).await;
}
