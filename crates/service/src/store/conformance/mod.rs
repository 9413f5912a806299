//! What every store does, as plain functions: each takes a store, and panics where it breaks the contract. Each uses projects
//! of its own, so that all can run on one store, and side by side.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;

use super::{EntriesWanted, Store, WindowUsage};
use crate::{
    id::{CallId, EntryId},
    ledger::{
        Amount, Candidate, Claim, ClaimScope, Clamp, Ended, Grant, Limit, Limits, Project, Reserve, Reserved, Resolve,
        Resolved, Settle, Settled, Spent, Unit,
    },
    money::Nanos,
    project::ProjectId,
    usage::Usage,
    window::{PERIODS, Period},
};

mod batches;
mod notional;
mod projects;
mod slices;

/// Every check.
///
/// # Panics
/// When the store breaks the contract.
pub async fn passes(store: &Arc<dyn Store>) {
    what_is_granted_is_held_and_then_spent(store).await;
    a_released_hold_leaves_nothing(store).await;
    the_same_operation_sent_again_changes_nothing(store).await;
    callers_side_by_side_never_pass_a_limit(store).await;
    what_is_merely_held_is_waited_for(store).await;
    the_output_is_lowered_to_what_is_left(store).await;
    the_candidates_that_fit_are_kept_and_the_dearest_is_held(store).await;
    a_lowered_limit_stops_admissions_only(store).await;
    calls_at_a_time_are_limited(store).await;
    money_is_counted_to_the_nano_dollar(store).await;
    a_claimed_call_runs_once_and_its_answer_is_kept(store).await;
    a_claimed_call_that_failed_may_run_again(store).await;
    what_a_claim_kept_is_forgotten_in_time(store).await;
    of_callers_with_one_claim_one_is_granted(store).await;
    an_attempt_is_charged_in_the_commit_that_holds_for_the_next(store).await;
    what_is_not_certain_by_its_bounds_is_not_decided(store).await;
    an_estimate_is_corrected_by_hand(store).await;
    batches::passes(store).await;
    slices::passes(store).await;
    notional::passes(store).await;
    projects::passes(&**store).await;
    the_counters_are_the_sums_of_the_entries(store).await;
}

/// A project with this limit of tokens a month.
pub async fn project(store: &dyn Store, name: &str, tokens_per_month: Option<i64>) -> ProjectId {
    let month = Limit { tokens: tokens_per_month, nanos: None };
    let limits =
        Limits { windows: [Limit::default(), Limit::default(), month], clamp: Clamp::Never, ..Limits::default() };
    with_limits(store, name, limits).await
}

async fn with_limits(store: &dyn Store, name: &str, limits: Limits) -> ProjectId {
    let id = ProjectId::parse(name).expect("a name");
    let project = Project { id: id.clone(), limits, created_by_use: false };
    store.set_project(project).await.expect("the store works");
    id
}

/// A target of one nano-dollar a token.
pub fn candidate(input_tokens: i64, output_tokens: i64) -> Candidate {
    Candidate {
        model: "sonnet".to_owned(),
        input_tokens,
        output_tokens,
        output_set: true,
        input_price: 1_000_000,
        output_price: 1_000_000,
        is_notional: false,
    }
}

/// A call of these candidates.
pub fn reserve(project: &ProjectId, candidates: Vec<Candidate>) -> Reserve {
    Reserve {
        id: EntryId::new(),
        call: CallId::new(),
        project: project.clone(),
        candidates,
        nanos_max: None,
        creates: None,
        claim: None,
        is_counted: true,
        is_of_a_job: false,
        is_bounded: true,
        after: None,
    }
}

/// What a call came to, at one nano-dollar a token.
pub fn spent(input_tokens: u64, output_tokens: u64) -> Spent {
    Spent {
        model: "sonnet".to_owned(),
        model_id: "claude-sonnet-5-5".to_owned(),
        backend: "test".to_owned(),
        usage: Usage { input_tokens, output_tokens, ..Usage::default() },
        cost: Nanos((input_tokens + output_tokens).cast_signed()),
        notional: Nanos::ZERO,
        exact: true,
        unpriced: false,
        ended: Ended::Complete,
    }
}

