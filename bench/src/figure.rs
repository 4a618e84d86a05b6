//! One measured figure, the same for every subcommand: printed, saved and compared alike.

use serde::{Deserialize, Serialize};

/// Which way is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Better {
    Higher,
    Lower,
}

/// A measured value of one scenario, once for each round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figure {
    /// The heading below which it is printed; set by the report.
    pub(crate) section: String,
    /// What was done.
    pub(crate) scenario: String,
    /// What was measured of it.
    pub(crate) measure: String,
    /// As it is printed behind the value; empty for ratios and counts.
    pub(crate) unit: String,
    pub(crate) better: Better,
    /// One for each round, in the order of the rounds; never empty.
    pub(crate) samples: Vec<f64>,
    /// The value to reach; `None` where nothing was promised.
    pub(crate) goal: Option<f64>,
    /// Why the goal is neither met nor missed; `None` when it is judged.
    #[serde(default)]
    pub(crate) not_judged: Option<String>,
}

impl Figure {
    /// A figure without a goal.
    pub(crate) fn new(
        scenario: &str,
        measure: &str,
        unit: &str,
        better: Better,
        samples: Vec<f64>,
    ) -> Self {
        Self {
            section: String::new(),
            scenario: scenario.to_owned(),
            measure: measure.to_owned(),
            unit: unit.to_owned(),
            better,
            samples,
            goal: None,
            not_judged: None,
        }
    }

    /// With a value to reach.
    #[must_use]
    pub(crate) fn goal(mut self, goal: f64) -> Self {
        self.goal = Some(goal);
        self
    }

    /// With a reason for which its goal says nothing, if there is one.
    #[must_use]
    pub(crate) fn not_judged(mut self, why: Option<String>) -> Self {
        self.not_judged = why;
        self
    }

    /// The middle one; of an even number the mean of the two in the middle.
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        match sorted.get(middle) {
            None => f64::NAN,
            Some(&value) if sorted.len() % 2 == 1 => value,
            Some(&value) => f64::midpoint(sorted[middle - 1], value),
        }
    }

    pub(crate) fn least(&self) -> f64 {
        self.samples.iter().copied().fold(f64::INFINITY, f64::min)
    }

    pub(crate) fn most(&self) -> f64 {
        self.samples
            .iter()
            .copied()
            .fold(f64::NEG_INFINITY, f64::max)
    }

    /// Whether the median reaches the goal; `None` without one, and where it is not judged.
    pub(crate) fn met(&self) -> Option<bool> {
        let goal = self.goal.filter(|_| self.not_judged.is_none())?;
        Some(match self.better {
            Better::Higher => self.median() >= goal,
            Better::Lower => self.median() <= goal,
        })
    }

    /// Whether it is the same figure of another run.
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        self.section == other.section
            && self.scenario == other.scenario
            && self.measure == other.measure
            && self.unit == other.unit
    }

    /// The median with its unit.
    pub(crate) fn value(&self) -> String {
        with_unit(self.median(), &self.unit)
    }

    /// Least and most of all rounds; empty where every round gave the same.
    pub(crate) fn spread(&self) -> String {
        let (least, most) = (number(self.least()), number(self.most()));
        if least == most {
            return String::new();
        }
        format!("{least}–{most}")
    }

    /// The goal and whether it is met; empty without one.
    pub(crate) fn verdict(&self) -> String {
        let Some(goal) = self.goal else {
            return String::new();
        };
        let sign = match self.better {
            Better::Higher => "≥",
            Better::Lower => "≤",
        };
        let verdict = match (&self.not_judged, self.met()) {
            (Some(why), _) => format!("not judged: {why}"),
            (None, Some(true)) => "met".to_owned(),
            (None, _) => "missed".to_owned(),
        };
        format!("{sign} {} {verdict}", with_unit(goal, &self.unit))
    }
}

/// Four significant digits, thousands apart.
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        return "–".to_owned();
    }
    if size >= 1000.0 {
        return thousands(value.round());
    }
    let decimals = match size {
        size if size >= 100.0 => 1,
        size if size >= 10.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    if value.fract() == 0.0 {
        return format!("{value:.0}");
    }
    text
}

fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 {
        text.insert(0, '-');
    }
    text
}

fn with_unit(value: f64, unit: &str) -> String {
    if unit.is_empty() {
        return number(value);
    }
    format!("{} {unit}", number(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(samples: &[f64]) -> Figure {
        Figure::new("s", "m", "µs", Better::Lower, samples.to_vec())
    }

    #[test]
    fn the_median_is_the_middle_sample_or_the_mean_of_two() {
        assert_eq!(figure(&[9.0, 1.0, 5.0]).median(), 5.0);
        assert_eq!(figure(&[4.0, 1.0, 2.0, 100.0]).median(), 3.0);
        assert!(figure(&[]).median().is_nan());
    }

    #[test]
    fn least_and_most_are_those_of_all_rounds() {
        let figure = figure(&[3.5, 1.25, 2.0]);
        assert_eq!((figure.least(), figure.most()), (1.25, 3.5));
        assert_eq!(figure.spread(), "1.250–3.500");
    }

    #[test]
    fn rounds_that_agree_have_no_spread() {
        assert_eq!(figure(&[2.0, 2.0]).spread(), "");
    }

    #[test]
    fn a_goal_is_judged_by_the_median_and_in_its_direction() {
        let lower = figure(&[1.0, 20.0, 30.0]);
        assert_eq!(lower.clone().goal(20.0).met(), Some(true));
        assert_eq!(lower.clone().goal(19.9).verdict(), "≤ 19.90 µs missed");
        let higher = Figure {
            better: Better::Higher,
            ..lower
        };
        assert_eq!(higher.met(), None);
        assert_eq!(higher.verdict(), "");
        assert_eq!(higher.goal(20.0).verdict(), "≥ 20 µs met");
    }

    #[test]
    fn a_goal_that_is_not_judged_is_neither_met_nor_missed() {
        let figure = figure(&[1.0]).goal(20.0).not_judged(Some("why".to_owned()));
        assert_eq!(figure.met(), None);
        assert_eq!(figure.verdict(), "≤ 20 µs not judged: why");
        assert_eq!(figure.clone().not_judged(None).verdict(), "≤ 20 µs met");
        let saved = serde_json::to_value(&figure).unwrap();
        assert_eq!(saved["not_judged"], "why");
    }

    #[test]
    fn a_figure_saved_without_a_reason_is_judged() {
        let mut saved = serde_json::to_value(figure(&[1.0]).goal(20.0)).unwrap();
        saved.as_object_mut().unwrap().remove("not_judged");
        let figure: Figure = serde_json::from_value(saved).unwrap();
        assert_eq!(figure.met(), Some(true));
    }

    #[test]
    fn a_figure_without_a_value_meets_no_goal() {
        assert_eq!(figure(&[]).goal(1.0).met(), Some(false));
        assert_eq!(figure(&[]).value(), "– µs");
    }

    #[test]
    fn numbers_have_four_digits_and_thousands_apart() {
        for (value, text) in [
            (0.0, "0"),
            (0.71234, "0.712"),
            (99.104, "99.10"),
            (151.26, "151.3"),
            (60_149.4, "60,149"),
            (1_234_567.0, "1,234,567"),
            (-1_500.0, "-1,500"),
            (64.0, "64"),
            (f64::NAN, "–"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
