//! One place to send to: what belongs to it alone. Which one takes a request is decided in
//! `choice`; what it may take, in `budget`.

mod choice;
mod config;
mod cooldown;
mod health;
mod reach;

use std::time::Duration;

use crate::adapt::{FoundByLane, Told};
use crate::charge::{Charge, ChargeRule, Cost, Lane, Settlement, UsageWeights};
use crate::engine::StopReason;
use crate::learned::Learned;
use crate::outcome::{Class, Usage};
use crate::retry::RetryPolicy;
use crate::time::Timestamp;

use cooldown::Cooldown;
use health::{Condition, Health};
use reach::Reach;

pub(crate) use choice::{Asked, Choice, Chooser, Hold, Way};
pub use config::{Learning, Role, UpstreamConfig};

/// An upstream by its place in [`EngineConfig::upstreams`](crate::EngineConfig::upstreams). One
/// that is added to a live engine gets a number of its own; none is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UpstreamId(pub u16);

impl UpstreamId {
    /// The number as an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What an upstream is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamStatus {
    /// Which one.
    pub id: UpstreamId,
    /// Its name.
    pub name: String,
    /// Attempts in flight.
    pub in_flight: u32,
    /// Whether it may be used.
    pub state: UpstreamState,
}

/// Whether an upstream may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamState {
    /// It takes what its limits allow.
    Ready,
    /// It pauses until then: a cooldown, or a quota that is used up until it resets.
    Paused(Timestamp),
    /// It failed too often and gets nothing until then, unless nothing else is left.
    Ill(Timestamp),
    /// It was ill and gets so many attempts at once.
    Returning(u32),
    /// It is of no use to any request: wrong key, empty wallet.
    Out(Class),
    /// A live run was told to use it no more.
    Retired,
}

/// An upstream with its state.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) name: String,
    charge_rule: ChargeRule,
    settlement: Settlement,
    usage_weights: UsageWeights,
    weight: u32,
    role: Role,
    serves: Option<Vec<Lane>>,
    /// Its limits, also those that it shares.
    pub(crate) limits: Vec<usize>,
    /// What is found out where it says nothing.
    found: FoundByLane,
    id: UpstreamId,
    /// What it says of its limits, by lane.
    /// Whether anything is learnt of it.
    learns: bool,
    told: Vec<Told>,
    learned: Vec<(Lane, Learned)>,
    first_alone: bool,
    share_millionths: u32,
    cooldown: Cooldown,
    reach: Reach,
    condition: Condition,
    parking: Parking,
    out: Option<Class>,
    retired: bool,
    pub(crate) in_flight: u32,
    /// What it is owed in turns, in the smooth weighted round robin.
    credit: i64,
}

/// A pause until a quota that is used up resets.
#[derive(Debug, Default)]
struct Parking {
    since: Timestamp,
    until: Timestamp,
    /// Whether nothing was answered since: a reset that brings nothing is none.
    in_vain: bool,
}

impl Upstream {
    pub(crate) fn new(id: UpstreamId, config: &UpstreamConfig) -> Self {
        Self {
            name: config.name.clone(),
            charge_rule: config.charge_rule,
            settlement: config.settlement,
            usage_weights: config.usage_weights,
            weight: config.weight,
            role: config.role,
            serves: config.serves.clone(),
            limits: Vec::new(),
            found: FoundByLane::new(config),
            id,
            learns: config.listens(),
            told: Vec::new(),
            learned: config.learned.clone(),
            first_alone: config.first_alone,
            share_millionths: config.share_millionths,
            cooldown: Cooldown::default(),
            reach: Reach::default(),
            condition: Condition::default(),
            parking: Parking::default(),
            out: None,
            retired: false,
            in_flight: 0,
            credit: 0,
        }
    }

    /// Takes over what a live run changes. What was out may be tried again: somebody has been at
    /// the key or the wallet.
    pub(crate) fn reconfigure(&mut self, config: &UpstreamConfig) {
        let declared = (config.charge_rule, config.settlement);
        if declared != (self.charge_rule, self.settlement) {
            (self.charge_rule, self.settlement) = declared;
            for told in &mut self.told {
                told.redeclare(declared.0, declared.1);
            }
        }
        self.share_millionths = config.share_millionths;
        for told in &mut self.told {
            told.take_share(config.share_millionths);
        }
        self.usage_weights = config.usage_weights;
        self.learns = config.listens();
        self.weight = config.weight;
        self.role = config.role;
        self.serves.clone_from(&config.serves);
        self.found.reconfigure(config);
        self.out = None;
        self.parking = Parking::default();
        self.retired = false;
    }

