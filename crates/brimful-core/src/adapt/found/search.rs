//! Which rate a silent server allows.
//!
//! At the instant of a refusal the server has nothing left. So between two refusals it has let
//! through exactly what its rate allows, whatever it counts by: buckets, logs, windows. That is
//! measured here, and two measurements that agree end the search. The phases, and where their
//! constants come from, are in `docs/design/learning.md`.

use std::collections::VecDeque;
use std::time::Duration;

use crate::learned::LearnedRate;
use crate::time::Timestamp;

use super::cubic::{BETA, Cubic};
use super::stretch::{TELLING_LEAST, inferred, whole_window};
use super::tally::{Interval, KINDS, Moment, Tally, Units};

/// The least that is ever sent, in units a second: a limit of less would be one of hours.
const RATE_LEAST: f64 = 1.0 / 60.0;
/// How often the rate doubles while nothing is known.
const DOUBLING: Duration = Duration::from_secs(2);
/// How often the rate is set anew while it grows along a curve.
const STEP: Duration = Duration::from_millis(250);
/// The most that it grows by each time: it doubles in 5 s.
const FASTEST: f64 = 1.036;
/// What is known of the rate is used up to here.
const MARGIN: f64 = 0.99;
/// Part of the rate that a refusal costs while it is held, if the one before it is no more than so
/// many units back: rarer ones are the price of a rate close to the limit.
const EASE: f64 = 0.99;
const RARE: u64 = 1_500;
/// A rate is not held lower than this part of what was measured, by single refusals alone.
const EASED_LEAST: f64 = 0.93;
/// Two measurements agree when they differ by no more than an eighth (BBR's policer test).
const AGREE: f64 = 0.125;
/// Units of two measurements that together tell a rate to some per cent.
const ENOUGH: u64 = 100;
/// The same where the server is so slow that this many refusals say as much.
const INTERVALS: usize = 4;
/// A refusal that follows the end of a pause so soon says that the rate itself is wrong.
const SOON: Duration = Duration::from_secs(3);
/// A pause of such a length is no accident of timing.
const LONG: Duration = Duration::from_secs(5);
/// Pauses of this length are those of a window that is used up.
const WINDOWED: Duration = Duration::from_millis(1_500);
/// Until the first look whether more is allowed; doubles up to [`LOOK_LATEST`].
const LOOK_FIRST: Duration = Duration::from_secs(60);
const LOOK_LATEST: Duration = Duration::from_secs(240);
/// The same at low rates: after so many units, but no later.
const LOOK_UNITS: f64 = 4_000.0;
const LOOK_RAREST: Duration = Duration::from_secs(400);
/// A look above a rate that is sure: after each of these parts without a refusal comes the next.
const LOOKS: [f64; 4] = [0.02, 0.04, 0.08, 0.16];
const LOOK_STEP: Duration = Duration::from_secs(10);
/// The same above one that may be too low, because pauses were lost: how soon, in which steps.
const DOUBT_AFTER: Duration = Duration::from_secs(15);
const DOUBT_PART: f64 = 0.02;
const DOUBT_STEP: Duration = Duration::from_secs(5);
const DOUBT_STEPS: usize = 15;
/// A bucket may have saved up so many of these steps; then this part of what was reached is sure.
const SAVED_UP_STEPS: usize = 4;
const SAVED_UP: f64 = 0.98;
/// The look above the rate of a window that is known lasts for all of it.
const WINDOW_PART: f64 = 0.04;
/// Part of the measured rate that a look above the held one gives back when it was eased.
const RECOVERY: f64 = 0.005;
/// The same where the first step of the look passed.
const PASSED: f64 = 0.01;
/// Stretches by which it is told what is counted.
const SEEN_MAX: usize = 6;
/// Mean sizes that differ by no more are the same.
const ALIKE: f64 = 0.005;
/// In flight so few, a server cannot have a queue worth speaking of.
const IN_FLIGHT_FREE: u64 = 64;