async fn granted(store: &dyn Store, reserve: &Reserve) -> Grant {
    match store.reserve(reserve.clone()).await.expect("the store works") {
        Reserved::Granted(grant) => grant,
        refused => panic!("not granted: {refused:?}"),
    }
}

async fn settle(store: &dyn Store, reserve: &Reserve, spent: Option<Spent>) -> Settled {
    let claim = reserve.claim.as_ref().map(|claim| claim.scope);
    let settle = Settle { id: reserve.id, project: reserve.project.clone(), spent, claim, answer: None };
    store.settle(settle).await.expect("the store works")
}

async fn usage(store: &dyn Store, project: &ProjectId, period: Period) -> WindowUsage {
    store.usage(project.clone(), period).await.expect("the store works")
}

fn tokens(tokens: i64) -> Amount {
    Amount { tokens, nanos: tokens }
}

async fn what_is_granted_is_held_and_then_spent(store: &Arc<dyn Store>) {
    let project = project(&**store, "held-then-spent", Some(1_000)).await;
    let call = reserve(&project, vec![candidate(100, 200)]);
    let grant = granted(&**store, &call).await;
    assert_eq!(grant.held, tokens(300));
    for period in PERIODS {
        let usage = usage(&**store, &project, period).await;
        assert_eq!((usage.spent, usage.held), (Amount::ZERO, tokens(300)), "{period:?}");
    }
    assert_eq!(settle(&**store, &call, Some(spent(100, 50))).await, Settled::Closed(Amount::ZERO));
    for period in PERIODS {
        let usage = usage(&**store, &project, period).await;
        assert_eq!((usage.spent, usage.held), (tokens(150), Amount::ZERO), "{period:?}");
        let [(model, by_model)] = usage.by_model.as_slice() else { panic!("{usage:?}") };
        assert_eq!((model.as_str(), by_model.requests, by_model.input_tokens), ("sonnet", 1, 100));
        assert_eq!((by_model.output_tokens, by_model.cost_nanos), (50, 150));
    }
}

async fn a_released_hold_leaves_nothing(store: &Arc<dyn Store>) {
    let project = project(&**store, "released", Some(1_000)).await;
    let call = reserve(&project, vec![candidate(100, 200)]);
    granted(&**store, &call).await;
    assert_eq!(settle(&**store, &call, None).await, Settled::Closed(Amount::ZERO));
    let usage = usage(&**store, &project, Period::Day).await;
    assert_eq!((usage.spent, usage.held, usage.by_model.len()), (Amount::ZERO, Amount::ZERO, 0));
}

async fn the_same_operation_sent_again_changes_nothing(store: &Arc<dyn Store>) {
    let project = project(&**store, "again", Some(1_000)).await;
    let call = reserve(&project, vec![candidate(100, 200)]);
    let first = granted(&**store, &call).await;
    assert_eq!(granted(&**store, &call).await, first);
    assert_eq!(usage(&**store, &project, Period::Day).await.held, tokens(300));
    settle(&**store, &call, Some(spent(1, 1))).await;
    for again in [Some(spent(100, 100)), None, Some(spent(1, 1))] {
        assert_eq!(settle(&**store, &call, again).await, Settled::Already);
    }
    let usage = usage(&**store, &project, Period::Day).await;
    assert_eq!((usage.spent, usage.held), (tokens(2), Amount::ZERO));
}

async fn callers_side_by_side_never_pass_a_limit(store: &Arc<dyn Store>) {
    let project = project(&**store, "side-by-side", Some(10_000)).await;
    let calls = (0..300).map(|_| {
        let (store, call) = (Arc::clone(store), reserve(&project, vec![candidate(50, 50)]));
        async move { matches!(store.reserve(call).await.expect("the store works"), Reserved::Granted(_)) }
    });
    let granted = join_all(calls).await.into_iter().filter(|granted| *granted).count();
    assert_eq!(granted, 100);
    assert_eq!(usage(&**store, &project, Period::Month).await.held, tokens(10_000));
}

