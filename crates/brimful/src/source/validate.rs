//! The whole input read once, before anything is sent (`--strict`).

use super::{OpenError, ReadError, Source, SourceOptions};
use crate::request::{Item, Request};

/// What a pass over the whole input found wrong.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Validated {
    /// Rows of the input, bad ones included.
    pub rows: u64,
    /// Rows that cannot be sent.
    pub bad: u64,
    /// The first of these.
    pub problems: Vec<Problem>,
}

/// One row that cannot be sent.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    /// 1-based row number.
    pub row: u64,
    /// 1-based line of the input.
    pub line: u64,
    /// The row's id, or its number.
    pub id: String,
    /// What is wrong and what to do.
    pub reason: String,
}

/// Why the input could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum ValidateError {
    /// It cannot be opened, or the options fail every row.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Reading failed half-way.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Reads the whole input and keeps the first `limit` problems; sends nothing.
///
/// `check` names what is wrong with a request that was read well: it cannot fit a limit, say.
///
/// Standard input can be read only once: with `options.spool` set it is copied there, and the run
/// then takes the copy as its input.
///
/// # Errors
/// When the input cannot be opened or read, or the options would fail every row.
pub fn validate(
    options: SourceOptions,
    limit: usize,
    check: &mut dyn FnMut(&Request) -> Option<String>,
) -> Result<Validated, ValidateError> {
    let mut found = Validated::default();
    for item in Source::open(SourceOptions {
        keep_columns: false,
        ..options
    })? {
        found.rows += 1;
        let problem = match item? {
            Item::Bad(bad) => Some(Problem {
                row: bad.row,
                line: bad.line,
                id: bad.id,
                reason: bad.reason,
            }),
            Item::Request(request) => check(&request).map(|reason| Problem {
                row: request.row,
                line: request.line,
                id: request.id,
                reason,
            }),
        };
        let Some(problem) = problem else { continue };
        found.bad += 1;
        if found.problems.len() < limit {
            found.problems.push(problem);
        }
    }
    Ok(found)
}
