//! Everything that happens in a run, as a stream of steps and as one number.

use std::fmt;
use std::hash::{Hash, Hasher};

use brimful_core::{AttemptResult, Class, Outcome, Timestamp};

/// One thing that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Step {
    /// A request was given to the engine.
    Submitted {
        /// Its number in the workload, from 0.
        request: u64,
        /// Tokens that it is expected to be charged.
        tokens: u64,
    },
    /// The engine started an attempt.
    Started {
        /// The request.
        request: u64,
        /// 1 for its first attempt.
        attempt: u32,
    },
    /// An attempt arrived and the server decided about it.
    Judged {
        /// The request.
        request: u64,
        /// Status of the reply; 0 when there will be none.
        status: u16,
    },
    /// The client knows what an attempt came to.
    Ended {
        /// The request.
        request: u64,
        /// Which attempt.
        attempt: u32,
        /// What it came to.
        end: End,
    },
    /// A request is over.
    Finished {
        /// The request.
        request: u64,
        /// How it ended.
        end: End,
    },
    /// The engine pauses the upstream.
    Cooldown {
        /// Until then, on the client's clock.
        until: Timestamp,
    },
    /// The engine starts nothing more.
    Stopped,
    /// The client gets no time until then.
    Suspended {
        /// The end, on the server's clock.
        until: Timestamp,
    },
}

/// How an attempt or a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum End {
    /// With an answer.
    Answered,
    /// Without: of an attempt, what failed; of a request, a dead letter.
    Failed(Class),
    /// The attempt never left.
    NotSent,
    /// Given up by the caller or because the run stopped.
    Abandoned,
    /// The request fits a limit at no time.
    NeverFits,
}

impl From<&AttemptResult> for End {
    fn from(result: &AttemptResult) -> Self {
        match result {
            AttemptResult::Answered(_) => Self::Answered,
            AttemptResult::Failed(failure) => Self::Failed(failure.class),
            AttemptResult::NotSent(_) => Self::NotSent,
            AttemptResult::Aborted => Self::Abandoned,
        }
    }
}

impl From<&Outcome> for End {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Answered => Self::Answered,
            Outcome::Dead(failure) => Self::Failed(failure.class),
            Outcome::NeverFits(_) => Self::NeverFits,
            Outcome::Abandoned | Outcome::NoUpstream => Self::Abandoned,
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered => f.write_str("answered"),
            Self::Failed(class) => write!(f, "{class}"),
            Self::NotSent => f.write_str("not sent"),
            Self::Abandoned => f.write_str("abandoned"),
            Self::NeverFits => f.write_str("never fits"),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Submitted { request, tokens } => {
                write!(f, "{request} submitted, {tokens} tokens")
            }
            Self::Started { request, attempt } => write!(f, "{request}.{attempt} started"),
            Self::Judged { request, status: 0 } => write!(f, "{request} arrived: no reply"),
            Self::Judged { request, status } => write!(f, "{request} arrived: {status}"),
            Self::Ended {
                request,
                attempt,
                end,
            } => write!(f, "{request}.{attempt} ended: {end}"),
            Self::Finished { request, end } => write!(f, "{request} finished: {end}"),
            Self::Cooldown { until } => write!(f, "cooldown until {until:?}"),
            Self::Stopped => f.write_str("stopped"),
            Self::Suspended { until } => write!(f, "suspended until {until:?}"),
        }
    }
}

/// Two runs with equal hashes did the same at the same instants.
#[derive(Debug, Default)]
pub(super) struct TraceHash {
    state: Fold,
    pub(super) steps: u64,
}

impl TraceHash {
    pub(super) fn add(&mut self, at: Timestamp, step: &Step) {
        self.steps += 1;
        at.hash(&mut self.state);
        step.hash(&mut self.state);
    }

    pub(super) const fn value(&self) -> u64 {
        self.state.0
    }
}

/// A hash of its own and not the standard library's, whose result may change between releases.
#[derive(Debug, Default)]
struct Fold(u64);

impl Hasher for Fold {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    // Every width as 64 bits: the same on every machine.
    fn write_u16(&mut self, word: u16) {
        self.write_u64(u64::from(word));
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    fn write_u64(&mut self, word: u64) {
        let mixed = (self.0 ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed ^ (mixed >> 29);
    }

    fn write_isize(&mut self, word: isize) {
        self.write_u64(word as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(steps: &[(u64, Step)]) -> u64 {
        let mut hash = TraceHash::default();
        for (at, step) in steps {
            hash.add(Timestamp::from_nanos(*at), step);
        }
        hash.value()
    }

    #[test]
    fn the_hash_knows_what_happened_when_and_in_which_order() {
        let started = |attempt| Step::Started {
            request: 3,
            attempt,
        };
        let base = hash(&[(5, started(1)), (5, Step::Stopped)]);
        assert_eq!(base, hash(&[(5, started(1)), (5, Step::Stopped)]));
        for other in [
            hash(&[(5, Step::Stopped), (5, started(1))]),
            hash(&[(6, started(1)), (6, Step::Stopped)]),
            hash(&[(5, started(2)), (5, Step::Stopped)]),
            hash(&[(5, started(1))]),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn a_step_reads_as_a_line() {
        let ended = Step::Ended {
            request: 7,
            attempt: 2,
            end: End::Failed(Class::Throttled),
        };
        assert_eq!(ended.to_string(), "7.2 ended: throttled");
        let silent = Step::Judged {
            request: 7,
            status: 0,
        };
        assert_eq!(silent.to_string(), "7 arrived: no reply");
    }
}
