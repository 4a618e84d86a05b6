//! Every way of judging and charging, and many limits at once.

use std::time::Duration;

use brimful_core::Timestamp;
use brimful_sim::{Charge, Ending, Enforcement, LimitRule, Measure, Server, ServerConfig, Ticket};
use proptest::prelude::*;
use proptest::sample::select;

use super::oracle::Oracle;
use super::{ask, seeded, status};

proptest! {
    #[test]
    fn one_limit_admits_exactly_what_its_definition_allows(
        rule in rules(),
        charging in charging(),
        steps in steps(),
    ) {
        Run::new(vec![rule], None, charging).follow(steps)?;
    }

    #[test]
    fn several_limits_admit_exactly_what_all_of_them_allow(
        rules in prop::collection::vec(rules(), 2..5),
        concurrency in prop::option::of(1u64..8),
        charging in charging(),
        steps in steps(),
    ) {
        Run::new(rules, concurrency, charging).follow(steps)?;
    }
}

/// How requests are charged.
#[derive(Clone, Copy, Debug)]
struct Charging {
    charge: Charge,
    refund: bool,
    refused_count: bool,
    failures: Failures,
    output_tokens: u64,
    latency_ms: u64,
    token_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Failures {
    None,
    Counted,
    GivenBack,
}

/// What a client does next.
#[derive(Clone, Copy, Debug)]
struct Step {
    gap_ns: u64,
    /// In place of the gap: at the instant that the last refusal told, or a nanosecond before.
    as_told: Option<bool>,
    input: u64,
    output_max: u64,
    /// Which of the open requests ends first, and how.
    ends: Option<(usize, bool)>,
}

fn charging() -> impl Strategy<Value = Charging> {
    let charges = select(vec![
        Charge::Sum,
        Charge::Max,
        Charge::Input,
        Charge::Produced,
    ]);
    let failures = select(vec![Failures::None, Failures::Counted, Failures::GivenBack]);
    let times = (1u64..90, 0u64..3_000, 0u64..200);
    (charges, any::<bool>(), any::<bool>(), failures, times).prop_map(
        |(charge, refund, refused_count, failures, (output_tokens, latency_ms, token_ms))| {
            Charging {
                charge,
                refund,
                refused_count,
                failures,
                output_tokens,
                latency_ms,
                token_ms,
            }
        },
    )
}

fn rules() -> impl Strategy<Value = LimitRule> {
    let measures = select(vec![
        Measure::Requests,
        Measure::Requests,
        Measure::Tokens,
        Measure::InputTokens,
        Measure::OutputTokens,
    ]);
    let windows = select(vec![777u64, 1_000, 10_000, 60_000]);
    let shape = (enforcements(), windows, measures, 1u64..60);
    let times = (
        0u64..70_000,
        0u64..90_000_000_000,
        select(vec![500u64, 1_000, 10_000, 60_000]),
    );
    (shape, times).prop_map(
        |((enforcement, window, measure, amount), (burst, phase, over))| {
            let amount = if measure == Measure::Requests {
                amount
            } else {
                40 * amount
            };
            let mut rule = LimitRule::new("", measure, amount, Duration::from_millis(window));
            rule.enforcement = Some(enforcement);
            rule.burst = Some(Duration::from_millis(burst));
            rule.window_phase = Some(Duration::from_nanos(phase));
            rule.judged_over = Some(Duration::from_millis(over));
            rule
        },
    )
}

fn enforcements() -> impl Strategy<Value = Enforcement> {
    select(vec![
        Enforcement::TokenBucket,
        Enforcement::FixedWindow,
        Enforcement::SlidingLog,
        Enforcement::SlidingCounter,
        Enforcement::Spacing,
    ])
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let scale = select(vec![1u64, 1_000, 1_000_000, 20_000_000, 300_000_000]);
    let gap = (0u64..12, scale).prop_map(|(count, unit)| count * unit);
    let ends = prop::option::of((0usize..8, any::<bool>()));
    let step = (
        gap,
        prop::option::weighted(0.3, any::<bool>()),
        0u64..50,
        0u64..120,
        ends,
    );
    let step = step.prop_map(|(gap_ns, as_told, input, output_max, ends)| Step {
        gap_ns,
        as_told,
        input,
        output_max,
        ends,
    });
    prop::collection::vec(step, 1..80)
}

/// What a request takes or needs of each measure.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    tokens: u64,
    input: u64,
    output: u64,
}

