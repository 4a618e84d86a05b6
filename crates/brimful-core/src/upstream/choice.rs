//! Which upstream takes a request: the one where it can start first, by weight where several can.

use crate::budget::{Budget, Refusal, Route};
use crate::charge::{Charge, Cost};
use crate::limit::{Decision, Never};
use crate::time::Timestamp;
use crate::timer::Timer;

use super::{Role, Upstream};

/// One way for the requests of a lane: an upstream and the limits that apply there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) upstream: usize,
    pub(crate) route: Route,
}

/// What is to be decided.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) now: Timestamp,
    pub(crate) cost: &'a Cost,
    pub(crate) ways: &'a [Way],
    /// Since when the request is next in its lane.
    pub(crate) next_since: Timestamp,
    /// The upstream that failed it last.
    pub(crate) avoid: Option<usize>,
    /// What older requests of other lanes wait for.
    pub(crate) holds: &'a [Hold],
}

/// What an older request waits for: it must not wait longer because a younger one starts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hold {
    limit: usize,
    /// Units that it needs of the limit.
    units: u64,
    /// When it starts if nothing else does.
    until: Timestamp,
}

#[derive(Debug)]
pub(crate) enum Choice {
    /// It may start now.
    Start {
        way: Way,
        charge: Charge,
    },
    Wait(Wait),
    /// It fits none of the upstreams.
    Never(Never),
    /// No upstream that serves its lane is of use any more.
    Nowhere,
}

/// Why a request waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    /// When to ask again, and for what reason.
    pub(crate) until: Timestamp,
    pub(crate) timer: Timer,
    /// Where it can start first; `None` while nobody takes it at all.
    first: Option<Offer>,
}

impl Wait {
    /// The limit that admits it last where it can start first; `None` while that one pauses.
    pub(crate) fn limit(&self) -> Option<usize> {
        self.first.and_then(|first| first.limit)
    }

    /// What must not be taken from under it.
    pub(crate) fn hold(&self, budget: &Budget, holds: &mut Vec<Hold>) {
        let Some(first) = self.first else { return };
        for &limit in budget.limits_of(first.way.route) {
            let units = budget.spec(limit).kind.units(&first.charge);
            if units > 0 {
                holds.push(Hold {
                    limit,
                    units,
                    until: first.at,
                });
            }
        }
    }

    /// Tells the limits of where it can start first that it waits for them.
    #[inline]
    pub(crate) fn tell(&self, now: Timestamp, budget: &mut Budget) {
        if let Some(first) = &self.first {
            budget.is_awaited(now, first.way.route, &first.charge);
        }
    }

    fn look(&mut self, at: Timestamp, timer: Timer) {
        if at < self.until {
            (self.until, self.timer) = (at, timer);
        }
    }
}

/// When a request can start somewhere.
#[derive(Clone, Copy, Debug)]
struct Offer {
    way: Way,
    charge: Charge,
    at: Timestamp,
    /// The limit that admits it last.
    limit: Option<usize>,
    /// The end of a pause, which has to be noticed even when a limit admits it later.
    pause: Option<Timestamp>,
}

impl Offer {
    const fn wait(self) -> Wait {
        let (until, timer) = match self.pause {
            Some(end) => (end, Timer::Cooldown),
            None => (self.at, Timer::Admission),
        };
        Wait {
            until,
            timer,
            first: Some(self),
        }
    }
}

/// Decides, and remembers whose turn it is.
#[derive(Debug, Default)]
pub(crate) struct Chooser {
    /// Ways that could start the request at this moment; kept for its memory.
    ready: Vec<(Way, Charge)>,
}