async fn what_is_merely_held_is_waited_for(store: &Arc<dyn Store>) {
    let project = project(&**store, "held", Some(1_000)).await;
    let first = reserve(&project, vec![candidate(100, 800)]);
    granted(&**store, &first).await;
    let second = reserve(&project, vec![candidate(100, 800)]);
    assert_eq!(store.reserve(second.clone()).await, Ok(Reserved::Wait));
    settle(&**store, &first, Some(spent(50, 50))).await;
    granted(&**store, &second).await;
    settle(&**store, &second, Some(spent(50, 50))).await;
    let refused = store.reserve(reserve(&project, vec![candidate(100, 701)])).await.expect("the store works");
    let Reserved::Exceeded(shortage, _) = refused else { panic!("{refused:?}") };
    assert_eq!((shortage.unit, shortage.period), (Unit::Tokens, Some(Period::Month)));
    assert_eq!((shortage.limit, shortage.spent, shortage.held, shortage.wanted), (1_000, 200, 0, 801));
}

async fn the_output_is_lowered_to_what_is_left(store: &Arc<dyn Store>) {
    let month = Limit { tokens: Some(1_000), nanos: None };
    let windows = [Limit::default(), Limit::default(), month];
    let cases = [
        (Clamp::Never, false, None),
        (Clamp::Unset, true, None),
        (Clamp::Unset, false, Some(700)),
        (Clamp::Always, true, Some(700)),
    ];
    for (clamp, output_set, lowered) in cases {
        let name = format!("clamp-{}-{output_set}", clamp.as_str());
        let project = with_limits(&**store, &name, Limits { windows, clamp, ..Limits::default() }).await;
        let ask = |input| reserve(&project, vec![Candidate { output_set, ..candidate(input, 4_096) }]);
        let outcome = store.reserve(ask(300)).await.expect("the store works");
        match (outcome, lowered) {
            (Reserved::Granted(grant), Some(lowered)) => {
                assert_eq!((grant.kept[0].output_tokens, grant.held), (lowered, tokens(1_000)));
            }
            (Reserved::Exceeded(..), None) => {}
            (outcome, _) => panic!("{name}: {outcome:?}"),
        }
        // Below 256 tokens of an answer there is none.
        let refused = store.reserve(ask(745)).await.expect("the store works");
        assert!(matches!(refused, Reserved::Exceeded(..)), "{name}: {refused:?}");
    }
}

