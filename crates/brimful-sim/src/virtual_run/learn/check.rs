//! What scenarios have to reach in which stretch, and what was reached of it.

use crate::virtual_run::Report;

use super::{Measure, Stretch};

/// One thing that is asked of a scenario.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Check {
    /// What it is, in a few words: `429s, first 10 min`.
    pub name: String,
    /// What is measured.
    pub measure: Measure,
    /// In which part of the run.
    pub stretch: Stretch,
    /// The value to reach, in the measure's own unit (shares are 0 to 1). `None` where nothing is
    /// promised.
    pub goal: Option<f64>,
    /// No success, only a guard against getting worse. `None` where the goal is to be reached.
    pub floor: Option<f64>,
}

/// What came of one [`Check`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Outcome {
    /// The check's name.
    pub name: String,
    /// The value of all runs together.
    pub value: f64,
    /// Of the worst run.
    pub worst: f64,
    /// One for each run.
    pub each: Vec<f64>,
    /// The unit in which these are printed; shares are then a hundred times as large.
    pub unit: &'static str,
    /// Whether the goal was reached. `None` where nothing is promised.
    pub met: Option<bool>,
    /// Whether the floor was kept. `None` where there is none.
    pub floor_kept: Option<bool>,
    /// What was asked for, and what is guarded, in words.
    pub asked: String,
}

/// What came of a scenario.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Judgement {
    /// One for each check.
    pub outcomes: Vec<Outcome>,
    /// Laws that were broken, by seed; the first of each.
    pub broken: Vec<String>,
}

impl Check {
    /// The goal is to be reached.
    #[must_use]
    pub fn goal(name: &str, measure: Measure, stretch: Stretch, goal: f64) -> Self {
        Self {
            name: name.to_owned(),
            measure,
            stretch,
            goal: Some(goal),
            floor: None,
        }
    }

    /// The goal is not reached, for a reason that `docs/design/learning.md` gives; a floor is kept.
    #[must_use]
    pub fn short_of(mut self, floor: f64) -> Self {
        self.floor = Some(floor);
        self
    }

    /// Nothing is promised; a floor is kept.
    #[must_use]
    pub fn floor(name: &str, measure: Measure, stretch: Stretch, floor: f64) -> Self {
        Self {
            goal: None,
            floor: Some(floor),
            ..Self::goal(name, measure, stretch, floor)
        }
    }

    /// Judges what came out. Only shares of 429s get a `margin`: they scatter most.
    fn judge(&self, reports: &[Report], margin: f64) -> Outcome {
        let measure = &self.measure;
        let value = measure.of_all(reports, &self.stretch);
        let margin = match measure {
            Measure::Throttled | Measure::Refusals => margin,
            _ => 1.0,
        };
        let reaches = |asked: f64| {
            if measure.less_is_better() {
                value <= asked * margin
            } else {
                value >= asked
            }
        };
        Outcome {
            name: self.name.clone(),
            value,
            worst: measure.worst(reports, &self.stretch),
            each: reports
                .iter()
                .map(|report| measure.of(report, &self.stretch))
                .collect(),
            unit: measure.unit(),
            met: self.goal.map(reaches),
            floor_kept: self.floor.map(reaches),
            asked: self.asked(),
        }
    }

    fn asked(&self) -> String {
        let (unit, sign) = (
            self.measure.unit(),
            if self.measure.less_is_better() {
                "≤"
            } else {
                "≥"
            },
        );
        let bound = |value: f64| format!("{sign} {}", shown(value, unit));
        match (self.goal, self.floor) {
            (Some(goal), None) => bound(goal),
            (Some(goal), Some(floor)) => format!("{}, floor {}", bound(goal), bound(floor)),
            (None, Some(floor)) => format!("floor {}", bound(floor)),
            (None, None) => String::new(),
        }
    }
}

impl Outcome {
    /// Whether it fails: the goal was missed, or the floor where there is one.
    #[must_use]
    pub fn failed(&self) -> bool {
        match self.floor_kept {
            Some(kept) => !kept,
            None => self.met == Some(false),
        }
    }

