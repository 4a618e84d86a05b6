//! Waiting for something to be so, with an end.

use std::time::{Duration, Instant};

/// Longest wait for anything: far more than any of it takes on a machine that is busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Asks until `look` has found something.
pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "in vain waited for: {what}");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}