/// A search for the rate of one kind.
#[derive(Clone, Debug)]
pub(super) struct Search {
    /// The kind, by its place in [`Units`].
    place: usize,
    /// Whether the server has named the kind.
    named: bool,
    /// Units a second.
    rate: f64,
    /// What the user allows at most, in units a second of the kind.
    ceiling: f64,
    phase: Phase,
    /// The last refusal that began a pause, and the end of that pause.
    last: Option<Episode>,
    /// Stretches between refusals of the present regime.
    intervals: Vec<Interval>,
    /// The last of all of them, by which it is told what is counted.
    seen: VecDeque<Interval>,
    /// The window, where the server counts by one that is known, and the end of one.
    window: Option<(Duration, Timestamp)>,
    stepped: Step,
    /// How long a rate is held before a look above it.
    look_after: Duration,
}

/// A refusal after which nothing was sent, and the end of that pause.
#[derive(Clone, Copy, Debug)]
struct Episode {
    onset: Moment,
    end: Moment,
}

/// When the rate was last set, and what had been sent and had ended then.
#[derive(Clone, Copy, Debug)]
struct Step {
    at: Timestamp,
    sent: Units,
    ended: u64,
}

#[derive(Clone, Debug)]
enum Phase {
    /// Nothing is known: the rate doubles.
    SlowStart,
    /// Something is: the rate grows along a curve from refusal to refusal.
    Seek {
        cubic: Cubic,
        /// The rate that was held before, if nothing was refused since.
        held: Option<f64>,
    },
    /// The rate is known, since then.
    Hold(Held, Timestamp),
    /// The same, with a look above it, since then: at the step that is counted from 1.
    Look(Held, Timestamp, usize),
}

/// A rate that is held.
#[derive(Clone, Copy, Debug)]
struct Held {
    rate: f64,
    /// What was measured before the margin.
    measured: f64,
    /// Whether it may be too low, because the server had more while nothing was sent.
    doubted: bool,
}

impl Held {
    /// A look above it: how long each step lasts and how much more each sends, if there is one.
    fn look(&self, step: usize, window: Option<(Duration, Timestamp)>) -> (Duration, Option<f64>) {
        if let Some((window, _)) = window {
            // A whole window may begin at any phase of it.
            return (window * 2, (step == 1).then_some(WINDOW_PART));
        }
        if self.doubted {
            let more = (step <= DOUBT_STEPS).then_some(DOUBT_PART * step as f64);
            return (DOUBT_STEP, more);
        }
        (LOOK_STEP, LOOKS.get(step - 1).copied())
    }
}

impl Search {
    /// Begins at a rate that hardly any server refuses, and doubles it.
    pub(super) fn slow_start(now: Timestamp, per_s: f64) -> Self {
        Self::new(now, 0, per_s, f64::INFINITY, Phase::SlowStart)
    }

    /// Begins with a rate that an earlier run has found.
    pub(super) fn known(now: Timestamp, place: usize, per_s: f64) -> Self {
        let held = Held {
            rate: per_s * MARGIN,
            measured: per_s,
            doubted: false,
        };
        Self::new(now, place, held.rate, f64::INFINITY, Phase::Hold(held, now))
    }

    /// Begins below a rate that was declared and refused.
    pub(super) fn below(
        now: Timestamp,
        place: usize,
        declared: f64,
        onset: Moment,
        end: Moment,
    ) -> Self {
        let cubic = Cubic::new(now, declared * BETA, declared);
        let phase = Phase::Seek { cubic, held: None };
        let mut search = Self::new(now, place, declared * BETA, declared, phase);
        search.last = Some(Episode { onset, end });
        search
    }

    fn new(now: Timestamp, place: usize, rate: f64, ceiling: f64, phase: Phase) -> Self {
        Self {
            place,
            named: false,
            rate,
            ceiling,
            phase,
            last: None,
            intervals: Vec::new(),
            seen: VecDeque::new(),
            window: None,
            stepped: Step {
                at: now,
                sent: Units::default(),
                ended: 0,
            },
            look_after: LOOK_FIRST,
        }
    }

    pub(super) const fn place(&self) -> usize {
        self.place
    }

    /// Units a second that may be sent.
    pub(super) const fn rate(&self) -> f64 {
        self.rate
    }

    /// Whether the rate is known, and not being looked above.
    pub(super) const fn is_held(&self) -> bool {
        matches!(self.phase, Phase::Hold(..))
    }

