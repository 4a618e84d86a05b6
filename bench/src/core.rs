//! The core alone: one admission with four limits beside `governor` with one, and a whole step of
//! the engine. What is compared runs in turns of one thread.

use std::collections::VecDeque;
use std::hint::black_box;
use std::num::NonZeroU32;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use brimful_core::{
    AttemptResult, Budget, Charge, ChargeRule, Cost, Engine, EngineConfig, Input, LimitKind,
    LimitSpec, Outcome, Output, RequestId, Shape, Timestamp,
};
use governor::clock::{Clock, DefaultClock, FakeRelativeClock};
use governor::{Quota, RateLimiter};
use rustix::time::{ClockId, clock_gettime};

use crate::bench::Bench;
use crate::figure::{Better, Figure};

/// Calls in one measurement: some hundredths of a second.
const CALLS: u32 = 2_000_000;
const STEPS: u32 = 300_000;
const GOAL_ADMISSION_NS: f64 = 20.0;
const GOAL_STEP_NS: f64 = 1_000.0;

const MINUTE: Duration = Duration::from_secs(60);
/// Requests a minute, and the time between two of them: a little more than it takes.
const RATE: u64 = 6_000;
const GAP: Duration = Duration::from_micros(10_200);
const INPUT_TOKENS: u64 = 500;
const OUTPUT_TOKENS: u64 = 300;
/// Attempts in flight while the engine is measured.
const IN_FLIGHT: u32 = 64;

const ADMISSION: &str = "core: one admission";
const REFUSAL: &str = "core: one refusal";
const STEP: &str = "core: engine, submit to finish";

pub(crate) fn run(bench: &mut Bench) -> Result<()> {
    if ![ADMISSION, REFUSAL, STEP]
        .iter()
        .any(|name| bench.wants(name))
    {
        return Ok(());
    }
    let (mut clocked, mut peer) = (Vec::new(), Vec::new());
    let (mut paced, mut bucket) = (Vec::new(), Vec::new());
    let (mut paced_refusal, mut bucket_refusal) = (Vec::new(), Vec::new());
    let (mut paced_step, mut bucket_step) = (Vec::new(), Vec::new());
    bench.rounds("core", || {
        clocked.push(governor_ns(DefaultClock::default())?);
        peer.push(governor_ns(FakeRelativeClock::default())?);
        paced.push(admission_ns(Shape::Paced)?);
        bucket.push(admission_ns(Shape::TokenBucket)?);
        paced_refusal.push(refusal_ns(Shape::Paced)?);
        bucket_refusal.push(refusal_ns(Shape::TokenBucket)?);
        paced_step.push(step_ns(Shape::Paced)?);
        bucket_step.push(step_ns(Shape::TokenBucket)?);
        Ok(())
    })?;
    bench.report.section("The core, one thread");
    let ns =
        |scenario, measure, samples| Figure::new(scenario, measure, "ns", Better::Lower, samples);
    let ratio = |measure, ours: &[f64]| {
        let ratios = ours.iter().zip(&peer).map(|(ours, peer)| ours / peer);
        Figure::new(ADMISSION, measure, "", Better::Lower, ratios.collect())
    };
    let figures = [
        ns(ADMISSION, "governor, 1 limit, reads its clock", clocked),
        ns(ADMISSION, "governor, 1 limit, told the time", peer.clone()),
        ns(ADMISSION, "4 limits, paced", paced.clone()).goal(GOAL_ADMISSION_NS),
        ratio("4 limits, paced, to governor", &paced),
        ns(ADMISSION, "4 limits, token-bucket", bucket.clone()).goal(GOAL_ADMISSION_NS),
        ratio("4 limits, token-bucket, to governor", &bucket),
        ns(REFUSAL, "4 limits, paced", paced_refusal),
        ns(REFUSAL, "4 limits, token-bucket", bucket_refusal),
        ns(STEP, "5 limits, paced", paced_step).goal(GOAL_STEP_NS),
        ns(STEP, "5 limits, token-bucket", bucket_step).goal(GOAL_STEP_NS),
    ];
    for figure in figures {
        bench.report.add(figure);
    }
    Ok(())
}

/// Requests, input, output and total tokens, each a little above what is asked of it.
fn limits(shape: Shape) -> Vec<LimitSpec> {
    let limit =
        |name: &str, kind, units| LimitSpec::new(name, kind, RATE * units, MINUTE).shape(shape);
    vec![
        limit("rpm", LimitKind::Requests, 1),
        limit("itpm", LimitKind::InputTokens, INPUT_TOKENS),
        limit("otpm", LimitKind::OutputTokens, OUTPUT_TOKENS),
        limit("tpm", LimitKind::TotalTokens, INPUT_TOKENS + OUTPUT_TOKENS),
    ]
}

