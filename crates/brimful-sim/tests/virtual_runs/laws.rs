//! The laws of every run, with configurations drawn at random, and runs that must break them.

use std::time::Duration;

use brimful_core::{ChargeRule, EngineConfig, LimitKind, LimitSpec, Settlement, Shape, Timestamp};
use brimful_sim::virtual_run::{
    Amount, Delay, Order, Size, Sizes, Suspension, VirtualRun, Workload,
};
use brimful_sim::{Charge, ServerConfig};
use proptest::prelude::*;

const MINUTE: Duration = Duration::from_secs(60);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn no_mixture_of_limits_sizes_and_faults_breaks_a_law(
        rpm in 60u64..6_000,
        tpm in 20_000u64..600_000,
        shapes in prop::array::uniform2(0usize..4),
        settled: bool,
        faults in prop::array::uniform6(0.0f64..0.16),
        losses in prop::array::uniform3(0.0f64..0.1),
        cancel_share in 0.0f64..0.3,
        suspended in prop::option::of((1u64..60, 1u64..100, any::<bool>())),
        places in prop::option::of(1u64..40),
        saturated: bool,
        seed: u64,
    ) {
        let mut server = ServerConfig::default();
        (server.rpm, server.tpm, server.refund) = (Some(rpm), Some(tpm), settled);
        (server.latency_ms_median, server.latency_sigma) = (300.0, 0.5);
        (server.error_share, server.overload_share, server.hang_share) =
            (faults[0], faults[1], faults[2]);
        (server.reset_share, server.truncate_share, server.garbage_share) =
            (faults[3], faults[4], faults[5]);
        let mut limits = vec![
            shaped(LimitSpec::new("rpm", LimitKind::Requests, rpm, MINUTE), shapes[0]),
            shaped(LimitSpec::new("tpm", LimitKind::TotalTokens, tpm, MINUTE), shapes[1]),
        ];
        limits.extend(places.map(LimitSpec::concurrency));
        let mut engine = EngineConfig::new(limits);
        if settled {
            engine.upstreams[0].settlement = Settlement::Usage;
        }
        let workload = Workload {
            amount: if saturated {
                Amount::Saturated(2 * MINUTE)
            } else {
                Amount::Requests(300)
            },
            sizes: Sizes::LogNormal {
                median: Size { input: 100, max_output: 100 },
                input_sigma: 1.0,
                output_sigma: 1.0,
                most: 5_000,
            },
            order: Order::Shuffled,
        };
        let mut run = VirtualRun::new(engine, server, workload);
        run.network.send = Delay::LogNormal { median: Duration::from_millis(40), sigma: 0.5 };
        run.network.back = Delay::Fixed(Duration::from_millis(20));
        run.network.unsent_share = losses[0];
        run.network.request_lost_share = losses[1];
        run.network.reply_lost_share = losses[2];
        run.client.timeout = Duration::from_secs(20);
        run.client.cancel_share = cancel_share;
        run.client.suspensions = suspended
            .map(|(at, length, clock_runs)| Suspension {
                at: Timestamp::from_secs(at),
                length: Duration::from_secs(length),
                clock_runs,
            })
            .into_iter()
            .collect();
        let report = run.run(seed).unwrap();
        prop_assert_eq!(&report.violations, &[]);
        let ended = report.answered + report.dead + report.never_fit + report.abandoned;
        prop_assert_eq!(ended, report.submitted);
        prop_assert!(report.answered <= report.server.answered);
    }
}

fn shaped(limit: LimitSpec, shape: usize) -> LimitSpec {
    let held = limit.amount / 2;
    match shape {
        0 => limit,
        1 => limit.shape(Shape::TokenBucket),
        2 => limit.burst(held),
        _ => limit.shape(Shape::Sliding),
    }
}

#[test]
fn a_run_that_never_ends_is_reported_and_not_waited_for() {
    let mut server = ServerConfig::default();
    server.hang_share = 1.0;
    let limit = LimitSpec::new("rpm", LimitKind::Requests, 60, MINUTE);
    let workload = Workload::fixed(5, 1, 1);
    let mut run = VirtualRun::new(EngineConfig::new(vec![limit]), server, workload);
    run.give_up_after = Duration::from_secs(300);
    let report = run.run(1).unwrap();
    let said: Vec<String> = report.violations.iter().map(ToString::to_string).collect();
    assert!(
        said.iter().any(|what| what.contains("not over after 300s")),
        "{said:?}"
    );
    assert!(
        said.iter()
            .any(|what| what.contains("5 requests have no outcome")),
        "{said:?}"
    );
}

#[test]
fn a_saturated_run_stops_in_time_and_abandons_what_waits() {
    let mut server = ServerConfig::default();
    server.rpm = Some(600);
    let limit = LimitSpec::new("rpm", LimitKind::Requests, 600, MINUTE);
    let workload = Workload {
        amount: Amount::Saturated(MINUTE),
        ..Workload::fixed(0, 1, 1)
    };
    let run = VirtualRun::new(EngineConfig::new(vec![limit]), server, workload);
    let report = run.run(1).unwrap();
    assert!(
        (594..=600).contains(&report.answered),
        "{}",
        report.answered
    );
    assert_eq!(report.abandoned, 1024, "the look-ahead");
    assert_eq!(report.makespan, MINUTE);
    assert_eq!(report.violations, []);
}

#[test]
fn the_makespan_of_an_input_that_alternates_binding_limits_is_the_lower_bound() {
    let mut server = ServerConfig::default();
    (server.rpm, server.tpm, server.burst) = (Some(600), Some(600_000), MINUTE);
    server.charge = Charge::Max;
    let limits = vec![
        LimitSpec::new("rpm", LimitKind::Requests, 600, MINUTE).burst(600),
        LimitSpec::new("tpm", LimitKind::TotalTokens, 600_000, MINUTE).burst(600_000),
    ];
    let mut engine = EngineConfig::new(limits);
    engine.upstreams[0].charge_rule = ChargeRule::Max;
    let sizes = |input| {
        Sizes::Fixed(Size {
            input,
            max_output: 1,
        })
    };
    for (input, least) in [(10, 240), (2_000, 540)] {
        let workload = Workload::shuffled(3_000, sizes(input));
        let run = VirtualRun::new(engine.clone(), server.clone(), workload);
        let report = run.run(1).unwrap();
        assert_eq!(report.lower_bound.as_secs(), least);
        let share = report.of_lower_bound();
        assert!((0.998..=1.0).contains(&share), "{share} at {input} tokens");
    }
}
