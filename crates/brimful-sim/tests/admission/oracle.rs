//! The rules, each as its definition says, over a list of what was taken.

use std::time::Duration;

use brimful_sim::{Enforcement, LimitRule, Measure};

/// What was taken or given back, when.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// When it happened.
    at: i128,
    /// When what it corrects was taken; `at` when it corrects nothing.
    of: i128,
    /// Units × the window's nanoseconds; negative for what was given back.
    scaled: i128,
}

/// One rule with everything that was ever taken from it.
#[derive(Clone, Debug)]
pub(super) struct Oracle {
    rule: LimitRule,
    entries: Vec<Entry>,
}

impl Oracle {
    /// The rule must say everything itself: nothing is left to a configuration.
    pub(super) fn new(rule: LimitRule) -> Self {
        Self {
            rule,
            entries: Vec::new(),
        }
    }

    pub(super) fn measure(&self) -> Measure {
        self.rule.measure
    }

    pub(super) fn take(&mut self, at: u64, units: u64) {
        let at = i128::from(at);
        let scaled = i128::from(units) * self.window();
        self.entries.push(Entry { at, of: at, scaled });
    }

    pub(super) fn give_back(&mut self, at: u64, of: u64, units: u64) {
        self.entries.push(Entry {
            at: i128::from(at),
            of: i128::from(of),
            scaled: -i128::from(units) * self.window(),
        });
    }

    /// What a refused request takes: a unit of a count, of a level only what is there.
    pub(super) fn take_refused(&mut self, at: u64) {
        let at = i128::from(at);
        let there = match self.rule.enforcement.unwrap() {
            Enforcement::TokenBucket => self.available(at, self.capacity()),
            Enforcement::Spacing => self.available(at, self.window()),
            _ => self.window(),
        };
        let scaled = there.clamp(0, self.window());
        self.entries.push(Entry { at, of: at, scaled });
    }

    /// Whether `units` fit at `now`.
    pub(super) fn has_room(&self, now: u64, units: u64) -> bool {
        let (now, units) = (i128::from(now), i128::from(units));
        let (amount, length) = self.judged();
        match self.rule.enforcement.unwrap() {
            Enforcement::TokenBucket => {
                let need = units * self.window();
                let capacity = self.capacity();
                need <= capacity.max(self.amount() * self.window())
                    && self.available(now, capacity) >= need.min(capacity)
            }
            Enforcement::Spacing => units <= self.amount() && now * self.amount() >= self.free_at(),
            Enforcement::FixedWindow => {
                let start = self.window_start(now, length);
                self.taken_in(start, start + length) + units <= amount
            }
            Enforcement::SlidingLog => self.taken_in(now - length + 1, now + 1) + units <= amount,
            Enforcement::SlidingCounter => {
                let start = self.window_start(now, length);
                let current = self.taken_in(start, start + length);
                let last = self.taken_in(start - length, start);
                let covered = last * (start + length - now);
                (current + units) * length + covered <= amount * length
            }
        }
    }

    /// Whether any passing of time makes room for `units`.
    pub(super) fn can_ever(&self, units: u64) -> bool {
        self.rule.enforcement.is_some_and(|enforcement| {
            let most = match enforcement {
                Enforcement::TokenBucket => (self.capacity() / self.window()).max(self.amount()),
                Enforcement::Spacing => self.amount(),
                _ => self.judged().0,
            };
            i128::from(units) <= most
        })
    }

    /// A bucket's level is the least, over every earlier instant, of a full bucket then, plus the
    /// refill since, minus what was taken since.
    fn available(&self, now: i128, capacity: i128) -> i128 {
        let since = |place: usize| {
            let taken: i128 = self.entries[place..].iter().map(|entry| entry.scaled).sum();
            capacity + (now - self.entries[place].at) * self.amount() - taken
        };
        (0..self.entries.len()).map(since).fold(capacity, i128::min)
    }

    /// Strict spacing: each unit blocks for window ÷ amount from its admission or from the end of
    /// the block before; in nanoseconds × amount.
    fn free_at(&self) -> i128 {
        self.entries.iter().fold(0, |free, entry| {
            let from = free.max(entry.at * self.amount());
            from + entry.scaled
        })
    }

    /// Units taken in `[start, end)`, net of what was given back of them.
    fn taken_in(&self, start: i128, end: i128) -> i128 {
        let within = |entry: &&Entry| (start..end).contains(&entry.of);
        let scaled: i128 = self
            .entries
            .iter()
            .filter(within)
            .map(|entry| entry.scaled)
            .sum();
        scaled / self.window()
    }

    fn window_start(&self, now: i128, length: i128) -> i128 {
        let phase = nanos(self.rule.window_phase.unwrap());
        now - (now - phase).rem_euclid(length)
    }

    /// Amount and length of the windows in which it is judged.
    fn judged(&self) -> (i128, i128) {
        let length = nanos(self.rule.judged_over.unwrap()).min(self.window());
        match self.amount() * length / self.window() {
            0 => (1, (self.window() + self.amount() - 1) / self.amount()),
            amount => (amount, length),
        }
    }

    fn capacity(&self) -> i128 {
        let time = self.rule.burst.unwrap().min(self.rule.judged_over.unwrap());
        (self.amount() * nanos(time)).max(self.window())
    }

    fn amount(&self) -> i128 {
        i128::from(self.rule.amount)
    }

    fn window(&self) -> i128 {
        nanos(self.rule.window)
    }
}

fn nanos(duration: Duration) -> i128 {
    i128::try_from(duration.as_nanos()).unwrap()
}
