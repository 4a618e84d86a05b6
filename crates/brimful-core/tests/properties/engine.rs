//! The whole engine against a server that does anything at any time.
//!
//! Most of what holds is checked by the rig in every step.

use super::rig::Rig;
use super::*;

/// A run: everything that is not the engine's choice.
#[derive(Clone, Debug)]
struct Scenario {
    limits: Vec<LimitSpec>,
    settlement: Settlement,
    requests: Vec<(u64, u16, u16)>,
    cancels: Vec<(u64, usize)>,
    stop: Option<u64>,
    late: Duration,
    impatient: bool,
    /// Of ten attempts, so many do not end with an answer.
    trouble: u8,
    seed: u64,
}

fn scenarios() -> impl Strategy<Value = Scenario> {
    let rate = prop_oneof![Just(60_u64), Just(600), Just(6_000), 1_u64..100_000];
    let limits = (rate, 1_u64..20, 0_u8..8, 0_u8..8).prop_map(|(rate, places, shape, which)| {
        let minute = 60 * SECOND;
        let rpm = LimitSpec::new("rpm", LimitKind::Requests, rate, minute);
        let tpm = LimitSpec::new("tpm", LimitKind::TotalTokens, 40_000, minute);
        let mut limits = Vec::new();
        if which & 1 > 0 {
            limits.push(match shape {
                0 => rpm,
                1 => rpm.shape(Shape::TokenBucket),
                2 => rpm.burst(rate),
                3 => rpm.burst(1 + rate / 10),
                4 => rpm.shape(Shape::Sliding),
                5 => rpm.shape(Shape::Sliding).burst(rate),
                6 => rpm.shape(Shape::Fixed).burst(1 + rate / 10),
                _ => rpm.edge(Timestamp::from_millis(rate)),
            });
        }
        if which & 2 > 0 {
            limits.push(match shape {
                0 => tpm,
                1..4 => tpm.shape(Shape::TokenBucket),
                4 | 5 => tpm.shape(Shape::Sliding),
                _ => tpm.edge(Timestamp::from_millis(rate)),
            });
        }
        if which & 4 > 0 {
            limits.push(LimitSpec::concurrency(places));
        }
        limits
    });
    let settlement = prop_oneof![Just(Settlement::None), Just(Settlement::Usage)];
    let requests = proptest::collection::vec((0_u64..3_000, 0_u16..9_000, 0_u16..2_000), 1..60);
    let cancels = proptest::collection::vec((0_u64..30_000, any::<usize>()), 0..8);
    let late = prop_oneof![
        Just(Duration::ZERO),
        Just(Duration::from_micros(1_100)),
        Just(SECOND),
    ];
    (
        (limits, settlement, requests, cancels),
        (
            proptest::option::weighted(0.2, 0_u64..30_000),
            late,
            any::<bool>(),
            0_u8..=10,
            any::<u64>(),
        ),
    )
        .prop_map(
            |((limits, settlement, requests, cancels), (stop, late, impatient, trouble, seed))| {
                Scenario {
                    limits,
                    settlement,
                    requests,
                    cancels,
                    stop,
                    late,
                    impatient,
                    trouble,
                    seed,
                }
            },
        )
}

/// What may happen at an instant besides time passing.
#[derive(Clone, Copy)]
enum Action {
    Submit(usize),
    Cancel(usize),
    Stop,
}