/// An admitted request that has not ended.
struct Open {
    name: u64,
    ticket: Ticket,
    at: u64,
    failed: bool,
    reserved: Taken,
    actual: Taken,
}

/// The server and the oracles side by side.
struct Run {
    server: Server,
    oracles: Vec<Oracle>,
    concurrency: Option<u64>,
    charging: Charging,
    open: Vec<Open>,
    /// Output to come: when, how much, whose.
    growing: Vec<(u64, u64, u64)>,
    now: u64,
    told: Option<u64>,
    asked: u64,
}

impl Run {
    fn new(rules: Vec<LimitRule>, concurrency: Option<u64>, charging: Charging) -> Self {
        let named = rules.into_iter().enumerate().map(|(place, mut rule)| {
            rule.name = format!("limit {place}");
            rule
        });
        let rules: Vec<LimitRule> = named.collect();
        let set = |c: &mut ServerConfig| {
            c.limits = rules.clone();
            c.concurrency = concurrency;
            c.charge = charging.charge;
            c.refund = charging.refund;
            c.refused_requests_count = charging.refused_count;
            c.failed_requests_count = charging.failures != Failures::GivenBack;
            c.error_share = if charging.failures == Failures::None {
                0.0
            } else {
                0.4
            };
            c.output_tokens_median = charging.output_tokens as f64;
            c.latency_ms_median = charging.latency_ms as f64;
            c.latency_ms_per_token = charging.token_ms as f64;
        };
        Self {
            server: seeded(11, set),
            oracles: rules.into_iter().map(Oracle::new).collect(),
            concurrency,
            charging,
            open: Vec::new(),
            growing: Vec::new(),
            now: 0,
            told: None,
            asked: 0,
        }
    }

    fn follow(mut self, steps: Vec<Step>) -> Result<(), TestCaseError> {
        for step in steps {
            self.now = match (step.as_told, self.told) {
                (Some(exact), Some(told)) => self.now.max(told - u64::from(!exact)),
                _ => self.now + step.gap_ns,
            };
            self.grow();
            if let Some((which, sent)) = step.ends
                && !self.open.is_empty()
            {
                let open = self.open.swap_remove(which % self.open.len());
                self.end(open, sent);
            }
            self.ask(step.input, step.output_max)?;
        }
        let admitted = self.server.arrivals().iter().filter(|a| a.admitted).count();
        prop_assert_eq!(self.server.stats().requests_admitted, admitted as u64);
        Ok(())
    }

    /// Output that was generated up to now is taken from the limits on it.
    fn grow(&mut self) {
        self.growing.sort_unstable();
        let due = self.growing.partition_point(|(at, ..)| *at <= self.now);
        for (at, tokens, _) in self.growing.drain(..due) {
            let counts =
                |o: &&mut Oracle| matches!(o.measure(), Measure::Tokens | Measure::OutputTokens);
            for oracle in self.oracles.iter_mut().filter(counts) {
                oracle.take(at, tokens);
            }
        }
    }

    fn end(&mut self, open: Open, sent: bool) {
        let ending = if sent { Ending::Sent } else { Ending::Vanished };
        self.server
            .finished(Timestamp::from_nanos(self.now), open.ticket, ending);
        if !sent {
            self.growing.retain(|(_, _, name)| *name != open.name);
        }
        let (kept, kept_requests) = match (open.failed, self.charging.failures) {
            (true, Failures::GivenBack) => (Taken::default(), 0),
            _ if self.charging.refund => (open.actual, 1),
            _ => (open.reserved, 1),
        };
        for oracle in &mut self.oracles {
            let (from, to) = match oracle.measure() {
                Measure::Requests => (1, kept_requests),
                other => (open.reserved.of(other), kept.of(other)),
            };
            if to < from {
                oracle.give_back(self.now, open.at, from - to);
            } else if to > from {
                oracle.take(self.now, to - from);
            }
        }
    }

