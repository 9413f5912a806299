//! What every store does with slices of economy batches.

use std::sync::Arc;

use super::{Store, batches, candidate, project, reserve, settle, spent, tokens, usage};
use crate::{
    id::{BatchId, SliceId},
    ledger::{OF_A_JOB, Reserve, Reserved},
    project::ProjectId,
    slice::{Adopted, Held, NewItem, NewSlice, Slice, SliceChange, SliceItem},
    window::Period,
};

pub(super) async fn passes(store: &Arc<dyn Store>) {
    what_is_held_for_is_in_the_slice_and_nothing_else(store).await;
    a_slice_goes_by_what_upstream_says(store).await;
    what_a_job_holds_is_no_call(store).await;
    an_item_waits_again_that_is_returned(store).await;
    a_batch_upstream_is_of_one_slice(store).await;
    a_cancelled_batch_ends_with_its_slices(store).await;
}

fn held_for(project: &ProjectId) -> Reserve {
    Reserve { is_of_a_job: true, ..reserve(project, vec![candidate(10, 20)]) }
}

/// A batch of so many items, all of them taken on.
async fn batch(store: &Arc<dyn Store>, project: &ProjectId, items: u32) -> BatchId {
    let id = batches::stored(store, batches::new(project, items)).await.id;
    assert_eq!(batches::taken(store, id, items).await.len(), items as usize);
    id
}

fn new(batch: BatchId, project: &ProjectId, places: &[u32]) -> NewSlice {
    let route = |place: u32| (place == 1).then(|| "chosen".to_owned());
    let item = |place: &u32| NewItem { place: *place, reserve: held_for(project), route: route(*place) };
    let items = places.iter().map(item).collect();
    NewSlice { id: SliceId::new(), batch, items }
}

async fn opened(store: &Arc<dyn Store>, slice: &NewSlice) -> Vec<(u32, bool)> {
    let holds = store.open_slice(slice.clone()).await.expect("the store works");
    holds.into_iter().map(|(place, hold)| (place, matches!(hold, Reserved::Granted(_)))).collect()
}

async fn items(store: &Arc<dyn Store>, id: SliceId) -> Vec<SliceItem> {
    store.slice_items(id).await.expect("the store works")
}

async fn places(store: &Arc<dyn Store>, id: SliceId) -> Vec<u32> {
    items(store, id).await.iter().map(|item| item.place).collect()
}

async fn slice(store: &Arc<dyn Store>, id: SliceId) -> Option<Slice> {
    store.take_slices().await.expect("the store works").into_iter().find(|slice| slice.id == id)
}

async fn change(store: &Arc<dyn Store>, id: SliceId, change: SliceChange) -> bool {
    store.change_slice(id, change).await.expect("the store works")
}

async fn what_is_held_for_is_in_the_slice_and_nothing_else(store: &Arc<dyn Store>) {
    let project = project(&**store, "slice-held", Some(75)).await;
    let id = batch(store, &project, 4).await;
    let first = new(id, &project, &[0, 1, 2]);
    assert_eq!(opened(store, &first).await, [(0, true), (1, true), (2, false)], "30 tokens each, of 75");
    assert_eq!(opened(store, &first).await, [(0, true), (1, true), (2, false)], "sent again");
    assert_eq!(usage(&**store, &project, Period::Month).await.held, tokens(60), "held once");
    let held = Some(Held { amount: tokens(30), input_tokens: 10 });
    let of = |at: usize| SliceItem {
        place: first.items[at].place,
        entry: first.items[at].reserve.id,
        attempts: 1,
        model: "sonnet".to_owned(),
        route: first.items[at].route.clone(),
        held,
    };
    assert_eq!(items(store, first.id).await, [of(0), of(1)]);
    assert_eq!(opened(store, &new(id, &project, &[0, 9])).await, [], "one is in a slice, and one is not there");
    let none = new(id, &project, &[2, 3]);
    assert_eq!(opened(store, &none).await, [(2, false), (3, false)]);
    assert_eq!(slice(store, none.id).await, None, "a slice of nothing is none");
    store.give_back(id, Vec::new()).await.expect("the store works");
    assert_eq!(batches::taken(store, id, 9).await, [2, 3], "those of the slice are not given back");
}

async fn a_slice_goes_by_what_upstream_says(store: &Arc<dyn Store>) {
    let project = project(&**store, "slice-upstream", None).await;
    let id = batch(store, &project, 2).await;
    let new = new(id, &project, &[0, 1]);
    opened(store, &new).await;
    let made = slice(store, new.id).await.expect("it is open");
    assert_eq!((&made.upstream, made.is_adopted, made.sent_at), (&None, false, Some(made.created_at)));
    change(store, new.id, SliceChange::Refused).await;
    assert_eq!(slice(store, new.id).await.expect("it is open").sent_at, None);
    assert!(change(store, new.id, SliceChange::Sending).await);
    assert!(slice(store, new.id).await.expect("it is open").sent_at >= Some(made.created_at));
    change(store, new.id, SliceChange::Submitted("upstream-1".to_owned())).await;
    assert_eq!(slice(store, new.id).await.expect("it is open").upstream.as_deref(), Some("upstream-1"));
    let reserve = &new.items[0].reserve;
    settle(&**store, reserve, Some(spent(5, 5))).await;
    let settled = items(store, new.id).await.swap_remove(0);
    assert_eq!((settled.held, settled.model.as_str()), (None, "sonnet"), "it is settled, and has no result yet");
    store.end_items(id, vec![batches::ended(0, "done")]).await.expect("the store works");
    assert_eq!(places(store, new.id).await, [1]);
    settle(&**store, &new.items[1].reserve, None).await;
    store.end_items(id, vec![batches::ended(1, "failed")]).await.expect("the store works");
    assert!(batches::job(store, id).await.ended_at.is_some());
    change(store, new.id, SliceChange::Ended).await;
    assert_eq!(slice(store, new.id).await, None);
    assert!(!change(store, new.id, SliceChange::Sending).await, "what has ended is not sent again");
    let usage = usage(&**store, &project, Period::Day).await;
    assert_eq!((usage.spent, usage.held), (tokens(10), tokens(0)));
}

