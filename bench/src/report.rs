//! What a run of the bench prints: sections of figures, as text or as Markdown.

use crate::figure::Figure;

/// The figures of one run, in the order in which they were measured.
#[derive(Debug, Default)]
pub(crate) struct Report {
    figures: Vec<Figure>,
    section: String,
    quiet: bool,
    notes: Vec<(String, String)>,
}

impl Report {
    /// A report that prints each section as it is complete, unless `quiet`.
    pub(crate) fn new(quiet: bool) -> Self {
        Self {
            quiet,
            ..Self::default()
        }
    }

    /// Begins a section: what is added from now on stands below this heading.
    pub(crate) fn section(&mut self, heading: &str) {
        heading.clone_into(&mut self.section);
        if !self.quiet {
            println!("\n{heading}");
        }
    }

    /// Adds a figure to the present section and prints it.
    pub(crate) fn add(&mut self, figure: Figure) {
        let figure = Figure {
            section: self.section.clone(),
            ..figure
        };
        if !self.quiet {
            let last = self.figures.last();
            let again = last.is_some_and(|last| {
                last.section == figure.section && last.scenario == figure.scenario
            });
            if !again {
                println!("  {}", figure.scenario);
            }
            println!("{}", line(&figure));
        }
        self.figures.push(figure);
    }

    /// Adds a figure to the present section whose value has been printed already.
    pub(crate) fn keep(&mut self, figure: Figure) {
        self.figures.push(Figure {
            section: self.section.clone(),
            ..figure
        });
    }

    /// Adds a sentence that belongs to the present section.
    pub(crate) fn note(&mut self, text: &str) {
        if !self.quiet {
            println!("  {text}");
        }
        self.notes.push((self.section.clone(), text.to_owned()));
    }

    pub(crate) fn figures(&self) -> &[Figure] {
        &self.figures
    }

    /// A table for each section: a row for each scenario and a column for each measure, or the
    /// other way round where measures are many.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::new();
        for section in distinct(self.figures.iter().map(|figure| figure.section.as_str())) {
            let figures: Vec<&Figure> = self
                .figures
                .iter()
                .filter(|figure| figure.section == section)
                .collect();
            text.push_str(&format!("**{section}**\n\n{}", table(&figures)));
            for (_, note) in self.notes.iter().filter(|(of, _)| of == section) {
                text.push_str(&format!("\n{note}\n"));
            }
            text.push('\n');
        }
        text
    }
}

fn line(figure: &Figure) -> String {
    format!(
        "    {:<34} {:>18}  {:<22} {}",
        figure.measure,
        figure.value(),
        figure.spread(),
        figure.verdict()
    )
    .trim_end()
    .to_owned()
}

fn table(figures: &[&Figure]) -> String {
    let scenarios = distinct(figures.iter().map(|figure| figure.scenario.as_str()));
    let measures = distinct(figures.iter().map(|figure| figure.measure.as_str()));
    let find = |scenario: &str, measure: &str| {
        figures
            .iter()
            .find(|figure| figure.scenario == scenario && figure.measure == measure)
            .map_or_else(String::new, |figure| cell(figure))
    };
    if measures.len() >= 2 * scenarios.len() {
        grid(&measures, &scenarios, |measure, scenario| {
            find(scenario, measure)
        })
    } else {
        grid(&scenarios, &measures, find)
    }
}

fn grid(rows: &[&str], columns: &[&str], cell: impl Fn(&str, &str) -> String) -> String {
    let mut text = format!("| | {} |\n|---|", columns.join(" | "));
    text.push_str(&"---|".repeat(columns.len()));
    text.push('\n');
    for row in rows {
        let cells: Vec<String> = columns.iter().map(|column| cell(row, column)).collect();
        text.push_str(&format!("| {row} | {} |\n", cells.join(" | ")));
    }
    text
}

/// Least and most are left out where they say nothing that the median does not.
fn cell(figure: &Figure) -> String {
    let mut text = figure.value();
    let spread = figure.spread();
    let wide = figure.most() - figure.least() > 0.01 * figure.median().abs();
    if wide && !spread.is_empty() {
        text.push_str(&format!(" ({spread})"));
    }
    let verdict = figure.verdict();
    if !verdict.is_empty() {
        text.push_str(&format!(", {verdict}"));
    }
    text
}

/// Each once, in the order of their first appearance.
fn distinct<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = Vec::new();
    for name in names {
        if !seen.contains(&name) {
            seen.push(name);
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::Better;

    fn limits(scenarios: &[&str]) -> Report {
        let mut report = Report::new(true);
        report.section("Limits");
        for scenario in scenarios {
            let used = vec![99.1, 99.0, 99.2];
            report.add(Figure::new(scenario, "limit used", "%", Better::Higher, used).goal(98.5));
            let throttled = vec![3.0, 1.0, 2.0];
            report.add(Figure::new(scenario, "429s", "", Better::Lower, throttled).goal(0.0));
        }
        report.note("By the server's account.");
        report
    }

    #[test]
    fn markdown_has_a_row_for_each_scenario_and_a_column_for_each_measure() {
        assert_eq!(
            limits(&["W3", "W4"]).markdown(),
            "**Limits**\n\n| | limit used | 429s |\n|---|---|---|\n\
             | W3 | 99.10 %, ≥ 98.50 % met | 2 (1–3), ≤ 0 missed |\n\
             | W4 | 99.10 %, ≥ 98.50 % met | 2 (1–3), ≤ 0 missed |\n\
             \nBy the server's account.\n\n"
        );
    }

    #[test]
    fn many_measures_of_few_scenarios_are_rows() {
        assert_eq!(
            limits(&["W3"]).markdown(),
            "**Limits**\n\n| | W3 |\n|---|---|\n\
             | limit used | 99.10 %, ≥ 98.50 % met |\n\
             | 429s | 2 (1–3), ≤ 0 missed |\n\
             \nBy the server's account.\n\n"
        );
    }

    #[test]
    fn a_scenario_without_a_measure_has_an_empty_cell() {
        let mut report = limits(&["W3", "W4"]);
        report.add(Figure::new("W2", "429s", "", Better::Lower, vec![0.0]));
        assert!(report.markdown().contains("| W2 |  | 0 |\n"));
    }

    #[test]
    fn a_line_has_value_spread_and_verdict() {
        let figure =
            Figure::new("W1", "of bare", "", Better::Higher, vec![0.5, 0.25, 0.75]).goal(0.7);
        let words: Vec<String> = line(&figure)
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        assert_eq!(words.join(" "), "of bare 0.500 0.250–0.750 ≥ 0.700 missed");
    }
}