    fn ask(&mut self, input: u64, output_max: u64) -> Result<(), TestCaseError> {
        let reserved = self.charging.charges(input, output_max);
        let produced = self.charging.charge == Charge::Produced;
        let need = Taken {
            tokens: reserved.tokens.max(u64::from(produced)),
            output: if produced { 1 } else { reserved.output },
            ..reserved
        };
        let expected = self.fits(self.now, need)
            && self
                .concurrency
                .is_none_or(|slots| (self.open.len() as u64) < slots);
        let reply = ask(
            &mut self.server,
            Timestamp::from_nanos(self.now),
            input,
            output_max,
        );
        let status = status(&reply);
        prop_assert_eq!(status != 429, expected, "at {} ns", self.now);
        if status == 429 {
            return self.refused(need);
        }
        self.told = None;
        self.asked += 1;
        for oracle in &mut self.oracles {
            let units = match oracle.measure() {
                Measure::Requests => 1,
                other => reserved.of(other),
            };
            oracle.take(self.now, units);
        }
        let failed = status == 500;
        let output = self.charging.output_tokens.min(output_max).max(1);
        let actual = if failed {
            Taken::default()
        } else {
            self.charging.charges(input, output)
        };
        if produced && !failed {
            let steps = output.min(32);
            let first_byte = self.now + self.charging.latency_ms * 1_000_000;
            let generation = self.charging.token_ms * output * 1_000_000;
            let growth = (1..=steps).map(|step| {
                let tokens = output * step / steps - output * (step - 1) / steps;
                (first_byte + generation * step / steps, tokens, self.asked)
            });
            self.growing.extend(growth);
        }
        self.open.push(Open {
            name: self.asked,
            ticket: reply.ticket,
            at: self.now,
            failed,
            reserved,
            actual,
        });
        self.grow();
        Ok(())
    }

    /// The wait that is told is exact, unless output that grows meanwhile makes it longer.
    fn refused(&mut self, need: Taken) -> Result<(), TestCaseError> {
        let requests = |o: &&mut Oracle| o.measure() == Measure::Requests;
        if self.charging.refused_count {
            for oracle in self.oracles.iter_mut().filter(requests) {
                oracle.take_refused(self.now);
            }
        }
        let wait = self.server.arrivals().last().unwrap().wait;
        let ever = self
            .oracles
            .iter()
            .all(|o| o.can_ever(need.of_all(o.measure())));
        let fits = self.fits(self.now, need);
        prop_assert_eq!(wait.is_some(), ever && !fits, "{:?}", wait);
        let Some(wait) = wait else { return Ok(()) };
        let told = self.now + wait.as_nanos() as u64;
        self.told = Some(told);
        prop_assert!(!self.fits(told - 1, need), "the wait {wait:?} is too long");
        prop_assert!(self.fits(told, need), "the wait {wait:?} is too short");
        Ok(())
    }

    fn fits(&self, now: u64, need: Taken) -> bool {
        let fits = |oracle: &Oracle| match need.of_all(oracle.measure()) {
            0 => true,
            units => oracle.has_room(now, units),
        };
        self.oracles.iter().all(fits)
    }
}

impl Charging {
    fn charges(self, input: u64, output: u64) -> Taken {
        let (tokens, output) = match self.charge {
            Charge::Sum => (input + output, output),
            Charge::Max => (input.max(output), output),
            Charge::Input => (input, output),
            Charge::Produced => (input, 0),
        };
        Taken {
            tokens,
            input,
            output,
        }
    }
}

impl Taken {
    fn of(self, measure: Measure) -> u64 {
        match measure {
            Measure::Requests => 0,
            Measure::Tokens => self.tokens,
            Measure::InputTokens => self.input,
            Measure::OutputTokens => self.output,
        }
    }

    fn of_all(self, measure: Measure) -> u64 {
        if measure == Measure::Requests {
            1
        } else {
            self.of(measure)
        }
    }
}
