//! What scenarios have to reach, and what was reached of it.

use super::Summary;

/// What a scenario has to reach. Shares are 0 to 1, over all seeds together; `None` asks nothing.
/// The laws of every run are asked for besides.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Goal {
    /// The largest share of 429s.
    pub throttled_share_most: Option<f64>,
    /// The least mean utilisation.
    pub utilisation_least: Option<f64>,
    /// The least mean of lower bound ÷ makespan.
    pub of_lower_bound_least: Option<f64>,
    /// The largest share of requests of the workload that end without an answer.
    pub unanswered_share_most: Option<f64>,
    /// Whether every request must end with an answer.
    pub all_answered: bool,
}

/// How a scenario is judged.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Aim {
    /// It has to be reached.
    Goal(Goal),
    /// No success, only a guard against getting worse: what is reached today, less a margin.
    Floor {
        /// What must not be fallen below.
        floor: Goal,
        /// The goal that is missed; `None` where nothing is promised.
        short_of: Option<Goal>,
    },
}

/// What came of an [`Aim`]. Each text says what was missed, and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The goal was met.
    Met,
    /// The floor was kept; what was missed of the goal. Empty where nothing is promised.
    Floor(Vec<String>),
    /// The goal was missed, or the floor where there is one.
    Missed(Vec<String>),
}

impl Aim {
    /// A floor under what falls short of `goal`.
    pub(super) const fn short_of(goal: Goal, floor: Goal) -> Self {
        Self::Floor {
            floor,
            short_of: Some(goal),
        }
    }

    /// A floor where nothing is promised.
    pub(super) const fn floor(floor: Goal) -> Self {
        Self::Floor {
            floor,
            short_of: None,
        }
    }

    /// Judges what came out. A few seeds scatter more than many: shares of 429s may be `margin`
    /// times as high as asked; zero stays zero.
    #[must_use]
    pub fn judge(&self, summary: &Summary, margin: f64) -> Verdict {
        let missed = |goal: &Goal| summary.missed(&goal.with_margin(margin));
        match self {
            Self::Goal(goal) => match missed(goal) {
                missed if missed.is_empty() => Verdict::Met,
                missed => Verdict::Missed(missed),
            },
            Self::Floor { floor, short_of } => match missed(floor) {
                below if !below.is_empty() => Verdict::Missed(below),
                _ => match short_of.as_ref().map(missed) {
                    Some(missed) if missed.is_empty() => Verdict::Met,
                    missed => Verdict::Floor(missed.unwrap_or_default()),
                },
            },
        }
    }
}

impl Goal {
    /// Nothing but the laws of every run.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            throttled_share_most: None,
            utilisation_least: None,
            of_lower_bound_least: None,
            unanswered_share_most: None,
            all_answered: false,
        }
    }

    /// Every request is answered.
    #[must_use]
    pub const fn answered() -> Self {
        Self {
            all_answered: true,
            ..Self::none()
        }
    }

    /// At most this share of requests is not answered.
    #[must_use]
    pub const fn unanswered(share_most: f64) -> Self {
        Self {
            unanswered_share_most: Some(share_most),
            ..Self::none()
        }
    }

    /// Every request is answered, with at most this share of 429s and at least this utilisation.
    #[must_use]
    pub const fn rate(throttled_share_most: f64, utilisation_least: f64) -> Self {
        Self {
            throttled_share_most: Some(throttled_share_most),
            utilisation_least: Some(utilisation_least),
            ..Self::answered()
        }
    }

    /// Every request is answered without a 429, at this share of the lower bound's rate or more.
    #[must_use]
    pub const fn makespan(of_lower_bound_least: f64) -> Self {
        Self {
            throttled_share_most: Some(0.0),
            of_lower_bound_least: Some(of_lower_bound_least),
            ..Self::answered()
        }
    }

    fn with_margin(&self, times: f64) -> Self {
        Self {
            throttled_share_most: self.throttled_share_most.map(|most| most * times),
            ..*self
        }
    }
}

impl Summary {
    /// What of `goal` was missed, and which laws were broken.
    #[must_use]
    pub fn missed(&self, goal: &Goal) -> Vec<String> {
        let mut missed = Vec::new();
        let mut most = |share: f64, asked: Option<f64>, what: &str| {
            if let Some(asked) = asked.filter(|asked| share > *asked) {
                let (share, asked) = (share * 100.0, asked * 100.0);
                missed.push(format!("{share:.4} % {what}, asked: at most {asked:.4} %"));
            }
        };
        most(self.throttled_share(), goal.throttled_share_most, "of 429s");
        let unanswered = 1.0 - self.answered_share();
        most(unanswered, goal.unanswered_share_most, "without an answer");
        let mut least = |share: f64, asked: Option<f64>, what: &str| {
            if let Some(asked) = asked.filter(|asked| share < *asked) {
                let (share, asked) = (share * 100.0, asked * 100.0);
                missed.push(format!("{share:.3} % {what}, asked: at least {asked:.3} %"));
            }
        };
        least(self.utilisation(), goal.utilisation_least, "used");
        let of_lower_bound = self.of_lower_bound();
        let what = "of the lower bound's rate";
        least(of_lower_bound, goal.of_lower_bound_least, what);
        for report in self.reports() {
            let seed = report.seed;
            if goal.all_answered && report.answered != report.asked() {
                let without = report.asked().saturating_sub(report.answered);
                missed.push(format!("seed {seed}: {without} without an answer"));
            }
            if goal.all_answered
                && let Some(reason) = &report.stopped
            {
                missed.push(format!("seed {seed}: the run stopped: {reason:?}"));
            }
            if let Some(first) = report.violations.first() {
                let count = report.violated;
                missed.push(format!("seed {seed}: {count} violations, first {first}"));
            }
        }
        missed
    }
}
