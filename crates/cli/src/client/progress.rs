//! How far a batch is: a bar on standard error where that is a terminal, and a line at the end.

use std::{
    fmt::Write,
    io::{self, IsTerminal},
    time::Duration,
};

use claude_code_api_client::BatchTotals;
use indicatif::{HumanDuration, ProgressBar, ProgressState, ProgressStyle};

/// How often the bar moves when no result comes: its clock goes on.
const TICK: Duration = Duration::from_millis(200);

const TEMPLATE: &str = "{wide_bar} {pos}/{len}{msg}, {elapsed}{left}";

/// Says how long it will still take.
pub(super) type Left = fn(&ProgressState, &mut dyn Write);

pub(super) struct Progress {
    bar: ProgressBar,
    /// Results are written over the bar.
    is_crossed: bool,
}

impl Progress {
    /// Begins to show it. `is_crossed`: standard output is written to meanwhile.
    pub(super) fn of(total: usize, left: Left, is_crossed: bool) -> Self {
        // It draws nothing where standard error is no terminal.
        let style = ProgressStyle::with_template(TEMPLATE).expect("a template").progress_chars("=> ");
        let bar = ProgressBar::new(total as u64).with_style(style.with_key("left", left));
        if !bar.is_hidden() {
            bar.enable_steady_tick(TICK);
        }
        Self { bar, is_crossed: is_crossed && io::stdout().is_terminal() }
    }

    pub(super) fn show(&self, totals: BatchTotals) {
        self.bar.set_message(format!(", {} failed, ${:.6}", totals.failed, totals.total_cost));
        self.bar.set_position((totals.completed + totals.failed) as u64);
    }

    /// Writes a result, which the bar makes room for.
    pub(super) fn beside<T>(&self, write: impl FnOnce() -> T) -> T {
        if self.is_crossed { self.bar.suspend(write) } else { write() }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// As long as what has come makes one expect, once there is any.
pub(super) fn at_this_pace(state: &ProgressState, out: &mut dyn Write) {
    if state.pos() > 0 {
        // A line of text takes everything.
        let _ = write!(out, ", {:#} to go", HumanDuration(state.eta()));
    }
}

/// Results of an economy batch come in bursts, which say nothing of the next.
pub(super) fn within_a_day(_: &ProgressState, out: &mut dyn Write) {
    let _ = out.write_str(", within 24 hours");
}

/// What a batch came to, in a line.
pub(super) fn line(totals: BatchTotals) -> String {
    let BatchTotals { total, completed, failed, total_tokens, total_cost, .. } = totals;
    format!("[{}/{total}, {failed} failed: {total_tokens} tokens, ${total_cost:.6}]", completed + failed)
}
