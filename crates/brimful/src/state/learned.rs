//! What was learnt of limits, as it stands on disk.

use std::time::Duration;

use brimful_core::{
    Learned, LearnedCharge, LearnedFactor, LearnedLimit, LearnedRate, LimitKind, Shape,
};
use serde::{Deserialize, Serialize};

use crate::limits;

/// Entries that are taken in: no server has more limits.
const ENTRIES_MAX: usize = 64;
/// Largest amount and window of a limit of the engine.
const AMOUNT_MAX: u64 = 1_000_000_000_000_000;
const WINDOW_MAX_MS: u64 = 31 * 24 * 3600 * 1000;
/// More requests in flight than any machine has.
const PLACES_MAX: u64 = 1_000_000;

const KINDS: [LimitKind; 5] = [
    LimitKind::Requests,
    LimitKind::TotalTokens,
    LimitKind::InputTokens,
    LimitKind::OutputTokens,
    LimitKind::Concurrency,
];
const RULES: [LearnedCharge; 8] = [
    LearnedCharge::Sum,
    LearnedCharge::Max,
    LearnedCharge::Input,
    LearnedCharge::SumSettled,
    LearnedCharge::InputSettled,
    LearnedCharge::Output,
    LearnedCharge::OutputSettled,
    LearnedCharge::Produced,
];
const SHAPES: [(&str, Shape); 4] = [
    ("paced", Shape::Paced),
    ("token-bucket", Shape::TokenBucket),
    ("sliding", Shape::Sliding),
    ("fixed", Shape::Fixed),
];

/// What was learnt of one model of an upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LearnedState {
    /// When, in milliseconds since 1970.
    pub learned_unix_ms: u64,
    /// By which version of this program.
    pub learned_by: String,
    /// Limits.
    #[serde(default)]
    pub limits: Vec<LimitState>,
    /// How the server counts, where that differs from what was declared.
    #[serde(default)]
    pub charges: Vec<FactorState>,
    /// What the server lets through, found out by what it refused.
    #[serde(default)]
    pub rates: Vec<RateState>,
    /// Requests in flight that brought the most tokens; `None` when that was not found out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub places: Option<u64>,
}

/// A limit that was learnt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitState {
    /// What it counts.
    pub counts: String,
    /// How much of that in each window.
    pub amount: u64,
    /// The window in milliseconds; 0 for what is in flight.
    pub window_ms: u64,
    /// As `--limit-shape` has it.
    pub shape: String,
    /// What may start at once, in units of what it counts; `None` when that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u64>,
    /// Variation of the delay that it was found safe under, in milliseconds; `None`: not found out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter_ms: Option<u64>,
    /// What others took of its rate, in thousandths of it; 0 for nothing.
    #[serde(default)]
    pub foreign_permille: u32,
}

/// A rate that was found out by refusals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateState {
    /// What is counted.
    pub counts: String,
    /// How much of that was let through in an hour.
    pub per_hour: u64,
    /// The window, in milliseconds, by which a limit turned out to be judged; `None`: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_ms: Option<u64>,
}

/// How a server counts what it takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FactorState {
    /// What is counted.
    pub counts: String,
    /// By which rule.
    pub rule: String,
    /// What it takes for a unit of ours, in thousandths; 1000 is as estimated.
    pub permille: u32,
}

impl LearnedState {
    /// What the engine has learnt until now; `None` when that is nothing.
    pub(crate) fn of(learned: &Learned, now_unix_ms: u64) -> Option<Self> {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let limits = learned.limits.iter().map(|limit| LimitState {
            counts: limits::counts(limit.kind).to_owned(),
            amount: limit.amount,
            window_ms: millis(limit.window),
            shape: name_of(limit.shape).to_owned(),
            burst: limit.burst,
            jitter_ms: limit.jitter.map(millis),
            foreign_permille: limit.foreign_permille,
        });
        let charges = learned.charges.iter().map(|factor| FactorState {
            counts: limits::counts(factor.kind).to_owned(),
            rule: limits::charge_name(factor.rule).to_owned(),
            permille: factor.permille,
        });
        let rates = learned.rates.iter().map(|rate| RateState {
            counts: limits::counts(rate.kind).to_owned(),
            per_hour: rate.per_hour,
            window_ms: rate.window.map(millis),
        });
        let state = Self {
            learned_unix_ms: now_unix_ms,
            learned_by: env!("CARGO_PKG_VERSION").to_owned(),
            limits: limits.collect(),
            charges: charges.collect(),
            rates: rates.collect(),
            places: learned.places,
        };
        let nothing = state.limits.is_empty()
            && state.charges.is_empty()
            && state.rates.is_empty()
            && state.places.is_none();
        (!nothing).then_some(state)
    }

    /// For the engine. What makes no sense there, because a person or another version wrote it, is
    /// left out.
    pub(crate) fn to_core(&self) -> Learned {
        let mut learned = Learned::new();
        let limits = self.limits.iter().take(ENTRIES_MAX);
        learned.limits = limits.filter_map(LimitState::to_core).collect();
        let charges = self.charges.iter().take(ENTRIES_MAX);
        learned.charges = charges.filter_map(FactorState::to_core).collect();
        let rates = self.rates.iter().take(ENTRIES_MAX);
        learned.rates = rates.filter_map(RateState::to_core).collect();
        learned.places = self
            .places
            .filter(|places| (1..=PLACES_MAX).contains(places));
        learned
    }
}

