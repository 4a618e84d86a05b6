//! Servers that count by windows, written here as the plainest account of what arrived, against a
//! client that was told so.

use super::limits::{sends, steps};
use super::*;

/// How a server counts.
#[derive(Clone, Copy, Debug)]
enum Server {
    /// Anew from each edge; the first lies this many nanoseconds after the origin.
    Fixed { first_edge: u64 },
    /// What arrived in the last window. Servers differ in whether exactly a window ago counts.
    Log { closed: bool },
}

impl Server {
    /// Whether what arrived at `older` still counts at `newer`.
    fn counts(self, older: u64, newer: u64, window: u64) -> bool {
        match self {
            Self::Fixed { first_edge } => {
                let number = |at: u64| (at + window - first_edge) / window;
                number(older) == number(newer)
            }
            Self::Log { closed: false } => newer - older < window,
            Self::Log { closed: true } => newer - older <= window,
        }
    }

    /// Fails if it would refuse any of the arrivals, which are sorted.
    fn admits(self, arrivals: &[(u64, u64)], spec: &LimitSpec) {
        let window = nanos(spec.window);
        let (mut level, mut oldest) = (0, 0);
        for &(at, units) in arrivals {
            while oldest < arrivals.len() && !self.counts(arrivals[oldest].0, at, window) {
                level -= u128::from(arrivals[oldest].1);
                oldest += 1;
            }
            level += u128::from(units);
            let amount = u128::from(spec.amount);
            assert!(
                level <= amount,
                "{self:?} refuses what arrives at {at} ns: {level}"
            );
        }
    }
}

/// Every server that a client must expect which knows the window and nothing else.
fn servers(window: u64, phase: u16) -> [Server; 3] {
    let first_edge = part(window, phase);
    [
        Server::Fixed { first_edge },
        Server::Log { closed: false },
        Server::Log { closed: true },
    ]
}

/// When everything arrives on a way that takes 0 to `jitter` (a constant delay shifts all alike),
/// as it suits whoever wants to see the server refuse: at random, by extremes, or everything around
/// some instants as close together as it can be.
fn arrivals(sent: &[(Timestamp, u64)], jitter: u64, seed: u64) -> Vec<(u64, u64)> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let way = rng.u8(0..4);
    let delay = |at: u64, rng: &mut fastrand::Rng| match way {
        0 => rng.u64(0..=jitter),
        1 => jitter * u64::from(rng.bool()),
        // What was sent up to some instant comes at the latest, what was sent after at the
        // earliest: as much as possible falls into what begins there.
        _ => {
            let turn = seed % (1 + sent[sent.len() - 1].0.as_nanos());
            jitter * u64::from(at <= turn)
        }
    };
    let arrive = |&(at, units): &(Timestamp, u64)| {
        let at = at.as_nanos();
        (at + delay(at, &mut rng), units)
    };
    let mut arrivals: Vec<(u64, u64)> = sent.iter().map(arrive).collect();
    arrivals.sort_unstable();
    arrivals
}

/// What a client sends that always has a next request, of one unit, for `length` from the first.
fn saturated(spec: &LimitSpec, begin: Timestamp, length: Duration) -> Vec<(Timestamp, u64)> {
    let mut budget = Budget::new(vec![spec.clone()]).expect("the limit is valid");
    let mut sent = Vec::new();
    let mut now = begin;
    while now <= begin + length {
        match budget.reserve(now, tokens(1)) {
            Ok(reservation) => {
                budget.settle(now, reservation, None);
                sent.push((now, 1));
            }
            Err(Refusal {
                decision: Decision::WaitUntil(at),
                ..
            }) => now = at,
            Err(refusal) => panic!("{refusal:?}"),
        }
    }
    sent
}

/// 1 to 20,000, so that a few windows of single units are soon sent.
fn few() -> impl Strategy<Value = u64> {
    prop_oneof![1_u64..20, 20_u64..1_000, 1_000_u64..20_000]
}

/// Below an hour: sending is spread.
fn paced_windows() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(SECOND),
        Just(10 * SECOND),
        Just(60 * SECOND),
        Just(Duration::from_millis(1)),
        (1_000_000_u64..3_600_000_000_000).prop_map(Duration::from_nanos),
    ]
}

fn shape(sliding: bool) -> Shape {
    if sliding {
        Shape::Sliding
    } else {
        Shape::Fixed
    }
}

