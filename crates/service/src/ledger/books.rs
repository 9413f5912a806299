//! Books: the ledger's rows that a group of operations names, in memory, and the decisions on them.
//!
//! A store loads the rows, applies the operations in order, and writes what changed in the transaction in which it loaded
//! (or, alone on its database, what it has kept from before). Invariant 1 lives in [`Books::reserve`], invariant 2 in
//! [`Books::settle`]: an open reservation is removed exactly once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    Account, Amount, Claim, ClaimScope, ClaimState, Claimed, Clamp, Counter, Ended, Entry, Grant, Kept, Limit, Limits,
    ModelUsage, OF_A_JOB, Project, Reservation, Reserve, Reserved, Resolve, Resolved, Settle, Settled, SettledBy,
    Spent,
    admit::{Admission, Room},
};
use crate::{
    id::{CallId, EntryId},
    money::Nanos,
    project::ProjectId,
    usage::Usage,
    window::{Day, Moment, Period},
};

/// What a group of operations changed, for the store to write.
#[derive(Debug, Default)]
pub struct Changes {
    /// Projects to insert.
    pub created: Vec<Project>,
    /// Reservations to insert.
    pub opened: Vec<Reservation>,
    /// Reservations to delete.
    pub closed: Vec<EntryId>,
    /// Entries to insert.
    pub entries: Vec<Entry>,
    /// Entries to overwrite.
    pub corrected: Vec<Entry>,
    /// Counters to write.
    pub counters: Vec<(ProjectId, Period, Day, Counter)>,
    /// Idempotency keys to write.
    pub claims: BTreeMap<ClaimScope, Claimed>,
    /// Answers to keep for them.
    pub answers: Vec<(ClaimScope, Arc<[u8]>)>,
    /// What to add to the usage by model of all windows of the day.
    pub usage: BTreeMap<(ProjectId, Day, String), ModelUsage>,
}

/// The rows, and the decisions.
#[derive(Debug, Default)]
pub struct Books {
    /// The process whose operations these are.
    pub epoch: i64,
    /// The store's time.
    pub now: Moment,
    /// How many more projects use may make.
    pub creations_left: usize,
    accounts: BTreeMap<ProjectId, Account>,
    reservations: BTreeMap<EntryId, Reservation>,
    recovered: BTreeMap<EntryId, Entry>,
    gone: BTreeSet<EntryId>,
    claims: BTreeMap<ClaimScope, Option<Claimed>>,
    changes: Changes,
}

impl Books {
    /// Empty books of a process.
    pub fn new(epoch: i64, now: Moment, creations_left: usize) -> Self {
        Self { epoch, now, creations_left, ..Self::default() }
    }

    /// The account, for the store to load.
    pub fn account(&mut self, project: &ProjectId) -> &mut Account {
        if !self.accounts.contains_key(project) {
            self.accounts.insert(project.clone(), Account::default());
        }
        self.accounts.get_mut(project).expect("inserted above")
    }

    /// Whether the account was loaded.
    pub fn knows(&self, project: &ProjectId) -> bool {
        self.accounts.contains_key(project)
    }

    /// An open reservation, for the store to load, and to look for.
    pub fn open(&mut self, reservation: Reservation) {
        self.reservations.insert(reservation.id, reservation);
    }

    /// The open reservation of this id.
    pub fn reservation(&self, id: EntryId) -> Option<&Reservation> {
        self.reservations.get(&id)
    }

    /// Every open reservation that is loaded.
    pub fn reservations(&self) -> impl Iterator<Item = &Reservation> {
        self.reservations.values()
    }

    /// An entry that recovery made, for the store to load when an operation names it and no reservation has its id.
    pub fn load_recovered(&mut self, entry: Entry) {
        let corrected_already = self.changes.corrected.iter().any(|corrected| corrected.id == entry.id);
        if !corrected_already {
            self.recovered.insert(entry.id, entry);
        }
    }

    /// A hold that came about, as its operation is sent again, and was closed since, for the store to load.
    pub fn load_gone(&mut self, id: EntryId) {
        self.gone.insert(id);
    }

    /// Whether it was looked for what an idempotency key stands for.
    pub fn knows_claim(&self, scope: ClaimScope) -> bool {
        self.claims.contains_key(&scope)
    }

    /// What an idempotency key stands for, for the store to load before an operation that names it.
    pub fn load_claim(&mut self, scope: ClaimScope, claimed: Option<Claimed>) {
        self.claims.insert(scope, claimed);
    }

