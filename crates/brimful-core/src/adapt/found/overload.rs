//! A server that has no capacity (503, 529): the rate goes down by parts while most requests meet
//! it, and comes back as they are answered. No limit is learnt from it.

use std::time::Duration;

use crate::time::Timestamp;

use super::pacer::Pacer;

/// How often is looked.
const EPOCH: Duration = Duration::from_secs(1);
/// From this share of overloaded ends on, less is sent.
const MUCH: f64 = 0.3;
/// Up to this share, more is.
const LITTLE: f64 = 0.1;
/// From this share on nobody is served at all.
const ALL: f64 = 0.9;
/// Ends below which a share says nothing.
const ENDS_LEAST: u32 = 3;
/// What is kept of the rate, as the AWS SDKs keep of one that was throttled.
const KEPT: f64 = 0.7;
/// Growth in each epoch.
const GROWTH: f64 = 1.5;
/// The least that is sent to a server that serves some, as a part of the rate before.
const LEAST: f64 = 0.1;
/// Requests a second that ask a server that serves nobody whether it is back.
const ASKING: f64 = 1.0;

/// How much less is sent.
#[derive(Clone, Debug, Default)]
pub(super) struct Overload {
    since: Timestamp,
    sent: u32,
    overloaded: u32,
    served: u32,
    less: Option<Less>,
}

#[derive(Clone, Debug)]
struct Less {
    /// Requests a second before.
    before: f64,
    rate: f64,
    pacer: Pacer,
}

impl Overload {
    pub(super) fn earliest(&self, now: Timestamp) -> Timestamp {
        self.less
            .as_ref()
            .map_or(now, |less| less.pacer.earliest().max(now))
    }

    pub(super) fn sent(&mut self, now: Timestamp) {
        self.sent += 1;
        if let Some(less) = &mut self.less {
            less.pacer.take(now, 1);
        }
    }

    pub(super) const fn overloaded(&mut self) {
        self.overloaded += 1;
    }

    pub(super) const fn served(&mut self) {
        self.served += 1;
    }

    /// Lets time pass.
    pub(super) fn advance(&mut self, now: Timestamp) {
        let time = now.since(self.since);
        let ends = self.overloaded + self.served;
        // Whoever asks once a second has one end at a time.
        let enough = ends >= ENDS_LEAST || (self.less.is_some() && ends > 0);
        if time < EPOCH || !enough {
            if time >= EPOCH && self.less.is_none() {
                self.begin(now);
            }
            return;
        }
        let share = f64::from(self.overloaded) / f64::from(ends);
        let sent_per_s = f64::from(self.sent) / time.as_secs_f64();
        if share > MUCH {
            let before = self.less.as_ref().map_or(sent_per_s, |less| less.before);
            let rate = self.less.as_ref().map_or(sent_per_s, |less| less.rate);
            let least = if share >= ALL { 0.0 } else { before * LEAST };
            self.set(before, (rate * KEPT).max(least).max(ASKING));
        } else if let Some(less) = &self.less
            && share <= LITTLE
        {
            let rate = less.rate * GROWTH;
            if rate > less.before * GROWTH {
                self.less = None;
            } else {
                self.set(less.before, rate);
            }
        }
        self.begin(now);
    }

    fn set(&mut self, before: f64, rate: f64) {
        match &mut self.less {
            Some(less) => {
                less.rate = rate;
                less.pacer.set(rate, 0);
            }
            None => {
                let pacer = Pacer::new(rate, 0);
                self.less = Some(Less {
                    before,
                    rate,
                    pacer,
                });
            }
        }
    }

    const fn begin(&mut self, now: Timestamp) {
        self.since = now;
        (self.sent, self.overloaded, self.served) = (0, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests that start in each second, of 100 that want to; `serves` says of a second how many
    /// of each ten are served.
    fn starts(seconds: u64, serves: impl Fn(u64) -> u64) -> Vec<u64> {
        let mut overload = Overload::default();
        let mut starts = vec![0; seconds as usize];
        let mut ended = 0_u64;
        for tick in 0..seconds * 100 {
            let now = Timestamp::from_millis(tick * 10);
            overload.advance(now);
            if overload.earliest(now) <= now {
                overload.sent(now);
                starts[(tick / 100) as usize] += 1;
                ended += 1;
                if ended % 10 < serves(tick / 100) {
                    overload.served();
                } else {
                    overload.overloaded();
                }
            }
        }
        starts
    }

    #[test]
    fn a_server_that_serves_nobody_is_asked_once_a_second_and_back_at_once() {
        let starts = starts(120, |second| if second < 60 { 0 } else { 10 });
        assert_eq!(starts[50..59].iter().sum::<u64>(), 9, "{starts:?}");
        assert!(starts[..60].iter().sum::<u64>() < 500, "{starts:?}");
        assert!(starts[62..].is_sorted(), "{starts:?}");
        assert!(starts[80] == 100, "{starts:?}");
    }

    #[test]
    fn single_failures_change_nothing_and_a_half_that_fails_is_not_everything() {
        assert!(starts(60, |_| 9).iter().all(|count| *count == 100));
        let half = starts(60, |_| 5);
        assert!(
            half[30..].iter().all(|count| (9..=11).contains(count)),
            "{half:?}"
        );
    }
}
