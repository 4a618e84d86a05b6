//! Several upstreams and lanes: what each is asked, and that nobody waits for ever.

use std::collections::BTreeMap;

use super::engine::any_result;
use super::rig::Rig;
use super::*;

const MINUTE: Duration = Duration::from_secs(60);
const ORGANISATION: u64 = 40;

/// An upstream as it is drawn.
#[derive(Clone, Copy, Debug)]
struct Drawn {
    rpm: u64,
    places: u64,
    weight: u32,
    /// Bits: fallback, shares, has places, serves the first lane only, has a pool for two lanes.
    traits: u8,
}

impl Drawn {
    fn config(self, index: usize) -> UpstreamConfig {
        let has = |bit: u8| self.traits & 1 << bit > 0;
        let mut limits = vec![requests("rpm", self.rpm).shape(Shape::Sliding)];
        if has(2) {
            limits.push(LimitSpec::concurrency(self.places));
        }
        if has(4) {
            let pool = requests("pool", self.rpm / 2 + 1).shape(Shape::Sliding);
            limits.push(pool.lanes([Lane(0), Lane(1)]));
        }
        let mut config = UpstreamConfig::new(format!("u{index}"), limits);
        config.weight = self.weight;
        if has(0) && index > 0 {
            let after = Duration::from_millis(self.rpm * 100);
            config.role = Role::Fallback { after };
        }
        if has(1) {
            config.shares.push("organisation".to_owned());
        }
        if has(3) && index > 0 {
            config.serves = Some(vec![Lane(0)]);
        }
        config
    }
}

fn requests(name: &str, amount: u64) -> LimitSpec {
    LimitSpec::new(name, LimitKind::Requests, amount, MINUTE)
}

fn engine(drawn: &[Drawn], seed: u64) -> EngineConfig {
    let upstreams = drawn.iter().enumerate();
    let upstreams = upstreams.map(|(index, drawn)| drawn.config(index));
    let mut config = EngineConfig::with(upstreams.collect());
    let organisation = requests("organisation", ORGANISATION);
    config.shared = vec![organisation.shape(Shape::Sliding)];
    config.seed = seed;
    config
}

#[derive(Clone, Debug)]
struct Scenario {
    upstreams: Vec<Drawn>,
    /// Gaps in milliseconds, and lanes.
    requests: Vec<(u64, u16)>,
    /// When a live engine is told to use only so many of the upstreams.
    changes: Vec<(u64, usize)>,
    trouble: u8,
    seed: u64,
}

