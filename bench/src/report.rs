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

    /// A table for each section: a row for each scenario, a column for each measure.
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
    let columns = distinct(figures.iter().map(|figure| figure.measure.as_str()));
    let mut text = format!("| | {} |\n|---|", columns.join(" | "));
    text.push_str(&"---|".repeat(columns.len()));
    text.push('\n');
    for scenario in distinct(figures.iter().map(|figure| figure.scenario.as_str())) {
        let cells: Vec<String> = columns
            .iter()
            .map(|&column| {
                figures
                    .iter()
                    .find(|figure| figure.scenario == scenario && figure.measure == column)
                    .map_or_else(String::new, |figure| cell(figure))
            })
            .collect();
        text.push_str(&format!("| {scenario} | {} |\n", cells.join(" | ")));
    }
    text
}

fn cell(figure: &Figure) -> String {
    let mut text = figure.value();
    let spread = figure.spread();
    if !spread.is_empty() {
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

    #[test]
    fn markdown_has_a_row_for_each_scenario_and_a_column_for_each_measure() {
        let mut report = Report::new(true);
        report.section("Limits");
        report.add(
            Figure::new(
                "W3",
                "limit used",
                "%",
                Better::Higher,
                vec![99.1, 99.0, 99.2],
            )
            .goal(98.5),
        );
        report.add(Figure::new("W3", "429s", "", Better::Lower, vec![0.0]).goal(0.0));
        report.add(Figure::new("W2", "429s", "", Better::Lower, vec![3.0]));
        report.note("By the server's account.");
        assert_eq!(
            report.markdown(),
            "**Limits**\n\n| | limit used | 429s |\n|---|---|---|\n\
             | W3 | 99.10 % (99–99.20), ≥ 98.50 % met | 0, ≤ 0 met |\n\
             | W2 |  | 3 |\n\nBy the server's account.\n\n"
        );
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
