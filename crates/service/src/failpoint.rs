//! Failpoints: places in a call where a test lets the process die. Builds for use have none.

/// A place in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failpoint {
    /// The worst case is held; nothing has left for a backend.
    Held,
    /// The next step sends the request.
    Sending,
    /// The backend has begun to answer.
    Answering,
    /// The next step writes the entry.
    Settling,
    /// The entry is written; its caller knows nothing of it.
    Settled,
}

impl Failpoint {
    /// Every one, in the order of a call.
    pub const ALL: [Self; 5] = [Self::Held, Self::Sending, Self::Answering, Self::Settling, Self::Settled];

    /// As it is named in the environment.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Sending => "sending",
            Self::Answering => "answering",
            Self::Settling => "settling",
            Self::Settled => "settled",
        }
    }

    /// Ends the process here when `CLAUDE_CODE_API_FAILPOINT` names this place, at the time that it names: `settled:3`.
    #[cfg(debug_assertions)]
    pub(crate) fn reach(self) {
        use std::sync::{
            OnceLock,
            atomic::{AtomicU32, Ordering},
        };
        static NAMED: OnceLock<Option<(String, u32)>> = OnceLock::new();
        static TIMES: AtomicU32 = AtomicU32::new(0);
        let named = NAMED.get_or_init(|| {
            #[expect(clippy::disallowed_methods, reason = "no setting of the product")]
            let value = std::env::var("CLAUDE_CODE_API_FAILPOINT").ok()?;
            let (name, time) = value.split_once(':')?;
            Some((name.to_owned(), time.parse().ok()?))
        });
        if let Some((name, time)) = named
            && name == self.as_str()
            && TIMES.fetch_add(1, Ordering::SeqCst) + 1 == *time
        {
            std::process::abort();
        }
    }

    #[cfg(not(debug_assertions))]
    pub(crate) fn reach(self) {}
}
