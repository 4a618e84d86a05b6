//! What can be asked of a stretch of a run, by the server's account.

use std::time::Duration;

use brimful_core::Timestamp;

use crate::virtual_run::Report;
use crate::virtual_run::sample::{LimitSample, Sample};

/// How long a rate must hold before it counts as recovered.
const HOLDS_FOR_S: f64 = 30.0;

/// A part of a run, in virtual time from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Its begin.
    pub from: Duration,
    /// Its end; [`Duration::MAX`] is the end of the run.
    pub to: Duration,
}

/// What is measured of one run.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Measure {
    /// 429s for speed ÷ arrivals. Of several runs: all together.
    Throttled,
    /// 429s for speed. Of several runs: the mean.
    Refusals,
    /// Requests that met an outage. Of several runs: the mean.
    MetOutage,
    /// What we took ÷ what the limit allows less what foreign tenants asked for; of several limits,
    /// the one that is used most. Of several runs: the mean.
    FreeShare,
    /// What we took of all limits together ÷ what they allowed while their servers answered at all.
    /// Of several runs: the mean.
    AllowedShare,
    /// Requests of foreign tenants admitted ÷ asked. Of several runs: all together.
    TenantKept,
    /// Seconds from the begin of the stretch until at least this share (0 to 1) of the free share
    /// is used, both over the next 30 s and over the rest of the stretch. Of several runs: the
    /// longest. What never holds takes for ever.
    SecondsUntil {
        /// The share that has to hold.
        share: f64,
    },
    /// Output tokens of whole answers a second ÷ this many. Of several runs: the mean.
    TokenGoodput {
        /// What the server can at best, in tokens a second.
        best_per_s: f64,
    },
    /// 95th percentile of the time to the first byte, by the server, ÷ this. Of several runs: the
    /// mean.
    FirstByteP95 {
        /// The same of a server that has nothing else to do.
        unloaded: Duration,
    },
}

impl Stretch {
    /// The whole run.
    pub const WHOLE: Self = Self {
        from: Duration::ZERO,
        to: Duration::MAX,
    };

    /// From then to the end of the run.
    #[must_use]
    pub const fn after(from: Duration) -> Self {
        Self {
            from,
            to: Duration::MAX,
        }
    }

    /// From the start of the run until then.
    #[must_use]
    pub const fn before(to: Duration) -> Self {
        Self::between(Duration::ZERO, to)
    }

    /// From then to then.
    #[must_use]
    pub const fn between(from: Duration, to: Duration) -> Self {
        Self { from, to }
    }

    /// The samples in it, the first at its begin and the last at its end.
    fn of<'a>(&self, samples: &'a [Sample]) -> &'a [Sample] {
        let instant = |time: Duration| Timestamp::ZERO + time;
        let first = samples.partition_point(|sample| sample.at < instant(self.from));
        let end = samples.partition_point(|sample| sample.at <= instant(self.to));
        &samples[first.min(end)..end]
    }
}

impl Measure {
    /// Whether less of it is better.
    #[must_use]
    pub const fn less_is_better(&self) -> bool {
        match self {
            Self::Throttled | Self::Refusals | Self::MetOutage | Self::SecondsUntil { .. } => true,
            Self::FirstByteP95 { .. } => true,
            Self::FreeShare | Self::AllowedShare => false,
            Self::TenantKept | Self::TokenGoodput { .. } => false,
        }
    }

