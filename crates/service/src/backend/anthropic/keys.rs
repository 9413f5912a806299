//! The keys of the upstream. One is used until it must rest: then the next one takes over. A key whose calls fail one after the
//! other is not asked for a while, and then by one call alone.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use reqwest::RequestBuilder;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

/// After so many failures in a row a key rests.
const FAILURES_MAX: u32 = 5;
const REST: Duration = Duration::from_secs(1);
const REST_MAX: Duration = Duration::from_secs(30);
/// How long a key rests that the upstream does not take: an operator has to see to it.
const DENIED_REST: Duration = Duration::from_mins(1);
/// The longest rest that the upstream's word is taken for.
const LIMITED_REST_MAX: Duration = Duration::from_mins(5);

/// The keys, never none.
pub(super) struct Keys(Vec<Key>);

#[derive(Debug)]
pub(super) struct Key {
    /// `None`: what it is used for brings its own.
    secret: Option<SecretString>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    rests: Option<Rest>,
    /// Models for which it rests: the upstream limits each by itself.
    models: BTreeMap<String, Rest>,
    /// In a row.
    failures: u32,
}

#[derive(Clone, Copy, Debug)]
struct Rest {
    until: Instant,
    why: Why,
}

/// Why a key rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// The upstream said that it is used too much.
    Limited,
    /// The upstream said that it has no room.
    Overloaded,
    /// Its calls failed.
    Failing,
    /// The upstream does not take it.
    Denied,
}

/// No key may be used now.
#[derive(Clone, Copy, Debug)]
pub(super) struct NoneReady {
    pub(super) wait: Duration,
    pub(super) why: Why,
}

/// What came of a call, as far as the key is concerned.
pub(super) enum Outcome {
    Good,
    Limited(Duration),
    Overloaded(Duration),
    Failed,
    Denied,
}

impl Keys {
    pub(super) fn new(secrets: Vec<SecretString>) -> Self {
        Self(secrets.into_iter().map(|secret| Key { secret: Some(secret), state: Mutex::default() }).collect())
    }

    /// One, of which nothing is known here but whether it must rest.
    pub(super) fn of_a_login() -> Self {
        Self(vec![Key { secret: None, state: Mutex::default() }])
    }

    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Every one, whether or not it may be used now.
    pub(super) fn all(&self) -> impl Iterator<Item = &Key> {
        self.0.iter()
    }

    /// How many rest now, for any model.
    pub(super) fn resting(&self, now: Instant) -> usize {
        self.0.iter().filter(|key| key.locked(|state| state.rests_at_all(now))).count()
    }

    /// How long until one may be used for this model.
    pub(super) fn ready_in(&self, model: Option<&str>, now: Instant) -> Duration {
        let rests = self.0.iter().map(|key| key.locked(|state| state.rest(model, now)).map_or(now, |rest| rest.until));
        rests.min().map_or(Duration::ZERO, |until| until - now)
    }

    /// The first key that does not rest for this model, of those with the fewest failures. `None`: for what is of no model, or has limits
    /// of its own.
    pub(super) fn pick(&self, model: Option<&str>, now: Instant) -> Result<&Key, NoneReady> {
        let mut ready: Vec<(u32, &Key)> = self.0.iter().filter_map(|key| Some((key.ready(model, now)?, key))).collect();
        ready.sort_by_key(|(failures, _)| *failures);
        if let Some((_, key)) = ready.into_iter().find(|(_, key)| key.locked(|state| state.take(model, now))) {
            return Ok(key);
        }
        let rests = self.0.iter().filter_map(|key| key.locked(|state| state.rest(model, now)));
        let soonest = rests.min_by_key(|rest| rest.until);
        let soonest = soonest.unwrap_or(Rest { until: now, why: Why::Overloaded });
        Err(NoneReady { wait: soonest.until - now, why: soonest.why })
    }
}

impl Key {
    /// The request, with the key shown.
    pub(super) fn shown(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.secret {
            Some(secret) => request.header("x-api-key", secret.expose_secret()),
            None => request,
        }
    }

    /// What came of a call of this model.
    pub(super) fn report(&self, model: &str, outcome: &Outcome, now: Instant) {
        self.locked(|state| state.report(model, outcome, now));
    }

    /// The upstream does not take it, whatever for.
    pub(super) fn denied(&self, now: Instant) {
        self.locked(|state| state.leave_alone(DENIED_REST, Why::Denied, now));
    }

    /// Its failures, where it does not rest.
    fn ready(&self, model: Option<&str>, now: Instant) -> Option<u32> {
        self.locked(|state| state.rest(model, now).is_none().then_some(state.failures))
    }

