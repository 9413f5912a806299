//! A stand-in for Anthropic's servers, on loopback: the Messages API, whole and as a stream, counting, models and batches. It
//! misbehaves on request, and keeps a bill of its own, so that a test can hold the ledger against it.
//!
//! A request is steered by what the user's last message says after `sim:`, as JSON: see [`Script`]. A request that says
//! nothing of the kind takes the next of [`Simulator::answer_next`], or is answered.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
};

use serde_json::Value;
use tokio::net::TcpListener;

mod answer;
mod batches;
mod bill;
mod event;
mod fault;
mod http;
mod limits;
mod message;
mod refuse;
mod route;
mod script;
mod stream;
mod written;

pub use batches::{Batch, BatchFault, BatchItem};
pub use bill::Billed;
use bill::{Books, locked};
pub use fault::{ErrorBody, ErrorEvent, Fault, Item};
pub use script::{Display, Script, Thinking, Tool};

/// The key that it takes. It takes every longer one too that goes on with `-`; those that end there with `-401`, `-429`,
/// `-500` and `-529` are always refused with that status.
pub const KEY: &str = "sk-ant-simulated";

/// A running simulator. It ends with the process, or when dropped.
pub struct Simulator {
    address: SocketAddr,
    books: Arc<Books>,
    _runtime: tokio::sync::oneshot::Sender<()>,
}

impl Simulator {
    /// Starts one on a free port, on a thread of its own.
    pub fn start() -> Self {
        let books = Arc::new(Books::default());
        let (ready, started) = std::sync::mpsc::channel();
        let (alive, dropped) = tokio::sync::oneshot::channel::<()>();
        let shared = Arc::clone(&books);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
                ready.send(listener.local_addr().expect("bound")).expect("it is waited for");
                tokio::select! {
                    () = route::accept(listener, shared) => {}
                    _ = dropped => {}
                }
            });
        });
        Self { address: started.recv().expect("it starts"), books, _runtime: alive }
    }

    /// Where it is.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it is, for who has no HTTP client.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The scripts of the next requests that have none in them, in this order, after those that are still waiting. Each is for
    /// one request, whatever `faults` says.
    pub fn answer_next(&self, scripts: Vec<Script>) {
        locked(&self.books.steps).extend(scripts);
    }

    /// How long the items of a batch that is made from now on wait for their turn, in milliseconds; at first 50. A cancel ends
    /// the wait. Then each takes its script's `delay_ms`, one after the other.
    pub fn delay_batches(&self, delay_ms: u64) {
        locked(&self.books.batches).delay_ms = delay_ms;
    }

    /// How long making a batch takes from now on, in milliseconds; it is there after the half of it, and not if its client has
    /// gone by then.
    pub fn delay_making_batches(&self, delay_ms: u64) {
        locked(&self.books.batches).making_ms = delay_ms;
    }

    /// After how many milliseconds a batch that is made from now on is in the list.
    pub fn delay_listing_batches(&self, delay_ms: u64) {
        locked(&self.books.batches).unlisted_ms = delay_ms;
    }

    /// How many milliseconds the clock is behind that batches are dated by that are made from now on.
    pub fn date_batches_back(&self, behind_ms: u64) {
        locked(&self.books.batches).behind_ms = behind_ms;
    }

    /// How making the next batches goes wrong, in this order, after the faults that are still waiting. A request that is not valid
    /// takes none.
    pub fn fail_batches(&self, faults: Vec<BatchFault>) {
        locked(&self.books.batches).faults.extend(faults);
    }

    /// The error statuses that the next requests about batches that were made are refused with, whatever they ask: the list, a
    /// state, results, a cancel.
    pub fn refuse_polls(&self, statuses: Vec<u16>) {
        locked(&self.books.batches).refusals.extend(statuses);
    }

    /// How many of the next results of batches break off in the middle, with the connection.
    pub fn break_results(&self, times: u32) {
        locked(&self.books.batches).broken_results = times;
    }

    /// Every batch that was made, in the order in which they were.
    pub fn batches(&self) -> Vec<Batch> {
        locked(&self.books.batches).all.clone()
    }

    /// Everything that was charged so far: what is being generated is in it with what there is of it.
    pub fn bill(&self) -> Vec<Billed> {
        locked(&self.books.bill).clone()
    }

    /// What all of that comes to, in nano-dollars.
    pub fn billed_nanos(&self) -> i64 {
        self.bill().iter().map(Billed::nanos).sum()
    }

    /// The bodies of all requests that asked for a message.
    pub fn requests(&self) -> Vec<Value> {
        locked(&self.books.requests).clone()
    }

    /// The headers of the same requests, by their names in lower case.
    pub fn headers(&self) -> Vec<BTreeMap<String, String>> {
        locked(&self.books.headers).clone()
    }

    /// The bodies of all requests that asked for a count.
    pub fn counted(&self) -> Vec<Value> {
        locked(&self.books.counted).clone()
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> u64 {
        self.books.connections.load(Ordering::Relaxed)
    }

    /// How many streams are being written now. One whose client has gone is none.
    pub fn open_streams(&self) -> u64 {
        self.books.open_streams.load(Ordering::Relaxed)
    }
}
