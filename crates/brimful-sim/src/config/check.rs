//! What is wrong with a configuration, known before the first request.

use std::time::Duration;

use super::{LimitRule, OUTPUT_TOKENS_MAX, ServerConfig};

/// More would make each request slow, and no provider has a tenth of it.
const LIMITS_MAX: usize = 32;

/// A leap year; far from where window arithmetic could overflow.
const WINDOW_MAX: Duration = Duration::from_secs(366 * 86_400);

const DAY_MS: f64 = 86_400_000.0;

impl ServerConfig {
    /// Says what is wrong with the values.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        self.check_limits()?;
        for rule in &self.limits {
            self.check_rule(rule)?;
        }
        self.check_shares()?;
        self.check_ranges()
    }

    fn check_limits(&self) -> Result<(), ConfigError> {
        let amounts = self.flat_amounts().into_iter().chain([
            ("concurrency", self.concurrency),
            ("foreign_tokens", self.foreign_tokens),
            ("saturation_in_flight", self.saturation_in_flight),
            ("slots", self.slots),
        ]);
        for (name, amount) in amounts {
            if amount == Some(0) {
                return Err(ConfigError::ZeroLimit { name });
            }
        }
        if self.judged_over == Some(Duration::ZERO) {
            return Err(ConfigError::NoTime {
                name: "judged_over",
            });
        }
        if self.limits.len() > LIMITS_MAX {
            return Err(ConfigError::TooManyLimits { most: LIMITS_MAX });
        }
        Ok(())
    }

    fn check_rule(&self, rule: &LimitRule) -> Result<(), ConfigError> {
        let wrong = |what| {
            let name = rule.name.clone();
            Err(ConfigError::WrongRule { name, what })
        };
        let taken = |name: &str| {
            name == "concurrency" || self.flat_amounts().iter().any(|(flat, _)| *flat == name)
        };
        if rule.name.is_empty() || taken(&rule.name) {
            return wrong("needs a name of its own");
        }
        if self.limits.iter().filter(|r| r.name == rule.name).count() > 1 {
            return wrong("is there twice");
        }
        if rule.amount == 0 {
            return wrong("has an amount of 0 and would admit nothing");
        }
        if rule.window.is_zero() || rule.window > WINDOW_MAX {
            return wrong("needs a window of more than zero and at most 366 days");
        }
        if rule.judged_over == Some(Duration::ZERO) {
            return wrong("is judged over no time");
        }
        Ok(())
    }

    fn check_shares(&self) -> Result<(), ConfigError> {
        let foreign = [("foreign_share", self.foreign_share)];
        for (name, share) in self.shares().into_iter().chain(foreign) {
            if !(0.0..=1.0).contains(&share) {
                return Err(ConfigError::ShareOutOfRange { name });
            }
        }
        // A little slack: ten shares of 0.1 do not add up to exactly 1.
        if self.shares().iter().map(|(_, share)| share).sum::<f64>() > 1.0 + 1e-9 {
            return Err(ConfigError::SharesExceedOne);
        }
        Ok(())
    }

    fn check_ranges(&self) -> Result<(), ConfigError> {
        let ranges = [
            ("latency_ms_median", self.latency_ms_median, 0.0, DAY_MS),
            ("charge_scale", self.charge_scale, 0.01, 100.0),
            ("latency_sigma", self.latency_sigma, 0.0, 10.0),
            (
                "latency_ms_per_token",
                self.latency_ms_per_token,
                0.0,
                60_000.0,
            ),
            (
                "output_tokens_median",
                self.output_tokens_median,
                1.0,
                OUTPUT_TOKENS_MAX as f64,
            ),
            ("output_tokens_sigma", self.output_tokens_sigma, 0.0, 10.0),
            (
                "arrival_delay_ms_median",
                self.arrival_delay_ms_median,
                0.0,
                DAY_MS,
            ),
            ("arrival_delay_sigma", self.arrival_delay_sigma, 0.0, 10.0),
        ];
        for (name, value, least, most) in ranges {
            if !(least..=most).contains(&value) {
                return Err(ConfigError::ValueOutOfRange { name, least, most });
            }
        }
        Ok(())
    }
}