    pub(crate) const fn retire(&mut self) {
        self.retired = true;
    }

    pub(crate) fn serves(&self, lane: Lane) -> bool {
        let lanes = self.serves.as_ref();
        !self.retired && lanes.is_none_or(|lanes| lanes.contains(&lane))
    }

    /// Whether it may be used at all, now or later.
    pub(crate) const fn is_usable(&self) -> bool {
        self.out.is_none() && !self.retired
    }

    /// What a request of this cost takes from its limits, as declared.
    #[inline]
    pub(crate) fn charge(&self, cost: &Cost) -> Charge {
        self.charge_rule.of(cost)
    }

    /// What it takes as far as was learnt. `None` where that is as declared.
    #[inline]
    pub(crate) fn learnt_charge(&self, cost: &Cost) -> Option<Charge> {
        let told = self.told(cost.lane)?;
        told.has_learnt_charges()
            .then(|| told.reserve(cost, self.charge(cost)))
    }

    /// Whether what it says of limits is taken in.
    #[inline]
    pub(crate) const fn learns(&self) -> bool {
        self.learns
    }

    /// What it says of the limits of a lane, if anything.
    #[inline]
    pub(crate) fn told(&self, lane: Lane) -> Option<&Told> {
        self.told.get(usize::from(lane.0))
    }

    /// Where what it says of the limits of a lane is kept.
    #[inline]
    pub(crate) fn told_mut(&mut self, lane: Lane) -> &mut Told {
        for number in self.told.len()..=usize::from(lane.0) {
            let mut told = Told::new(self.id, self.charge_rule, self.settlement);
            told.take_share(self.share_millionths);
            let lane = self
                .learned
                .iter()
                .find(|(of, _)| usize::from(of.0) == number);
            if let Some((_, learned)) = lane {
                told.start_from(learned);
            }
            if self.first_alone {
                told.go_alone();
            }
            self.told.push(told);
        }
        &mut self.told[usize::from(lane.0)]
    }

    /// What it said of the limits of all lanes.
    pub(crate) fn each_told(&mut self) -> impl Iterator<Item = &mut Told> {
        self.told.iter_mut()
    }

    /// What an answer has really cost, where the provider settles. Custom units are as reserved.
    pub(crate) fn actual(
        &self,
        lane: Lane,
        reserved: &Charge,
        usage: Option<Usage>,
    ) -> Option<Charge> {
        let usage = self.weigh(usage?);
        let declared = match self.settlement {
            Settlement::None => None,
            Settlement::Usage => Some(Charge {
                custom: reserved.custom,
                ..self.charge_rule.actual(usage)
            }),
        };
        match self.told(lane).filter(|told| told.has_learnt_charges()) {
            Some(told) => Some(told.settle(&usage, reserved, declared)),
            None => declared,
        }
    }

    /// When what was found out lets something start in a lane, or `now`. What the server itself
    /// says of the lane goes before.
    #[inline]
    pub(crate) fn earliest(&self, now: Timestamp, lane: Lane) -> Timestamp {
        if self.told(lane).is_some_and(Told::names_limits) {
            return now;
        }
        self.found.earliest(now, lane)
    }

    /// What is found out where it says nothing.
    pub(crate) const fn found_mut(&mut self) -> &mut FoundByLane {
        &mut self.found
    }

    /// What a run has learnt of a lane, for the next one.
    pub(crate) fn learned(&self, lane: Lane) -> Learned {
        let mut learned = self.told(lane).map(Told::learned).unwrap_or_default();
        self.found.add_to(&mut learned, lane);
        learned
    }

    /// A usage as the provider counts it.
    pub(crate) fn weigh(&self, usage: Usage) -> Usage {
        self.usage_weights.of(usage)
    }

    /// The end of its pause, while there is one.
    #[inline]
    pub(crate) fn paused_until(&self, now: Timestamp) -> Option<Timestamp> {
        let until = self.cooldown.until(now).max(Some(self.parking.until));
        until.filter(|&until| until > now)
    }

    /// Until when it is ill, if it is.
    const fn ill_until(&self) -> Option<Timestamp> {
        match self.condition.health() {
            Health::Ill { until } => Some(until),
            Health::Well | Health::Returning { .. } => None,
        }
    }

    /// Whether its health lets it take another attempt.
    const fn has_place(&self) -> bool {
        match self.condition.health() {
            Health::Well => true,
            Health::Ill { .. } => false,
            Health::Returning { places } => self.in_flight < places,
        }
    }

