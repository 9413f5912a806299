//! Values that must not outlive a `fork`: whatever holds a lock, a thread or a socket.
//!
//! The child of a fork has a copy of its parent's memory and none of its threads. A lock that another thread held stays
//! locked for ever, a runtime waits for threads that are not there, a socket is shared with the parent. So the child makes
//! its own, and leaks the parent's without touching it.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

/// A value of which every process has its own.
#[derive(Debug)]
pub struct PerProcess<T> {
    slot: ArcSwapOption<Owned<T>>,
}

#[derive(Debug)]
struct Owned<T> {
    pid: u32,
    value: Option<Arc<T>>,
}

impl<T> Default for PerProcess<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> PerProcess<T> {
    /// No value yet.
    pub const fn new() -> Self {
        Self { slot: ArcSwapOption::const_empty() }
    }

    /// This process's value, if it has one.
    pub fn get(&self) -> Option<Arc<T>> {
        let owned = self.slot.load();
        let owned = owned.as_ref().filter(|owned| owned.pid == std::process::id())?;
        owned.value.clone()
    }

    /// This process's value, made now if it has none. When threads race, one value wins and all get it.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn get_or_try_make<E>(&self, make: impl FnOnce() -> Result<T, E>) -> Result<Arc<T>, E> {
        if let Some(value) = self.get() {
            return Ok(value);
        }
        let value = Arc::new(make()?);
        let offered = Arc::new(Owned { pid: std::process::id(), value: Some(Arc::clone(&value)) });
        let before = self.slot.load();
        let previous = self.slot.compare_and_swap(&before, Some(offered));
        let lost = match (&*previous, &*before) {
            (Some(previous), Some(before)) => !Arc::ptr_eq(previous, before),
            (None, None) => false,
            _ => true,
        };
        // Who lost the race uses the winner's, unless that has been taken away again.
        Ok(if lost { self.get().unwrap_or(value) } else { value })
    }

    /// Takes the value away, for this process to drop it.
    pub fn take(&self) -> Option<Arc<T>> {
        let owned = self.slot.swap(None)?;
        if owned.pid == std::process::id() { owned.value.clone() } else { None }
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        if self.pid != std::process::id() {
            std::mem::forget(self.value.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_race_get_the_same_value() {
        let cell = PerProcess::<u32>::new();
        let values: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..16)
                .map(|n| {
                    scope.spawn({
                        let cell = &cell;
                        move || cell.get_or_try_make(|| Ok::<_, ()>(n))
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic").expect("no error")).collect()
        });
        assert!(values.iter().all(|value| Arc::ptr_eq(value, &values[0])));
        assert!(cell.take().is_some() && cell.get().is_none());
    }
}
