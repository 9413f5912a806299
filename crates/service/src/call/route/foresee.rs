//! Foresee: where a call would go that is not made.

use claude_code_api_wire::Route;

use super::{Pace, Pressure, Routed, among};
use crate::{
    app::App,
    backend::Offer,
    call::{CallFailure, Caller, Request, bound, reserve},
    ledger::{Admission, Candidate, Counter, Room},
    window::{Moment, PERIODS},
};

/// What would be asked first, and why.
pub(crate) struct Foresight {
    pub(crate) backend: &'static str,
    pub(crate) offer: Offer,
    pub(crate) route: Route,
}

/// Where a call whose model the service chooses would go, by what is spent and held now.
pub(crate) async fn foresee(app: &App, caller: &Caller, request: &Request) -> Result<Foresight, CallFailure> {
    let pressure = Pressure::of(app, &caller.project).await;
    let mut routed = among(app, &caller.project, request, Pace::Now, &pressure)?;
    loop {
        let candidates = reserve::candidates(request, &routed);
        let admission = admission(app, caller, request, &candidates).await?;
        if !routed.is_counted && !admission.is_the_best_in_full(&candidates) {
            bound::count(app, request, &mut routed).await;
            continue;
        }
        return match admission {
            Admission::Fits(kept, _) => Ok(foresight(&routed, kept[0].index)),
            Admission::Held => Err(CallFailure::BudgetHeld { retry_after: reserve::LINE_RETRY_AFTER }),
            Admission::Exceeded(shortage) => {
                let (project, now) = (caller.project.clone(), Moment::of_system());
                Err(CallFailure::BudgetExceeded { project, shortage: Box::new(shortage), now })
            }
        };
    }
}

/// As the ledger would decide, if it were asked.
async fn admission(
    app: &App,
    caller: &Caller,
    request: &Request,
    candidates: &[Candidate],
) -> Result<Admission, CallFailure> {
    let (mut counters, mut limits) = ([Counter::default(); 3], None);
    for period in PERIODS {
        let used = app.store().usage(caller.project.clone(), period).await;
        let used = used.map_err(|_| CallFailure::LedgerDown)?;
        counters[period as usize] = Counter { spent: used.spent, held: used.held };
        limits = used.limits;
    }
    let limits = match limits {
        Some(limits) => limits,
        None if caller.makes_project => app.limits_of_new_projects(),
        None => return Err(CallFailure::NoProject { project: caller.project.clone() }),
    };
    let room = Room { limits: &limits, counters, nanos_max: request.nanos_max };
    if candidates.iter().any(|candidate| room.is_open_to(candidate)) {
        Ok(room.admit(candidates))
    } else {
        Err(CallFailure::Notional { project: caller.project.clone() })
    }
}

fn foresight(routed: &Routed, index: usize) -> Foresight {
    let target = &routed.targets[index];
    let route = routed.explained(index, index).expect("the model is chosen here");
    Foresight { backend: target.backend.name(), offer: target.offer.clone(), route }
}