    /// What was found out, for the next run. `None` while nothing was.
    pub(super) fn learned(&self) -> Option<LearnedRate> {
        let (Phase::Hold(held, _) | Phase::Look(held, ..)) = &self.phase else {
            return None;
        };
        let per_hour = (held.rate / MARGIN * 3_600.0) as u64;
        Some(LearnedRate::new(KINDS[self.place], per_hour))
    }

    /// The server has named what it counts.
    pub(super) fn name(&mut self, place: usize, tally: &Tally) {
        self.named = true;
        self.count_by(place, tally);
    }

    fn count_by(&mut self, place: usize, tally: &Tally) {
        if place == self.place {
            return;
        }
        let times = tally.mean(place) / tally.mean(self.place);
        if !times.is_finite() || times <= 0.0 {
            return;
        }
        self.place = place;
        self.rate *= times;
        self.ceiling *= times;
        match &mut self.phase {
            Phase::Hold(held, _) | Phase::Look(held, ..) => {
                held.rate *= times;
                held.measured *= times;
            }
            Phase::Seek { cubic, held } => {
                cubic.scale(times);
                *held = held.map(|held| held * times);
            }
            Phase::SlowStart => {}
        }
    }

    /// Lets time pass while nothing is refused.
    pub(super) fn advance(&mut self, now: Timestamp, tally: &Tally) {
        let step = match &self.phase {
            Phase::SlowStart => DOUBLING,
            Phase::Seek { .. } | Phase::Hold(..) | Phase::Look(..) => STEP,
        };
        let time = now.since(self.stepped.at);
        if time < step {
            return;
        }
        let grows = self.used(time, tally) && self.keeps_up(tally);
        self.stepped = Step {
            at: now,
            sent: *tally.all_sent(),
            ended: tally.admitted_ends,
        };
        match &mut self.phase {
            Phase::SlowStart if grows => self.rate *= 2.0,
            Phase::SlowStart => {}
            Phase::Seek { cubic, .. } if grows => {
                self.rate = cubic.rate(now).min(self.rate * FASTEST);
            }
            Phase::Seek { cubic, .. } => cubic.stood_still(time),
            Phase::Hold(held, since) => {
                let after = if held.doubted {
                    DOUBT_AFTER
                } else {
                    self.look_after
                };
                if grows && held.rate < self.ceiling && now.since(*since) >= after {
                    self.phase = Phase::Look(*held, now, 0);
                }
            }
            Phase::Look(held, since, step) => {
                let held = *held;
                if *step > 0 && now.since(*since) < held.look(*step, self.window).0 {
                    return;
                }
                *step += 1;
                *since = now;
                match held.look(*step, self.window).1 {
                    Some(more) => self.rate = held.rate * (1.0 + more),
                    None => {
                        let cubic = Cubic::new(now, self.rate, self.rate);
                        self.phase = Phase::Seek {
                            cubic,
                            held: Some(held.rate),
                        };
                    }
                }
            }
        }
        self.rate = self.rate.min(self.ceiling);
    }

    /// Whether what may be sent was sent: else nothing is learnt about more.
    fn used(&self, time: Duration, tally: &Tally) -> bool {
        let sent = tally.all_sent()[self.place] - self.stepped.sent[self.place];
        sent as f64 + 1.0 >= 0.7 * self.rate * time.as_secs_f64()
    }

    /// Whether answers come about as fast as requests go: else they wait at the server.
    fn keeps_up(&self, tally: &Tally) -> bool {
        let sent = tally.requests() - self.stepped.sent[0];
        let ended = tally.admitted_ends - self.stepped.ended;
        tally.in_flight <= IN_FLIGHT_FREE || ended * 2 >= sent
    }

    /// A pause that began with a refusal is over.
    pub(super) fn resumed(&mut self, now: Timestamp, onset: Moment, end: Moment, tally: &Tally) {
        let episode = Episode { onset, end };
        let before = self.last.replace(episode);
        self.stepped = Step {
            at: now,
            sent: *tally.all_sent(),
            ended: tally.admitted_ends,
        };
        match (&self.phase, before) {
            (Phase::SlowStart, _) | (Phase::Seek { .. }, None) => {
                self.intervals.clear();
                self.seek(now, self.rate / 2.0, self.rate);
            }
            (Phase::Seek { held: None, .. }, Some(before)) => {
                self.judge(now, &before, &episode, tally);
            }
            (
                &Phase::Seek {
                    held: Some(held), ..
                },
                Some(_),
            ) => {
                // It may have been a full bucket that let the rate rise so far.
                self.intervals.clear();
                self.seek(now, (held * self.rate).sqrt(), self.rate);
            }
            (&Phase::Hold(mut held, _), before) => {
                self.see_window(&mut held, before, &episode, tally);
                self.lost_while_holding(now, held, before, &episode, tally);
            }
            (&Phase::Look(mut held, _, step), before) => {
                self.see_window(&mut held, before, &episode, tally);
                self.looked(now, held, step, &episode);
            }
        }
    }