async fn what_a_job_holds_is_no_call(store: &Arc<dyn Store>) {
    let mut limits =
        store.project(project(&**store, "slice-calls", None).await).await.expect("it works").expect("there");
    limits.limits.calls_max = Some(1);
    let project = limits.id.clone();
    store.set_project(limits).await.expect("the store works");
    let id = batch(store, &project, 3).await;
    let new = new(id, &project, &[0, 1, 2]);
    assert_eq!(opened(store, &new).await.len(), 3);
    let call = reserve(&project, vec![candidate(1, 1)]);
    assert!(super::granted(&**store, &call).await.epoch != OF_A_JOB, "one call may run beside them");
    let another = reserve(&project, vec![candidate(1, 1)]);
    assert_eq!(store.reserve(another).await, Ok(Reserved::CallsMax(1)));
    for reserve in new.items.iter().map(|item| &item.reserve).chain([&call]) {
        settle(&**store, reserve, None).await;
    }
    let next = reserve(&project, vec![candidate(1, 1)]);
    super::granted(&**store, &next).await;
    settle(&**store, &next, None).await;
}

async fn an_item_waits_again_that_is_returned(store: &Arc<dyn Store>) {
    let project = project(&**store, "slice-returned", None).await;
    let id = batch(store, &project, 2).await;
    let first = new(id, &project, &[0, 1]);
    opened(store, &first).await;
    settle(&**store, &first.items[0].reserve, None).await;
    store.return_items(first.id, vec![0]).await.expect("the store works");
    assert_eq!(places(store, first.id).await, [1]);
    assert_eq!(batches::taken(store, id, 9).await, [0]);
    let second = new(id, &project, &[0]);
    opened(store, &second).await;
    assert_eq!(items(store, second.id).await[0].attempts, 2);
    store.return_items(first.id, vec![0]).await.expect("the store works");
    assert_eq!(places(store, second.id).await, [0], "it is of another slice by now");
}

async fn a_batch_upstream_is_of_one_slice(store: &Arc<dyn Store>) {
    let project = project(&**store, "slice-adopted", None).await;
    let id = batch(store, &project, 3).await;
    let slices = [0, 1, 2].map(|place| new(id, &project, &[place]));
    for slice in &slices {
        opened(store, slice).await;
    }
    let [first, second, third] = slices.map(|slice| slice.id);
    let adopt = async |id, found: &[&str]| {
        let found = found.iter().map(|id| (*id).to_owned()).collect();
        store.adopt(id, found).await.expect("the store works")
    };
    let batch = |id: &str| Adopted::Batch(id.to_owned());
    assert_eq!(adopt(first, &[]).await, Adopted::Nothing);
    assert_eq!(adopt(first, &["adopt-a", "adopt-b"]).await, batch("adopt-a"));
    assert!(slice(store, first).await.expect("it is open").is_adopted);
    assert_eq!(adopt(first, &["adopt-b"]).await, batch("adopt-a"), "it has one");
    assert_eq!(adopt(second, &["adopt-a"]).await, Adopted::Contended, "the first may be wrong");
    assert_eq!(adopt(second, &["adopt-a", "adopt-b"]).await, batch("adopt-b"));
    change(store, first, SliceChange::NotOurs).await;
    assert_eq!(adopt(third, &["adopt-a"]).await, batch("adopt-a"));
    change(store, first, SliceChange::Submitted("adopt-a".to_owned())).await;
    let third = slice(store, third).await.expect("it is open");
    assert_eq!((third.upstream, third.is_adopted), (None, false), "who had adopted it was wrong");
    assert_eq!(adopt(third.id, &["adopt-a"]).await, Adopted::Nothing, "that is certain");
    change(store, first, SliceChange::NotOurs).await;
    assert_eq!(slice(store, first).await.expect("it is open").upstream.as_deref(), Some("adopt-a"), "it is its own");
}

async fn a_cancelled_batch_ends_with_its_slices(store: &Arc<dyn Store>) {
    let project = project(&**store, "slice-cancelled", None).await;
    let id = batch(store, &project, 3).await;
    let new = new(id, &project, &[0, 1]);
    opened(store, &new).await;
    store.cancel_batch(id).await.expect("the store works");
    store.give_back(id, Vec::new()).await.expect("the store works");
    assert_eq!(batches::job(store, id).await.ended_at, None, "two of it are upstream");
    store.end_items(id, vec![batches::ended(0, "done")]).await.expect("the store works");
    assert_eq!(batches::job(store, id).await.ended_at, None);
    store.return_items(new.id, vec![1]).await.expect("the store works");
    assert!(batches::job(store, id).await.ended_at.is_some());
    assert!(batches::taken(store, id, 9).await.is_empty());
    for item in &new.items {
        settle(&**store, &item.reserve, None).await;
    }
}