    /// Takes in that time has passed. Whether a pause has ended by it, told once.
    #[inline]
    pub(crate) fn wake(&mut self, now: Timestamp) -> bool {
        self.condition.wake(now);
        self.found.advance(now);
        self.cooldown.until(now).is_none() && self.cooldown.ends()
    }

    /// Nothing is left that could be answered.
    pub(crate) const fn idle(&mut self) {
        self.cooldown.interrupted();
    }

    /// An answer came. Whether it is well again by this.
    #[inline]
    pub(crate) fn answered(&mut self, now: Timestamp) -> bool {
        self.cooldown.answered();
        self.reach.reached(now);
        self.parking.in_vain = false;
        self.condition.answered()
    }

    /// Something came back, though not an answer. Returns until when it is ill, if it has fallen
    /// ill by this.
    pub(crate) fn failed(
        &mut self,
        now: Timestamp,
        started: Timestamp,
        class: Class,
        policy: &RetryPolicy,
    ) -> Option<Timestamp> {
        self.reach.reached(now);
        if class != Class::Throttled {
            self.cooldown.interrupted();
        }
        match class {
            Class::Overloaded | Class::Transient => self.condition.failed(now, started, policy),
            _ => None,
        }
    }

    /// A 429 for speed, and how long to wait: as the server said, or as was found out. Returns the
    /// new end of its pause if it moved.
    pub(crate) fn throttled(
        &mut self,
        now: Timestamp,
        started: Timestamp,
        (retry_after, unasked): (Option<Duration>, Option<Duration>),
        policy: &RetryPolicy,
    ) -> Option<Timestamp> {
        self.cooldown
            .throttled(now, started, retry_after, unasked, policy)
    }

    /// An attempt could not be sent. Returns the end of its pause, and whether that moved; `None`
    /// when others got through meanwhile.
    pub(crate) fn not_sent(
        &mut self,
        now: Timestamp,
        started: Timestamp,
        policy: &RetryPolicy,
    ) -> Option<(Timestamp, bool)> {
        let pause = self.reach.not_sent(now, started, policy)?;
        let until = now + pause;
        // Its return is gradual too; that it is away is told by the pause.
        let _ = self.condition.failed(now, started, policy);
        Some((until, self.cooldown.pause(until)))
    }

    /// A quota is used up until then. Whether that can be believed: a reset that brought nothing
    /// the last time will bring nothing again.
    pub(crate) fn park(&mut self, now: Timestamp, started: Timestamp, until: Timestamp) -> bool {
        let parking = &mut self.parking;
        if !parking.in_vain {
            *parking = Parking {
                since: now,
                until,
                in_vain: true,
            };
            return true;
        }
        // Refused together with the one that told of it.
        started < parking.since
    }

    /// Whether it waits for a quota to reset.
    pub(crate) fn is_parked(&self, now: Timestamp) -> bool {
        self.parking.until > now
    }

    /// It is of no use any more. Whether that is news.
    pub(crate) fn out(&mut self, class: Class) -> bool {
        self.out.replace(class).is_none()
    }

    /// Why nothing more is to be hoped for, if so. It may still be tried while others are left.
    pub(crate) fn lost(&self, now: Timestamp, policy: &RetryPolicy) -> Option<StopReason> {
        if let Some(class) = self.out {
            Some(StopReason::Upstream(class))
        } else if self.is_parked(now) {
            Some(StopReason::Upstream(Class::Exhausted))
        } else if self.cooldown.only_throttled() >= policy.max_throttled_time {
            Some(StopReason::OnlyThrottled)
        } else {
            let is_lost = self.reach.is_lost(now, policy);
            is_lost.then_some(StopReason::Unreachable)
        }
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.retired
    }

    pub(crate) fn status(&self, now: Timestamp, id: UpstreamId) -> UpstreamStatus {
        let state = match (self.out, self.paused_until(now), self.condition.health()) {
            _ if self.retired => UpstreamState::Retired,
            (Some(class), ..) => UpstreamState::Out(class),
            (_, Some(until), _) => UpstreamState::Paused(until),
            (_, _, Health::Ill { until }) => UpstreamState::Ill(until),
            (_, _, Health::Returning { places }) => UpstreamState::Returning(places),
            _ => UpstreamState::Ready,
        };
        UpstreamStatus {
            id,
            name: self.name.clone(),
            in_flight: self.in_flight,
            state,
        }
    }
}
