//! The engine against a scripted server, in virtual time.

#[path = "../../tests/properties/rig.rs"]
mod rig;

mod hearing;
mod lanes;
mod reconfiguring;
mod retrying;
mod stopping;
mod throttling;
mod upstreams;

use std::time::Duration;

use crate::*;

use rig::Rig;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn one_request_starts_first_and_the_rest_follow_at_pace() {
    let mut rig = Rig::new(rpm(600), answers_after(40 * MS));
    submit_all(&mut rig, 50);
    assert_eq!(rig.starts().len(), 1);
    rig.run();
    let starts = rig.starts();
    assert_eq!(starts.len(), 50);
    for (index, pair) in starts.windows(2).enumerate() {
        let distance = pair[1].0.since(pair[0].0);
        // 100 ms at 99.1 %.
        assert!(distance > 100 * MS && distance < 101 * MS, "{distance:?}");
        assert_eq!(
            starts[index].1.request.0 as usize, index,
            "first in, first out"
        );
    }
}

#[test]
fn every_answer_finishes_its_request_and_frees_its_number() {
    let mut rig = Rig::new(rpm(6_000), answers_after(40 * MS));
    for round in 0..3 {
        submit_all(&mut rig, 20);
        rig.run();
        let finished = rig.trace.iter().filter(|(_, output)| is_answer(output));
        assert_eq!(finished.count(), 20 * (round + 1));
    }
    assert_eq!(rig.engine.status(rig.now), Status::default());
    assert_eq!(rig.engine.poll_timeout(), None);
}

#[test]
fn concurrency_is_never_exceeded_and_a_free_place_is_taken_at_once() {
    let limits = vec![LimitSpec::concurrency(3)];
    let mut rig = Rig::new(EngineConfig::new(limits), answers_after(100 * MS));
    submit_all(&mut rig, 10);
    assert_eq!(rig.engine.status(rig.now).in_flight, 3);
    assert_eq!(rig.engine.status(rig.now).binding, Some(0));
    assert_eq!(rig.engine.poll_timeout(), None, "no instant frees a place");
    rig.run();
    assert_eq!(rig.most_in_flight, 3);
    let waves: Vec<u64> = rig.starts().iter().map(|(at, _)| at.as_nanos()).collect();
    assert_eq!(waves[3] - waves[0], 100_000_000);
    assert_eq!(waves[9] - waves[0], 300_000_000);
}

#[test]
fn the_limit_that_binds_is_named() {
    let limits = vec![
        LimitSpec::new("rpm", LimitKind::Requests, 600, MINUTE),
        LimitSpec::new("tpm", LimitKind::TotalTokens, 60_000, MINUTE),
    ];
    let mut rig = Rig::new(EngineConfig::new(limits), answers_after(MS));
    rig.submit(0, tokens(10));
    rig.submit(1, tokens(10));
    assert_eq!(rig.engine.status(rig.now).binding, Some(0));
    rig.run();
    rig.submit(2, tokens(5_000));
    rig.submit(3, tokens(5_000));
    rig.run_until(rig.now + 200 * MS);
    assert_eq!(rig.engine.status(rig.now).binding, Some(1));
    rig.run();
    assert_eq!(rig.engine.status(rig.now).binding, None);
}

#[test]
fn a_request_that_fits_no_limit_fails_at_submission_and_holds_up_nothing() {
    let limits = vec![
        LimitSpec::new("rpm", LimitKind::Requests, 600, MINUTE),
        LimitSpec::new("tpm", LimitKind::TotalTokens, 1_000, MINUTE),
    ];
    let mut rig = Rig::new(EngineConfig::new(limits), answers_after(MS));
    rig.submit(0, tokens(1_001));
    let Some(Outcome::NeverFits(never)) = rig.outcome(0) else {
        panic!("{:?}", rig.outcome(0))
    };
    assert_eq!(
        never.to_string(),
        "needs 1001 of limit `tpm`, which never admits more than 1000"
    );
    rig.submit(1, tokens(1_000));
    assert_eq!(rig.starts().len(), 1);
    rig.run();
    assert_eq!(rig.outcome(1), Some(&Outcome::Answered));
}

#[test]
fn a_request_that_fits_each_limit_alone_fits_them_together_in_time() {
    // Every limit is at its worst: full windows, debt, no place free.
    let limits = vec![
        LimitSpec::new("rpm", LimitKind::Requests, 1, MINUTE),
        LimitSpec::new("rpd", LimitKind::Requests, 2, 1440 * MINUTE),
        LimitSpec::new("tpm", LimitKind::TotalTokens, 1_000, MINUTE),
        LimitSpec::new("otpm", LimitKind::OutputTokens, 500, MINUTE).burst(500),
        LimitSpec::concurrency(1),
    ];
    let mut rig = Rig::new(EngineConfig::new(limits), answers_after(3 * MINUTE));
    for request in 0..6 {
        rig.submit(request, Cost::tokens(500, 500));
    }
    rig.run();
    assert_eq!(rig.starts().len(), 6);
    assert!(rig.now > Timestamp::from_secs(2 * 24 * 3600));
}

#[test]
fn usage_settles_the_charge_where_the_provider_settles() {
    for (settlement, expected) in [(Settlement::Usage, 30), (Settlement::None, 1_000)] {
        let mut config = EngineConfig::new(vec![LimitSpec::new(
            "tpm",
            LimitKind::TotalTokens,
            60_000,
            MINUTE,
        )]);
        config.upstreams[0].settlement = settlement;
        let usage = Usage {
            input: 10,
            output: 20,
            cached: 0,
        };
        let mut rig = Rig::new(config, move |_, _, _| {
            (MS, AttemptResult::Answered(Some(usage)))
        });
        rig.submit(0, Cost::tokens(500, 500));
        rig.run();
        assert_eq!(rig.engine.limits()[0].admitted, expected);
        assert_eq!(rig.engine.balance().used.total, u128::from(expected));
    }
}