    /// What changed since the last time this was asked.
    pub fn take_changes(&mut self) -> Changes {
        self.recovered.clear();
        self.claims.clear();
        let mut changes = std::mem::take(&mut self.changes);
        for (project, account) in &mut self.accounts {
            let changed = account.take_changed();
            changes.counters.extend(changed.map(|(period, start, counter)| (project.clone(), period, start, counter)));
        }
        changes
    }

    /// How many accounts are loaded.
    pub fn accounts_loaded(&self) -> usize {
        self.accounts.len()
    }

    /// Holds the worst case of a call over all windows, or says why not.
    pub fn reserve(&mut self, reserve: &Reserve) -> Reserved {
        if let Some(open) = self.reservations.get(&reserve.id) {
            return Reserved::Granted(Self::granted_again(open, reserve));
        }
        if self.gone.contains(&reserve.id) {
            return Reserved::Gone;
        }
        if let Some(before) = &reserve.after {
            self.settle(before);
        }
        if let Some(answered) = reserve.claim.as_ref().and_then(|claim| self.claimed(claim)) {
            return answered;
        }
        if reserve.candidates.is_empty() {
            return Reserved::Wait;
        }
        let day = self.now.day();
        let limits = match (self.account(&reserve.project).limits.clone(), &reserve.creates) {
            (Some(limits), _) => limits,
            (None, None) => return Reserved::NoProject,
            (None, Some(_)) if self.creations_left == 0 => return Reserved::TooManyProjects,
            (None, Some(limits)) => limits.clone(),
        };
        if !reserve.is_bounded && (reserve.nanos_max.is_some() || limits.any()) {
            return Reserved::Unbounded;
        }
        let account = self.account(&reserve.project);
        let calls_max = limits.calls_max.filter(|_| !reserve.is_of_a_job);
        if let Some(most) = calls_max.filter(|most| account.calls >= i64::from(*most)) {
            return Reserved::CallsMax(most);
        }
        let room = Room { limits: &limits, counters: account.windows(day), nanos_max: reserve.nanos_max };
        if !reserve.candidates.iter().any(|candidate| room.is_open_to(candidate)) {
            return Reserved::Notional;
        }
        let admission = room.admit(&reserve.candidates);
        if !reserve.is_counted && !admission.is_the_best_in_full(&reserve.candidates) {
            return Reserved::Uncertain;
        }
        match admission {
            Admission::Held => Reserved::Wait,
            Admission::Exceeded(shortage) => Reserved::Exceeded(shortage, self.now),
            Admission::Fits(kept, held) => {
                self.create(&reserve.project, limits);
                let call = self.claim(reserve);
                let notional =
                    kept.iter().map(|kept| reserve.candidates[kept.index].notional(kept.output_tokens)).max();
                let notional = Nanos(notional.unwrap_or(0));
                let epoch = self.hold(reserve, call, day, &kept, (held, notional));
                Reserved::Granted(Grant { call, epoch, kept, held, notional, reserved_at: self.now })
            }
        }
    }

    /// The answer to a call whose idempotency key stands for another one already.
    fn claimed(&self, claim: &Claim) -> Option<Reserved> {
        let claimed = self.claims.get(&claim.scope).expect("loaded by the store").as_ref()?;
        if !claimed.stands(self.now) {
            return None;
        }
        if claimed.fingerprint != claim.fingerprint {
            return Some(Reserved::Conflict);
        }
        match claimed.state {
            ClaimState::Running => Some(Reserved::Running(claimed.call)),
            ClaimState::Done => Some(Reserved::Done(claimed.call)),
            ClaimState::Aborted => None,
        }
    }

    /// Takes the idempotency key for this attempt. Attempts under the same key are of the same call.
    fn claim(&mut self, reserve: &Reserve) -> CallId {
        let Some(Claim { scope, fingerprint, kept_for }) = reserve.claim.clone() else { return reserve.call };
        let before = self.claims.remove(&scope).flatten().filter(|before| before.stands(self.now));
        let call = before.map_or(reserve.call, |before| before.call);
        let (state, entry) = (ClaimState::Running, reserve.id);
        self.put_claim(Claimed { scope, fingerprint, state, call, entry, kept_for, expires_at: None });
        call
    }

    fn put_claim(&mut self, claimed: Claimed) {
        self.claims.insert(claimed.scope, Some(claimed.clone()));
        self.changes.claims.insert(claimed.scope, claimed);
    }

