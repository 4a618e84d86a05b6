//! The pause after a refusal: single probes find out when the server admits again.

use std::time::Duration;

use crate::time::Timestamp;

use super::tally::{Moment, Sent};

/// The first wait where the server does not say how long: a quarter of the shortest window.
const FIRST: Duration = Duration::from_millis(250);
/// Probes come so far apart, as a part of the pause so far: a long pause is met to a tenth.
const PART: u32 = 10;
/// The longest wait between two probes.
const LONGEST: Duration = Duration::from_secs(2);

/// A pause that began with a refusal.
#[derive(Clone, Debug)]
pub(super) struct Pause {
    /// Everything before the first attempt that was refused.
    pub(super) onset: Moment,
    /// The probe that is under way.
    probe: Option<Timestamp>,
    /// When the next probe may be sent.
    next: Timestamp,
}

/// How long refusals take to come back, so that the absence of one means something.
#[derive(Clone, Debug)]
pub(super) struct Patience(Duration);

impl Patience {
    pub(super) const fn new() -> Self {
        Self(Duration::from_secs(1))
    }

    /// A refusal took so long.
    pub(super) fn refused_after(&mut self, took: Duration) {
        let twice = (2 * took + Duration::from_millis(50)).min(Duration::from_secs(3));
        // Slow ones are remembered for longer than quick ones.
        self.0 = twice.max(self.0.mul_f64(0.8));
    }

    /// After so long, what was not refused was admitted.
    pub(super) const fn time(&self) -> Duration {
        self.0
    }
}

impl Pause {
    /// Waits as long as the server `asked`, or a moment.
    pub(super) fn new(now: Timestamp, onset: Moment, asked: Option<Duration>) -> Self {
        Self {
            onset,
            probe: None,
            next: now + asked.unwrap_or(FIRST),
        }
    }

    /// The instant from which the next probe may start, or from which the last one counts as
    /// admitted.
    pub(super) fn earliest(&self, patience: &Patience) -> Timestamp {
        match self.probe {
            Some(sent) => sent + patience.time(),
            None => self.next,
        }
    }

    /// Whether nothing said that the probe was refused, for long enough.
    pub(super) fn is_over(&self, now: Timestamp, patience: &Patience) -> bool {
        self.probe.is_some_and(|sent| now >= sent + patience.time())
    }

    /// Something started: the probe.
    pub(super) const fn started(&mut self, now: Timestamp) {
        self.probe = Some(now);
    }

    /// Whether an attempt was sent as a probe of this pause.
    pub(super) fn is_probe(&self, sent: &Sent) -> bool {
        self.probe.is_some_and(|probe| sent.at >= probe)
    }

    /// An attempt was refused. Until when to wait now.
    pub(super) fn refused(
        &mut self,
        now: Timestamp,
        sent: &Sent,
        asked: Option<Duration>,
    ) -> Timestamp {
        if self.is_probe(sent) {
            self.probe = None;
            let so_far = now.since(self.onset.at);
            let wait = asked.unwrap_or_else(|| (so_far / PART).clamp(FIRST, LONGEST));
            self.next = now + wait;
        } else if let Some(asked) = asked {
            // Another of the same volley, which may know better.
            self.next = self.next.max(now + asked);
        }
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapt::found::tally::Tally;
    use crate::charge::Charge;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn probes_come_one_by_one_and_further_apart() {
        let mut tally = Tally::default();
        let first = tally.sent(at(0), &Charge::request());
        let mut patience = Patience::new();
        patience.refused_after(Duration::from_millis(100));
        let mut pause = Pause::new(at(100), tally.before(&first), None);
        assert_eq!(pause.earliest(&patience), at(350));
        let mut now = at(350);
        let mut waits = Vec::new();
        for _ in 0..30 {
            pause.started(now);
            assert!(!pause.is_over(now + Duration::from_millis(100), &patience));
            let probe = tally.sent(now, &Charge::request());
            now = now + Duration::from_millis(100);
            let until = pause.refused(now, &probe, None);
            waits.push(until.since(now).as_millis());
            now = until;
        }
        assert!(waits.is_sorted(), "{waits:?}");
        assert_eq!((waits[0], waits[29]), (250, 2_000));
        pause.started(now);
        assert!(pause.is_over(now + patience.time(), &patience));
    }

    #[test]
    fn late_refusals_of_the_volley_are_no_probes() {
        let mut tally = Tally::default();
        let sent: Vec<Sent> = (0..5)
            .map(|millis| tally.sent(at(millis), &Charge::request()))
            .collect();
        let mut pause = Pause::new(at(100), tally.before(&sent[0]), None);
        pause.started(at(350));
        assert_eq!(pause.refused(at(400), &sent[4], None), at(350));
        assert!(pause.is_probe(&tally.sent(at(350), &Charge::request())));
        let told = Some(Duration::from_secs(9));
        assert_eq!(pause.refused(at(500), &sent[3], told), at(9_500));
    }
}