proptest! {
    #![proptest_config(cases(150))]

    /// The whole promise of `sliding`, and of `fixed` without an edge: zero 429s, and the rate that
    /// the jitter leaves.
    #[test]
    fn a_window_of_any_phase_refuses_nothing_and_is_used_to_what_the_jitter_leaves(
        amount in few(),
        window in paced_windows(),
        (jitter, phase, seed) in (any::<u16>(), any::<u16>(), any::<u64>()),
        sliding in any::<bool>(),
        burst in proptest::option::of(few()),
    ) {
        let mut spec = LimitSpec::new("tpm", LimitKind::TotalTokens, amount, window)
            .shape(shape(sliding))
            .jitter(part_of(window, jitter));
        spec.burst = burst;
        let begin = Timestamp::from_nanos(1 + seed % nanos(window));
        let sent = saturated(&spec, begin, 5 * window);
        let arrived = arrivals(&sent, part(nanos(window), jitter), seed);
        for server in servers(nanos(window), phase) {
            server.admits(&arrived, &spec);
        }
        let at_once = sent.iter().filter(|(at, _)| *at == begin).count() as u64;
        // Without a declared burst nothing starts at once but the first.
        let expected = burst.map_or(1, |burst| burst.min(amount));
        prop_assert!(at_once <= expected, "{} start at once", at_once);
        prop_assert!(2 * at_once > expected, "{} of {} start at once", at_once, expected);
        // 99.5 % of (N − 1) / (W + J), from the first to the last.
        let elapsed = sent[sent.len() - 1].0.since(begin).as_nanos();
        let stretch = (window + part_of(window, jitter)).as_nanos();
        let (used, rate) = (sent.len() as u128 - 1, u128::from(amount) - 1);
        prop_assert!(used * stretch * 1000 >= 995 * rate * elapsed, "{} in {} ns", used, elapsed);
    }

    #[test]
    fn a_window_of_any_phase_refuses_no_request_of_any_size_at_any_time(
        amount in amounts(),
        window in windows(),
        (jitter, phase, seed) in (any::<u16>(), any::<u16>(), any::<u64>()),
        sliding in any::<bool>(),
        burst in proptest::option::of(amounts()),
        steps in steps(),
    ) {
        let mut spec = LimitSpec::new("tpm", LimitKind::TotalTokens, amount, window)
            .shape(shape(sliding))
            .jitter(part_of(window, jitter));
        spec.burst = burst;
        let sent = sends(&spec, &steps);
        prop_assume!(!sent.is_empty());
        let arrived = arrivals(&sent, part(nanos(window), jitter), seed);
        for server in servers(nanos(window), phase) {
            server.admits(&arrived, &spec);
        }
    }

    /// The whole promise of `fixed` with an edge.
    #[test]
    fn a_window_of_known_edges_refuses_nothing_and_is_used_in_full(
        amount in few(),
        window in paced_windows(),
        (jitter, edge, seed) in (0_u16..60_000, any::<u64>(), any::<u64>()),
        burst in proptest::option::of(few()),
    ) {
        let mut spec = LimitSpec::new("tpm", LimitKind::TotalTokens, amount, window)
            .edge(Timestamp::from_nanos(edge))
            .jitter(part_of(window, jitter));
        spec.burst = burst;
        let begin = Timestamp::from_nanos(1 + seed % nanos(window));
        let sent = saturated(&spec, begin, 5 * window);
        let server = Server::Fixed { first_edge: edge % nanos(window) };
        let arrived = arrivals(&sent, part(nanos(window), jitter), seed);
        server.admits(&arrived, &spec);
        // Of five windows, four are whole.
        let together = |a: Timestamp, b: Timestamp| {
            server.counts(a.as_nanos(), b.as_nanos(), nanos(window))
        };
        let windows = sent.chunk_by(|a, b| together(a.0, b.0));
        // The first is not whole. Where it had room left, what was sent in its last part counts in
        // the second, too.
        for in_window in windows.skip(2).take(3) {
            prop_assert_eq!(in_window.len() as u64, amount, "from {:?}", in_window[0].0);
        }
    }

    #[test]
    fn a_window_of_known_edges_refuses_no_request_of_any_size_at_any_time(
        amount in amounts(),
        window in windows(),
        (jitter, edge, seed) in (any::<u16>(), any::<u64>(), any::<u64>()),
        burst in proptest::option::of(amounts()),
        steps in steps(),
    ) {
        let mut spec = LimitSpec::new("tpm", LimitKind::TotalTokens, amount, window)
            .edge(Timestamp::from_nanos(edge))
            .jitter(part_of(window, jitter));
        spec.burst = burst;
        let sent = sends(&spec, &steps);
        prop_assume!(!sent.is_empty());
        let arrived = arrivals(&sent, part(nanos(window), jitter), seed);
        let first_edge = edge % nanos(window);
        Server::Fixed { first_edge }.admits(&arrived, &spec);
    }
}
