//! Requests that wait in line for a place to be generated in.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use brimful_core::Timestamp;

/// When each place that is taken or promised becomes free. How long an answer takes is known when
/// its request is admitted, so everybody's turn is too. Who leaves early keeps the place: a server
/// notices that late.
#[derive(Debug, Default)]
pub(super) struct Line {
    free: BinaryHeap<Reverse<Timestamp>>,
}

impl Line {
    /// Takes one of `places` for `service` as soon as there is one, and says how long that is.
    pub(super) fn take(
        &mut self,
        now: Timestamp,
        places: Option<u64>,
        service: Duration,
    ) -> Duration {
        let Some(places) = places else {
            self.free.clear();
            return Duration::ZERO;
        };
        while self.free.peek().is_some_and(|Reverse(at)| *at <= now) {
            self.free.pop();
        }
        let mut start = now;
        while self.free.len() as u64 >= places
            && let Some(Reverse(at)) = self.free.pop()
        {
            start = at;
        }
        self.free.push(Reverse(start + service));
        start.since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_finds_no_place_waits_for_the_next_that_becomes_free() {
        let mut line = Line::default();
        let second = Duration::from_secs(1);
        let mut take = |at: u64, places, seconds: u32| {
            let wait = line.take(Timestamp::from_secs(at), places, seconds * second);
            wait.as_secs()
        };
        let waits: Vec<u64> = [4, 2, 3, 1, 1]
            .map(|seconds| take(0, Some(2), seconds))
            .to_vec();
        assert_eq!(waits, [0, 0, 2, 4, 5]);
        assert_eq!(take(6, Some(2), 1), 0);
        assert_eq!(take(6, None, 1), 0);
        assert_eq!(take(6, Some(1), 9), 0);
        assert_eq!(take(7, Some(1), 9), 8);
    }
}
