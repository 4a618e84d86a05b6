//! What outlives a run, from the driver's side: levels of earlier runs, daily resets, saving.

use std::time::Duration;

use brimful_core::{
    EngineConfig, Input, Lane, Learned, LimitKind, LimitSpec, Shape, Taken, Timestamp, UpstreamId,
};

use super::Driver;
use crate::limits::{self, LimitNote, Source};
use crate::models::ModelLanes;
use crate::progress::Notice;
use crate::state::{Keeper, Level, Picture, Saver, unix_ms};

/// How often levels are saved: what was taken since is forgotten by a run that is killed.
const SAVE_EVERY: Duration = Duration::from_secs(2);
/// Levels of windows from here on are kept. Shorter ones are over before a command is typed again.
const KEPT_FROM: Duration = Duration::from_secs(3600);
/// What the clocks of client and server may differ by around a daily reset.
const RESET_TOLERANCE: Duration = Duration::from_secs(10);
/// How far a reset may be off before the engine is told: the machine slept, or its clock was set.
const RESET_DRIFT: Duration = Duration::from_secs(1);

/// What is kept while a run goes on.
pub(super) struct Keeping {
    /// `None` where nothing is kept.
    saver: Option<Saver>,
    next: Timestamp,
}

impl Keeping {
    pub(super) const fn nothing() -> Self {
        Self {
            saver: None,
            next: Timestamp::ZERO,
        }
    }
}

/// Puts the edges of daily limits where they are by the clock of now. Whether any has moved.
/// `notes`: of the configuration's limits, in its order.
pub(super) fn place_edges(
    config: &mut EngineConfig,
    notes: &[LimitNote],
    now: Timestamp,
    now_unix_ms: u64,
) -> bool {
    let mut moved = false;
    let own = config.upstreams.iter_mut();
    let own = own.flat_map(|upstream| &mut upstream.limits);
    for (spec, note) in config.shared.iter_mut().chain(own).zip(notes) {
        let reset = note.daily.as_ref();
        let Some(day) = reset.and_then(|reset| reset.day_of(now_unix_ms)) else {
            continue;
        };
        let window = Duration::from_millis(day.ends_unix_ms - day.begins_unix_ms);
        let left = Duration::from_millis(day.ends_unix_ms - now_unix_ms);
        let edge = now + left + RESET_TOLERANCE;
        let known = spec.edge.filter(|_| spec.window == window);
        if known.is_some_and(|known| is_near(known, edge, window)) {
            continue;
        }
        moved = true;
        spec.shape = Shape::Fixed;
        spec.window = window;
        spec.edge = Some(edge);
        // What is sent around a reset counts on both sides of it.
        let jitter = spec.jitter.unwrap_or_default();
        spec.jitter = Some(jitter.max(2 * RESET_TOLERANCE));
    }
    moved
}

/// Whether two edges of windows of this length are about the same, whole windows apart or not.
fn is_near(one: Timestamp, other: Timestamp, window: Duration) -> bool {
    let window = window.as_nanos().max(1);
    let apart = one.since(other).max(other.since(one)).as_nanos() % window;
    apart.min(window - apart) <= RESET_DRIFT.as_nanos()
}

