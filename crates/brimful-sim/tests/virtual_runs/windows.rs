//! The safe rates of algorithms that know the window but not its phase, for any window.

use std::time::Duration;

use brimful_core::{EngineConfig, LimitKind, LimitSpec, Shape};
use brimful_sim::virtual_run::{Delay, Step, VirtualRun, Workload};
use brimful_sim::{Enforcement, LimitRule, Measure, ServerConfig};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// N requests in a window W of unknown phase, over a way whose delay surely varies by no more
    /// than J: no 429 at all, and at least 99.5 % of the best rate that is safe.
    #[test]
    fn a_known_window_is_used_to_the_safe_rate_without_a_429(
        amount in 20u64..2_000,
        window_ms in 500u64..120_000,
        jitter_permille in 0u64..300,
        least_delay_ms in 0u64..500,
        sliding: bool,
        seed: u64,
    ) {
        let window = Duration::from_millis(window_ms);
        let jitter = window * u32::try_from(jitter_permille).unwrap() / 1000;
        let (shape, enforcement) = if sliding {
            (Shape::Sliding, Enforcement::SlidingLog)
        } else {
            (Shape::Fixed, Enforcement::FixedWindow)
        };
        let mut rule = LimitRule::new("requests", Measure::Requests, amount, window);
        rule.enforcement = Some(enforcement);
        let mut server = ServerConfig::default();
        server.limits = vec![rule];
        let limit = LimitSpec::new("requests", LimitKind::Requests, amount, window)
            .shape(shape)
            .jitter(jitter);
        let requests = amount * 12;
        let workload = Workload::fixed(requests, 1, 1);
        let mut run = VirtualRun::new(EngineConfig::new(vec![limit]), server, workload);
        let least = Duration::from_millis(least_delay_ms);
        run.network.send = Delay::Uniform { least, most: least + jitter };
        run.client.wake_late = Delay::Fixed(Duration::from_micros(1_100));
        let mut starts = Vec::new();
        let report = run.run_traced(seed, &mut |at, step| {
            if matches!(step, Step::Started { .. }) {
                starts.push(at);
            }
        });
        let report = report.unwrap();
        prop_assert_eq!(report.server.throttled.total(), 0);
        prop_assert_eq!(report.answered, requests);
        prop_assert_eq!(&report.violations, &[]);
        let (n, w, j) = (amount as f64, window.as_secs_f64(), jitter.as_secs_f64());
        let best = (n - 1.0) / (w + j) * w / n;
        // By the client's starts, for what is admitted first and last depends on the delays, and
        // without the first window, in case it began with more than its share.
        let steady = &starts[starts.len() / 12..];
        let took_s = steady[steady.len() - 1].since(steady[0]).as_secs_f64();
        let used = (steady.len() - 1) as f64 / took_s * w / n;
        prop_assert!(used >= 0.995 * best, "{used} of {best}");
    }
}