/// Why a configuration cannot be served.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// A limit of zero would admit nothing.
    #[error("`{name}` is 0 and would admit nothing: leave it out for no limit")]
    ZeroLimit {
        /// The field.
        name: &'static str,
    },
    /// A share is not a share.
    #[error("`{name}` must be between 0 and 1")]
    ShareOutOfRange {
        /// The field.
        name: &'static str,
    },
    /// The fault shares exclude each other, so they cannot exceed the whole.
    #[error("the fault shares add up to more than 1")]
    SharesExceedOne,
    /// A latency or length is negative, not a number, or absurd.
    #[error("`{name}` must be between {least} and {most}")]
    ValueOutOfRange {
        /// The field.
        name: &'static str,
        /// The smallest value allowed.
        least: f64,
        /// The largest value allowed.
        most: f64,
    },
    /// Something is judged over no time.
    #[error("`{name}` must be more than zero")]
    NoTime {
        /// The field.
        name: &'static str,
    },
    /// There are too many limits.
    #[error("`limits` has more than {most} limits")]
    TooManyLimits {
        /// The most allowed.
        most: usize,
    },
    /// One of `limits` makes no sense.
    #[error("the limit `{name}` {what}")]
    WrongRule {
        /// The rule's name.
        name: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// With a step of the script the configuration could not be served.
    #[error("the script's change after {after:?} cannot be made")]
    ScriptStep {
        /// The step's time.
        after: Duration,
        /// What is wrong.
        source: Box<Self>,
    },
}

#[cfg(test)]
mod tests {
    use crate::config::Measure;

    use super::*;

    fn check(change: impl FnOnce(&mut ServerConfig)) -> Result<(), ConfigError> {
        let mut config = ServerConfig::default();
        change(&mut config);
        config.check()
    }

    #[test]
    fn the_default_can_be_served() {
        assert_eq!(check(|_| {}), Ok(()));
    }

    #[test]
    fn values_that_make_no_sense_are_named() {
        assert_eq!(
            check(|c| c.rpm = Some(0)),
            Err(ConfigError::ZeroLimit { name: "rpm" })
        );
        assert_eq!(
            check(|c| c.error_share = f64::NAN),
            Err(ConfigError::ShareOutOfRange {
                name: "error_share"
            })
        );
        let both = check(|c| {
            c.error_share = 0.6;
            c.reset_share = 0.6;
        });
        assert_eq!(both, Err(ConfigError::SharesExceedOne));
        let endless = check(|c| c.latency_ms_median = f64::INFINITY);
        assert!(matches!(
            endless,
            Err(ConfigError::ValueOutOfRange {
                name: "latency_ms_median",
                ..
            })
        ));
    }

    #[test]
    fn six_shares_that_make_a_whole_are_accepted() {
        let sixths = check(|c| {
            let sixth = 1.0 / 6.0;
            (c.error_share, c.overload_share, c.hang_share) = (sixth, sixth, sixth);
            (c.reset_share, c.truncate_share, c.garbage_share) = (sixth, sixth, sixth);
        });
        assert_eq!(sixths, Ok(()));
    }

    #[test]
    fn rules_have_names_amounts_and_windows() {
        let rule = |name: &str, amount, secs| {
            LimitRule::new(name, Measure::Requests, amount, Duration::from_secs(secs))
        };
        let wrong = [
            vec![rule("", 1, 1)],
            vec![rule("rpm", 1, 1)],
            vec![rule("a", 1, 1), rule("a", 2, 2)],
            vec![rule("a", 0, 1)],
            vec![rule("a", 1, 0)],
            vec![rule("a", 1, 367 * 86_400)],
        ];
        for limits in wrong {
            let shown = format!("{limits:?}");
            let checked = check(|c| c.limits = limits);
            assert!(
                matches!(checked, Err(ConfigError::WrongRule { .. })),
                "{shown}"
            );
        }
        assert_eq!(
            check(|c| c.limits = vec![rule("a", 1, 1), rule("b", 1, 86_400)]),
            Ok(())
        );
        let many = |n: usize| (0..n).map(|i| rule(&i.to_string(), 1, 1)).collect();
        assert_eq!(check(|c| c.limits = many(LIMITS_MAX)), Ok(()));
        assert!(check(|c| c.limits = many(LIMITS_MAX + 1)).is_err());
        let no_time = check(|c| c.judged_over = Some(Duration::ZERO));
        assert!(matches!(no_time, Err(ConfigError::NoTime { .. })));
    }
}
