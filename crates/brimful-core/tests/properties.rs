//! What holds for every limit, every order of events and every seed.

#[path = "properties/balance.rs"]
mod balance;
#[path = "properties/engine.rs"]
mod engine;
#[path = "properties/limits.rs"]
mod limits;
#[path = "properties/rig.rs"]
mod rig;
#[path = "properties/upstreams.rs"]
mod upstreams;
#[path = "properties/windows.rs"]
mod windows;

use std::time::Duration;

use brimful_core::*;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// `cases` of a property; failures are remembered in a file that belongs into the repository.
fn cases(cases: u32) -> ProptestConfig {
    let file = FileFailurePersistence::Direct("tests/properties/regressions.txt");
    ProptestConfig {
        cases,
        failure_persistence: Some(Box::new(file)),
        ..ProptestConfig::default()
    }
}

/// 1 ms to 31 days, the usual ones often.
fn windows() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(SECOND),
        Just(10 * SECOND),
        Just(60 * SECOND),
        Just(DAY),
        Just(Duration::from_millis(1)),
        Just(31 * DAY),
        (1_000_000_u64..2_000_000_000).prop_map(Duration::from_nanos),
        (1_000_000_u64..31 * 86_400_000_000_000).prop_map(Duration::from_nanos),
    ]
}

/// 1 to 10¹⁵, small ones often.
fn amounts() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 1_u64..20,
        4 => 20_u64..10_000,
        1 => 10_000_u64..10_000_000,
        1 => 1_u64..=1_000_000_000_000_000,
    ]
}

/// A shape with what may be declared beside it.
#[derive(Clone, Copy, Debug)]
struct Declared {
    shape: Shape,
    burst: Option<u64>,
    edge: Option<Timestamp>,
}

impl Declared {
    fn apply(self, spec: LimitSpec) -> LimitSpec {
        let mut spec = spec.shape(self.shape);
        spec.burst = self.burst;
        spec.edge = self.edge;
        spec
    }
}

/// Every shape with everything that may be declared beside it.
fn shapes() -> impl Strategy<Value = Declared> {
    let edge = prop_oneof![
        3 => 0_u64..100_000_000_000,
        1 => any::<u64>(),
    ];
    let edge = proptest::option::of(edge.prop_map(Timestamp::from_nanos));
    (0..4, proptest::option::of(amounts()), edge).prop_map(|(shape, burst, edge)| match shape {
        0 => Declared {
            shape: Shape::Paced,
            burst: None,
            edge: None,
        },
        1 => Declared {
            shape: Shape::TokenBucket,
            burst,
            edge: None,
        },
        2 => Declared {
            shape: Shape::Sliding,
            burst,
            edge: None,
        },
        _ => Declared {
            shape: Shape::Fixed,
            burst,
            edge,
        },
    })
}

/// A part of `whole`, by a fraction of 2¹⁶.
fn part(whole: u64, fraction: u16) -> u64 {
    let scaled = u128::from(whole) * u128::from(fraction);
    u64::try_from(scaled >> 16).expect("a part is no larger")
}

fn part_of(whole: Duration, fraction: u16) -> Duration {
    Duration::from_nanos(part(nanos(whole), fraction))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).expect("31 days fit")
}

fn tokens(total: u64) -> Charge {
    ChargeRule::Sum.charge(total, 0)
}
