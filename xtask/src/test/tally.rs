//! Reads the closing lines of test runners.

use std::fmt;

/// How many tests a runner says it has run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) passed: u64,
    pub(super) failed: u64,
    pub(super) skipped: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }

    /// What one line of output tells; nothing unless it closes a run of the standard harness
    /// (`test result: ok. 3 passed; …`) or of nextest (`Summary [ 1.2s] 3 tests run: 3 passed, …`).
    pub(super) fn of_line(line: &str) -> Self {
        let line = without_escapes(line);
        let line = line.trim();
        let closing = line
            .strip_prefix("test result: ")
            .and_then(|line| line.split_once(". "));
        if let Some((_, counts)) = closing {
            return Self::of_counts(counts.split(';'), &["measured", "filtered"]);
        }
        let Some(summary) = line.strip_prefix("Summary [") else {
            return Self::default();
        };
        let Some((_, counts)) = summary.split_once("run: ") else {
            return Self::default();
        };
        Self::of_counts(without_parentheses(counts).split(','), &[])
    }

    /// Whatever is neither passed nor skipped has failed: nextest knows several ways to.
    fn of_counts<'a>(counts: impl Iterator<Item = &'a str>, ignored: &[&str]) -> Self {
        let mut tally = Self::default();
        for count in counts {
            let Some((number, what)) = count.trim().split_once(' ') else {
                continue;
            };
            let Ok(number) = number.parse::<u64>() else {
                continue;
            };
            match what.split_whitespace().next() {
                Some("passed") => tally.passed += number,
                Some("skipped" | "ignored") => tally.skipped += number,
                Some(word) if ignored.contains(&word) => {}
                _ => tally.failed += number,
            }
        }
        tally
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}

/// Without colours and other `ESC [ … letter` sequences.
fn without_escapes(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        rest = after.trim_start_matches(|c: char| !c.is_ascii_alphabetic());
        rest = rest
            .strip_prefix(|c: char| c.is_ascii_alphabetic())
            .unwrap_or(rest);
    }
    plain.push_str(rest);
    plain
}

/// Without remarks such as `(1 slow, 1 leaky)`, whose numbers are already counted.
fn without_parentheses(counts: &str) -> String {
    let mut depth = 0_u32;
    counts
        .chars()
        .filter(|&c| {
            depth += u32::from(c == '(');
            let outside = depth == 0;
            depth = depth.saturating_sub(u32::from(c == ')'));
            outside
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(passed: u64, failed: u64, skipped: u64) -> Tally {
        Tally {
            passed,
            failed,
            skipped,
        }
    }

    #[test]
    fn reads_the_closing_line_of_the_standard_harness() {
        let line = "test result: FAILED. 2 passed; 1 failed; 3 ignored; 4 measured; 5 filtered out; finished in 0.10s";
        assert_eq!(Tally::of_line(line), tally(2, 1, 3));
    }

    #[test]
    fn reads_the_summary_of_nextest_with_remarks_and_every_kind_of_failure() {
        let line = "     Summary [   0.034s] 10/12 tests run: 7 passed (1 slow, 2 leaky), 1 failed, 1 timed out, 1 exec failed, 2 skipped";
        assert_eq!(Tally::of_line(line), tally(7, 3, 2));
    }

    #[test]
    fn colours_do_not_hide_a_summary() {
        let line = "\u{1b}[32;1m     Summary\u{1b}[0m [   0.0s] \u{1b}[1m1\u{1b}[0m test run: \u{1b}[1m1\u{1b}[0m \u{1b}[32;1mpassed\u{1b}[0m, \u{1b}[1m0\u{1b}[0m skipped";
        assert_eq!(Tally::of_line(line), tally(1, 0, 0));
    }

    #[test]
    fn other_lines_count_nothing() {
        for line in [
            "",
            "test a ... ok",
            "3 passed",
            "Summary [",
            "test result: ok",
            "\u{1b}[",
        ] {
            assert_eq!(Tally::of_line(line), Tally::default(), "{line}");
        }
    }

    #[test]
    fn skipped_tests_are_shown_only_when_there_are_some() {
        assert_eq!(tally(3, 0, 0).to_string(), "3 passed, 0 failed");
        assert_eq!(tally(3, 1, 2).to_string(), "3 passed, 1 failed, 2 skipped");
    }
}
