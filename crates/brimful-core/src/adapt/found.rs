//! What is found out about a server that says nothing: by what it refuses, and when.

mod cubic;
mod ladder;
mod lanes;
mod overload;
mod pacer;
mod pause;
mod places;
mod search;
mod stretch;
mod tally;

use std::time::Duration;

use crate::charge::Charge;
use crate::engine::AttemptResult;
use crate::learned::Learned;
use crate::limit::LimitSpec;
use crate::outcome::{Class, Failure};
use crate::time::Timestamp;
use crate::upstream::Learning;

use ladder::{Ladder, Step};
use overload::Overload;
use pause::{Patience, Pause};
use places::Places;
use search::Search;
use tally::{KINDS, Tally, place};

pub(crate) use lanes::FoundByLane;
pub(super) use pacer::Pacer;
pub(crate) use tally::Sent;

/// Requests a second that an unknown limit is met with. Few are lower, and those cost a handful of
/// refusals; doubled every two seconds, a thousand a second take fourteen.
const FIRST_PER_S: f64 = 8.0;

/// The rate of one upstream, as far as refusals tell it.
#[derive(Clone, Debug)]
pub(super) struct Found {
    tally: Tally,
    patience: Patience,
    pause: Option<Pause>,
    overload: Overload,
    model: Model,
    /// One for each limit that is not sent as declared; none while only what was declared counts.
    pacers: Vec<Paced>,
    /// The part of a rate that was found out which is sent at, from 0 to 1.
    share: f64,
    /// The kind that the refusal of the present pause named.
    named: Option<usize>,
}

/// Sends one limit at a rate of its own.
#[derive(Clone, Debug)]
struct Paced {
    /// Which of the declared limits; 0 where it is searched.
    ladder: usize,
    /// The kind, by its place in [`KINDS`].
    place: usize,
    pacer: Pacer,
}

/// Who says how fast.
#[derive(Clone, Debug)]
enum Model {
    /// What was declared, one for each limit with a rate.
    Declared(Vec<Ladder>),
    /// Nothing was declared, or nothing that holds.
    Searched(Search),
    /// It is not a rate that limits.
    Places(Places),
}

impl Model {
    fn new(
        now: Timestamp,
        learning: Learning,
        declared: &[LimitSpec],
        learned: Option<&Learned>,
    ) -> Self {
        if learning == Learning::Concurrency {
            let known = learned.and_then(|learned| learned.places);
            return Self::Places(known.map_or_else(Places::new, Places::known));
        }
        let rates = learned.map_or(&[][..], |learned| &learned.rates);
        let ladders: Vec<Ladder> = declared
            .iter()
            .filter_map(|spec| Ladder::new(spec, rates))
            .collect();
        if !ladders.is_empty() {
            return Self::Declared(ladders);
        }
        let known = rates.iter().find(|rate| rate.window.is_none());
        let known = known.and_then(|rate| Some((place(rate.kind)?, rate.per_hour)));
        Self::Searched(match known.filter(|(_, per_hour)| *per_hour > 0) {
            Some((place, per_hour)) => Search::known(now, place, per_hour as f64 / 3_600.0),
            None => Search::slow_start(now, FIRST_PER_S),
        })
    }
}

impl Found {
    /// Under these declared limits: without one that has a rate it is searched from the start.
    /// Begins with what an earlier run has `learned`.
    fn new(
        now: Timestamp,
        learning: Learning,
        declared: &[LimitSpec],
        learned: Option<&Learned>,
    ) -> Self {
        let mut found = Self {
            tally: Tally::default(),
            patience: Patience::new(),
            pause: None,
            overload: Overload::default(),
            model: Model::new(now, learning, declared, learned),
            pacers: Vec::new(),
            share: 1.0,
            named: None,
        };
        found.set_pacer();
        found
    }

    /// No more than so many millionths of a rate that was found out are sent at from now on.
    fn take_share(&mut self, millionths: u32) {
        self.share = f64::from(millionths) / 1e6;
        self.set_pacer();
    }

    /// Adds what was found out, for the next run.
    fn add_to(&self, learned: &mut Learned) {
        match &self.model {
            Model::Places(places) => learned.places = places.found(),
            Model::Searched(search) => learned.rates.extend(search.learned()),
            Model::Declared(ladders) => {
                learned
                    .rates
                    .extend(ladders.iter().filter_map(Ladder::learned));
            }
        }
    }

    /// The instant from which `charge` may start, or `now`.
    fn earliest(&self, now: Timestamp) -> Timestamp {
        let paced = self.pacers.iter().map(|paced| paced.pacer.earliest()).max();
        let paused = self
            .pause
            .as_ref()
            .map(|pause| pause.earliest(&self.patience));
        if let Model::Places(places) = &self.model
            && !places.has_place()
        {
            return Timestamp::NEVER;
        }
        let spared = self.overload.earliest(now);
        spared.max(paced.unwrap_or(now)).max(paused.unwrap_or(now))
    }

    /// Lets time pass: to be called before anything is asked.
    fn advance(&mut self, now: Timestamp) {
        let patience = &self.patience;
        if self
            .pause
            .as_ref()
            .is_some_and(|pause| pause.is_over(now, patience))
        {
            self.resume(now);
        }
        self.overload.advance(now);
        match &mut self.model {
            Model::Declared(ladders) => {
                for ladder in ladders {
                    ladder.advance(now);
                }
            }
            Model::Searched(search) if self.pause.is_none() => search.advance(now, &self.tally),
            Model::Searched(_) | Model::Places(_) => {}
        }
        self.set_pacer();
    }

