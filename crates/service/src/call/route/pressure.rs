//! Pressure: how fast a project spends its budget. One that is spent faster than its time passes makes money dearer.

use claude_code_api_router::decide::pressed;

use crate::{
    app::App,
    project::ProjectId,
    window::{Moment, PERIODS},
};

/// Of a budget's window, what is spent of the money and what has passed of the time; each from 0 to 1, or a little more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    spent: f64,
    elapsed: f64,
}

/// Of each window in which the project's money is limited. What cannot be read presses nothing: the ledger will say that it cannot.
pub(super) async fn of(app: &App, project: &ProjectId) -> Vec<Share> {
    let directory = app.directory();
    let Some(limits) = directory.project(project).map(|known| &known.limits) else { return Vec::new() };
    let mut shares = Vec::new();
    for period in PERIODS {
        let Some(most) = limits.of(period).nanos else { continue };
        if let Ok(used) = app.store().usage(project.clone(), period).await {
            let (begins, ends) = (used.start.begins_at().0, used.end.begins_at().0);
            shares.push(Share {
                spent: if most > 0 { ratio(used.spent.nanos, most) } else { 1.0 },
                elapsed: ratio(Moment::of_system().0 - begins, ends - begins),
            });
        }
    }
    shares
}

#[expect(clippy::cast_precision_loss, reason = "a share")]
fn ratio(part: i64, whole: i64) -> f64 {
    part as f64 / whole as f64
}

/// λ under the hardest of these.
pub(super) fn press(lambda: f64, shares: &[Share]) -> f64 {
    shares.iter().map(|share| pressed(lambda, share.spent, share.elapsed)).fold(lambda, f64::max)
}
