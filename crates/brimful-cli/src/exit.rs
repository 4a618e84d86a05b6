//! Exit codes of every command: the one table.

use std::process::ExitCode;

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Every request was answered.
    Complete,
    /// Fatal: nothing is lost, the message says what to do.
    Fatal,
    /// Wrong usage, or refused by `--strict`.
    Usage,
    /// Finished, and some requests are dead letters.
    DeadLetters,
    /// Stopped by the spending cap or the deadline.
    Capped,
    /// Stopped by this signal; the same command resumes.
    Signal(u8),
}

impl Exit {
    /// The process exit code.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Complete => 0,
            Self::Fatal => 1,
            Self::Usage => 2,
            Self::DeadLetters => 3,
            Self::Capped => 4,
            Self::Signal(number) => 128 + number,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