async fn the_candidates_that_fit_are_kept_and_the_dearest_is_held(store: &Arc<dyn Store>) {
    let day = Limit { tokens: None, nanos: Some(1_000) };
    let windows = [day, Limit::default(), Limit::default()];
    let limits = Limits { windows, clamp: Clamp::Never, ..Limits::default() };
    let project = with_limits(&**store, "candidates", limits).await;
    let priced = |model: &str, price: i64| Candidate {
        model: model.to_owned(),
        input_price: price,
        output_price: price,
        ..candidate(100, 100)
    };
    let ask = |price| vec![priced("opus", price), priced("sonnet", 4_000_000), priced("haiku", 1_000_000)];
    let call = reserve(&project, ask(9_000_000));
    let grant = granted(&**store, &call).await;
    assert_eq!(grant.kept.iter().map(|kept| kept.index).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(grant.held, Amount { tokens: 200, nanos: 800 });
    settle(&**store, &call, None).await;
    let cheap = Reserve { nanos_max: Some(300), ..reserve(&project, ask(9_000_000)) };
    assert_eq!(granted(&**store, &cheap).await.held, Amount { tokens: 200, nanos: 200 });
    let none = Reserve { nanos_max: Some(199), ..reserve(&project, ask(9_000_000)) };
    let refused = store.reserve(none).await.expect("the store works");
    assert!(matches!(&refused, Reserved::Exceeded(shortage, _) if shortage.period.is_none()), "{refused:?}");
}

async fn a_lowered_limit_stops_admissions_only(store: &Arc<dyn Store>) {
    let id = project(&**store, "lowered", Some(1_000)).await;
    let call = reserve(&id, vec![candidate(100, 700)]);
    granted(&**store, &call).await;
    project(&**store, "lowered", Some(100)).await;
    let refused = store.reserve(reserve(&id, vec![candidate(1, 1)])).await;
    assert_eq!(refused, Ok(Reserved::Wait), "what is held may all be released");
    assert_eq!(settle(&**store, &call, Some(spent(100, 700))).await, Settled::Closed(Amount::ZERO));
    let refused = store.reserve(reserve(&id, vec![candidate(1, 1)])).await;
    assert!(matches!(refused, Ok(Reserved::Exceeded(..))), "{refused:?}");
    assert_eq!(usage(&**store, &id, Period::Month).await.spent, tokens(800));
}

async fn calls_at_a_time_are_limited(store: &Arc<dyn Store>) {
    let limits = Limits { calls_max: Some(2), ..Limits::default() };
    let project = with_limits(&**store, "calls-max", limits).await;
    let calls: Vec<Reserve> = (0..3).map(|_| reserve(&project, vec![candidate(1, 1)])).collect();
    granted(&**store, &calls[0]).await;
    granted(&**store, &calls[1]).await;
    assert_eq!(store.reserve(calls[2].clone()).await, Ok(Reserved::CallsMax(2)));
    settle(&**store, &calls[0], None).await;
    granted(&**store, &calls[2]).await;
}

async fn money_is_counted_to_the_nano_dollar(store: &Arc<dyn Store>) {
    let project = project(&**store, "nanos", None).await;
    // 3 tokens at 0.5 nano-dollars: rounded up, once.
    let half = Candidate { input_price: 500_000, output_price: 500_000, ..candidate(1, 2) };
    let call = reserve(&project, vec![half]);
    assert_eq!(granted(&**store, &call).await.held, Amount { tokens: 3, nanos: 2 });
    let beyond = Spent { cost: Nanos(5), ..spent(2, 7) };
    assert_eq!(settle(&**store, &call, Some(beyond)).await, Settled::Closed(Amount { tokens: 6, nanos: 3 }));
    let usage = usage(&**store, &project, Period::Week).await;
    assert_eq!((usage.spent, usage.held), (Amount { tokens: 9, nanos: 5 }, Amount::ZERO));
}

/// A call under an idempotency key.
fn claimed(project: &ProjectId, key: &str, request: u8, kept_for: Duration) -> Reserve {
    let claim = Some(claim_of(project, key, request, kept_for));
    Reserve { claim, ..reserve(project, vec![candidate(10, 10)]) }
}

fn claim_of(project: &ProjectId, key: &str, request: u8, kept_for: Duration) -> Claim {
    Claim { scope: ClaimScope::of(project, "test", key), fingerprint: [request; 32], kept_for }
}

fn scope(reserve: &Reserve) -> ClaimScope {
    reserve.claim.as_ref().expect("a claimed call").scope
}

async fn finish(store: &dyn Store, reserve: &Reserve, ended: Ended, answer: &[u8]) -> Settled {
    let spent = Some(Spent { ended, ..spent(5, 5) });
    let (claim, answer) = (Some(scope(reserve)), Some(answer.into()));
    let settle = Settle { id: reserve.id, project: reserve.project.clone(), spent, claim, answer };
    store.settle(settle).await.expect("the store works")
}

const HOUR: Duration = Duration::from_hours(1);

async fn a_claimed_call_runs_once_and_its_answer_is_kept(store: &Arc<dyn Store>) {
    let project = project(&**store, "claimed", Some(1_000)).await;
    let first = claimed(&project, "k", 1, HOUR);
    let again = || claimed(&project, "k", 1, HOUR);
    assert_eq!(granted(&**store, &first).await.call, first.call);
    assert_eq!(granted(&**store, &first).await.call, first.call, "the same operation sent again");
    assert_eq!(store.reserve(again()).await, Ok(Reserved::Running(first.call)));
    assert_eq!(store.reserve(claimed(&project, "k", 2, HOUR)).await, Ok(Reserved::Conflict));
    assert_eq!(store.answer(scope(&first)).await, Ok(None));
    finish(&**store, &first, Ended::Complete, b"the answer").await;
    assert_eq!(store.reserve(again()).await, Ok(Reserved::Done(first.call)));
    assert_eq!(store.reserve(claimed(&project, "k", 2, HOUR)).await, Ok(Reserved::Conflict));
    assert_eq!(store.answer(scope(&first)).await, Ok(Some(b"the answer".to_vec())));
    let used = usage(&**store, &project, Period::Day).await;
    assert_eq!((used.spent, used.held), (tokens(10), Amount::ZERO));
    let elsewhere = claimed(&with_limits(&**store, "claimed-2", Limits::default()).await, "k", 2, HOUR);
    assert_eq!(granted(&**store, &elsewhere).await.call, elsewhere.call, "a key is of its project");
}

async fn a_claimed_call_that_failed_may_run_again(store: &Arc<dyn Store>) {
    let project = project(&**store, "claimed-failed", None).await;
    let first = claimed(&project, "k", 1, HOUR);
    granted(&**store, &first).await;
    finish(&**store, &first, Ended::Failed, b"half an answer").await;
    assert_eq!(store.answer(scope(&first)).await, Ok(None), "only a whole answer is kept");
    assert_eq!(store.reserve(claimed(&project, "k", 2, HOUR)).await, Ok(Reserved::Conflict));
    let second = claimed(&project, "k", 1, HOUR);
    assert_eq!(granted(&**store, &second).await.call, first.call, "attempts are of one call");
    settle(&**store, &second, None).await;
    let third = claimed(&project, "k", 1, HOUR);
    granted(&**store, &third).await;
    assert_eq!(finish(&**store, &first, Ended::Complete, b"late").await, Settled::Already);
    assert_eq!(store.reserve(claimed(&project, "k", 1, HOUR)).await, Ok(Reserved::Running(first.call)));
    finish(&**store, &third, Ended::Complete, b"at last").await;
    assert_eq!(store.answer(scope(&third)).await, Ok(Some(b"at last".to_vec())));
    let wanted = EntriesWanted { project: Some(project), count_max: 9, ..EntriesWanted::default() };
    let entries = store.entries(wanted).await.expect("the store works");
    assert_eq!(
        entries.iter().map(|entry| (entry.id, entry.call)).collect::<Vec<_>>(),
        [(third.id, first.call), (first.id, first.call)]
    );
}

async fn what_a_claim_kept_is_forgotten_in_time(store: &Arc<dyn Store>) {
    let project = project(&**store, "claimed-forgotten", None).await;
    let (short, long) = (claimed(&project, "short", 1, Duration::ZERO), claimed(&project, "long", 1, HOUR));
    for call in [&short, &long] {
        granted(&**store, call).await;
        finish(&**store, call, Ended::Complete, b"kept").await;
    }
    // Its time is over, whether it is forgotten yet or not.
    let anew = claimed(&project, "short", 2, Duration::ZERO);
    assert_eq!(granted(&**store, &anew).await.call, anew.call);
    assert_eq!(store.answer(scope(&short)).await, Ok(None), "what an earlier call had left");
    finish(&**store, &anew, Ended::Complete, b"kept").await;
    while store.forget_expired().await.expect("the store works") > 0 {}
    assert_eq!(store.answer(scope(&short)).await, Ok(None));
    assert_eq!(store.answer(scope(&long)).await, Ok(Some(b"kept".to_vec())));
}

async fn of_callers_with_one_claim_one_is_granted(store: &Arc<dyn Store>) {
    let project = project(&**store, "claimed-at-once", None).await;
    let calls = (0..50).map(|_| store.reserve(claimed(&project, "k", 1, HOUR)));
    let outcomes = join_all(calls).await;
    let granted = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Reserved::Granted(_)))).count();
    let running = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Reserved::Running(_)))).count();
    assert_eq!((granted, running), (1, 49));
}