impl Chooser {
    #[inline]
    pub(crate) fn choose(
        &mut self,
        asked: &Asked<'_>,
        upstreams: &mut [Upstream],
        budget: &Budget,
    ) -> Choice {
        if let [way] = *asked.ways {
            return only(asked, way, &upstreams[way.upstream], budget);
        }
        let usable = |way: &&Way| upstreams[way.upstream].is_usable();
        let mut usable = asked.ways.iter().filter(usable).peekable();
        if usable.peek().is_none() {
            return Choice::Nowhere;
        }
        // When all of them are ill, none is left to spare them for.
        let spares = usable.any(|way| upstreams[way.upstream].ill_until().is_none());
        let mut round = self.look_around(asked, upstreams, budget, spares);
        if spares && self.ready.is_empty() && round.wait.first.is_none() {
            // Only those that are ill are large enough for it.
            round = self.look_around(asked, upstreams, budget, false);
        }
        if !self.ready.is_empty() {
            return self.take_turns(asked.avoid, upstreams);
        }
        match round.never {
            Some(never) if round.wait.first.is_none() => Choice::Never(never),
            _ => Choice::Wait(round.wait),
        }
    }

    /// Fills `ready` and says what there is to wait for: for the primaries, then, where these keep
    /// the request waiting for too long, also for fallbacks.
    fn look_around(
        &mut self,
        asked: &Asked<'_>,
        upstreams: &[Upstream],
        budget: &Budget,
        spares: bool,
    ) -> Round {
        let mut round = Round::default();
        self.ready.clear();
        for &way in asked.ways {
            if upstreams[way.upstream].role == Role::Primary {
                self.consider(
                    asked,
                    way,
                    &upstreams[way.upstream],
                    budget,
                    spares,
                    &mut round,
                );
            }
        }
        if !self.ready.is_empty() {
            return round;
        }
        let primaries = round.wait.first.map(|first| first.at);
        for &way in asked.ways {
            let Role::Fallback { after } = upstreams[way.upstream].role else {
                continue;
            };
            let too_long = match primaries {
                None => true,
                // Nobody knows when an attempt in flight ends: then what it has waited counts.
                Some(Timestamp::NEVER) => asked.now.since(asked.next_since) >= after,
                Some(at) => at.since(asked.next_since) > after,
            };
            if too_long {
                self.consider(
                    asked,
                    way,
                    &upstreams[way.upstream],
                    budget,
                    spares,
                    &mut round,
                );
            } else if primaries == Some(Timestamp::NEVER) {
                round.wait.look(asked.next_since + after, Timer::Fallback);
            }
        }
        round
    }

    fn consider(
        &mut self,
        asked: &Asked<'_>,
        way: Way,
        upstream: &Upstream,
        budget: &Budget,
        spares: bool,
        round: &mut Round,
    ) {
        if !upstream.is_usable() {
            return;
        }
        if spares && let Some(until) = upstream.ill_until() {
            return round.wait.look(until, Timer::Cooldown);
        }
        match offer(asked, way, upstream, budget, spares) {
            Ok(offer) if offer.at <= asked.now => self.ready.push((way, offer.charge)),
            Ok(offer) => {
                let wait = offer.wait();
                round.wait.look(wait.until, wait.timer);
                let first = &mut round.wait.first;
                if first.is_none_or(|first| offer.at < first.at) {
                    *first = Some(offer);
                }
            }
            Err(refused) => {
                // The one that comes closest is the one to tell of.
                let most = round.never.as_ref().map(|never| never.most);
                if most.is_none_or(|most| refused.most > most) {
                    round.never = Some(refused);
                }
            }
        }
    }

    /// Smooth weighted round robin, as nginx does it: each gains its weight, the richest pays for
    /// all. So turns are spread evenly, and exactly by weight in every round.
    fn take_turns(&mut self, avoid: Option<usize>, upstreams: &mut [Upstream]) -> Choice {
        if self.ready.len() > 1
            && let Some(avoid) = avoid
        {
            self.ready.retain(|(way, _)| way.upstream != avoid);
        }
        let mut total = 0;
        let mut chosen = self.ready[0];
        if self.ready.len() > 1 {
            for (way, _) in &self.ready {
                let upstream = &mut upstreams[way.upstream];
                upstream.credit += i64::from(upstream.weight);
                total += i64::from(upstream.weight);
            }
            for &other in &self.ready[1..] {
                if upstreams[other.0.upstream].credit > upstreams[chosen.0.upstream].credit {
                    chosen = other;
                }
            }
            upstreams[chosen.0.upstream].credit -= total;
        }
        let (way, charge) = chosen;
        Choice::Start { way, charge }
    }
}

