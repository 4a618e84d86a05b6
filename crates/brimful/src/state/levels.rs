//! Levels of long windows as they stand on disk.
//!
//! What was taken is kept by calendar time. Clocks are set: what seems to be taken in the future
//! was saved before the clock was set back, so that everything saved with it moves into the past
//! by as much, and counts a little longer than it should, never shorter. A clock that was set
//! forward cannot be told from time that has passed.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

/// Entries of a level that are kept: what lies closer together than this part of the window counts
/// as taken at its last instant.
const PARTS: u64 = 1000;
/// How long a level is kept beyond its window: a day with the change to winter time has 25 hours.
const KEPT_BEYOND_MS: u64 = 2 * 3600 * 1000;

/// Units taken at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// When, in milliseconds since 1970.
    #[serde(rename = "at")]
    pub at_unix_ms: u64,
    /// How much, in units of the limit's kind.
    pub units: u64,
}

/// What one run has taken from one limit, with what it had found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LevelState {
    /// Name of what the limit counts: `requests`, `tokens`, or that of a custom kind.
    pub counts: String,
    /// The limit's window, in milliseconds.
    pub window_ms: u64,
    /// Which run wrote it.
    pub run: String,
    /// When, in milliseconds since 1970.
    pub saved_unix_ms: u64,
    /// Oldest first.
    pub taken: Vec<Taken>,
}

impl LevelState {
    /// Whether it is of a limit that counts this over this window.
    #[must_use]
    pub fn is_of(&self, counts: &str, window_ms: u64) -> bool {
        self.counts == counts && self.window_ms == window_ms
    }

    /// What still counts at `now`, by the clock of now.
    fn current(&self, now_unix_ms: u64) -> impl Iterator<Item = Taken> {
        let newest = self.taken.iter().map(|taken| taken.at_unix_ms).max();
        let ahead = newest
            .unwrap_or(0)
            .max(self.saved_unix_ms)
            .saturating_sub(now_unix_ms);
        let kept = self.window_ms.saturating_add(KEPT_BEYOND_MS);
        let oldest = now_unix_ms.saturating_sub(kept);
        let moved = self.taken.iter().map(move |taken| Taken {
            at_unix_ms: taken.at_unix_ms.saturating_sub(ahead),
            ..*taken
        });
        moved.filter(move |taken| taken.at_unix_ms > oldest && taken.units > 0)
    }
}

/// See [`super::UpstreamState::level`].
pub(super) fn sum(
    levels: &[LevelState],
    counts: &str,
    window_ms: u64,
    now_unix_ms: u64,
) -> Vec<Taken> {
    let ours = levels
        .iter()
        .filter(|level| level.is_of(counts, window_ms))
        .flat_map(|level| level.current(now_unix_ms));
    coarse(ours.collect(), window_ms)
}

/// See [`super::UpstreamState::put_levels`].
pub(super) fn put(
    levels: &mut Vec<LevelState>,
    ours: Vec<LevelState>,
    run: &str,
    taken_up: &[LevelState],
    others: &HashSet<String>,
    now_unix_ms: u64,
) {
    let replaced = |level: &LevelState| {
        let of_ours = |other: &LevelState| other.is_of(&level.counts, level.window_ms);
        // What was saved since we began is not in ours, even if its run has ended.
        let is_in_ours = |known: &LevelState| {
            known.is_of(&level.counts, level.window_ms)
                && (&known.run, known.saved_unix_ms) == (&level.run, level.saved_unix_ms)
        };
        level.run == run
            || (!others.contains(&level.run)
                && taken_up.iter().any(is_in_ours)
                && ours.iter().any(of_ours))
    };
    levels.retain(|level| !replaced(level) && level.current(now_unix_ms).next().is_some());
    let kept = ours.into_iter().filter(|level| !level.taken.is_empty());
    levels.extend(kept.map(|mut level| {
        level.taken = coarse(level.taken, level.window_ms);
        level
    }));
}