    /// An attempt starts.
    fn sent(&mut self, now: Timestamp, charge: &Charge) -> Sent {
        if let Some(pause) = &mut self.pause {
            pause.started(now);
        }
        for paced in &mut self.pacers {
            paced.pacer.take(now, KINDS[paced.place].units(charge));
        }
        if let Model::Places(places) = &mut self.model {
            places.sent();
        }
        self.overload.sent(now);
        self.tally.sent(now, charge)
    }

    /// An attempt is over. After a 429: how long nothing starts if the server did not say.
    fn ended(
        &mut self,
        now: Timestamp,
        sent: &Sent,
        charge: &Charge,
        result: &AttemptResult,
    ) -> Option<Duration> {
        if let Model::Places(places) = &mut self.model {
            match result {
                AttemptResult::Answered(usage) => places.ended(now, sent, Some(*usage)),
                AttemptResult::Failed(failure) if failure.class == Class::Throttled => {
                    places.refused(now, sent);
                }
                _ => places.ended(now, sent, None),
            }
        }
        match result {
            AttemptResult::NotSent(_) => self.tally.refused(charge),
            AttemptResult::Failed(failure) if failure.class == Class::Throttled => {
                return Some(self.refused(now, sent, charge, failure));
            }
            AttemptResult::Answered(_) | AttemptResult::Failed(_) | AttemptResult::Aborted => {
                self.tally.admitted();
                match result {
                    AttemptResult::Failed(failure) if failure.class == Class::Overloaded => {
                        self.overload.overloaded();
                    }
                    _ => self.overload.served(),
                }
                if self
                    .pause
                    .as_ref()
                    .is_some_and(|pause| pause.is_probe(sent))
                {
                    self.resume(now);
                }
            }
        }
        None
    }

    /// The first byte of a streamed answer has come.
    fn first_byte(&mut self, now: Timestamp, sent: &Sent) {
        if let Model::Places(places) = &mut self.model {
            places.first_byte(sent, now.since(sent.at));
        }
    }

    fn refused(
        &mut self,
        now: Timestamp,
        sent: &Sent,
        charge: &Charge,
        failure: &Failure,
    ) -> Duration {
        let asked = failure.retry_after.filter(|wait| !wait.is_zero());
        let kind = failure.quota.and_then(|quota| quota.kind);
        self.patience.refused_after(now.since(sent.at));
        self.named = kind.and_then(place).or(self.named);
        let until = match &mut self.pause {
            Some(pause) => pause.refused(now, sent, asked),
            None => {
                let onset = self.tally.before(sent);
                let known = match &self.model {
                    Model::Searched(search) => search.window_ends(now),
                    Model::Declared(_) | Model::Places(_) => None,
                };
                let pause = Pause::new(now, onset, asked.or(known));
                let until = pause.earliest(&self.patience);
                self.pause = Some(pause);
                until
            }
        };
        self.tally.refused(charge);
        until.since(now)
    }

    /// Units a second that are searched at; `None` while only what was declared counts.
    #[cfg(test)]
    const fn rate(&self) -> Option<f64> {
        match &self.model {
            Model::Searched(search) => Some(search.rate()),
            Model::Declared(_) | Model::Places(_) => None,
        }
    }

    fn resume(&mut self, now: Timestamp) {
        let Some(pause) = self.pause.take() else {
            return;
        };
        let (onset, end) = (pause.onset, self.tally.now(now));
        let named = self.named.take();
        match &mut self.model {
            Model::Declared(ladders) => {
                let suspect = named
                    .and_then(|named| ladders.iter().position(|ladder| ladder.place() == named))
                    .unwrap_or(0);
                let ladder = &mut ladders[suspect];
                if ladder.resumed(now, onset, end) == Step::Search {
                    let (place, declared) = (ladder.place(), ladder.declared());
                    let search = Search::below(now, place, declared, onset, end);
                    self.model = Model::Searched(search);
                }
            }
            Model::Searched(search) => {
                if let Some(place) = named {
                    search.name(place, &self.tally);
                }
                search.resumed(now, onset, end, &self.tally);
            }
            Model::Places(_) => {}
        }
        self.set_pacer();
    }

    /// Sends at the rates that the model says.
    fn set_pacer(&mut self) {
        let pacers = &mut self.pacers;
        match &self.model {
            Model::Searched(search) => {
                // Only what is sent at in full can be found out.
                let share = if search.is_held() { self.share } else { 1.0 };
                pacers.retain(|paced| paced.ladder == 0);
                pace(
                    pacers,
                    (0, search.place()),
                    Some((search.rate() * share, 0)),
                );
            }
            Model::Places(_) => pacers.clear(),
            Model::Declared(ladders) => {
                for (index, ladder) in ladders.iter().enumerate() {
                    let strict = ladder.rate().zip(ladder.burst());
                    pace(pacers, (index, ladder.place()), strict);
                }
            }
        }
    }
}

/// Sends a limit at this rate, with this burst; `None`: as declared.
fn pace(pacers: &mut Vec<Paced>, (ladder, place): (usize, usize), strict: Option<(f64, u64)>) {
    let known = pacers.iter().position(|paced| paced.ladder == ladder);
    match (known, strict) {
        (Some(known), Some((rate, burst))) if pacers[known].place == place => {
            pacers[known].pacer.set(rate, burst);
        }
        (known, strict) => {
            if let Some(known) = known {
                pacers.swap_remove(known);
            }
            pacers.extend(strict.map(|(rate, burst)| Paced {
                ladder,
                place,
                pacer: Pacer::new(rate, burst),
            }));
        }
    }
}

#[cfg(test)]
mod tests;
