//! What every store does with batches.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::{Store, claim_of};
use crate::{
    id::BatchId,
    job::{Added, BatchJob, EndedItem, NewBatchJob, NewItem, Sums, Terms},
    ledger::Claim,
    project::ProjectId,
    store::jobs::FORGOTTEN_MAX,
};

const KEPT_FOR: Duration = Duration::from_hours(1);

pub(super) async fn passes(store: &Arc<dyn Store>) {
    a_batch_is_stored_once_under_its_key(store).await;
    an_item_is_taken_by_one(store).await;
    results_are_numbered_as_they_come_and_an_item_has_one(store).await;
    what_is_given_back_is_taken_again(store).await;
    a_cancelled_batch_ends_with_what_runs(store).await;
    a_batch_is_forgotten_in_time(store).await;
    a_batch_is_forgotten_a_piece_at_a_time(store).await;
    a_result_that_is_told_twice_at_once_counts_once(store).await;
    batches_are_listed_newest_first(store).await;
    a_batch_of_nothing_has_ended(store).await;
}

fn project(name: &str) -> ProjectId {
    ProjectId::parse(name).expect("a name")
}

pub(super) fn new(project: &ProjectId, items: u32) -> NewBatchJob {
    let item = |place: u32| NewItem { prompt: format!("prompt {place}"), name: (place == 1).then(|| "one".to_owned()) };
    NewBatchJob {
        id: BatchId::new(),
        terms: Terms {
            project: project.clone(),
            makes_project: true,
            items_max: 7,
            request: "{}".to_owned(),
            is_economy: false,
        },
        claim: None,
        items: (0..items).map(item).collect(),
        kept_for: KEPT_FOR,
    }
}

pub(super) async fn stored(store: &Arc<dyn Store>, new: NewBatchJob) -> BatchJob {
    match store.add_batch(new).await.expect("the store works") {
        Added::Stored(job) => job,
        Added::Conflict => panic!("it has no key"),
    }
}

pub(super) async fn job(store: &Arc<dyn Store>, id: BatchId) -> BatchJob {
    store.batch(id).await.expect("the store works").expect("it is there")
}

pub(super) async fn taken(store: &Arc<dyn Store>, id: BatchId, count_max: u32) -> Vec<u32> {
    let items = store.take_items(id, count_max).await.expect("the store works");
    assert!(items.iter().all(|item| item.prompt == format!("prompt {}", item.place)));
    items.iter().map(|item| item.place).collect()
}

pub(super) fn ended(place: u32, word: &str) -> EndedItem {
    let sums = match word {
        "failed" => Sums { failed: 1, ..Sums::default() },
        _ => Sums { completed: 1, failed: 0, nanos: 10, tokens: 3 },
    };
    EndedItem { place, result: format!("{word} {place}"), sums }
}

async fn a_batch_is_stored_once_under_its_key(store: &Arc<dyn Store>) {
    let owner = project("batch-keys");
    let keyed = |request: u8| {
        let claim: Claim = claim_of(&owner, "batch-key", request, KEPT_FOR);
        NewBatchJob { claim: Some(claim), ..new(&owner, 3) }
    };
    let first = keyed(1);
    let job = stored(store, first.clone()).await;
    assert_eq!((job.id, job.total, job.sums, job.ended_at), (first.id, 3, Sums::default(), None));
    assert_eq!(store.add_batch(first).await, Ok(Added::Stored(job.clone())), "sent again");
    assert_eq!(store.add_batch(keyed(1)).await, Ok(Added::Stored(job.clone())), "sent again by who knows no id");
    assert_eq!(store.add_batch(keyed(2)).await, Ok(Added::Conflict), "the key is of another batch");
    assert_eq!(store.batches(owner.clone(), None, 10).await, Ok(vec![job.clone()]), "one was stored");
    assert_eq!(taken(store, job.id, 10).await, [0, 1, 2], "its items once");
    let open = store.open_batches().await.expect("the store works");
    let open = open.iter().find(|open| open.id == job.id).expect("it is open");
    assert_eq!((&open.terms, open.is_cancelled), (&new(&owner, 0).terms, false));
}

