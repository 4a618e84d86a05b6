//! The safe rates of algorithms that know the window but not its phase, for any window.

use std::time::Duration;

use brimful_core::{EngineConfig, LimitKind, LimitSpec, Shape};
use brimful_sim::virtual_run::{Delay, VirtualRun, Workload};
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
        let report = run.run(seed).unwrap();
        prop_assert_eq!(report.server.throttled.total(), 0);
        prop_assert_eq!(report.answered, requests);
        prop_assert_eq!(&report.violations, &[]);
        let (n, w, j) = (amount as f64, window.as_secs_f64(), jitter.as_secs_f64());
        let best = (n - 1.0) / (w + j) * w / n;
        let used = report.server.limits[0].utilisation.unwrap();
        // The last one may have been under way for longer than the first, by all of J.
        let ends = report.server.last_admission_ns.zip(report.server.first_admission_ns);
        let measured_s = ends.map(|(last, first)| (last - first) as f64 / 1e9).unwrap();
        let used = used * measured_s / (measured_s - j);
        prop_assert!(used >= 0.995 * best, "{used} of {best}");
    }
}