impl Driver<'_> {
    /// Takes over what earlier runs left. Before the first request.
    pub(super) fn take_up_state(&mut self, now: Timestamp, mut keeper: Keeper) {
        // Learnt limits are not among them: the server tells their levels.
        for (index, status) in self.engine.limits().into_iter().enumerate() {
            let note = note_of(&self.options.limits, index, &status.spec);
            let declared = index < self.options.limits.len();
            let Some(window) = kept_window(&status.spec, &note).filter(|_| declared) else {
                continue;
            };
            let upstream = status.upstream.map_or(0, |upstream| upstream.index());
            let models = note.models.as_deref();
            let mut taken = keeper.level(upstream, models, &note.counts, window);
            within_the_day(&mut taken, &note);
            self.engine.restore_level(now, index, &taken);
        }
        self.warn(keeper.take_notices());
        self.keeping.saver = Some(keeper.saver());
    }

    /// Saves, if it is time, and looks after daily resets.
    pub(super) fn keep(&mut self) {
        let now = self.options.clock.now();
        if now < self.keeping.next {
            return;
        }
        self.keeping.next = now + SAVE_EVERY;
        let picture = self.keeping.saver.as_ref().map(|_| self.picture(now));
        if let (Some(saver), Some(picture)) = (&self.keeping.saver, picture) {
            saver.save(picture);
            let warnings = saver.take_notices();
            self.warn(warnings);
        }
        self.look_at_resets(now);
    }

    /// Saves for the last time.
    pub(super) fn keep_at_the_end(&mut self) {
        let picture = self.picture(self.options.clock.now());
        if let Some(saver) = self.keeping.saver.take() {
            self.warn(saver.finish(picture));
        }
    }

    fn warn(&mut self, texts: Vec<String>) {
        for text in texts {
            self.notice(Notice::warning(text));
        }
    }

    /// Days have 23 or 25 hours when clocks change, and a machine that slept is late.
    fn look_at_resets(&mut self, now: Timestamp) {
        let options = &mut self.options;
        if place_edges(&mut options.engine, &self.declared, now, unix_ms()) {
            let config = Box::new(options.engine.clone());
            self.input_at(now, Input::Reconfigure(config));
        }
    }

    fn picture(&self, now: Timestamp) -> Picture {
        let mut levels: Vec<Level> = Vec::new();
        let limits = self.engine.limits().into_iter().zip(&self.options.limits);
        for (index, (status, note)) in limits.enumerate() {
            let Some(window) = kept_window(&status.spec, note) else {
                continue;
            };
            let upstream = status.upstream.map_or(0, |upstream| upstream.index());
            let same = |level: &Level| {
                let of = (level.upstream, &level.models, &level.counts, level.window);
                of == (upstream, &note.models, &note.counts, window)
            };
            // Two limits that count the same would be found as twice as much.
            if levels.iter().any(same) {
                continue;
            }
            levels.push(Level {
                upstream,
                models: note.models.clone(),
                counts: note.counts.clone(),
                window,
                taken: self.engine.level(now, index),
            });
        }
        Picture {
            levels,
            learned: self.learned(),
        }
    }

    /// What the engine has learnt until now, by upstream and lane.
    fn learned(&self) -> Vec<(usize, Option<String>, Learned)> {
        let lanes = &self.options.lanes;
        let numbers = 0..u16::try_from(lanes.count()).unwrap_or(u16::MAX);
        let upstreams = 0..self.options.engine.upstreams.len();
        let learned =
            upstreams.flat_map(|upstream| numbers.clone().map(move |lane| (upstream, lane)));
        let learned = learned.map(|(upstream, lane)| {
            let id = UpstreamId(u16::try_from(upstream).unwrap_or(u16::MAX));
            (
                upstream,
                lanes.label(lane),
                self.engine.learned(id, Lane(lane)),
            )
        });
        learned
            .filter(|(.., learned)| *learned != Learned::new())
            .collect()
    }
}

/// Gives the engine what earlier runs have learnt.
pub(super) fn recall(config: &mut EngineConfig, lanes: &ModelLanes, keeper: &Keeper) {
    for (number, upstream) in config.upstreams.iter_mut().enumerate() {
        for lane in 0..u16::try_from(lanes.count()).unwrap_or(u16::MAX) {
            let learned = keeper.learned(number, lanes.label(lane).as_deref());
            upstream
                .learned
                .extend(learned.map(|learned| (Lane(lane), learned)));
        }
    }
}

/// What is known of a limit of the engine; one that nobody declared was learned.
pub(super) fn note_of(notes: &[LimitNote], index: usize, spec: &LimitSpec) -> LimitNote {
    let declared = notes.get(index).cloned();
    declared
        .unwrap_or_else(|| LimitNote::new(limits::counts(spec.kind), spec.window, Source::Learned))
}

/// The window that a limit's level is kept under; `None` where it is not kept. Days have one length
/// there, however many hours the calendar gives them.
fn kept_window(spec: &LimitSpec, note: &LimitNote) -> Option<Duration> {
    let kept = spec.kind != LimitKind::Concurrency && note.window >= KEPT_FROM;
    kept.then_some(note.window)
}