/// Sorted, and no more than two entries in each part of the window.
fn coarse(mut taken: Vec<Taken>, window_ms: u64) -> Vec<Taken> {
    taken.sort_by_key(|taken| taken.at_unix_ms);
    let part = (window_ms / PARTS).max(1);
    let mut coarse: Vec<Taken> = Vec::new();
    let mut opened = 0;
    for next in taken {
        match coarse.last_mut() {
            Some(last) if next.at_unix_ms - opened < part => {
                last.at_unix_ms = next.at_unix_ms;
                last.units = last.units.saturating_add(next.units);
            }
            _ => {
                opened = next.at_unix_ms;
                coarse.push(next);
            }
        }
    }
    coarse
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: u64 = 24 * 3600 * 1000;
    const NOW: u64 = 1_000 * DAY_MS;

    fn level(run: &str, saved: u64, taken: &[(u64, u64)]) -> LevelState {
        LevelState {
            counts: "requests".to_owned(),
            window_ms: DAY_MS,
            run: run.to_owned(),
            saved_unix_ms: saved,
            taken: taken
                .iter()
                .map(|&(at_unix_ms, units)| Taken { at_unix_ms, units })
                .collect(),
        }
    }

    fn summed(levels: &[LevelState], now: u64) -> Vec<(u64, u64)> {
        let sum = sum(levels, "requests", DAY_MS, now);
        sum.iter().map(|t| (t.at_unix_ms, t.units)).collect()
    }

    #[test]
    fn levels_of_all_runs_add_up_until_their_window_has_passed() {
        let levels = [
            level("a", NOW - 10, &[(NOW - 40 * 3600 * 1000, 7), (NOW - 10, 1)]),
            level("b", NOW - 5, &[(NOW - 3_600_000, 4)]),
        ];
        assert_eq!(
            summed(&levels, NOW),
            [(NOW - 3_600_000, 4), (NOW - 10, 1)],
            "what was taken 40 hours ago counts no more"
        );
        assert_eq!(sum(&levels, "tokens", DAY_MS, NOW), []);
        assert_eq!(sum(&levels, "requests", 3_600_000, NOW), []);
    }

    #[test]
    fn a_clock_that_was_set_back_makes_levels_count_longer_and_never_shorter() {
        let an_hour = 3_600_000;
        let saved = NOW + an_hour;
        let levels = [level("a", saved, &[(saved - 500_000, 3), (saved, 2)])];
        assert_eq!(summed(&levels, NOW), [(NOW - 500_000, 3), (NOW, 2)]);
        let hostile = [level("a", 0, &[(u64::MAX, u64::MAX), (u64::MAX, 9)])];
        assert_eq!(
            summed(&hostile, NOW),
            [(NOW, u64::MAX)],
            "sums do not overflow"
        );
    }

    #[test]
    fn a_run_replaces_what_it_found_and_leaves_what_others_go_on_writing() {
        let mut levels = vec![
            level("ended", NOW - 50, &[(NOW - 50, 5)]),
            level("alive", NOW - 40, &[(NOW - 40, 4)]),
            level("old", 0, &[(1, 1)]),
        ];
        let found = levels.clone();
        let others = HashSet::from(["alive".to_owned()]);
        let ours = level("me", NOW, &[(NOW - 50, 9), (NOW, 1)]);
        put(&mut levels, vec![ours.clone()], "me", &found, &others, NOW);
        let runs: Vec<&str> = levels.iter().map(|level| level.run.as_str()).collect();
        assert_eq!(runs, ["alive", "me"]);
        put(&mut levels, vec![ours], "me", &found, &HashSet::new(), NOW);
        assert_eq!(
            levels.len(),
            1,
            "the other has taken nothing more and ended"
        );
        assert_eq!(summed(&levels, NOW), [(NOW, 10)]);
    }

    #[test]
    fn what_another_run_took_after_it_was_found_stays_when_that_run_ends() {
        let found = [level("other", NOW - 90, &[(NOW - 90, 100)])];
        let mut levels = vec![
            level("other", NOW - 10, &[(NOW - 10, 500)]),
            level("later", NOW - 20, &[(NOW - 20, 7)]),
        ];
        let ours = level("me", NOW, &[(NOW - 90, 100), (NOW, 1)]);
        put(&mut levels, vec![ours], "me", &found, &HashSet::new(), NOW);
        let units: u64 = summed(&levels, NOW).iter().map(|(_, units)| units).sum();
        assert_eq!(units, 608, "100 twice, which errs to the safe side");
        let later = NOW + 27 * 3_600_000;
        let ours = level("me", later, &[(later, 1)]);
        put(
            &mut levels,
            vec![ours],
            "me",
            &found,
            &HashSet::new(),
            later,
        );
        assert_eq!(levels.len(), 1, "until their window has passed");
    }

    #[test]
    fn levels_of_other_limits_stay_when_one_is_replaced() {
        let mut levels = vec![LevelState {
            counts: "tokens".to_owned(),
            ..level("ended", NOW, &[(NOW, 5)])
        }];
        let ours = level("me", NOW, &[(NOW, 1)]);
        let found = levels.clone();
        put(&mut levels, vec![ours], "me", &found, &HashSet::new(), NOW);
        assert_eq!(levels.len(), 2);
    }

    #[test]
    fn however_much_is_taken_a_level_stays_small_and_loses_nothing() {
        let taken: Vec<(u64, u64)> = (0..100_000).map(|n| (NOW - n * 800, 1)).collect();
        let coarse = summed(&[level("a", NOW, &taken)], NOW);
        assert!(coarse.len() < 1100, "{}", coarse.len());
        assert_eq!(coarse.iter().map(|(_, units)| units).sum::<u64>(), 100_000);
        let part = DAY_MS / PARTS;
        let before =
            |at: u64, list: &[(u64, u64)]| list.iter().filter(|t| t.0 <= at).map(|t| t.1).sum();
        for hours in 1..22 {
            let at = NOW - hours * 3_600_000;
            let (exact, kept): (u64, u64) = (before(at, &taken), before(at, &coarse));
            assert!(kept <= exact, "nothing counts as taken earlier than it was");
            assert!(before(at + part, &coarse) >= exact);
        }
    }
}
