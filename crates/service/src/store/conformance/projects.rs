//! What every store does with projects and keys.

use claude_code_api_wire::Routing;

use super::{Store, candidate, granted, project, reserve, usage, with_limits};
use crate::{
    id::KeyId,
    key::{Key, Scope},
    ledger::{Amount, AutoTerms, Clamp, Limit, Limits, Project, Reserve, Reserved},
    model::Tier,
    project::ProjectId,
    window::{Moment, Period},
};

pub(super) async fn passes(store: &dyn Store) {
    what_is_set_of_a_project_is_kept(store).await;
    a_project_that_is_not_there_has_used_nothing(store).await;
    a_project_that_is_set_up_while_use_makes_it_is_as_it_was_set_up(store).await;
    keys_are_kept_and_revoked_once(store).await;
}

async fn what_is_set_of_a_project_is_kept(store: &dyn Store) {
    let limit = |tokens, nanos| Limit { tokens: Some(tokens), nanos: Some(nanos) };
    let auto = |routing| AutoTerms { routing, tier_min: Some(Tier::Haiku), tier_max: Some(Tier::Opus) };
    for routing in [None, Some(Routing::Economy), Some(Routing::Quality), Some(Routing::BasisPoints(250))] {
        let limits = Limits {
            windows: [limit(1, 2), limit(3, 4), limit(5, 6)],
            calls_max: Some(7),
            requests_per_minute: Some(8),
            clamp: Clamp::Always,
            allow_notional: true,
            auto: auto(routing),
        };
        let id = with_limits(store, "all-of-it", limits.clone()).await;
        assert_eq!(store.project(id).await.expect("the store works").expect("it is there").limits, limits);
    }
    let id = with_limits(store, "all-of-it", Limits::default()).await;
    assert_eq!(store.project(id).await.expect("the store works").expect("it is there").limits, Limits::default());
}

async fn a_project_that_is_not_there_has_used_nothing(store: &dyn Store) {
    let nobody = ProjectId::parse("nobody").expect("a name");
    let found = usage(store, &nobody, Period::Month).await;
    assert_eq!((found.spent, found.held, found.limits, found.by_model.len()), (Amount::ZERO, Amount::ZERO, None, 0));
    assert_eq!(store.project(nobody.clone()).await, Ok(None));
    assert_eq!(store.reserve(reserve(&nobody, vec![candidate(1, 1)])).await, Ok(Reserved::NoProject));
    let made = Limits { calls_max: Some(7), ..Limits::default() };
    let call = Reserve { creates: Some(made.clone()), ..reserve(&nobody, vec![candidate(1, 1)]) };
    granted(store, &call).await;
    let project = store.project(nobody).await.expect("the store works").expect("made by use");
    assert_eq!((project.limits, project.created_by_use), (made, true));
}

async fn a_project_that_is_set_up_while_use_makes_it_is_as_it_was_set_up(store: &dyn Store) {
    let limits = Limits { calls_max: Some(7), ..Limits::default() };
    for round in 0..50 {
        let id = ProjectId::parse(&format!("made-{round}")).expect("a name");
        let call = Reserve { creates: Some(Limits::default()), ..reserve(&id, vec![candidate(1, 1)]) };
        let project = Project { id: id.clone(), limits: limits.clone(), created_by_use: false };
        let (granted, set) = tokio::join!(store.reserve(call), store.set_project(project));
        assert!(matches!(granted, Ok(Reserved::Granted(_))) && set.is_ok(), "{granted:?} {set:?}");
        let kept = store.project(id).await.expect("the store works").expect("it is there");
        assert_eq!(kept.limits, limits, "round {round}");
    }
}

async fn keys_are_kept_and_revoked_once(store: &dyn Store) {
    let project = project(store, "keyed", None).await;
    let before = store.directory(None).await.expect("the store works").expect("a directory");
    assert_eq!(store.directory(Some(before.version)).await, Ok(None), "nothing has changed");
    let (key, _) = Key::new("ci".to_owned(), Scope::Project(project.clone()), Moment(1), Some(Moment(2)));
    store.add_key(key.clone()).await.expect("the store works");
    store.add_key(key.clone()).await.expect("sent again, it changes nothing");
    let after = store.directory(Some(before.version)).await.expect("the store works").expect("it has changed");
    assert_eq!((after.key(key.hash), after.is_open()), (Some(&key), false));
    assert!(after.project(&project).is_some());
    let revoked = Key { revoked_at: Some(Moment(3)), ..key.clone() };
    for at in [3, 4] {
        assert_eq!(store.revoke_key(key.id, Moment(at)).await, Ok(Some(revoked.clone())), "only once");
    }
    let last = store.directory(Some(after.version)).await.expect("the store works").expect("it has changed");
    assert_eq!(last.key(key.hash), Some(&revoked));
    assert_eq!(store.revoke_key(KeyId::new(), Moment(5)).await, Ok(None));
}