    /// The attempt under an idempotency key has ended; false when the key stands for another attempt by now.
    fn end_claim(
        &mut self,
        id: EntryId,
        scope: Option<ClaimScope>,
        spent: Option<&Spent>,
        answer: Option<Arc<[u8]>>,
    ) -> bool {
        let Some(scope) = scope else { return true };
        let claimed = self.claims.get(&scope).cloned().flatten();
        let Some(mut claimed) = claimed.filter(|claimed| claimed.entry == id) else { return false };
        let is_done = spent.is_some_and(|spent| spent.ended == Ended::Complete);
        claimed.end(if is_done { ClaimState::Done } else { ClaimState::Aborted }, self.now);
        self.put_claim(claimed);
        self.changes.answers.extend(answer.filter(|_| is_done).map(|answer| (scope, answer)));
        true
    }

    /// The same operation sent again, as its outcome was not known: the hold stands.
    fn granted_again(open: &Reservation, reserve: &Reserve) -> Grant {
        // What was held was the room that there was: the same candidates fit it.
        let held = Limit { tokens: Some(open.held.tokens), nanos: Some(open.held.nanos) };
        let limits = Limits { windows: [held; 3], clamp: Clamp::Always, ..Limits::default() };
        let room = Room { limits: &limits, counters: [Counter::default(); 3], nanos_max: reserve.nanos_max };
        let Admission::Fits(kept, _) = room.admit(&reserve.candidates) else {
            unreachable!("these candidates were held");
        };
        Grant {
            call: open.call,
            epoch: open.epoch,
            kept,
            held: open.held,
            notional: open.notional,
            reserved_at: open.reserved_at,
        }
    }

    fn create(&mut self, project: &ProjectId, limits: Limits) {
        let account = self.account(project);
        if account.limits.is_none() {
            account.limits = Some(limits.clone());
            self.creations_left -= 1;
            self.changes.created.push(Project { id: project.clone(), limits, created_by_use: true });
        }
    }

    /// Whose it is then.
    fn hold(
        &mut self,
        reserve: &Reserve,
        call: CallId,
        day: Day,
        kept: &[Kept],
        (held, notional): (Amount, Nanos),
    ) -> i64 {
        let epoch = if reserve.is_of_a_job { OF_A_JOB } else { self.epoch };
        let account = self.account(&reserve.project);
        account.calls += i64::from(epoch != OF_A_JOB);
        account.change(day, |counter| counter.held += held);
        let kept = kept.iter().map(|kept| &reserve.candidates[kept.index]);
        let dearest = kept.max_by_key(|candidate| candidate.output_price).expect("something fits");
        let reservation = Reservation {
            id: reserve.id,
            call,
            project: reserve.project.clone(),
            epoch,
            day,
            held,
            model: dearest.model.clone(),
            input_tokens: dearest.input_tokens.min(held.tokens),
            notional,
            reserved_at: self.now,
            claim: reserve.claim.as_ref().map(|claim| claim.scope),
            bounded: reserve.is_bounded,
        };
        self.changes.opened.push(reservation.clone());
        self.reservations.insert(reservation.id, reservation);
        epoch
    }

    /// Closes a reservation: what it came to is spent where it was held. By compare-and-set on its being open: a second time
    /// changes nothing, except that the truth corrects a charge of recovery, once.
    pub fn settle(&mut self, settle: &Settle) -> Settled {
        if let Some(reservation) = self.reservations.remove(&settle.id) {
            self.end_claim(settle.id, reservation.claim, settle.spent.as_ref(), settle.answer.clone());
            return Settled::Closed(self.close(reservation, settle.spent.clone(), SettledBy::Call));
        }
        match self.recovered.remove(&settle.id) {
            Some(entry) if entry.settled_by == SettledBy::Recovery => self.settle_late(entry, settle),
            _ => Settled::Already,
        }
    }

    /// A call that was taken for dead, and is not: the truth replaces the charge, and the call has its answer after all, unless it
    /// runs again by now.
    fn settle_late(&mut self, entry: Entry, settle: &Settle) -> Settled {
        let mut spent = settle.spent.clone();
        if self.end_claim(settle.id, settle.claim, spent.as_ref(), settle.answer.clone()) {
            self.correct(entry, spent);
            return Settled::Corrected;
        }
        // At most one attempt under a key is complete.
        if let Some(spent) = &mut spent {
            spent.ended = Ended::Aborted;
        }
        self.correct(entry, spent);
        Settled::Superseded
    }