/// What one look around all ways has brought.
struct Round {
    wait: Wait,
    never: Option<Never>,
}

impl Default for Round {
    fn default() -> Self {
        Self {
            wait: Wait {
                until: Timestamp::NEVER,
                timer: Timer::Admission,
                first: None,
            },
            never: None,
        }
    }
}

/// The choice where there is none.
#[inline]
fn only(asked: &Asked<'_>, way: Way, upstream: &Upstream, budget: &Budget) -> Choice {
    if !upstream.is_usable() {
        return Choice::Nowhere;
    }
    match offer(asked, way, upstream, budget, false) {
        Ok(Offer { at, charge, .. }) if at <= asked.now => Choice::Start { way, charge },
        Ok(offer) => Choice::Wait(offer.wait()),
        Err(never) => Choice::Never(never),
    }
}

#[inline]
fn offer(
    asked: &Asked<'_>,
    way: Way,
    upstream: &Upstream,
    budget: &Budget,
    spares: bool,
) -> Result<Offer, Never> {
    let now = asked.now;
    let declared = upstream.charge(asked.cost);
    let learnt = upstream.learnt_charge(asked.cost);
    let mut charge = learnt.unwrap_or(declared);
    let mut judged = budget.earliest(now, way.route, &charge);
    if judged.is_err() && learnt.is_some() {
        // What was learnt may be wrong: by itself it makes nothing impossible.
        charge = declared;
        judged = budget.earliest(now, way.route, &charge);
    }
    let (at, limit) = match judged {
        Ok(earliest) => earliest,
        Err(Refusal {
            decision: Decision::Never(never),
            ..
        }) => return Err(never),
        Err(_) => unreachable!("what will start some time is not refused"),
    };
    let mut offer = Offer {
        way,
        charge,
        at,
        limit: (at > now).then_some(limit),
        pause: upstream.paused_until(now),
    };
    if let Some(told) = upstream.told(asked.cost.lane) {
        let (named, place) = told.earliest(now, asked.cost);
        if named > at {
            (offer.at, offer.limit) = (named, place);
        }
    }
    let found = upstream.earliest(now, asked.cost.lane);
    if found > offer.at {
        (offer.at, offer.limit) = (found, None);
    }
    if let Some(end) = offer.pause.filter(|&end| end > offer.at) {
        (offer.at, offer.limit) = (end, None);
    }
    if spares && !upstream.has_place() {
        (offer.at, offer.limit) = (Timestamp::NEVER, None);
    }
    if offer.at <= now
        && let Some((limit, until)) = held(asked, way.route, &charge, budget)
    {
        (offer.at, offer.limit) = (until, Some(limit));
    }
    Ok(offer)
}

/// The limit of which nothing may be taken because an older request waits for it, and until when.
#[inline]
fn held(
    asked: &Asked<'_>,
    route: Route,
    charge: &Charge,
    budget: &Budget,
) -> Option<(usize, Timestamp)> {
    if asked.holds.is_empty() {
        return None;
    }
    let now = asked.now;
    for hold in asked.holds {
        if !budget.limits_of(route).contains(&hold.limit) {
            continue;
        }
        let limit = budget.limit(hold.limit);
        let units = limit.spec.kind.units(charge);
        if units == 0 {
            continue;
        }
        if hold.until == Timestamp::NEVER {
            // It waits for something in flight. What this limit lacks for it now may be saved up
            // meanwhile; what it has is not kept idle.
            let free = limit.earliest(now, hold.units).unwrap_or(now);
            if free > now {
                return Some((hold.limit, free));
            }
        } else if limit.earliest_after(now, units, hold.units) > hold.until {
            return Some((hold.limit, hold.until));
        }
    }
    None
}