async fn an_attempt_is_charged_in_the_commit_that_holds_for_the_next(store: &Arc<dyn Store>) {
    let project = project(&**store, "attempts", Some(1_000)).await;
    let claim = Claim {
        scope: ClaimScope::of(&project, "test", "attempts"),
        fingerprint: [7; 32],
        kept_for: Duration::from_hours(1),
    };
    let attempt = || Reserve { claim: Some(claim.clone()), ..reserve(&project, vec![candidate(100, 300)]) };
    let charge = |call: &Reserve| {
        let spent = Some(Spent { exact: false, ended: Ended::Failed, ..spent(100, 300) });
        Settle { id: call.id, project: project.clone(), spent, claim: Some(claim.scope), answer: None }
    };
    let first = attempt();
    granted(&**store, &first).await;
    let second = Reserve { after: Some(Box::new(charge(&first))), ..attempt() };
    for _ in 0..2 {
        let grant = granted(&**store, &second).await;
        assert_eq!((grant.call, grant.held), (first.call, tokens(400)), "attempts are of one call");
        let usage = usage(&**store, &project, Period::Day).await;
        assert_eq!((usage.spent, usage.held), (tokens(400), tokens(400)));
    }
    // A third does not fit, and the second is charged all the same.
    let third = Reserve { after: Some(Box::new(charge(&second))), ..attempt() };
    let refused = store.reserve(third).await.expect("the store works");
    assert!(matches!(refused, Reserved::Exceeded(..)), "{refused:?}");
    let usage = usage(&**store, &project, Period::Day).await;
    assert_eq!((usage.spent, usage.held), (tokens(800), Amount::ZERO));
    assert_eq!(settle(&**store, &second, Some(spent(1, 1))).await, Settled::Already);
}