/// Runs the scenario to its end and returns what the engine said.
fn play(scenario: &Scenario) -> Vec<(Timestamp, Output)> {
    let mut config = EngineConfig::new(scenario.limits.clone());
    config.seed = scenario.seed;
    config.upstreams[0].settlement = scenario.settlement;
    if scenario.impatient {
        config.retry.max_request_time = 60 * SECOND;
        config.retry.max_throttled_time = 20 * SECOND;
    }
    let mut rng = fastrand::Rng::with_seed(!scenario.seed);
    let trouble = scenario.trouble;
    let mut rig = Rig::new(config, move |_, _, _| {
        let latency = Duration::from_micros(rng.u64(0..3_000_000));
        let latency = if rng.u8(0..5) == 0 {
            Duration::ZERO
        } else {
            latency
        };
        (latency, any_result(&mut rng, trouble))
    });
    rig.late = scenario.late;
    let mut actions = Vec::new();
    let mut at = 0;
    for (index, &(gap, _, _)) in scenario.requests.iter().enumerate() {
        // Most arrive together.
        at += gap.saturating_sub(2_000);
        actions.push((at, Action::Submit(index)));
    }
    let submitted = actions.len();
    for &(at, which) in &scenario.cancels {
        actions.push((at, Action::Cancel(which % submitted)));
    }
    actions.extend(scenario.stop.map(|at| (at, Action::Stop)));
    actions.sort_by_key(|&(at, _)| at);
    for (at, action) in actions {
        rig.run_until(Timestamp::from_millis(1_000 + at));
        match action {
            Action::Submit(index) => {
                let (_, input, output) = scenario.requests[index];
                let cost = Cost::tokens(input.into(), output.into());
                rig.submit(number(index), cost);
            }
            Action::Cancel(index) => rig.input(Input::Cancel(RequestId(number(index)))),
            Action::Stop => rig.input(Input::Stop),
        }
    }
    rig.run();
    check_outcomes(scenario, &rig);
    rig.trace
}

/// Timeouts, lost connections and panics of an attempt reach the engine as a transient failure.
pub(super) fn any_result(rng: &mut fastrand::Rng, trouble: u8) -> AttemptResult {
    if rng.u8(0..10) >= trouble {
        let mut tokens = || rng.u64(0..5_000);
        let usage = Usage {
            input: tokens(),
            output: tokens(),
            cached: 0,
        };
        return AttemptResult::Answered(rng.bool().then_some(usage));
    }
    let mut failure = Failure::new(Class::ALL[rng.usize(0..Class::ALL.len())]);
    if rng.u8(0..40) == 0 {
        failure.scope = Scope::Upstream;
    }
    failure.retry_after = match rng.u8(0..6) {
        0 => Some(Duration::from_millis(rng.u64(0..20_000))),
        1 => Some(Duration::ZERO),
        _ => None,
    };
    match rng.u8(0..8) {
        0 => AttemptResult::NotSent(failure),
        1 => AttemptResult::Aborted,
        _ => AttemptResult::Failed(failure),
    }
}

fn check_outcomes<S>(scenario: &Scenario, rig: &Rig<S>)
where
    S: FnMut(Timestamp, AttemptId, UpstreamId) -> (Duration, AttemptResult),
{
    let starts = rig.starts();
    let mut newest = None;
    for (_, attempt) in starts.iter().filter(|(_, attempt)| attempt.number == 1) {
        // First in, first out: no request waits for a younger one's first attempt.
        let request = Some(attempt.request);
        assert!(newest < request, "{request:?} was overtaken by {newest:?}");
        newest = request;
    }
    for index in 0..scenario.requests.len() {
        let outcome = rig.outcome(number(index)).expect("every request finishes");
        let attempts = starts
            .iter()
            .filter(|(_, attempt)| attempt.request.0 == number(index));
        match outcome {
            Outcome::Answered | Outcome::Dead(_) => assert!(attempts.count() > 0),
            Outcome::NeverFits(_) | Outcome::NoUpstream => assert_eq!(attempts.count(), 0),
            Outcome::Abandoned => {}
        }
    }
    for limit in &scenario.limits {
        if limit.kind == LimitKind::Concurrency {
            assert!(rig.most_in_flight as u64 <= limit.amount);
        }
    }
}

fn number(index: usize) -> u32 {
    u32::try_from(index).expect("few requests")
}