    /// The word of the table.
    #[must_use]
    pub const fn verdict(&self) -> &'static str {
        match (self.met, self.floor_kept) {
            (_, Some(false)) | (Some(false), None) => "MISSED",
            (Some(true), _) => "met",
            (Some(false), Some(true)) => "short, floor",
            (None, Some(true)) => "floor",
            (None, None) => "",
        }
    }

    /// The value of all runs with its unit.
    #[must_use]
    pub fn shown(&self) -> String {
        shown(self.value, self.unit)
    }

    /// The value of the worst run with its unit.
    #[must_use]
    pub fn worst_shown(&self) -> String {
        shown(self.worst, self.unit)
    }
}

/// A value as it is printed.
fn shown(value: f64, unit: &str) -> String {
    match unit {
        _ if value.is_nan() => "–".to_owned(),
        _ if value.is_infinite() => "never".to_owned(),
        "%" => format!("{:.3} %", value * 100.0),
        "s" => format!("{value:.0} s"),
        "×" => format!("{value:.2} ×"),
        _ => format!("{value:.1}"),
    }
}

impl Judgement {
    pub(super) fn new(checks: &[Check], reports: &[Report], margin: f64) -> Self {
        let broken = reports.iter().filter_map(|report| {
            let (seed, count) = (report.seed, report.violated);
            let first = report.violations.first()?;
            Some(format!("seed {seed}: {count} violations, first {first}"))
        });
        let stopped = reports.iter().filter_map(|report| {
            let reason = report.stopped.as_ref()?;
            let asked = *reason == brimful_core::StopReason::Asked;
            (!asked).then(|| format!("seed {}: the run stopped: {reason:?}", report.seed))
        });
        Self {
            outcomes: checks
                .iter()
                .map(|check| check.judge(reports, margin))
                .collect(),
            broken: broken.chain(stopped).collect(),
        }
    }

    /// What was missed, in words. Empty when nothing was.
    #[must_use]
    pub fn missed(&self) -> Vec<String> {
        let failed = self.outcomes.iter().filter(|outcome| outcome.failed());
        let failed = failed.map(|outcome| {
            let (name, asked) = (&outcome.name, &outcome.asked);
            let (value, worst) = (outcome.shown(), outcome.worst_shown());
            format!("{name}: {value} (worst seed {worst}), asked: {asked}")
        });
        failed.chain(self.broken.iter().cloned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use brimful_core::Timestamp;

    use super::*;
    use crate::virtual_run::sample::Sample;

    fn report(throttled: u64) -> Report {
        let sample = |second: u64, throttled| Sample {
            at: Timestamp::from_secs(second),
            arrivals: second * 10,
            throttled,
            ..Sample::default()
        };
        Report {
            samples: vec![sample(0, 0), sample(100, throttled)],
            ..Report::default()
        }
    }

    #[test]
    fn a_goal_a_floor_and_what_is_short_of_a_goal_are_told_apart() {
        let reports = [report(10)];
        let goal = |most| Check::goal("429s", Measure::Throttled, Stretch::WHOLE, most);
        let verdict = |check: &Check| check.judge(&reports, 1.0).verdict();
        assert_eq!(verdict(&goal(0.01)), "met");
        assert_eq!(verdict(&goal(0.009)), "MISSED");
        assert_eq!(verdict(&goal(0.009).short_of(0.01)), "short, floor");
        assert_eq!(verdict(&goal(0.02).short_of(0.009)), "MISSED");
        let floor = Check::floor("429s", Measure::Throttled, Stretch::WHOLE, 0.02);
        assert_eq!(verdict(&floor), "floor");
        assert!(!floor.judge(&reports, 1.0).failed());
    }

    #[test]
    fn only_429s_get_a_margin_and_none_stays_none() {
        let reports = [report(10)];
        let goal = |most| Check::goal("429s", Measure::Throttled, Stretch::WHOLE, most);
        assert!(!goal(0.006).judge(&reports, 2.0).failed());
        assert!(goal(0.0).judge(&reports, 2.0).failed());
        let share = Check::goal("used", Measure::FreeShare, Stretch::WHOLE, 0.9);
        assert!(share.judge(&reports, 2.0).failed(), "nothing to measure");
    }

    #[test]
    fn a_run_that_stopped_by_itself_is_told() {
        let mut stopped = report(0);
        stopped.stopped = Some(brimful_core::StopReason::OnlyThrottled);
        let judgement = Judgement::new(&[], &[stopped], 1.0);
        assert!(judgement.missed()[0].contains("OnlyThrottled"));
    }
}
