//! What lies between client and server: delay, its variation, loss.

use std::time::Duration;

use brimful_core::Timestamp;
use fastrand::Rng;

use crate::draw::log_normal;

/// A time that is drawn anew for each use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Delay {
    /// Always the same.
    Fixed(Duration),
    /// Log-normal: half are below the median; sigma is the spread of the logarithm, without unit.
    LogNormal {
        /// The median.
        median: Duration,
        /// σ of the logarithm.
        sigma: f64,
    },
    /// Evenly between two bounds: its variation is surely no more than their difference.
    Uniform {
        /// The shortest.
        least: Duration,
        /// The longest.
        most: Duration,
    },
    /// Log-normal, and a share of the draws has up to `spike` more.
    Spikes {
        /// The median of the rest.
        median: Duration,
        /// σ of the logarithm of the rest.
        sigma: f64,
        /// Share (0 to 1) of the draws that are spikes.
        share: f64,
        /// The longest spike; spikes are evenly distributed.
        spike: Duration,
    },
}

impl Delay {
    /// No delay.
    pub const NONE: Self = Self::Fixed(Duration::ZERO);

    pub(super) fn draw(self, rng: &mut Rng) -> Duration {
        match self {
            Self::Fixed(time) => time,
            Self::LogNormal { median, sigma } => spread(median, sigma, rng),
            Self::Uniform { least, most } => least + most.saturating_sub(least).mul_f64(rng.f64()),
            Self::Spikes {
                median,
                sigma,
                share,
                spike,
            } => {
                let base = spread(median, sigma, rng);
                if rng.f64() < share {
                    base + spike.mul_f64(rng.f64())
                } else {
                    base
                }
            }
        }
    }
}

fn spread(median: Duration, sigma: f64, rng: &mut Rng) -> Duration {
    // An hour bounds what an absurd σ draws.
    let seconds = log_normal(median.as_secs_f64(), sigma, rng).clamp(0.0, 3600.0);
    Duration::from_nanos((seconds * 1e9) as u64)
}

/// The way to the server and back. Faults happen only before `heals_at`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Network {
    /// From the start of an attempt to the server's decision about it. Default: none.
    pub send: Delay,
    /// From the end of the server's reply until the client has read it. Default: none.
    pub back: Delay,
    /// Share (0 to 1) of attempts that find no connection: they certainly never left. Default: 0.
    pub unsent_share: f64,
    /// Share (0 to 1) of attempts that never arrive, which only the timeout shows. Default: 0.
    pub request_lost_share: f64,
    /// Share (0 to 1) of replies whose connection breaks before they are read. Default: 0.
    pub reply_lost_share: f64,
    /// From when to when no connection can be made at all. Default: never.
    pub unreachable: Option<(Timestamp, Timestamp)>,
    /// The instant from which nothing of the above but delay happens. Default: never.
    pub heals_at: Timestamp,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            send: Delay::NONE,
            back: Delay::NONE,
            unsent_share: 0.0,
            request_lost_share: 0.0,
            reply_lost_share: 0.0,
            unreachable: None,
            heals_at: Timestamp::NEVER,
        }
    }
}

/// What becomes of an attempt on its way to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Arrives,
    Unsent,
    Lost,
}

impl Network {
    /// The way to the server of an attempt that starts `now`.
    pub(super) fn way(&self, now: Timestamp, rng: &mut Rng) -> Way {
        if now >= self.heals_at {
            return Way::Arrives;
        }
        if self
            .unreachable
            .is_some_and(|(from, to)| now >= from && now < to)
        {
            return Way::Unsent;
        }
        if self.unsent_share + self.request_lost_share == 0.0 {
            return Way::Arrives;
        }
        let draw = rng.f64();
        if draw < self.unsent_share {
            Way::Unsent
        } else if draw < self.unsent_share + self.request_lost_share {
            Way::Lost
        } else {
            Way::Arrives
        }
    }

    /// Whether the reply that leaves `now` is lost.
    pub(super) fn loses_reply(&self, now: Timestamp, rng: &mut Rng) -> bool {
        self.reply_lost_share > 0.0 && now < self.heals_at && rng.f64() < self.reply_lost_share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_uniform_delay_reaches_from_bound_to_bound_and_not_beyond() {
        let mut rng = Rng::with_seed(3);
        let delay = Delay::Uniform {
            least: 10 * MS,
            most: 30 * MS,
        };
        let draws: Vec<Duration> = (0..10_000).map(|_| delay.draw(&mut rng)).collect();
        let (least, most) = (draws.iter().min().unwrap(), draws.iter().max().unwrap());
        assert!(*least >= 10 * MS && *least < 11 * MS, "{least:?}");
        assert!(*most <= 30 * MS && *most > 29 * MS, "{most:?}");
    }

    #[test]
    fn spikes_come_in_their_share() {
        let mut rng = Rng::with_seed(3);
        let delay = Delay::Spikes {
            median: 40 * MS,
            sigma: 0.0,
            share: 0.01,
            spike: Duration::from_secs(1),
        };
        let spikes = (0..100_000).filter(|_| delay.draw(&mut rng) > 41 * MS);
        let count = spikes.count();
        assert!((850..1_150).contains(&count), "{count}");
    }

    #[test]
    fn nothing_is_lost_after_healing() {
        let mut rng = Rng::with_seed(3);
        let network = Network {
            unsent_share: 0.5,
            request_lost_share: 0.5,
            reply_lost_share: 1.0,
            heals_at: Timestamp::from_secs(1),
            ..Network::default()
        };
        assert_ne!(network.way(Timestamp::ZERO, &mut rng), Way::Arrives);
        assert!(network.loses_reply(Timestamp::ZERO, &mut rng));
        for _ in 0..100 {
            assert_eq!(network.way(Timestamp::from_secs(1), &mut rng), Way::Arrives);
            assert!(!network.loses_reply(Timestamp::from_secs(1), &mut rng));
        }
    }
}