    fn lost_while_holding(
        &mut self,
        now: Timestamp,
        held: Held,
        before: Option<Episode>,
        episode: &Episode,
        tally: &Tally,
    ) {
        let again = before.filter(|before| episode.onset.at.since(before.end.at) < SOON);
        let between = before.map(|before| episode.onset.since(&before.end).units[self.place]);
        let rare = between.is_none_or(|units| units as f64 > self.rare(tally));
        let worn = !rare && held.rate <= held.measured * EASED_LEAST;
        if let Some(before) = again {
            self.intervals.clear();
            self.judge(now, &before, episode, tally);
        } else if episode.length() >= LONG || worn {
            self.intervals.clear();
            self.seek(now, self.rate * BETA, self.rate);
        } else if !rare {
            let rate = (held.rate * EASE).max(held.measured * EASED_LEAST);
            self.hold(now, Held { rate, ..held });
        }
    }

    /// Units of [`RARE`] requests.
    fn rare(&self, tally: &Tally) -> f64 {
        RARE as f64 * tally.mean(self.place)
    }

    /// A look above the held rate ended with a refusal.
    fn looked(&mut self, now: Timestamp, held: Held, step: usize, episode: &Episode) {
        let steady = match step {
            0 | 1 => None,
            _ => held.look(step - 1, self.window).1,
        };
        let first = episode.length() < WINDOWED || self.window.is_some();
        match steady {
            _ if !first => {
                // A window is used up that nobody knew of.
                self.intervals.clear();
                self.seek(now, self.rate * 0.9, self.rate);
            }
            Some(more) if held.doubted => {
                let reached = held.rate * (1.0 + more);
                // A few steps may have been what a bucket had saved up; many were not.
                let sure = step > SAVED_UP_STEPS;
                let rate = if sure { reached } else { reached * SAVED_UP };
                let (rate, measured) = (rate.max(held.rate), reached.max(held.measured));
                self.look_after = LOOK_FIRST;
                self.hold(
                    now,
                    Held {
                        rate,
                        measured,
                        doubted: false,
                    },
                );
            }
            Some(_) if step > 2 => {
                self.intervals.clear();
                self.seek(now, self.rate * 0.9, self.rate);
            }
            passed => {
                // The limit is where it was. A rate that was eased by chance comes back a little,
                // and a bit more where it was exceeded for a while.
                self.look_after = (self.look_after * 2).min(self.look_latest());
                let most = (held.measured * MARGIN).max(held.rate);
                let more = if passed.is_some() { PASSED } else { RECOVERY };
                let rate = (held.rate + held.measured * more).min(most);
                let doubted = false;
                self.hold(
                    now,
                    Held {
                        rate,
                        doubted,
                        ..held
                    },
                );
            }
        }
    }

    /// Looks cost refusals: at a low rate they are rarer.
    fn look_latest(&self) -> Duration {
        let time = Duration::from_secs_f64(LOOK_UNITS / self.rate.max(1e-3));
        time.clamp(LOOK_LATEST, LOOK_RAREST)
    }

    /// How long a window that is known still lasts.
    pub(super) fn window_ends(&self, now: Timestamp) -> Option<Duration> {
        let (window, edge) = self.window?;
        let into = now.since(edge).as_nanos() % window.as_nanos();
        Some(window - Duration::from_nanos(u64::try_from(into).unwrap_or(0)))
    }

