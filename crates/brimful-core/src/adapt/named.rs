//! One limit that the server names: its mirror, and whether what is said of it can be believed.

use std::time::Duration;

use super::found::Pacer;
use super::mirror::Mirror;
use super::reading::{self, Bucket};
use super::window::Window;
use crate::limit::{LimitKind, LimitSpec};
use crate::observation::Reading;
use crate::time::Timestamp;

/// Windows longer than this are believed only when replies agree.
const LONG: Duration = Duration::from_secs(60);
/// All of a limit, in millionths.
pub(super) const WHOLE: u32 = 1_000_000;
/// Replies in a row whose numbers must make the same bucket.
const BUCKET_AFTER: u32 = 3;

/// One limit that the server names.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub(super) name: String,
    /// The window that the server named, if it did.
    pub(super) said_window: Option<Duration>,
    pub(super) mirror: Mirror,
    /// The window that replies speak of, where it is no bucket.
    pub(super) restarts: Option<Window>,
    /// Another amount that replies have named, and how often in a row.
    pub(super) next: Option<(u64, u32)>,
    pub(super) bucket: Bucket,
    pub(super) trust: Trust,
    /// What others took when it was last told, in thousandths of the rate.
    pub(super) foreign_told: u32,
    /// What keeps to the part of it that may be used; `None`: all of it may.
    ours: Option<Pacer>,
    /// Its place among all limits of the engine, where it is told of.
    pub(super) place: Option<usize>,
}

/// Whether replies contradict each other.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Trust {
    /// The direction of the last jump.
    pub(super) up: Option<bool>,
    /// Jumps one way and then the other, less those forgotten.
    pub(super) turns: u32,
    /// Replies since the last jump.
    pub(super) calm: u32,
    pub(super) doubted: bool,
}

/// How large requests are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Size {
    pub(super) mean: f64,
    pub(super) squares: f64,
}

impl Size {
    pub(super) fn add(&mut self, units: u64) {
        let units = units as f64;
        let weight = if self.mean == 0.0 { 1.0 } else { 0.02 };
        self.mean += (units - self.mean) * weight;
        self.squares += (units * units - self.squares) * weight;
    }

    /// The mean square ÷ the mean: what a rate varies by when it comes in such requests.
    pub(super) fn of_rate(&self) -> f64 {
        if self.mean > 0.0 {
            (self.squares / self.mean).max(1.0)
        } else {
            1.0
        }
    }
}

impl Trust {
    /// Turns until replies are doubted, and replies without a jump until they are not.
    const TURNS: u32 = 4;
    const CALM: u32 = 64;

    /// A reply has moved the level by so much of what the limit holds. Whether the doubt changed.
    pub(super) fn moved(&mut self, share: f64) -> bool {
        let before = self.doubted;
        if share.abs() < 0.15 {
            self.calm += 1;
            if self.calm.is_multiple_of(32) {
                self.turns = self.turns.saturating_sub(1);
            }
            if self.calm >= Self::CALM {
                self.doubted = false;
            }
        } else {
            let up = share > 0.0;
            if self.up.is_some_and(|last| last != up) {
                self.turns += 1;
            }
            self.up = Some(up);
            self.calm = 0;
            self.doubted |= self.turns >= Self::TURNS;
        }
        self.doubted != before
    }
}

impl Named {
    pub(super) fn new(now: Timestamp, kind: LimitKind, amount: u64, window: Duration) -> Self {
        let mut named = Self {
            name: reading::name(kind, window),
            said_window: None,
            mirror: Mirror::new(now, kind, amount, window),
            restarts: None,
            next: None,
            bucket: Bucket::default(),
            trust: Trust::default(),
            foreign_told: 0,
            ours: None,
            place: None,
        };
        named.bucket_changed();
        named
    }

    pub(super) fn spec(&self) -> LimitSpec {
        let mirror = &self.mirror;
        let spec = LimitSpec::new(self.name.clone(), mirror.kind, mirror.amount, mirror.window);
        if self.bucket.is_proven() {
            spec.burst(mirror.holds())
        } else {
            spec
        }
    }

    /// What the numbers of a reply say of how the limit is enforced.
    pub(super) fn judge_bucket(&mut self, reading: &Reading) {
        let (amount, window) = (self.mirror.amount, self.mirror.window);
        if self.bucket.add(reading, amount, window, BUCKET_AFTER) {
            self.bucket_changed();
        }
    }

    pub(super) fn bucket_changed(&mut self) {
        if let Some(holds) = self.bucket.holds() {
            self.mirror.set_holds(holds);
        }
        self.doubt_changed();
    }

    /// No more than so many millionths of it are used from now on.
    pub(super) fn take_share(&mut self, millionths: u32) {
        let per_s = self.mirror.per_s() * f64::from(millionths) / f64::from(WHOLE);
        match &mut self.ours {
            _ if millionths >= WHOLE => self.ours = None,
            Some(ours) => ours.set(per_s, 0),
            None => self.ours = Some(Pacer::new(per_s, 0)),
        }
    }

    /// So many units start.
    pub(super) fn take(&mut self, now: Timestamp, units: u64) {
        self.mirror.take(now, units);
        if let Some(ours) = &mut self.ours {
            ours.take(now, units);
        }
    }

    /// What took `from` units turns out to take `to`.
    pub(super) fn correct(&mut self, now: Timestamp, from: u64, to: u64) {
        self.mirror.correct(now, from, to);
        if let Some(ours) = &mut self.ours {
            ours.correct(from, to);
        }
    }

    /// A window of hours may be the guess of one reply about a server that counts by the minute: it
    /// slows nothing down until it is sure.
    fn is_guessed(&self) -> bool {
        !self.bucket.is_proven() && self.mirror.window > LONG
    }

    pub(super) fn doubt_changed(&mut self) {
        let even = self.trust.doubted || !self.bucket.is_proven() || self.restarts.is_some();
        let guessed = self.is_guessed();
        self.mirror.pace_evenly(even && !guessed);
        let restarts = self.restarts.is_some();
        self.mirror
            .ignore_level(self.trust.doubted || restarts || guessed);
    }

    /// When so many units may start.
    pub(super) fn earliest(&self, now: Timestamp, units: u64) -> Timestamp {
        let mut earliest = self.mirror.earliest(now, units);
        if let Some(ours) = self
            .ours
            .as_ref()
            .filter(|_| units > 0 && !self.is_guessed())
        {
            earliest = earliest.max(ours.earliest());
        }
        match &self.restarts {
            Some(window) if !self.trust.doubted && units > 0 => {
                earliest.max(window.earliest(now, units, self.mirror.per_s()))
            }
            _ => earliest,
        }
    }

    pub(super) fn foreign_permille(&self) -> u32 {
        let share = self.mirror.foreign_per_s() / self.mirror.per_s();
        (share * 1000.0).round() as u32
    }
}