async fn an_item_is_taken_by_one(store: &Arc<dyn Store>) {
    let id = stored(store, new(&project("batch-taken"), 50)).await.id;
    let takers = (0..8).map(|_| async {
        let mut places = Vec::new();
        loop {
            let more = taken(store, id, 5).await;
            if more.is_empty() {
                return places;
            }
            places.extend(more);
        }
    });
    let places: Vec<u32> = futures_util::future::join_all(takers).await.concat();
    assert_eq!((places.len(), places.into_iter().collect::<BTreeSet<_>>().len()), (50, 50));
}

async fn results_are_numbered_as_they_come_and_an_item_has_one(store: &Arc<dyn Store>) {
    let id = stored(store, new(&project("batch-results"), 4)).await.id;
    assert_eq!(taken(store, id, 4).await, [0, 1, 2, 3]);
    store.end_items(id, vec![ended(2, "done"), ended(0, "failed")]).await.expect("the store works");
    store.end_items(id, vec![ended(2, "again"), ended(1, "done")]).await.expect("the store works");
    let results = store.results(id, 0, 10).await.expect("the store works");
    let told: Vec<_> = results.iter().map(|one| (one.number, one.place, one.result.as_str())).collect();
    assert_eq!(told, [(1, 2, "done 2"), (2, 0, "failed 0"), (3, 1, "done 1")]);
    assert_eq!((results[2].name.as_deref(), results[2].prompt.as_str()), (Some("one"), "prompt 1"));
    assert_eq!(store.results(id, 1, 1).await.expect("the store works"), results[1..2]);
    let so_far = job(store, id).await;
    assert_eq!(so_far.sums, Sums { completed: 2, failed: 1, nanos: 20, tokens: 6 });
    assert_eq!(so_far.ended_at, None);
    store.end_items(id, vec![ended(3, "done")]).await.expect("the store works");
    let whole = job(store, id).await;
    assert!(whole.ended_at.is_some_and(|at| at >= whole.created_at) && whole.expires_at > whole.ended_at, "{whole:?}");
    assert!(store.open_batches().await.expect("the store works").iter().all(|open| open.id != id));
    assert!(taken(store, id, 4).await.is_empty());
}

async fn what_is_given_back_is_taken_again(store: &Arc<dyn Store>) {
    let id = stored(store, new(&project("batch-given-back"), 4)).await.id;
    assert_eq!(taken(store, id, 3).await, [0, 1, 2]);
    store.end_items(id, vec![ended(0, "done")]).await.expect("the store works");
    store.give_back(id, vec![2]).await.expect("the store works");
    assert_eq!(taken(store, id, 9).await, [1, 3]);
}

async fn a_cancelled_batch_ends_with_what_runs(store: &Arc<dyn Store>) {
    let id = stored(store, new(&project("batch-cancelled"), 4)).await.id;
    assert_eq!(taken(store, id, 2).await, [0, 1]);
    let cancelled = store.cancel_batch(id).await.expect("the store works").expect("it is there");
    assert!(cancelled.cancelled_at.is_some() && cancelled.ended_at.is_none(), "two of it run: {cancelled:?}");
    assert!(taken(store, id, 2).await.is_empty(), "nothing begins");
    store.end_items(id, vec![ended(1, "done")]).await.expect("the store works");
    assert_eq!(job(store, id).await.ended_at, None);
    store.give_back(id, Vec::new()).await.expect("the store works");
    let over = job(store, id).await;
    assert!(over.ended_at.is_some() && over.sums.completed == 1, "{over:?}");
    assert_eq!(store.cancel_batch(id).await.expect("the store works"), Some(over), "it has ended");
    assert_eq!(store.cancel_batch(BatchId::new()).await, Ok(None));
}