proptest! {
    #![proptest_config(cases(300))]

    /// Every request finishes once, whatever happens, and everything is settled: the rig checks.
    #[test]
    fn every_run_comes_to_an_end_in_which_everything_is_settled(scenario in scenarios()) {
        play(&scenario);
    }

    #[test]
    fn the_same_seed_and_inputs_give_the_same_outputs(scenario in scenarios()) {
        prop_assert_eq!(play(&scenario), play(&scenario));
    }

    /// The age bound: who is ready waits for the largest debt, for the attempts of older requests
    /// that start meanwhile, and for cooldowns. The rig checks that they are older.
    #[test]
    fn no_request_waits_longer_than_what_is_older_takes(
        rate in 60_u64..60_000,
        charges in proptest::collection::vec((0_u16..4_000, 1_u64..2_000), 1..60),
        trouble in 0_u8..=9,
        seed in any::<u64>(),
    ) {
        let limit = LimitSpec::new("tpm", LimitKind::TotalTokens, rate.max(2_000), 60 * SECOND)
            .shape(Shape::TokenBucket);
        let rate = u128::from(limit.amount);
        let mut config = EngineConfig::new(vec![limit]);
        config.seed = seed;
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut rig = Rig::new(config, move |_, _, _| {
            let latency = Duration::from_micros(rng.u64(0..3_000_000));
            (latency, failing(&mut rng, trouble))
        });
        let mut at = 1_000;
        let mut submitted = Vec::new();
        for (index, &(gap, size)) in charges.iter().enumerate() {
            at += u64::from(gap.saturating_sub(3_000));
            rig.run_until(Timestamp::from_millis(at));
            submitted.push(rig.now);
            rig.submit(number(index), Cost::tokens(size, 0));
        }
        rig.run();
        let largest = charges.iter().map(|&(_, size)| size).max().expect("at least one");
        let size = |attempt: AttemptId| charges[attempt.request.0 as usize].1;
        for (start, attempt, ready) in readiness(&rig.trace, &submitted) {
            let meanwhile = rig.starts().into_iter();
            let meanwhile = meanwhile.filter(|&(other, _)| other >= ready && other < start);
            let (count, taken) = meanwhile.fold((1, 0), |(count, taken), (_, attempt)| {
                (count + 1, taken + size(attempt))
            });
            // Each start is rounded up to a whole nanosecond.
            let bound = u128::from(largest + taken) * 60_000_000_000 / rate + count;
            let waited = start.since(ready).saturating_sub(cooling(&rig.trace, ready, start));
            prop_assert!(waited.as_nanos() <= bound, "{:?}: {:?}", attempt, waited);
        }
    }
}

/// An answer, or a failure of one request that may be tried again.
fn failing(rng: &mut fastrand::Rng, trouble: u8) -> AttemptResult {
    if rng.u8(0..10) >= trouble {
        return AttemptResult::Answered(None);
    }
    let classes = [
        Class::Throttled,
        Class::Overloaded,
        Class::Transient,
        Class::Invalid,
    ];
    let mut failure = Failure::new(classes[rng.usize(0..classes.len())]);
    failure.retry_after = rng.bool().then(|| Duration::from_millis(rng.u64(0..5_000)));
    AttemptResult::Failed(failure)
}

/// Each start with the instant from which its request was ready for it.
fn readiness(
    trace: &[(Timestamp, Output)],
    submitted: &[Timestamp],
) -> Vec<(Timestamp, AttemptId, Timestamp)> {
    let mut ready = submitted.to_vec();
    let mut starts = Vec::new();
    for (at, output) in trace {
        match output {
            Output::Start { attempt, .. } => {
                starts.push((*at, *attempt, ready[attempt.request.0 as usize]));
            }
            Output::Event(Event::Retried { request, wait, .. }) => {
                ready[request.0 as usize] = *at + *wait;
            }
            _ => {}
        }
    }
    starts
}

/// How much of the time from `begin` to `end` was cooldown.
fn cooling(trace: &[(Timestamp, Output)], begin: Timestamp, end: Timestamp) -> Duration {
    let (mut total, mut counted) = (Duration::ZERO, begin);
    for (at, output) in trace {
        if let Output::Event(Event::CooldownStarted { until, .. }) = output {
            let from = counted.max(*at);
            let to = end.min(*until);
            total += to.since(from);
            counted = counted.max(to);
        }
    }
    total
}