    /// The unit that values are printed in.
    #[must_use]
    pub const fn unit(&self) -> &'static str {
        match self {
            Self::Throttled | Self::FreeShare | Self::AllowedShare => "%",
            Self::TenantKept | Self::TokenGoodput { .. } => "%",
            Self::SecondsUntil { .. } => "s",
            Self::Refusals | Self::MetOutage => "",
            Self::FirstByteP95 { .. } => "×",
        }
    }

    /// The value of one run: shares are 0 to 1, times in seconds. Not a number where the stretch
    /// has nothing to measure, which meets no goal.
    #[must_use]
    pub fn of(&self, report: &Report, stretch: &Stretch) -> f64 {
        let samples = stretch.of(&report.samples);
        let (Some(first), Some(last)) = (samples.first(), samples.last()) else {
            return f64::NAN;
        };
        let time_s = last.seconds() - first.seconds();
        match self {
            Self::Throttled => {
                let arrivals = last.arrivals - first.arrivals;
                (last.throttled - first.throttled) as f64 / arrivals as f64
            }
            Self::Refusals => (last.throttled - first.throttled) as f64,
            Self::MetOutage => (last.outage - first.outage) as f64,
            Self::FreeShare => free_share(samples),
            Self::AllowedShare => allowed_share(samples),
            Self::TenantKept => {
                let (admitted, refused) = foreign(first, last);
                admitted as f64 / (admitted + refused) as f64
            }
            Self::SecondsUntil { share } => seconds_until(samples, *share),
            Self::TokenGoodput { best_per_s } => {
                (last.output_tokens - first.output_tokens) as f64 / time_s / best_per_s
            }
            Self::FirstByteP95 { unloaded } => {
                percentile_95(report, stretch).as_secs_f64() / unloaded.as_secs_f64()
            }
        }
    }

    /// The value of several runs together.
    #[must_use]
    pub fn of_all(&self, reports: &[Report], stretch: &Stretch) -> f64 {
        let each = || reports.iter().map(|report| self.of(report, stretch));
        let ends = || {
            reports.iter().filter_map(|report| {
                let samples = stretch.of(&report.samples);
                Some((samples.first()?, samples.last()?))
            })
        };
        match self {
            Self::Throttled => {
                let of = |count: fn(&Sample) -> u64| {
                    let counts = ends().map(|(first, last)| count(last) - count(first));
                    counts.sum::<u64>() as f64
                };
                of(|sample| sample.throttled) / of(|sample| sample.arrivals)
            }
            Self::TenantKept => {
                let (mut admitted, mut refused) = (0, 0);
                for (first, last) in ends() {
                    let (a, r) = foreign(first, last);
                    admitted += a;
                    refused += r;
                }
                admitted as f64 / (admitted + refused) as f64
            }
            Self::SecondsUntil { .. } => worst(each(), true),
            Self::Refusals
            | Self::MetOutage
            | Self::FreeShare
            | Self::AllowedShare
            | Self::TokenGoodput { .. }
            | Self::FirstByteP95 { .. } => each().sum::<f64>() / reports.len() as f64,
        }
    }

    /// The worst of several runs.
    #[must_use]
    pub fn worst(&self, reports: &[Report], stretch: &Stretch) -> f64 {
        let each = reports.iter().map(|report| self.of(report, stretch));
        worst(each, self.less_is_better())
    }
}

/// The largest or the smallest, or not a number if one of them is not.
fn worst(values: impl Iterator<Item = f64>, largest: bool) -> f64 {
    let values: Vec<f64> = values.collect();
    if values.iter().any(|value| value.is_nan()) {
        return f64::NAN;
    }
    let extreme = if largest { f64::max } else { f64::min };
    values.into_iter().reduce(extreme).unwrap_or(f64::NAN)
}

fn foreign(first: &Sample, last: &Sample) -> (u64, u64) {
    let sum = |count: fn(&LimitSample) -> u64| {
        let pairs = first.limits.iter().zip(&last.limits);
        pairs.map(|(a, b)| count(b) - count(a)).sum::<u64>()
    };
    (
        sum(|limit| limit.foreign_admitted),
        sum(|limit| limit.foreign_refused),
    )
}

/// What was taken between the first and the last of these, as a share of what the limit that is
/// used most allowed and foreign tenants did not ask for.
fn free_share(samples: &[Sample]) -> f64 {
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else {
        return f64::NAN;
    };
    let each = (0..first.limits.len().min(last.limits.len())).map(|limit| {
        let allowed: f64 = samples
            .windows(2)
            .map(|pair| pair[0].limits[limit].rate_per_s * (pair[1].seconds() - pair[0].seconds()))
            .sum();
        let (from, to) = (&first.limits[limit], &last.limits[limit]);
        let taken = to.taken.saturating_sub(from.taken) as f64;
        taken / (allowed - (to.foreign_asked() - from.foreign_asked()))
    });
    each.fold(f64::NAN, f64::max)
}

/// What was taken between the first and the last of these, as a share of what all limits allowed
/// while their servers answered.
fn allowed_share(samples: &[Sample]) -> f64 {
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else {
        return f64::NAN;
    };
    let pairs = samples.windows(2);
    let allowed: f64 = pairs
        .map(|pair| {
            let rate: f64 = pair[0].limits.iter().map(|limit| limit.allowed_per_s).sum();
            rate * (pair[1].seconds() - pair[0].seconds())
        })
        .sum();
    let sum = |sample: &Sample| sample.limits.iter().map(|limit| limit.taken).sum::<u64>();
    (sum(last) - sum(first)) as f64 / allowed
}