async fn a_batch_is_forgotten_in_time(store: &Arc<dyn Store>) {
    let brief = NewBatchJob { kept_for: Duration::ZERO, ..new(&project("batch-forgotten"), 2) };
    let id = stored(store, brief).await.id;
    let kept = stored(store, new(&project("batch-forgotten"), 0)).await.id;
    assert_eq!(taken(store, id, 2).await, [0, 1]);
    while store.forget_expired().await.expect("the store works") > 0 {}
    assert!(store.batch(id).await.expect("the store works").is_some(), "it has not ended");
    store.end_items(id, vec![ended(0, "done"), ended(1, "done")]).await.expect("the store works");
    while store.forget_expired().await.expect("the store works") > 0 {}
    assert_eq!(store.batch(id).await, Ok(None));
    assert_eq!(store.results(id, 0, 10).await, Ok(Vec::new()));
    store.end_items(id, vec![ended(0, "late")]).await.expect("what is told of it is not missed");
    assert!(store.batch(kept).await.expect("the store works").is_some());
}

async fn a_batch_is_forgotten_a_piece_at_a_time(store: &Arc<dyn Store>) {
    const ITEMS: u32 = 2 * FORGOTTEN_MAX + 1;
    let brief = NewBatchJob { kept_for: Duration::ZERO, ..new(&project("batch-forgotten-in-pieces"), ITEMS) };
    let id = stored(store, brief).await.id;
    let places = taken(store, id, ITEMS).await;
    store.end_items(id, places.into_iter().map(|place| ended(place, "done")).collect()).await.expect("the store works");
    let (mut left, mut forgotten) = (ITEMS as usize, 0);
    while store.batch(id).await.expect("the store works").is_some() {
        let rows = store.forget_expired().await.expect("the store works");
        let results = store.results(id, 0, ITEMS).await.expect("the store works").len();
        assert!(rows > 0 && left - results <= FORGOTTEN_MAX as usize, "{rows} rows, {left} results, then {results}");
        (left, forgotten) = (results, forgotten + rows);
    }
    assert!(left == 0 && forgotten > ITEMS as usize, "{left} results are left, and {forgotten} rows were forgotten");
}

async fn a_result_that_is_told_twice_at_once_counts_once(store: &Arc<dyn Store>) {
    let id = stored(store, new(&project("batch-told-twice"), 2)).await.id;
    taken(store, id, 2).await;
    let told = vec![ended(0, "first"), ended(0, "second"), ended(1, "other")];
    store.end_items(id, told).await.expect("the store works");
    let (job, results) = (job(store, id).await, store.results(id, 0, 10).await.expect("the store works"));
    assert!(job.ended_at.is_some() && job.sums.completed + job.sums.failed == 2, "{job:?}");
    let results: Vec<_> = results.iter().map(|result| (result.number, result.place, result.result.as_str())).collect();
    assert_eq!(results, [(1, 0, "first 0"), (2, 1, "other 1")]);
}

async fn batches_are_listed_newest_first(store: &Arc<dyn Store>) {
    let owner = project("batch-list");
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.insert(0, stored(store, new(&owner, 1)).await.id);
    }
    let listed = async |before, count_max| {
        let jobs = store.batches(owner.clone(), before, count_max).await.expect("the store works");
        jobs.iter().map(|job| job.id).collect::<Vec<_>>()
    };
    assert_eq!(listed(None, 10).await, ids);
    assert_eq!(listed(None, 2).await, ids[..2]);
    assert_eq!(listed(Some(ids[1]), 10).await, ids[2..]);
}

async fn a_batch_of_nothing_has_ended(store: &Arc<dyn Store>) {
    let job = stored(store, new(&project("batch-empty"), 0)).await;
    assert!(job.ended_at.is_some() && job.expires_at.is_some(), "{job:?}");
}