async fn what_is_not_certain_by_its_bounds_is_not_decided(store: &Arc<dyn Store>) {
    let limit = Limit { tokens: Some(1_000), nanos: None };
    let limits = Limits { windows: [limit; 3], clamp: Clamp::Always, ..Limits::default() };
    let project = with_limits(&**store, "uncertain", limits).await;
    let by_bytes = |candidates| Reserve { is_counted: false, ..reserve(&project, candidates) };
    let fits = by_bytes(vec![candidate(500, 500)]);
    granted(&**store, &fits).await;
    assert_eq!(settle(&**store, &fits, None).await, Settled::Closed(Amount::ZERO));
    // What would be shortened, answered by the second best, or refused.
    for candidates in
        [vec![candidate(500, 501)], vec![candidate(600, 500), candidate(1, 1)], vec![candidate(1_001, 300)]]
    {
        let asked = by_bytes(candidates.clone());
        assert_eq!(store.reserve(asked.clone()).await, Ok(Reserved::Uncertain), "{candidates:?}");
        let decided = store.reserve(Reserve { is_counted: true, ..asked.clone() }).await.expect("the store works");
        assert_ne!(decided, Reserved::Uncertain, "{candidates:?}");
        if matches!(decided, Reserved::Granted(_)) {
            assert_eq!(settle(&**store, &asked, None).await, Settled::Closed(Amount::ZERO));
        }
    }
}

async fn an_estimate_is_corrected_by_hand(store: &Arc<dyn Store>) {
    let project = project(&**store, "corrected", None).await;
    let (estimated, exact) = (reserve(&project, vec![candidate(50, 50)]), reserve(&project, vec![candidate(50, 50)]));
    for (call, is_exact) in [(&estimated, false), (&exact, true)] {
        granted(&**store, call).await;
        settle(&**store, call, Some(Spent { exact: is_exact, ..spent(40, 40) })).await;
    }
    let correct = |id| store.resolve(Resolve { id, input_tokens: 30, output_tokens: 1, cost: Nanos(7) });
    let Ok(Resolved::Corrected(entry)) = correct(estimated.id).await else { panic!("not corrected") };
    assert_eq!((entry.spent.amount(), entry.spent.exact), (Amount { tokens: 31, nanos: 7 }, false));
    assert_eq!(correct(exact.id).await, Ok(Resolved::Exact));
    assert_eq!(correct(EntryId::new()).await, Ok(Resolved::NoEntry));
    assert_eq!(usage(&**store, &project, Period::Week).await.spent, Amount { tokens: 111, nanos: 87 });
    let wanted = EntriesWanted { project: Some(project), estimated: true, count_max: 9 };
    assert_eq!(store.entries(wanted).await.expect("the store works"), [*entry]);
}

async fn the_counters_are_the_sums_of_the_entries(store: &Arc<dyn Store>) {
    let verified = store.verify().await.expect("the store works");
    assert_eq!(verified.differences, Vec::<String>::new());
    assert!(verified.entries > 0 && verified.reservations > 0, "{verified:?}");
}