#[test]
fn usage_that_no_answer_can_have_stops_neither_the_run_nor_the_process() {
    let limits = vec![
        LimitSpec::new("tpm", LimitKind::TotalTokens, 60_000, MINUTE),
        LimitSpec::new("otpm", LimitKind::OutputTokens, 60_000, MINUTE).shape(Shape::TokenBucket),
        LimitSpec::new("itpm", LimitKind::InputTokens, 60_000, MINUTE).burst(60_000),
    ];
    let mut config = EngineConfig::new(limits);
    config.upstreams[0].settlement = Settlement::Usage;
    let usage = Usage {
        input: u64::MAX,
        output: u64::MAX,
        cached: u64::MAX,
    };
    let mut rig = Rig::new(config, move |_, _, _| {
        (MS, AttemptResult::Answered(Some(usage)))
    });
    for request in 0..20 {
        rig.submit(request, Cost::tokens(100, 100));
    }
    rig.run();
    assert_eq!(rig.starts().len(), 20);
    assert_eq!(rig.engine.limits().len(), 3);
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_seed_another() {
    let trace = |seed| {
        let mut config = rpm(6_000);
        config.seed = seed;
        let mut rig = Rig::new(config, |_, attempt: AttemptId, _| match attempt.number {
            1 => (30 * MS, failed(Class::Overloaded)),
            _ => (30 * MS, AttemptResult::Answered(None)),
        });
        submit_all(&mut rig, 50);
        rig.run();
        rig.trace
    };
    assert_eq!(trace(1), trace(1));
    assert_ne!(trace(1), trace(2));
}

#[test]
fn a_clock_that_steps_back_does_no_harm() {
    let mut rig = Rig::new(rpm(600), answers_after(40 * MS));
    submit_all(&mut rig, 20);
    rig.run_until(Timestamp::from_secs(2));
    let started = rig.starts().len();
    rig.engine.handle_input(Timestamp::ZERO, Input::Tick);
    assert_eq!(rig.engine.poll_output(), None);
    rig.run();
    assert_eq!(rig.starts().len(), 20);
    assert!(started < 20);
}

fn rpm(amount: u64) -> EngineConfig {
    EngineConfig::new(vec![LimitSpec::new(
        "rpm",
        LimitKind::Requests,
        amount,
        MINUTE,
    )])
}

fn tokens(total: u64) -> Cost {
    Cost::tokens(total, 0)
}

fn answers_after(
    latency: Duration,
) -> impl FnMut(Timestamp, AttemptId, UpstreamId) -> (Duration, AttemptResult) {
    move |_, _, _| (latency, AttemptResult::Answered(None))
}

fn failed(class: Class) -> AttemptResult {
    AttemptResult::Failed(Failure::new(class))
}

fn throttled(retry_after: Option<Duration>) -> AttemptResult {
    AttemptResult::Failed(Failure {
        retry_after,
        ..Failure::new(Class::Throttled)
    })
}

fn submit_all<S>(rig: &mut Rig<S>, count: u32)
where
    S: FnMut(Timestamp, AttemptId, UpstreamId) -> (Duration, AttemptResult),
{
    for request in 0..count {
        rig.submit(request, Cost::request());
    }
}

fn is_answer(output: &Output) -> bool {
    matches!(
        output,
        Output::Finish {
            outcome: Outcome::Answered,
            ..
        }
    )
}

/// Seconds from the start of the run to each start.
fn start_secs<S>(rig: &Rig<S>) -> Vec<u64>
where
    S: FnMut(Timestamp, AttemptId, UpstreamId) -> (Duration, AttemptResult),
{
    let starts = rig.starts();
    let first = starts[0].0;
    starts
        .iter()
        .map(|(at, _)| at.since(first).as_secs())
        .collect()
}

fn minutely(name: &str, amount: u64) -> LimitSpec {
    LimitSpec::new(name, LimitKind::Requests, amount, MINUTE)
}

/// An upstream of so many requests a minute.
fn upstream(name: &str, rpm: u64) -> UpstreamConfig {
    UpstreamConfig::new(name, vec![minutely("rpm", rpm)])
}

fn fallback(name: &str, rpm: u64, after: Duration) -> UpstreamConfig {
    let mut config = upstream(name, rpm);
    config.role = Role::Fallback { after };
    config
}

/// Where each attempt went, in order.
fn went<S>(rig: &Rig<S>) -> Vec<(u32, u16)>
where
    S: FnMut(Timestamp, AttemptId, UpstreamId) -> (Duration, AttemptResult),
{
    let starts = rig.trace.iter().filter_map(|(_, output)| match output {
        Output::Start { attempt, upstream } => Some((attempt.request.0, upstream.0)),
        _ => None,
    });
    starts.collect()
}

/// How many attempts went to an upstream.
fn count<S>(rig: &Rig<S>, upstream: u16) -> usize
where
    S: FnMut(Timestamp, AttemptId, UpstreamId) -> (Duration, AttemptResult),
{
    went(rig).iter().filter(|(_, to)| *to == upstream).count()
}

fn out(class: Class, retry_after: Option<Duration>) -> AttemptResult {
    AttemptResult::Failed(Failure {
        scope: Scope::Upstream,
        retry_after,
        ..Failure::new(class)
    })
}
