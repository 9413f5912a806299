//! What Anthropic would charge, entered at the moment at which tokens are generated; and whatever else is written down for
//! tests to read.
//!
//! A line of the bill is never below what its answer has sent so far.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use claude_code_api_service::{
    price::{PriceTable, Terms},
    usage::Usage,
    window::Moment,
};
use serde_json::Value;

use super::{Script, batches::Batches, written::written};

/// What one answer cost at the servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Billed {
    /// The model that ran.
    pub model: String,
    /// Tokens in: all of them, those of the cache among them.
    pub input_tokens: u64,
    /// Tokens out, thinking among them.
    pub output_tokens: u64,
    /// Of the input, what was written to the cache for five minutes.
    pub cache_write_5m_tokens: u64,
    /// Of the input, what was written to the cache for an hour.
    pub cache_write_1h_tokens: u64,
    /// Of the input, what was read from the cache.
    pub cache_read_tokens: u64,
    /// Whether it was an item of a batch, at half the price.
    pub batch: bool,
}

impl Billed {
    /// The tokens, as the ledger counts them.
    pub fn usage(&self) -> Usage {
        Usage {
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            cache_write_5m_tokens: self.cache_write_5m_tokens,
            cache_write_1h_tokens: self.cache_write_1h_tokens,
            cache_read_tokens: self.cache_read_tokens,
        }
    }

    /// The price of it, in nano-dollars; of a model without one, the dearest that there is.
    pub fn nanos(&self) -> i64 {
        let (table, now, usage) = (PriceTable::default(), Moment::of_system(), self.usage());
        let halved = table.rate(&self.model, now, usage.input_tokens).filter(|_| self.batch).map(|rate| rate.halved());
        let cost = halved.map(|rate| rate.cost(&usage, Terms::default()));
        cost.unwrap_or_else(|| table.cost(&self.model, now, &usage, Terms::default()).cost).0
    }
}

/// Everything that the simulator remembers.
#[derive(Default)]
pub(super) struct Books {
    pub(super) bill: Mutex<Vec<Billed>>,
    pub(super) requests: Mutex<Vec<Value>>,
    pub(super) headers: Mutex<Vec<BTreeMap<String, String>>>,
    pub(super) counted: Mutex<Vec<Value>>,
    pub(super) batches: Mutex<Batches>,
    /// What requests without a script are answered, in turn.
    pub(super) steps: Mutex<VecDeque<Script>>,
    pub(super) connections: AtomicU64,
    pub(super) open_streams: AtomicU64,
    /// How often something went wrong with requests of each script.
    faults: Mutex<BTreeMap<String, u32>>,
    ids: AtomicU64,
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Books {
    /// An id that nothing else has.
    pub(super) fn id(&self, prefix: &str) -> String {
        format!("{prefix}_simulated{:08}", self.ids.fetch_add(1, Ordering::Relaxed))
    }

    /// The script of a request: its own, or the next step, or one that behaves.
    pub(super) fn script(&self, body: &Value) -> Script {
        match written(body) {
            Some(text) => Script::read(text).for_once_more(|| self.once_more(text)),
            None => locked(&self.steps).pop_front().unwrap_or_default(),
        }
    }

    /// How often this script was carried out before.
    fn once_more(&self, script: &str) -> u32 {
        let mut faults = locked(&self.faults);
        let times = faults.entry(script.to_owned()).or_default();
        *times += 1;
        *times - 1
    }
}

/// One answer that is being generated: its line of the bill grows with it.
pub(super) struct Meter {
    books: Arc<Books>,
    line: usize,
    generated: u64,
    output: u64,
}

impl Meter {
    /// Enters the input; the output follows as it is generated, up to that of `total`.
    pub(super) fn open(books: &Arc<Books>, total: &Billed) -> Self {
        let mut bill = locked(&books.bill);
        bill.push(Billed { output_tokens: 0, ..total.clone() });
        Self { books: Arc::clone(books), line: bill.len() - 1, generated: 0, output: total.output_tokens }
    }

    /// The first token, which a message's start reports before any of its content.
    pub(super) fn begin(&self) {
        self.enter(self.output.min(1));
    }

    /// So many tokens more.
    pub(super) fn generate(&mut self, tokens: u64) {
        self.generated = self.generated.saturating_add(tokens).min(self.output);
        self.enter(self.generated);
    }

    /// All that is left.
    pub(super) fn finish(&mut self) {
        self.generate(u64::MAX);
    }

    fn enter(&self, tokens: u64) {
        let entered = &mut locked(&self.books.bill)[self.line].output_tokens;
        *entered = tokens.max(*entered);
    }
}

/// One stream that is being written, counted for as long as this lives.
pub(super) struct OpenStream(Arc<Books>);

impl OpenStream {
    pub(super) fn of(books: &Arc<Books>) -> Self {
        books.open_streams.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(books))
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.open_streams.fetch_sub(1, Ordering::Relaxed);
    }
}