fn scenarios() -> impl Strategy<Value = Scenario> {
    let upstream =
        (1_u64..200, 1_u64..6, 1_u32..5, any::<u8>()).prop_map(|(rpm, places, weight, traits)| {
            Drawn {
                rpm,
                places,
                weight,
                traits,
            }
        });
    (
        proptest::collection::vec(upstream, 1..5),
        proptest::collection::vec((0_u64..3_000, 0_u16..3), 1..80),
        proptest::collection::vec((0_u64..60_000, 1_usize..5), 0..4),
        0_u8..=9,
        any::<u64>(),
    )
        .prop_map(|(upstreams, requests, changes, trouble, seed)| Scenario {
            upstreams,
            requests,
            changes,
            trouble,
            seed,
        })
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Action {
    Submit(usize),
    Use(usize),
}

fn play(scenario: &Scenario) -> Vec<(Timestamp, Output)> {
    let mut rng = fastrand::Rng::with_seed(!scenario.seed);
    let trouble = scenario.trouble;
    let config = engine(&scenario.upstreams, scenario.seed);
    let mut rig = Rig::new(config, move |_, _, _| {
        let latency = Duration::from_micros(rng.u64(0..3_000_000));
        (latency, any_result(&mut rng, trouble))
    });
    let mut actions = Vec::new();
    let mut at = 0;
    for (index, &(gap, _)) in scenario.requests.iter().enumerate() {
        at += gap.saturating_sub(2_000);
        actions.push((at, Action::Submit(index)));
    }
    let changes = scenario.changes.iter();
    actions.extend(changes.map(|&(at, upstreams)| (at, Action::Use(upstreams))));
    actions.sort();
    for (at, action) in actions {
        rig.run_until(Timestamp::from_millis(1_000 + at));
        match action {
            Action::Submit(index) => {
                let lane = Lane(scenario.requests[index].1);
                let number = u32::try_from(index).expect("few requests");
                rig.submit(number, Cost::request().lane(lane));
            }
            Action::Use(upstreams) => {
                let some = &scenario.upstreams[..upstreams.min(scenario.upstreams.len())];
                let config = Box::new(engine(some, scenario.seed));
                rig.input(Input::Reconfigure(config));
            }
        }
    }
    rig.run();
    rig.trace
}

/// Fails if more than `amount` of these instants, which are sorted, lie in a window.
fn fits(starts: &[Timestamp], amount: u64, what: &str) {
    let amount = usize::try_from(amount).expect("small amounts");
    for pair in starts.windows(amount + 1) {
        let within = pair[amount].since(pair[0]);
        assert!(within > MINUTE, "{what}: {} in {within:?}", amount + 1);
    }
}

proptest! {
    #![proptest_config(cases(200))]

    /// Every limit grants each attempt, own and shared ones alike, whatever happens to upstreams
    /// meanwhile. The rig checks that every request ends once and everything is settled.
    #[test]
    fn no_upstream_and_no_organisation_is_asked_for_more_than_its_limits(scenario in scenarios()) {
        let mut scenario = scenario;
        // What is certainly not sent gives its place back: then more than the amount start.
        scenario.trouble = 0;
        let trace = play(&scenario);
        let mut by_upstream: BTreeMap<u16, Vec<Timestamp>> = BTreeMap::new();
        let (mut pools, mut shared) = (by_upstream.clone(), Vec::new());
        for (at, output) in &trace {
            let Output::Start { attempt, upstream } = output else { continue };
            let drawn = scenario.upstreams[upstream.index()];
            by_upstream.entry(upstream.0).or_default().push(*at);
            let lane = scenario.requests[attempt.request.0 as usize].1;
            if drawn.traits & 16 > 0 && lane < 2 {
                pools.entry(upstream.0).or_default().push(*at);
            }
            if drawn.traits & 2 > 0 {
                shared.push(*at);
            }
        }
        for (upstream, starts) in &by_upstream {
            fits(starts, scenario.upstreams[usize::from(*upstream)].rpm, "upstream");
        }
        for (upstream, starts) in &pools {
            fits(starts, scenario.upstreams[usize::from(*upstream)].rpm / 2 + 1, "pool");
        }
        fits(&shared, ORGANISATION, "organisation");
    }

    #[test]
    fn whatever_upstreams_do_the_run_ends_and_is_the_same_again(scenario in scenarios()) {
        prop_assert_eq!(play(&scenario), play(&scenario));
    }

    /// Whoever is next in its lane waits for what is older, never for what is younger: others may
    /// start before it, but not at its cost.
    #[test]
    fn who_is_next_in_its_lane_loses_nothing_to_younger_requests_of_others(
        rate in 2_000_u64..60_000,
        burst in proptest::option::of(2_000_u64..10_000),
        requests in proptest::collection::vec((0_u16..4_000, 1_u64..2_000, 0_u16..4), 1..80),
    ) {
        let mut limit = LimitSpec::new("tpm", LimitKind::TotalTokens, rate, MINUTE)
            .shape(Shape::TokenBucket)
            .jitter(Duration::ZERO);
        limit.burst = burst;
        let mut rig = Rig::new(EngineConfig::new(vec![limit]), |_, _, _| {
            (Duration::from_millis(5), AttemptResult::Answered(None))
        });
        let (mut at, mut submitted) = (1_000, Vec::new());
        for (number, &(gap, size, lane)) in (0..).zip(&requests) {
            at += u64::from(gap.saturating_sub(3_000));
            rig.run_until(Timestamp::from_millis(at));
            submitted.push(rig.now);
            rig.submit(number, Cost::tokens(size, 0).lane(Lane(lane)));
        }
        rig.run();
        let starts: Vec<(Timestamp, usize)> = rig
            .starts()
            .iter()
            .map(|(at, attempt)| (*at, attempt.request.0 as usize))
            .collect();
        let largest = requests.iter().map(|&(_, size, _)| size).max().expect("at least one");
        let mut before: BTreeMap<u16, Timestamp> = BTreeMap::new();
        for &(start, request) in &starts {
            let (_, size, lane) = requests[request];
            let left = before.insert(lane, start).unwrap_or_default();
            let next = left.max(submitted[request]);
            let older = starts.iter().filter(|&&(at, other)| {
                other < request && at >= next && at <= start
            });
            let (count, taken) = older.fold((2_u128, 0), |(count, taken), &(_, other)| {
                (count + 1, taken + requests[other].1)
            });
            // Each start is rounded up to a whole nanosecond.
            let units = u128::from(size + largest + taken);
            let bound = units * MINUTE.as_nanos() / u128::from(rate) + count;
            let waited = start.since(next).as_nanos();
            prop_assert!(waited <= bound, "request {}: {} of {}", request, waited, bound);
        }
    }
}