    /// Charges every loaded reservation of a dead epoch at its worst case.
    pub fn recover(&mut self, is_dead: impl Fn(i64) -> bool) -> usize {
        let dead: Vec<EntryId> =
            (self.reservations.values().filter(|open| open.epoch != OF_A_JOB && is_dead(open.epoch)))
                .map(|open| open.id)
                .collect();
        for id in &dead {
            let reservation = self.reservations.remove(id).expect("collected above");
            let spent = worst_case(&reservation);
            self.end_claim(*id, reservation.claim, None, None);
            self.close(reservation, Some(spent), SettledBy::Recovery);
        }
        dead.len()
    }

    fn close(&mut self, reservation: Reservation, spent: Option<Spent>, settled_by: SettledBy) -> Amount {
        let amount = spent.as_ref().map_or(Amount::ZERO, Spent::amount);
        let overrun = if reservation.bounded { amount.above(reservation.held) } else { Amount::ZERO };
        let account = self.account(&reservation.project);
        account.calls -= i64::from(reservation.epoch != OF_A_JOB);
        account.change(reservation.day, |counter| {
            counter.held -= reservation.held;
            counter.spent += amount;
        });
        self.changes.closed.push(reservation.id);
        if let Some(spent) = spent {
            self.count(&reservation.project, reservation.day, &spent, 1);
            self.changes.entries.push(Entry {
                id: reservation.id,
                call: reservation.call,
                project: reservation.project,
                day: reservation.day,
                spent,
                overrun,
                reserved_at: reservation.reserved_at,
                settled_at: self.now,
                settled_by,
                bounded: reservation.bounded,
            });
        }
        overrun
    }

    /// Replaces an estimate by what an operator found out. It stays marked as one: no final usage was seen.
    pub fn resolve(&mut self, resolve: &Resolve, entry: Option<Entry>) -> Resolved {
        let Some(entry) = entry else { return Resolved::NoEntry };
        if entry.spent.exact {
            return Resolved::Exact;
        }
        let Resolve { input_tokens, output_tokens, cost, .. } = *resolve;
        let usage = Usage { input_tokens, output_tokens, ..Usage::default() };
        // What a subscription has paid for stays so; where it may have been either, money was charged.
        let is_notional = entry.spent.notional > Nanos::ZERO && entry.spent.cost == Nanos::ZERO;
        let (cost, notional) = if is_notional { (Nanos::ZERO, cost) } else { (cost, Nanos::ZERO) };
        let spent = Spent { usage, cost, notional, ..entry.spent.clone() };
        Resolved::Corrected(Box::new(self.correct(entry, Some(spent))))
    }

    /// Replaces what was charged by what it was.
    fn correct(&mut self, mut entry: Entry, spent: Option<Spent>) -> Entry {
        let spent = spent.unwrap_or_else(|| Spent {
            usage: Usage::default(),
            cost: Nanos::ZERO,
            notional: Nanos::ZERO,
            exact: true,
            ..entry.spent.clone()
        });
        let (charged, amount) = (entry.spent.amount(), spent.amount());
        self.account(&entry.project).change(entry.day, |counter| {
            counter.spent -= charged;
            counter.spent += amount;
        });
        self.count(&entry.project, entry.day, &entry.spent, -1);
        self.count(&entry.project, entry.day, &spent, 1);
        entry.overrun = if entry.bounded { amount.above(charged) } else { Amount::ZERO };
        entry.spent = spent;
        entry.settled_by = SettledBy::Correction;
        entry.settled_at = self.now;
        self.changes.corrected.push(entry.clone());
        entry
    }

    fn count(&mut self, project: &ProjectId, day: Day, spent: &Spent, sign: i64) {
        let key = (project.clone(), day, spent.model.clone());
        self.changes.usage.entry(key).or_default().add(ModelUsage::of(spent, sign));
    }
}

/// What is charged when nobody lives to tell: the whole hold.
fn worst_case(reservation: &Reservation) -> Spent {
    let count = |tokens: i64| u64::try_from(tokens).unwrap_or(0);
    Spent {
        model: reservation.model.clone(),
        model_id: String::new(),
        backend: String::new(),
        usage: Usage {
            input_tokens: count(reservation.input_tokens),
            output_tokens: count(reservation.held.tokens - reservation.input_tokens),
            ..Usage::default()
        },
        cost: Nanos(reservation.held.nanos),
        notional: reservation.notional,
        exact: false,
        unpriced: false,
        ended: Ended::Orphaned,
    }
}