impl LimitState {
    fn to_core(&self) -> Option<LearnedLimit> {
        let kind = kind_of(&self.counts)?;
        let fits = |amount: u64| (1..=AMOUNT_MAX).contains(&amount);
        let has_window = self.window_ms > 0 && self.window_ms <= WINDOW_MAX_MS;
        if !fits(self.amount) || kind != LimitKind::Concurrency && !has_window {
            return None;
        }
        let window = Duration::from_millis(self.window_ms);
        let mut limit = LearnedLimit::new(kind, self.amount, window);
        limit.shape = SHAPES.iter().find(|(name, _)| *name == self.shape)?.1;
        let is_burst = |burst: &u64| fits(*burst) && limit.shape != Shape::Paced;
        limit.burst = self.burst.filter(is_burst);
        let jitter_ms = self.jitter_ms.filter(|jitter| *jitter <= WINDOW_MAX_MS);
        limit.jitter = jitter_ms.map(Duration::from_millis);
        limit.foreign_permille = self.foreign_permille.min(1000);
        Some(limit)
    }
}

impl RateState {
    fn to_core(&self) -> Option<LearnedRate> {
        let sane = (1..=AMOUNT_MAX).contains(&self.per_hour);
        let kind = kind_of(&self.counts).filter(|_| sane)?;
        let mut rate = LearnedRate::new(kind, self.per_hour);
        let window_ms = self.window_ms.filter(|ms| (1..=WINDOW_MAX_MS).contains(ms));
        rate.window = window_ms.map(Duration::from_millis);
        Some(rate)
    }
}

impl FactorState {
    fn to_core(&self) -> Option<LearnedFactor> {
        let rule = RULES
            .into_iter()
            .find(|rule| limits::charge_name(*rule) == self.rule)?;
        let sane = (1..=1_000_000).contains(&self.permille);
        let kind = kind_of(&self.counts).filter(|_| sane)?;
        Some(LearnedFactor::new(kind, rule, self.permille))
    }
}

fn kind_of(counts: &str) -> Option<LimitKind> {
    KINDS
        .into_iter()
        .find(|kind| limits::counts(*kind) == counts)
}

fn name_of(shape: Shape) -> &'static str {
    let known = SHAPES.iter().find(|(_, known)| *known == shape);
    known.map_or("paced", |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned() -> Learned {
        let mut limit = LearnedLimit::new(LimitKind::TotalTokens, 30_000, Duration::from_secs(60));
        limit.shape = Shape::TokenBucket;
        limit.burst = Some(500);
        limit.jitter = Some(Duration::from_millis(20));
        limit.foreign_permille = 120;
        let mut learned = Learned::new();
        learned.limits = vec![limit];
        learned.charges = vec![LearnedFactor::new(
            LimitKind::TotalTokens,
            LearnedCharge::InputSettled,
            1500,
        )];
        let mut rate = LearnedRate::new(LimitKind::Requests, 36_000);
        rate.window = Some(Duration::from_secs(10));
        learned.rates = vec![rate, LearnedRate::new(LimitKind::TotalTokens, 5)];
        learned.places = Some(48);
        learned
    }

    #[test]
    fn what_is_learnt_comes_back_as_it_was() {
        let learned = learned();
        let state = LearnedState::of(&learned, 7).unwrap();
        let text = serde_json::to_string(&state).unwrap();
        let back: LearnedState = serde_json::from_str(&text).unwrap();
        assert_eq!((back.to_core(), back.learned_unix_ms), (learned, 7));
        assert_eq!(LearnedState::of(&Learned::new(), 7), None);
    }

    #[test]
    fn every_rule_kind_and_shape_has_a_name_of_its_own() {
        for rule in RULES {
            let mut learned = learned();
            learned.charges[0].rule = rule;
            let state = LearnedState::of(&learned, 0).unwrap();
            assert_eq!(state.to_core(), learned);
        }
        for kind in KINDS {
            for (_, shape) in SHAPES {
                let mut learned = learned();
                (learned.limits[0].kind, learned.limits[0].shape) = (kind, shape);
                if shape == Shape::Paced {
                    learned.limits[0].burst = None;
                }
                let state = LearnedState::of(&learned, 0).unwrap();
                assert_eq!(state.to_core(), learned);
            }
        }
    }

    #[test]
    fn what_makes_no_sense_is_left_out() {
        let good = LearnedState::of(&learned(), 0).unwrap();
        let changes: [fn(&mut LimitState); 6] = [
            |limit| limit.amount = 0,
            |limit| limit.amount = u64::MAX,
            |limit| limit.window_ms = 0,
            |limit| limit.window_ms = u64::MAX,
            |limit| limit.counts = "feelings".to_owned(),
            |limit| limit.shape = "round".to_owned(),
        ];
        for change in changes {
            let mut state = good.clone();
            change(&mut state.limits[0]);
            assert_eq!(state.to_core().limits, [], "{state:?}");
        }
        let mut state = good;
        state.limits[0].burst = Some(0);
        state.charges[0].permille = 0;
        state.rates[0].per_hour = 0;
        state.rates[1].window_ms = Some(0);
        state.places = Some(u64::MAX);
        let learned = state.to_core();
        assert_eq!((learned.limits[0].burst, learned.charges.len()), (None, 0));
        let rest = LearnedRate::new(LimitKind::TotalTokens, 5);
        assert_eq!((&learned.rates[..], learned.places), (&[rest][..], None));
    }
}
