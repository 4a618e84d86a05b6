//! Answers under way, of which the output is charged as it is generated.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use brimful_core::Timestamp;

/// Equal steps in which an answer is charged, if it has as many tokens.
pub(crate) const STEPS_MAX: u64 = 32;

/// All answers that are being generated.
#[derive(Debug, Default)]
pub(crate) struct Production {
    /// The next step of each answer: when, in the order of their start, and whose.
    due: BinaryHeap<Reverse<(Timestamp, u64)>>,
    answers: HashMap<u64, Growing>,
    started: u64,
}

/// An answer that grows from its first byte to its last.
#[derive(Clone, Copy, Debug)]
struct Growing {
    first_byte: Timestamp,
    generation: Duration,
    tokens: u64,
    steps_done: u64,
    epoch: u64,
}

/// Tokens that were generated at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Produced {
    pub(crate) tokens: u64,
    /// The ledger's age when the request was admitted.
    pub(crate) epoch: u64,
}

impl Production {
    /// Starts an answer of `tokens` and names it.
    pub(crate) fn start(
        &mut self,
        first_byte: Timestamp,
        generation: Duration,
        tokens: u64,
        epoch: u64,
    ) -> Option<u64> {
        if tokens == 0 {
            return None;
        }
        self.started += 1;
        let name = self.started;
        let answer = Growing {
            first_byte,
            generation,
            tokens,
            steps_done: 0,
            epoch,
        };
        self.due.push(Reverse((answer.next_step(), name)));
        self.answers.insert(name, answer);
        Some(name)
    }

    /// Nothing more of `name` is generated: the client has gone.
    pub(crate) fn stop(&mut self, name: u64) {
        self.answers.remove(&name);
    }

    /// When the next step is due.
    pub(crate) fn due(&self) -> Timestamp {
        self.due
            .peek()
            .map_or(Timestamp::NEVER, |Reverse((at, _))| *at)
    }

    /// What the next step generates; `None` when its answer was stopped.
    pub(crate) fn step(&mut self) -> Option<Produced> {
        let Reverse((_, name)) = self.due.pop()?;
        let answer = self.answers.get_mut(&name)?;
        answer.steps_done += 1;
        let produced = Produced {
            tokens: answer.done_after(answer.steps_done) - answer.done_after(answer.steps_done - 1),
            epoch: answer.epoch,
        };
        if answer.steps_done < answer.steps() {
            let next = answer.next_step();
            self.due.push(Reverse((next, name)));
        } else {
            self.answers.remove(&name);
        }
        Some(produced)
    }
}

impl Growing {
    fn steps(&self) -> u64 {
        self.tokens.min(STEPS_MAX)
    }

    /// Tokens that exist after so many steps.
    fn done_after(&self, steps: u64) -> u64 {
        self.tokens * steps / self.steps()
    }

    fn next_step(&self) -> Timestamp {
        let share = self.generation.as_nanos() * u128::from(self.steps_done + 1);
        let since = share / u128::from(self.steps());
        self.first_byte + Duration::from_nanos(u64::try_from(since).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(production: &mut Production) -> Vec<(u64, u64)> {
        let mut steps = Vec::new();
        while production.due() < Timestamp::NEVER {
            let at = production.due().as_nanos();
            steps.extend(production.step().map(|produced| (at, produced.tokens)));
        }
        steps
    }

    #[test]
    fn an_answer_grows_evenly_to_its_last_byte() {
        let mut production = Production::default();
        let first_byte = Timestamp::from_nanos(1_000);
        production.start(first_byte, Duration::from_nanos(90), 3, 0);
        assert_eq!(all(&mut production), [(1_030, 1), (1_060, 1), (1_090, 1)]);
        production.start(first_byte, Duration::from_nanos(3_200), 100, 0);
        let steps = all(&mut production);
        assert_eq!(steps.len(), 32);
        assert_eq!(steps.iter().map(|(_, tokens)| tokens).sum::<u64>(), 100);
        assert!(steps.iter().all(|(_, tokens)| (3..=4).contains(tokens)));
        assert_eq!(steps[31].0, 4_200);
    }

    #[test]
    fn what_takes_no_time_is_there_at_the_first_byte() {
        let mut production = Production::default();
        production.start(Timestamp::from_nanos(5), Duration::ZERO, 64, 0);
        assert_eq!(all(&mut production), [(5, 2); 32]);
        assert_eq!(
            production.start(Timestamp::ZERO, Duration::ZERO, 0, 0),
            None
        );
    }

    #[test]
    fn what_is_stopped_grows_no_more_and_answers_grow_side_by_side() {
        let mut production = Production::default();
        let start = |production: &mut Production, at| {
            let first_byte = Timestamp::from_nanos(at);
            production.start(first_byte, Duration::from_nanos(20), 2, at)
        };
        let first = start(&mut production, 0);
        start(&mut production, 5);
        assert_eq!(production.step().map(|p| p.epoch), Some(0));
        production.stop(first.unwrap());
        assert_eq!(all(&mut production), [(15, 1), (25, 1)]);
        assert!(production.answers.is_empty());
    }
}