    /// Takes the stretch between two refusals for a measurement.
    fn judge(&mut self, now: Timestamp, before: &Episode, last: &Episode, tally: &Tally) {
        let windowed = before.length() >= WINDOWED && last.length() >= WINDOWED;
        let whole = last.since_whole(before).filter(|_| windowed);
        let interval = whole.unwrap_or_else(|| last.onset.since(&before.onset));
        self.intervals.push(interval);
        self.see(interval, tally);
        if let Some(measured) = self.agreed(whole.is_some()) {
            let window = whole.map(|whole| Duration::from_secs_f64(whole.seconds));
            self.window = window.map(|window| (window, last.end.at));
            self.look_after = LOOK_FIRST;
            self.intervals.clear();
            self.hold(
                now,
                Held {
                    rate: measured * MARGIN,
                    measured,
                    doubted: whole.is_none(),
                },
            );
            return;
        }
        let measured = interval.rate(self.place);
        let lost_at = if measured > 0.0 && measured.is_finite() {
            self.rate.min(measured)
        } else {
            self.rate / 2.0
        };
        self.seek(now, lost_at * 0.9, lost_at * 1.05);
    }

    /// Finds out what is counted, unless the server has said so. Whether that is news.
    fn see(&mut self, interval: Interval, tally: &Tally) -> bool {
        self.seen.push_back(interval);
        if self.seen.len() > SEEN_MAX {
            self.seen.pop_front();
        }
        let place = inferred(&self.seen).filter(|place| !self.named && *place != self.place);
        if let Some(place) = place {
            self.count_by(place, tally);
        }
        place.is_some()
    }

    /// Looks at a window that was used up before its end, while a rate is held.
    fn see_window(
        &mut self,
        held: &mut Held,
        before: Option<Episode>,
        last: &Episode,
        tally: &Tally,
    ) {
        let whole = before.and_then(|before| last.since_whole(&before));
        let Some(whole) = whole.filter(|_| self.window.is_some()) else {
            return;
        };
        if self.see(whole, tally) {
            let (units, seconds) = self.seen.iter().fold((0, 0.0), |(units, seconds), seen| {
                (units + seen.units[self.place], seconds + seen.seconds)
            });
            held.measured = units as f64 / seconds;
            held.rate = held.measured * MARGIN;
        }
    }

    /// The rate on which the last measurements agree, if they do.
    fn agreed(&self, whole_windows: bool) -> Option<f64> {
        let mut newest = self.intervals.iter().rev();
        let last = newest.next()?;
        let rate = last.rate(self.place);
        let alike = |other: &&Interval| (other.rate(self.place) / rate - 1.0).abs() <= AGREE;
        let (mut units, mut seconds, mut count) = (last.units[self.place], last.seconds, 1);
        for other in newest.take_while(alike) {
            units += other.units[self.place];
            seconds += other.seconds;
            count += 1;
        }
        let enough = count >= 2 && (units >= ENOUGH || count >= INTERVALS);
        let enough =
            enough && (self.named || self.seen.len() >= TELLING_LEAST || self.sizes_agree());
        (units > 0 && (whole_windows || enough)).then(|| units as f64 / seconds)
    }

    /// Whether requests were equally large in the last two stretches: then it does not matter what
    /// is counted.
    fn sizes_agree(&self) -> bool {
        let mut newest = self.seen.iter().rev();
        let (Some(a), Some(b)) = (newest.next(), newest.next()) else {
            return false;
        };
        let size = |seen: &Interval| seen.units[1] as f64 / seen.units[0] as f64;
        (size(a) / size(b) - 1.0).abs() <= ALIKE
    }

    fn seek(&mut self, now: Timestamp, rate: f64, lost_at: f64) {
        let rate = rate.max(RATE_LEAST);
        self.rate = rate.min(self.ceiling);
        let cubic = Cubic::new(now, rate, lost_at.max(rate));
        self.phase = Phase::Seek { cubic, held: None };
    }

    fn hold(&mut self, now: Timestamp, held: Held) {
        self.rate = held.rate.min(self.ceiling);
        self.phase = Phase::Hold(held, now);
    }
}

impl Episode {
    /// What was admitted between the ends of two pauses that lie a window apart: what the window
    /// holds.
    fn since_whole(&self, before: &Self) -> Option<Interval> {
        let whole = whole_window(self.end.at.since(before.end.at))?;
        Some(Interval {
            seconds: whole.as_secs_f64(),
            ..self.end.since(&before.end)
        })
    }

    fn length(&self) -> Duration {
        self.end.at.since(self.onset.at)
    }
}
