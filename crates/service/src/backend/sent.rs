//! Sent: what a backend and a call know of a prompt on both sides of what may be cut off between them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Hides, Said};

/// Whether a prompt has left for where it may cost something, and what was heard of its answer there.
#[derive(Clone, Debug, Default)]
pub struct Sent(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    whereabouts: Whereabouts,
    heard: Option<Generated>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Whereabouts {
    #[default]
    Here,
    Gone,
    Withdrawn,
}

/// What an answer has come to so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Generated {
    /// Bytes of it.
    pub bytes: usize,
    /// Whether more may have been generated than was shown.
    pub hides: Hides,
}

impl Sent {
    /// Said by a backend before it sends what may cost something; `false`: it must not.
    #[must_use]
    pub fn mark(&self) -> bool {
        self.goes(Whereabouts::Gone)
    }

    /// Who gives up before it was sent pays nothing: then it never will be. `false`: it has left.
    #[must_use]
    pub fn withdraw(&self) -> bool {
        self.goes(Whereabouts::Withdrawn)
    }

    /// Whether it is there from now on: what comes first holds.
    fn goes(&self, to: Whereabouts) -> bool {
        let mut state = self.locked();
        if state.whereabouts == Whereabouts::Here {
            state.whereabouts = to;
        }
        state.whereabouts == to
    }

    /// Said by a backend that hears of the answer before the call does.
    pub(super) fn hear(&self, said: &Said) {
        self.locked().heard.get_or_insert_default().hear(said);
    }

    /// What the backend has heard of the answer, where it is ahead of the call.
    pub fn heard(&self) -> Option<Generated> {
        self.locked().heard
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generated {
    /// Takes in what was said.
    pub fn hear(&mut self, said: &Said) {
        match said {
            Said::Text(text) => {
                self.bytes += text.len();
                self.hides = self.hides.then(Hides::Nothing);
            }
            Said::Content { bytes, hides } => {
                self.bytes += bytes;
                self.hides = self.hides.then(*hides);
            }
            Said::Start { .. } | Said::Stop { .. } | Said::Aside | Said::End => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_withdrawn_is_not_sent_and_what_was_sent_is_not_withdrawn() {
        let sent = Sent::default();
        assert!(sent.clone().mark() && !sent.withdraw() && sent.mark());
        let withdrawn = Sent::default();
        assert!(withdrawn.clone().withdraw() && !withdrawn.mark() && withdrawn.withdraw());
    }
}