/// The engine's day begins a little after the provider's. What was taken in between, by either
/// clock, counts in it.
fn within_the_day(taken: &mut Vec<Taken>, note: &LimitNote) {
    let now = unix_ms();
    let day = note.daily.as_ref().and_then(|reset| reset.day_of(now));
    let Some(day) = day else { return };
    let since_reset = Duration::from_millis(now - day.begins_unix_ms);
    let since_edge = since_reset.saturating_sub(RESET_TOLERANCE);
    taken.retain(|taken| taken.age <= since_reset + RESET_TOLERANCE);
    for taken in taken.iter_mut() {
        taken.age = taken.age.min(since_edge);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn ms(text: &str) -> u64 {
        let at: jiff::Timestamp = text.parse().unwrap();
        u64::try_from(at.as_millisecond()).unwrap()
    }

    fn daily(amount: u64, reset: &str) -> (EngineConfig, Vec<LimitNote>) {
        let spec = LimitSpec::new("rpd", LimitKind::Requests, amount, DAY);
        let mut note = LimitNote::new("requests", DAY, Source::Given);
        note.daily = Some(reset.parse().unwrap());
        (EngineConfig::new(vec![spec]), vec![note])
    }

    fn spec(config: &EngineConfig) -> &LimitSpec {
        &config.upstreams[0].limits[0]
    }

    #[test]
    fn the_edge_of_a_daily_limit_is_its_next_reset_and_stays_there() {
        let (mut config, notes) = daily(5, "00:00@America/Los_Angeles");
        let now = Timestamp::from_secs(7);
        let noon = ms("2026-11-22T20:00:00Z");
        assert!(place_edges(&mut config, &notes, now, noon));
        let edge = now + 12 * HOUR + RESET_TOLERANCE;
        assert_eq!(spec(&config).edge, Some(edge));
        assert_eq!(spec(&config).shape, Shape::Fixed);
        let later = |hours: u64| {
            let time = u32::try_from(hours).unwrap() * HOUR;
            (now + time, noon + hours * 3_600_000)
        };
        for hours in [1, 11, 13, 40] {
            let (now, unix) = later(hours);
            assert!(!place_edges(&mut config, &notes, now, unix), "{hours}");
        }
        let (now, unix) = later(1);
        assert!(
            place_edges(&mut config, &notes, now, unix + 60_000),
            "the machine slept for a minute"
        );
        assert_eq!(spec(&config).edge, Some(edge - Duration::from_secs(60)));
    }

    #[test]
    fn a_day_of_25_hours_is_one_window() {
        let (mut config, notes) = daily(5, "00:00@America/Los_Angeles");
        let before = ms("2026-11-01T05:00:00Z");
        assert!(place_edges(&mut config, &notes, Timestamp::ZERO, before));
        assert_eq!(spec(&config).window, 24 * HOUR);
        let within = ms("2026-11-01T20:00:00Z");
        let now = Timestamp::ZERO + 15 * HOUR;
        assert!(place_edges(&mut config, &notes, now, within));
        assert_eq!(spec(&config).window, 25 * HOUR);
        assert_eq!(spec(&config).edge, Some(now + 12 * HOUR + RESET_TOLERANCE));
    }

    #[test]
    fn only_long_windows_are_kept_and_days_under_one_length() {
        let of = |window| LimitNote::new("requests", window, Source::Given);
        let kept = |seconds| {
            let window = Duration::from_secs(seconds);
            let spec = LimitSpec::new("l", LimitKind::Requests, 1, window);
            kept_window(&spec, &of(window))
        };
        assert_eq!(kept(60), None);
        assert_eq!(kept(3600), Some(HOUR));
        assert_eq!(
            kept_window(&LimitSpec::concurrency(5), &of(Duration::ZERO)),
            None
        );
        let (mut config, notes) = daily(5, "00:00@America/Los_Angeles");
        let longer = ms("2026-11-01T20:00:00Z");
        place_edges(&mut config, &notes, Timestamp::ZERO, longer);
        assert_eq!(kept_window(spec(&config), &notes[0]), Some(DAY));
    }
}