fn charge() -> Charge {
    ChargeRule::Sum.charge(INPUT_TOKENS, OUTPUT_TOKENS)
}

/// Nanoseconds of one call of `check`, reading a clock or, as the core is, told the time.
///
/// The time that it is told stands still: moving it is a compare-and-swap and no part of a
/// decision. The burst has room for every call.
fn governor_ns(clock: impl Clock) -> Result<f64> {
    const QUOTA_PER_S: NonZeroU32 = NonZeroU32::new(1_000_000_000).expect("it is not zero");
    let limiter = RateLimiter::direct_with_clock(Quota::per_second(QUOTA_PER_S), clock);
    let mut refused = 0_u32;
    let ns = timed(CALLS, |_| {
        refused += u32::from(black_box(&limiter).check().is_err());
    })?;
    ensure!(refused == 0, "governor refused {refused} of {CALLS}");
    Ok(ns)
}

/// Nanoseconds of one decision with its reservation, all granted.
fn admission_ns(shape: Shape) -> Result<f64> {
    let mut budget = Budget::new(limits(shape))?;
    let charge = charge();
    let mut now = Timestamp::from_secs(1);
    let mut refused = 0_u32;
    let ns = timed(CALLS, |_| {
        now = now + GAP;
        let granted = budget.reserve(black_box(now), *black_box(&charge));
        refused += u32::from(granted.is_err());
    })?;
    ensure!(refused == 0, "{shape:?} refused {refused} of {CALLS}");
    // What the shape lets catch up on is used up first, at one instant.
    let held = (0..RATE).any(|_| budget.reserve(now, charge).is_err());
    ensure!(held, "{shape:?} limits nothing");
    Ok(ns)
}

/// Nanoseconds of one decision that ends with the instant from which the request may start: what a
/// full queue asks for after each start.
fn refusal_ns(shape: Shape) -> Result<f64> {
    let mut budget = Budget::new(limits(shape))?;
    let charge = charge();
    let mut now = Timestamp::from_secs(1);
    for _ in 0..RATE {
        now = now + GAP;
        let granted = budget.reserve(now, charge);
        ensure!(granted.is_ok(), "{shape:?} refused");
    }
    while budget.reserve(now, charge).is_ok() {}
    let mut refused = 0_u32;
    let ns = timed(CALLS, |_| {
        let refusal = budget.reserve(black_box(now), *black_box(&charge));
        refused += u32::from(refusal.is_err());
    })?;
    ensure!(refused == CALLS, "{shape:?} granted some of {CALLS}");
    Ok(ns)
}

/// Nanoseconds of a request's whole way: submitted, started, answered, finished, with others in
/// flight.
fn step_ns(shape: Shape) -> Result<f64> {
    let mut specs = limits(shape);
    specs.push(LimitSpec::concurrency(u64::from(IN_FLIGHT)));
    let mut engine = Engine::new(EngineConfig::new(specs))?;
    let mut now = Timestamp::from_secs(1);
    let mut attempts = VecDeque::new();
    let mut answered = 0_u32;
    let cost = Cost::tokens(INPUT_TOKENS, OUTPUT_TOKENS);
    let ns = timed(STEPS, |step| {
        let request = RequestId(step % IN_FLIGHT);
        now = now + GAP;
        if attempts.len() == IN_FLIGHT as usize
            && let Some(attempt) = attempts.pop_front()
        {
            let result = AttemptResult::Answered(None);
            engine.handle_input(now, Input::Finished { attempt, result });
            while let Some(output) = engine.poll_output() {
                let outcome = matches!(
                    output,
                    Output::Finish {
                        outcome: Outcome::Answered,
                        ..
                    }
                );
                answered += u32::from(outcome);
            }
        }
        engine.handle_input(now, Input::Submit { request, cost });
        while let Some(output) = engine.poll_output() {
            if let Output::Start { attempt, .. } = output {
                attempts.push_back(attempt);
            }
        }
        black_box(engine.poll_timeout());
    })?;
    ensure!(
        answered == STEPS - IN_FLIGHT,
        "only {answered} of {STEPS} were answered"
    );
    Ok(ns)
}

/// Nanoseconds of this thread's processor time that one call takes.
pub(crate) fn timed(calls: u32, mut call: impl FnMut(u32)) -> Result<f64> {
    let before = thread_ns()?;
    for number in 0..calls {
        call(number);
    }
    Ok((thread_ns()? - before) as f64 / f64::from(calls))
}

fn thread_ns() -> Result<u64> {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let time = Duration::try_from(time).context("processor time is not negative")?;
    u64::try_from(time.as_nanos()).context("a thread of centuries")
}
