//! Pressure: how fast a project spends its budget. One that is spent faster than its time passes makes money dearer.

use claude_code_api_router::decide::pressed;

use crate::{
    app::App,
    project::ProjectId,
    window::{Moment, PERIODS},
};

/// How fast the budget of a project is spent: each window in which its money is limited.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pressure(Vec<Share>);

/// Of a window, what is spent of the money and what has passed of the time; each from 0 to 1, or a little more.
#[derive(Clone, Copy, Debug)]
struct Share {
    spent: f64,
    elapsed: f64,
}

impl Pressure {
    /// What cannot be read presses nothing: the ledger will say that it cannot.
    pub(crate) async fn of(app: &App, project: &ProjectId) -> Self {
        let directory = app.directory();
        let Some(limits) = directory.project(project).map(|known| &known.limits) else { return Self::default() };
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
        Self(shares)
    }

    /// λ under the hardest of them.
    pub(super) fn on(&self, lambda: f64) -> f64 {
        self.0.iter().map(|share| pressed(lambda, share.spent, share.elapsed)).fold(lambda, f64::max)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share")]
fn ratio(part: i64, whole: i64) -> f64 {
    part as f64 / whole as f64
}
