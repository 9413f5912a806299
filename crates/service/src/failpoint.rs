//! Failpoints: places in a call where a test lets the process die, or stand still for a moment. Builds for use have none.

/// A place in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failpoint {
    /// The worst case is held; nothing has left for a backend.
    Held,
    /// The next step sends the request.
    Sending,
    /// An attempt has failed and is charged, and another one is held for.
    Retrying,
    /// The backend has begun to answer.
    Answering,
    /// The next step writes the entry.
    Settling,
    /// What a group of operations changed is written; the next step commits it.
    Committing,
    /// The entry is written; its caller knows nothing of it.
    Settled,
    /// A slice of a batch is stored and held for; nothing of it was submitted.
    Intended,
    /// Upstream has taken a slice; which batch that is there is not stored.
    Submitted,
    /// The last bytes of the answer are the next to leave.
    Ending,
}

impl Failpoint {
    /// Those of a call, in its order.
    pub const OF_CALLS: [Self; 8] = [
        Self::Held,
        Self::Sending,
        Self::Retrying,
        Self::Answering,
        Self::Settling,
        Self::Committing,
        Self::Settled,
        Self::Ending,
    ];

    /// As it is named in the environment.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Sending => "sending",
            Self::Retrying => "retrying",
            Self::Answering => "answering",
            Self::Settling => "settling",
            Self::Committing => "committing",
            Self::Settled => "settled",
            Self::Intended => "intended",
            Self::Submitted => "submitted",
            Self::Ending => "ending",
        }
    }

    /// Does here what `CLAUDE_CODE_API_FAILPOINT` says of this place: `settled:3` ends the process at the third time, `committing~10`
    /// takes up to 10 ms at every time, `settling=10` takes 10 ms.
    #[cfg(debug_assertions)]
    pub(crate) fn reach(self) {
        if let Some(named) = armed::named(self) {
            named.act();
        }
    }

    #[cfg(not(debug_assertions))]
    pub(crate) fn reach(self) {}
}

#[cfg(debug_assertions)]
mod armed {
    use std::{
        sync::{
            OnceLock,
            atomic::{AtomicU32, Ordering},
        },
        time::Duration,
    };

    use super::Failpoint;

    pub(super) struct Named {
        place: String,
        /// The time at which the process ends.
        dies_at: Option<u32>,
        delay: Delay,
        times: AtomicU32,
    }

    /// How long standing still takes, in milliseconds.
    enum Delay {
        UpTo(u32),
        Exactly(u32),
    }

    pub(super) fn named(place: Failpoint) -> Option<&'static Named> {
        static NAMED: OnceLock<Option<Named>> = OnceLock::new();
        let named = NAMED.get_or_init(|| {
            #[expect(clippy::disallowed_methods, reason = "no setting of the product")]
            let value = std::env::var("CLAUDE_CODE_API_FAILPOINT").ok()?;
            let at = value.find([':', '~', '='])?;
            let (place, figure) = (value[..at].to_owned(), value[at + 1..].parse().ok()?);
            let (dies_at, delay) = match &value[at..=at] {
                ":" => (Some(figure), Delay::UpTo(0)),
                "~" => (None, Delay::UpTo(figure)),
                _ => (None, Delay::Exactly(figure)),
            };
            Some(Named { place, dies_at, delay, times: AtomicU32::new(0) })
        });
        named.as_ref().filter(|named| named.place == place.as_str())
    }

    impl Named {
        pub(super) fn act(&self) {
            let time = self.times.fetch_add(1, Ordering::SeqCst) + 1;
            if self.dies_at == Some(time) {
                std::process::abort();
            }
            let delay_us = match self.delay {
                // Spread over the range, by the bits of the golden ratio.
                Delay::UpTo(ms) => (time.wrapping_mul(2_654_435_769) >> 12) % (ms * 1_000 + 1),
                Delay::Exactly(ms) => ms * 1_000,
            };
            #[expect(clippy::disallowed_methods, reason = "standing still is what a test asked for")]
            std::thread::sleep(Duration::from_micros(delay_us.into()));
        }
    }
}
