//! Draws from the seeded generator.

use std::time::Duration;

use fastrand::Rng;

use crate::config::ServerConfig;

/// What goes wrong with an admitted request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Error,
    Overload,
    Hang,
    Reset,
    Truncate,
    Garbage,
}

impl Fault {
    /// In the order of [`ServerConfig::shares`].
    pub(crate) const ALL: [Self; 6] = [
        Self::Error,
        Self::Overload,
        Self::Hang,
        Self::Reset,
        Self::Truncate,
        Self::Garbage,
    ];
}

/// The fault that the shares give for one uniform draw.
pub(crate) fn fault(config: &ServerConfig, rng: &mut Rng) -> Option<Fault> {
    // Always one draw, so that a share changes its own requests and not everyone's latency.
    let draw = rng.f64();
    let mut sum = 0.0;
    for ((_, share), fault) in config.shares().into_iter().zip(Fault::ALL) {
        sum += share;
        if share > 0.0 && draw < sum {
            return Some(fault);
        }
    }
    None
}

/// Time to the first byte, without what the output tokens add, by a server that is `slowdown` times
/// slower than it could be.
pub(crate) fn latency(config: &ServerConfig, slowdown: f64, rng: &mut Rng) -> Duration {
    if config.latency_ms_median == 0.0 {
        return Duration::ZERO;
    }
    let drawn = log_normal(config.latency_ms_median, config.latency_sigma, rng);
    millis(slowdown * drawn)
}

/// Time that `tokens` output tokens take, by a server that is `slowdown` times slower than it could
/// be.
pub(crate) fn generation(config: &ServerConfig, slowdown: f64, tokens: u64) -> Duration {
    if config.latency_ms_per_token == 0.0 {
        return Duration::ZERO;
    }
    millis(slowdown * config.latency_ms_per_token * tokens as f64)
}

/// How much slower a server with so many requests in flight is.
pub(crate) fn slowdown(config: &ServerConfig, in_flight: u64) -> f64 {
    let served = in_flight.min(config.slots.unwrap_or(u64::MAX));
    let slower = |most: u64| {
        let part = served as f64 / most as f64;
        if config.saturation_gradual {
            1.0 + part
        } else {
            part.max(1.0)
        }
    };
    config.saturation_in_flight.map_or(1.0, slower)
}

/// Time that a request takes to the server.
pub(crate) fn arrival_delay(config: &ServerConfig, rng: &mut Rng) -> Duration {
    if config.arrival_delay_ms_median == 0.0 {
        return Duration::ZERO;
    }
    let (median, sigma) = (config.arrival_delay_ms_median, config.arrival_delay_sigma);
    let drawn = millis(log_normal(median, sigma, rng));
    config
        .arrival_delay_max
        .map_or(drawn, |most| drawn.min(most))
}

/// A draw around `median`; exactly it when `sigma` is zero.
pub(crate) fn log_normal(median: f64, sigma: f64, rng: &mut Rng) -> f64 {
    if sigma == 0.0 {
        return median;
    }
    median * (sigma * normal(rng)).exp()
}

/// A standard normal draw (Box and Muller's transform).
fn normal(rng: &mut Rng) -> f64 {
    // 1 − u is never zero, whose logarithm is not a number to multiply with.
    let radius = (-2.0 * (1.0 - rng.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.f64()).cos()
}

/// No answer takes longer than thirty days, whatever σ draws.
fn millis(millis: f64) -> Duration {
    const MOST_MS: f64 = 30.0 * 86_400_000.0;
    Duration::from_nanos((millis.clamp(0.0, MOST_MS) * 1e6) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_latencies_are_below_the_median_and_the_spread_is_sigma() {
        let mut rng = Rng::with_seed(5);
        let mut draws: Vec<f64> = (0..20_000)
            .map(|_| log_normal(40.0, 0.5, &mut rng))
            .collect();
        draws.sort_by(f64::total_cmp);
        assert!(
            (draws[10_000] / 40.0 - 1.0).abs() < 0.02,
            "median {}",
            draws[10_000]
        );
        let one_sigma_up = draws[16_827] / 40.0;
        assert!(
            (one_sigma_up.ln() - 0.5).abs() < 0.02,
            "one σ up {one_sigma_up}"
        );
    }

    #[test]
    fn faults_come_in_their_shares() {
        let config = ServerConfig {
            error_share: 0.1,
            truncate_share: 0.2,
            garbage_share: 0.3,
            ..ServerConfig::default()
        };
        let mut rng = Rng::with_seed(5);
        let mut counts = [0u32; 7];
        for _ in 0..100_000 {
            let drawn = fault(&config, &mut rng);
            counts[drawn.map_or(6, |fault| fault as usize)] += 1;
        }
        let expected = [10_000, 0, 0, 0, 20_000, 30_000, 40_000];
        for (count, expected) in counts.into_iter().zip(expected) {
            assert!(count.abs_diff(expected) < 700, "{counts:?}");
        }
    }

    #[test]
    fn an_absurd_spread_does_not_overflow() {
        assert_eq!(millis(f64::INFINITY), Duration::from_secs(30 * 86_400));
        assert_eq!(millis(f64::NAN), Duration::ZERO);
    }
}
