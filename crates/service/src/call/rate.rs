//! Requests per minute: how many calls of a project may begin. After a pause as many as a minute allows may come at once; then one
//! as often as the minute divides.

use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter, clock::Clock};

use super::CallFailure;
use crate::{app::App, project::ProjectId};

/// The paces of all projects that have a limit.
#[derive(Debug, Default)]
pub struct Rates(Mutex<BTreeMap<ProjectId, (NonZeroU32, DefaultDirectRateLimiter)>>);

impl Rates {
    /// Counts a call, or says how long it has to wait.
    fn admit(&self, project: &ProjectId, per_minute: NonZeroU32) -> Result<(), Duration> {
        let mut rates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let limiter = || (per_minute, RateLimiter::direct(Quota::per_minute(per_minute)));
        let rate = rates.entry(project.clone()).or_insert_with(limiter);
        if rate.0 != per_minute {
            *rate = limiter();
        }
        let clock = governor::clock::DefaultClock::default();
        rate.1.check().map_err(|not_until| not_until.wait_time_from(clock.now()))
    }
}

/// Lets a call of this project begin, unless too many have.
pub(super) fn admit(app: &App, project: &ProjectId) -> Result<(), CallFailure> {
    let directory = app.directory();
    let limit = directory.project(project).and_then(|project| project.limits.requests_per_minute);
    let Some(per_minute) = limit.and_then(NonZeroU32::new) else { return Ok(()) };
    // Each replica lets its share through.
    let share = NonZeroU32::new(per_minute.get() / directory.replicas.max(1)).unwrap_or(NonZeroU32::MIN);
    app.rates().admit(project, share).map_err(|retry_after| CallFailure::RateLimited {
        project: project.clone(),
        per_minute: per_minute.get(),
        retry_after,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_s_calls_may_come_at_once_and_then_each_in_its_turn() {
        let (rates, project) = (Rates::default(), ProjectId::default_project());
        let sixty = NonZeroU32::new(60).expect("not zero");
        for _ in 0..60 {
            assert_eq!(rates.admit(&project, sixty), Ok(()));
        }
        let wait = rates.admit(&project, sixty).expect_err("one too many");
        assert!(wait > Duration::from_millis(500) && wait <= Duration::from_secs(1), "{wait:?}");
        let other = ProjectId::parse("other").expect("a name");
        assert_eq!(rates.admit(&other, sixty), Ok(()), "a pace is of its project");
        let raised = NonZeroU32::new(61).expect("not zero");
        assert_eq!(rates.admit(&project, raised), Ok(()), "a limit that was changed begins anew");
    }
}
