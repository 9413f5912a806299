//! Waiting on the caller's thread, and letting go of it.

use std::{pin::Pin, time::Duration};

use tokio::runtime::Runtime;

use crate::{Error, ErrorKind};

/// How long a wait goes on before it is asked whether to stop.
const SLICE: Duration = Duration::from_millis(50);

/// How long the end of a connection is waited for. Nothing else drives it, and an open socket keeps the generation going.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(20);

pub(super) fn wait<T>(
    runtime: &Runtime,
    operation: impl Future<Output = Result<T, Error>>,
    stop: Option<&mut dyn FnMut() -> bool>,
) -> Result<T, Error> {
    let mut operation = Box::pin(operation);
    in_slices(runtime, operation.as_mut(), stop).unwrap_or_else(|| {
        ending_connections(runtime, || drop(operation));
        Err(interrupted())
    })
}

/// `None`: told to stop.
pub(super) fn in_slices<T>(
    runtime: &Runtime,
    mut operation: Pin<&mut impl Future<Output = T>>,
    stop: Option<&mut dyn FnMut() -> bool>,
) -> Option<T> {
    let Some(stop) = stop else { return Some(runtime.block_on(operation)) };
    loop {
        match runtime.block_on(async { tokio::time::timeout(SLICE, operation.as_mut()).await }) {
            Ok(result) => return Some(result),
            Err(_) if stop() => return None,
            Err(_) => {}
        }
    }
}

pub(super) fn interrupted() -> Error {
    Error::new(ErrorKind::Interrupted, "interrupted")
}

/// Does what makes connections end, and drives them until one has.
pub(super) fn ending_connections(runtime: &Runtime, end: impl FnOnce()) {
    let tasks = || runtime.metrics().num_alive_tasks();
    let before = tasks();
    let guard = runtime.enter();
    end();
    drop(guard);
    if before == 0 {
        return;
    }
    let ended = async {
        while tasks() >= before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let _ = runtime.block_on(async { tokio::time::timeout(CLOSE_TIMEOUT, ended).await });
}
