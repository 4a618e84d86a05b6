//! Grouped fsync, on a thread of its own: a disk may take its time, the reactor may not.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::storage::Storage;

/// When to fsync.
#[derive(Clone, Copy, Debug)]
pub(super) struct Grouping {
    /// At the latest so long after the first answer that is not on the disk.
    pub(super) max_delay: Duration,
    /// As soon as so many answers are not on the disk.
    pub(super) max_answers: u64,
}

/// Makes what was written durable: in groups while it is written, or all of it in the end.
#[derive(Debug)]
pub(super) struct Syncer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    storage: Arc<dyn Storage>,
    state: Mutex<State>,
    wake: Condvar,
    synced: Arc<AtomicU64>,
    /// `None`: not before the end.
    grouping: Option<Grouping>,
}

#[derive(Debug)]
struct State {
    written: u64,
    /// When the first answer after the last fsync was written.
    first_unsynced: Option<Instant>,
    closing: bool,
    /// The first failure. After it the kernel may have dropped what it could not write, and a
    /// second fsync would report success: it is never retried.
    error: Option<Arc<io::Error>>,
}

impl Syncer {
    /// Starts the thread, unless `grouping` is `None`. `synced` is the number of answers that are
    /// known to be on the disk, and goes on from its present value.
    pub(super) fn start(
        storage: Arc<dyn Storage>,
        grouping: Option<Grouping>,
        synced: Arc<AtomicU64>,
    ) -> io::Result<Self> {
        let state = State {
            written: synced.load(Ordering::Acquire),
            first_unsynced: None,
            closing: false,
            error: None,
        };
        let shared = Arc::new(Shared {
            storage,
            state: Mutex::new(state),
            wake: Condvar::new(),
            synced,
            grouping,
        });
        let thread = match grouping {
            None => None,
            Some(grouping) => {
                let shared = Arc::clone(&shared);
                let builder = std::thread::Builder::new().name("brimful-fsync".to_owned());
                Some(builder.spawn(move || shared.run(grouping))?)
            }
        };
        Ok(Self { shared, thread })
    }

    /// Counts so many more answers as written. Reports a failed fsync, again and again.
    pub(super) fn wrote(&self, answers: u64) -> Result<(), Arc<io::Error>> {
        let mut state = self.shared.lock();
        state.written += answers;
        let first = state.first_unsynced.is_none();
        if first {
            state.first_unsynced = Some(Instant::now());
        }
        if let Some(grouping) = self.shared.grouping {
            let unsynced = state.written - self.shared.synced.load(Ordering::Relaxed);
            let group_is_full = unsynced >= grouping.max_answers;
            let was_full = unsynced - answers >= grouping.max_answers;
            // Waking costs a system call: only where the thread has something new to know.
            if first || (group_is_full && !was_full) {
                self.shared.wake.notify_one();
            }
        }
        state
            .error
            .as_ref()
            .map_or(Ok(()), |error| Err(Arc::clone(error)))
    }

    /// Makes everything durable that was written, and ends the thread.
    pub(super) fn finish(&mut self) -> Result<(), Arc<io::Error>> {
        self.end_thread();
        let mut state = self.shared.lock();
        if let Some(error) = &state.error {
            return Err(Arc::clone(error));
        }
        if state.first_unsynced.take().is_some() {
            let outcome = self.shared.storage.sync();
            self.shared.note(&mut state, outcome, None);
        }
        state
            .error
            .as_ref()
            .map_or(Ok(()), |error| Err(Arc::clone(error)))
    }

    fn end_thread(&mut self) {
        self.shared.lock().closing = true;
        self.shared.wake.notify_one();
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            let error = io::Error::other("the fsync thread has died");
            self.shared
                .lock()
                .error
                .get_or_insert_with(|| Arc::new(error));
        }
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.end_thread();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is a few plain values, whole after every statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, grouping: Grouping) {
        let mut state = self.lock();
        loop {
            let Some(first) = state.first_unsynced else {
                if state.closing {
                    return;
                }
                state = self
                    .wake
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let unsynced = state.written - self.synced.load(Ordering::Relaxed);
            let left = grouping.max_delay.saturating_sub(first.elapsed());
            if !state.closing && unsynced < grouping.max_answers && !left.is_zero() {
                let woken = self.wake.wait_timeout(state, left);
                state = woken.unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            let group_end = state.written;
            state.first_unsynced = None;
            drop(state);
            let outcome = self.storage.sync();
            state = self.lock();
            self.note(&mut state, outcome, Some(group_end));
            if state.error.is_some() {
                return;
            }
        }
    }

    /// `group_end`: what had been written when the fsync began; `None` for everything.
    fn note(&self, state: &mut State, outcome: io::Result<()>, group_end: Option<u64>) {
        match outcome {
            Ok(()) => {
                let synced = group_end.unwrap_or(state.written);
                self.synced.store(synced, Ordering::Release);
            }
            Err(error) => state.error = Some(Arc::new(error)),
        }
    }
}