fn seconds_until(samples: &[Sample], share: f64) -> f64 {
    let Some(first) = samples.first() else {
        return f64::NAN;
    };
    for (index, sample) in samples.iter().enumerate() {
        let rest = &samples[index..];
        let until = sample.seconds() + HOLDS_FOR_S;
        let soon = rest.partition_point(|later| later.seconds() <= until);
        let holds = rest.last().is_some_and(|last| last.seconds() >= until)
            && free_share(&rest[..soon]) >= share
            && free_share(rest) >= share;
        if holds {
            return sample.seconds() - first.seconds();
        }
    }
    f64::INFINITY
}

fn percentile_95(report: &Report, stretch: &Stretch) -> Duration {
    let of_stretch = report.first_bytes.iter().filter(|(at, _)| {
        let at = at.since(Timestamp::ZERO);
        at >= stretch.from && at < stretch.to
    });
    let mut times: Vec<Duration> = of_stretch.map(|&(_, time)| time).collect();
    times.sort_unstable();
    let place = (times.len() * 95).div_ceil(100).saturating_sub(1);
    times.get(place).copied().unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A second each: units taken in it, under a limit of 10 a second that doubles after 60 s.
    fn samples(taken: impl Fn(u64) -> u64) -> Vec<Sample> {
        let mut sum = 0;
        let sample = |second: u64| {
            let limit = LimitSample {
                rate_per_s: if second < 60 { 10.0 } else { 20.0 },
                taken: sum,
                ..LimitSample::default()
            };
            sum += taken(second);
            Sample {
                at: Timestamp::from_secs(second),
                limits: vec![limit],
                ..Sample::default()
            }
        };
        (0..=200).map(sample).collect()
    }

    #[test]
    fn each_part_of_a_stretch_counts_by_the_rate_of_its_time() {
        let all = samples(|second| if second < 60 { 9 } else { 18 });
        assert!((free_share(&all) - 0.9).abs() < 1e-9);
        let stretch = Stretch::between(Duration::from_secs(30), Duration::from_secs(90));
        assert_eq!(stretch.of(&all).len(), 61);
        assert!((free_share(stretch.of(&all)) - 0.9).abs() < 1e-9);
    }

    #[test]
    fn what_a_dead_server_would_allow_is_not_asked_for() {
        let mut all = samples(|second| if second < 60 { 10 } else { 0 });
        for sample in &mut all {
            let dead = sample.at >= Timestamp::from_secs(60);
            sample.limits[0].allowed_per_s = if dead { 0.0 } else { 10.0 };
        }
        assert!((allowed_share(&all) - 1.0).abs() < 1e-9);
        all[150].limits[0].allowed_per_s = 60.0;
        assert!((allowed_share(&all) - 600.0 / 660.0).abs() < 1e-9);
    }

    #[test]
    fn a_rate_is_back_when_it_stays() {
        let after = Stretch::after(Duration::from_secs(60));
        let back_at = |taken: fn(u64) -> u64| seconds_until(after.of(&samples(taken)), 0.95);
        assert_eq!(back_at(|second| if second < 60 { 10 } else { 20 }), 0.0);
        // The second before the step is full may be counted in: 95 % of 30 s.
        let stepped = back_at(|second| if second < 100 { 10 } else { 20 });
        assert!((37.0..=40.0).contains(&stepped), "{stepped}");
        let relapsed = back_at(|second| if second > 80 && second < 150 { 5 } else { 20 });
        assert!((140.0..=150.0).contains(&(relapsed + 60.0)), "{relapsed}");
        assert_eq!(back_at(|_| 10), f64::INFINITY);
    }

    #[test]
    fn what_others_asked_for_is_not_free() {
        let mut all = samples(|_| 7);
        for (index, sample) in all.iter_mut().enumerate() {
            let asked = 3 * index as u64;
            sample.limits[0].rate_per_s = 10.0;
            sample.limits[0].foreign_refused = asked / 3;
            sample.limits[0].foreign_admitted = asked - asked / 3;
            sample.limits[0].foreign_taken = asked - asked / 3;
        }
        assert!((free_share(&all) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn the_worst_of_what_cannot_be_measured_is_not_a_number() {
        assert!(worst([1.0, f64::NAN].into_iter(), true).is_nan());
        assert_eq!(worst([1.0, 3.0].into_iter(), true), 3.0);
        assert_eq!(worst([1.0, 3.0].into_iter(), false), 1.0);
    }
}
