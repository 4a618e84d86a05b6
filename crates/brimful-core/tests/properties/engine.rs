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
    config.settlement = scenario.settlement;
    if scenario.impatient {
        config.retry.max_request_time = 60 * SECOND;
        config.retry.max_throttled_time = 20 * SECOND;
    }
    let mut rng = fastrand::Rng::with_seed(!scenario.seed);
    let trouble = scenario.trouble;
    let mut rig = Rig::new(config, move |_, _| {
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
                let charge = ChargeRule::Sum.charge(input.into(), output.into());
                rig.submit(number(index), charge);
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
fn any_result(rng: &mut fastrand::Rng, trouble: u8) -> AttemptResult {
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
    S: FnMut(Timestamp, AttemptId) -> (Duration, AttemptResult),
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
            Outcome::NeverFits(_) => assert_eq!(attempts.count(), 0),
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

    /// Of a queue with retries in it, each request starts after no more than what is older.
    #[test]
    fn no_request_waits_longer_than_the_attempts_before_it_take(
        rate in 60_u64..6_000,
        failing in 0_u32..20,
        count in 1_u32..40,
    ) {
        let limit = LimitSpec::new("rpm", LimitKind::Requests, rate, 60 * SECOND)
            .shape(Shape::TokenBucket);
        let mut rig = Rig::new(EngineConfig::new(vec![limit]), move |_, attempt: AttemptId| {
            let failed = AttemptResult::Failed(Failure::new(Class::Invalid));
            match attempt.request.0 < failing {
                true => (SECOND / 10, failed),
                false => (SECOND / 10, AttemptResult::Answered(None)),
            }
        });
        for request in 0..count {
            rig.submit(request, Charge::request());
        }
        rig.run();
        let begin = Timestamp::from_secs(1);
        for (at, attempt) in rig.starts() {
            if attempt.number == 1 {
                // Older requests, each with all its attempts, at the rate.
                let older = u64::from(attempt.request.0.min(failing)) * 6
                    + u64::from(attempt.request.0.saturating_sub(failing));
                let bound = Duration::from_nanos(older * 60_000_000_000 / rate + older);
                prop_assert!(at.since(begin) <= bound, "{:?} at {:?}", attempt, at);
            }
        }
    }
}