    fn locked<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl State {
    /// The longer one, of all models or of this one.
    fn rest(&self, model: Option<&str>, now: Instant) -> Option<Rest> {
        let of_model = model.and_then(|model| self.models.get(model)).copied();
        let rests = self.rests.into_iter().chain(of_model).filter(|rest| rest.until > now);
        rests.max_by_key(|rest| rest.until)
    }

    fn rests_at_all(&self, now: Instant) -> bool {
        self.rests.iter().chain(self.models.values()).any(|rest| rest.until > now)
    }

    /// Whether the key may be used now.
    fn take(&mut self, model: Option<&str>, now: Instant) -> bool {
        if self.rest(model, now).is_some() {
            return false;
        }
        if self.failures >= FAILURES_MAX {
            // One call finds out; the others wait for what comes of it.
            self.rests = Some(Rest { until: now + self.failing_rest(), why: Why::Failing });
        }
        true
    }

    fn failing_rest(&self) -> Duration {
        let doublings = self.failures.saturating_sub(FAILURES_MAX).min(8);
        (REST * 2_u32.pow(doublings)).min(REST_MAX)
    }

    fn report(&mut self, model: &str, outcome: &Outcome, now: Instant) {
        match *outcome {
            Outcome::Good => {
                self.failures = 0;
                self.rests = self.rests.filter(|rest| rest.why != Why::Failing);
            }
            Outcome::Limited(wait) => self.leave_alone_for(model, wait, Why::Limited, now),
            Outcome::Overloaded(wait) => self.leave_alone_for(model, wait, Why::Overloaded, now),
            Outcome::Denied => self.leave_alone(DENIED_REST, Why::Denied, now),
            Outcome::Failed => {
                self.failures = self.failures.saturating_add(1);
                if self.failures >= FAILURES_MAX {
                    self.leave_alone(self.failing_rest(), Why::Failing, now);
                }
            }
        }
    }

    /// What is heard of calls that were under way already makes no rest shorter.
    fn leave_alone(&mut self, wait: Duration, why: Why, now: Instant) {
        let until = now + wait;
        if self.rest(None, now).is_none_or(|rest| rest.until < until) {
            self.rests = Some(Rest { until, why });
        }
    }

    /// The same for one model.
    fn leave_alone_for(&mut self, model: &str, wait: Duration, why: Why, now: Instant) {
        let until = now + wait.min(LIMITED_REST_MAX);
        self.models.retain(|_, rest| rest.until > now);
        let rest = self.models.entry(model.to_owned()).or_insert(Rest { until, why });
        if rest.until < until {
            *rest = Rest { until, why };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: &str = "claude-opus-5-5";

    fn keys(count: usize) -> Keys {
        Keys::new((0..count).map(|number| number.to_string().into()).collect())
    }

    fn is(keys: &Keys, place: usize, now: Instant) -> bool {
        keys.pick(Some(MODEL), now).is_ok_and(|key| std::ptr::eq(key, &raw const keys.0[place]))
    }

    fn rests(keys: &Keys, now: Instant) -> NoneReady {
        keys.pick(Some(MODEL), now).expect_err("every key rests")
    }

    #[test]
    fn a_key_that_is_limited_rests_for_as_long_as_it_was_told_and_the_next_takes_over() {
        let (keys, now) = (keys(2), Instant::now());
        let later = |seconds| now + Duration::from_secs(seconds);
        assert!(is(&keys, 0, now) && is(&keys, 0, now), "one key is used for as long as it works");
        keys.0[0].report(MODEL, &Outcome::Limited(Duration::from_secs(7)), now);
        assert!(is(&keys, 1, now));
        keys.0[1].report(MODEL, &Outcome::Overloaded(Duration::from_secs(3)), now);
        let none = rests(&keys, now);
        assert_eq!((none.wait, none.why, keys.resting(now)), (Duration::from_secs(3), Why::Overloaded, 2));
        assert!(is(&keys, 1, later(3)) && is(&keys, 0, later(7)));
    }

    #[test]
    fn a_limit_of_one_model_is_none_of_another_and_a_refusal_is_one_of_all() {
        let (keys, now) = (keys(1), Instant::now());
        keys.0[0].report(MODEL, &Outcome::Limited(Duration::from_secs(7)), now);
        let other = Some("claude-haiku-5-5");
        assert_eq!([Some(MODEL), other, None].map(|model| keys.pick(model, now).is_ok()), [false, true, true]);
        assert_eq!([Some(MODEL), other].map(|model| keys.ready_in(model, now).as_secs()), [7, 0]);
        assert_eq!(keys.resting(now), 1);
        keys.0[0].denied(now);
        assert_eq!([Some(MODEL), other, None].map(|model| keys.pick(model, now).is_ok()), [false; 3]);
    }

    #[test]
    fn a_rest_is_not_made_shorter_by_calls_that_were_under_way() {
        let (keys, now) = (keys(1), Instant::now());
        keys.0[0].report(MODEL, &Outcome::Limited(Duration::from_secs(7)), now);
        let late = [Outcome::Good, Outcome::Limited(Duration::from_secs(1)), Outcome::Overloaded(Duration::ZERO)];
        let failures: Vec<Outcome> = (0..FAILURES_MAX).map(|_| Outcome::Failed).collect();
        for outcome in late.iter().chain(&failures) {
            keys.0[0].report(MODEL, outcome, now);
            let none = rests(&keys, now);
            assert_eq!((none.wait, none.why), (Duration::from_secs(7), Why::Limited));
        }
    }

    #[test]
    fn a_key_that_has_failed_is_not_asked_where_another_has_failed_less() {
        let (keys, now) = (keys(2), Instant::now());
        keys.0[0].report(MODEL, &Outcome::Failed, now);
        assert!(is(&keys, 1, now) && is(&keys, 1, now));
        keys.0[1].report(MODEL, &Outcome::Failed, now);
        assert!(is(&keys, 0, now));
        keys.0[0].report(MODEL, &Outcome::Failed, now);
        assert!(is(&keys, 1, now));
    }

    #[test]
    fn a_key_that_fails_again_and_again_is_asked_by_one_call_alone_after_a_while() {
        let (keys, now) = (keys(1), Instant::now());
        for _ in 0..FAILURES_MAX {
            keys.pick(Some(MODEL), now).expect("not yet").report(MODEL, &Outcome::Failed, now);
        }
        assert_eq!(rests(&keys, now).why, Why::Failing);
        let now = now + REST;
        let probe = keys.pick(Some(MODEL), now).expect("one may");
        rests(&keys, now);
        probe.report(MODEL, &Outcome::Failed, now);
        rests(&keys, now + REST);
        let now = now + 2 * REST;
        keys.pick(Some(MODEL), now).expect("one may").report(MODEL, &Outcome::Good, now);
        assert!(is(&keys, 0, now) && is(&keys, 0, now));
    }
}
