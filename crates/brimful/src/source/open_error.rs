//! Why a source cannot be opened.

use std::io;
use std::path::PathBuf;

use brimful_providers::dialect::{BodyError, EndpointError};

use super::template::shown_error;
use super::{RESERVED_REMEDY, plain};

/// Why a run cannot start with this input and these options. Everything that would fail every row
/// is found here, before anything is sent.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file cannot be opened or its first bytes not be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The input, or `-`.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The copy of standard input cannot be made.
    #[error("cannot create `{path}` for a copy of the input")]
    Spool {
        /// The copy.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Not text, or not text in UTF-8.
    #[error("the input is {what}; {remedy}")]
    NotSupported {
        /// What it looks like.
        what: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// The CSV header cannot be used.
    #[error("the header of the input {0}")]
    Header(String),
    /// A template does not compile.
    #[error("`{flag}` is no valid template: line {line}, column {column}: {message}")]
    Template {
        /// The option that holds it; for a body template with the place within it.
        flag: String,
        /// 1-based line within the template.
        line: usize,
        /// 1-based character within the line.
        column: usize,
        /// What is wrong.
        message: String,
    },
    /// An expression that is written as a template.
    #[error("limit {name}: an expression has no braces: write body.n, not {{{{ body.n }}}}")]
    Braces {
        /// Name of the limit.
        name: String,
    },
    /// A template names a variable that no row has.
    #[error(
        "the template variable `{name}` is no column of the input{near}; its columns are {columns}"
    )]
    UnknownVariable {
        /// The variable.
        name: String,
        /// A suggestion, or nothing.
        near: String,
        /// All columns.
        columns: String,
    },
    /// `--id-column` or `--estimate-column` names no column.
    #[error("`{flag} {name}` is no column of the input{near}; its columns are {columns}")]
    UnknownColumn {
        /// The option.
        flag: &'static str,
        /// The column asked for.
        name: String,
        /// A suggestion, or nothing.
        near: String,
        /// All columns.
        columns: String,
    },
    /// The output would have two columns of one name.
    #[error("the input has a column {0}; {RESERVED_REMEDY}")]
    Reserved(String),
    /// The input has no columns to choose from.
    #[error("`{flag}` needs an input with columns; {format} has none")]
    NoColumns {
        /// The option.
        flag: &'static str,
        /// What the input is.
        format: &'static str,
    },
    /// Rows without a prompt.
    #[error(
        "the input is {0}, so a prompt is needed: --prompt 'Translate: {{{{ text }}}}' or --body-template"
    )]
    NoPrompt(&'static str),
    /// Both ways to build a body.
    #[error("`{0}` has no effect beside --body-template; write it into the template")]
    BesideBodyTemplate(&'static str),
    /// An option about rows for an input of whole requests.
    #[error(
        "the input is Batch JSONL, whose lines are whole requests; `{0}` has no effect there: drop it"
    )]
    NotForBatch(&'static str),
    /// No model.
    #[error("`{0}` needs a model: give --model NAME")]
    NoModel(String),
    /// The body template is not usable.
    #[error("`--body-template` is no valid JSON: {0}")]
    BodyTemplate(String),
    /// Streaming where it is not understood.
    #[error("streams of `{0}` are in a binary form that is not read; drop `stream`")]
    Stream(String),
    /// The model cannot stand in the path.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The body cannot be built for any row.
    #[error(transparent)]
    Body(#[from] BodyError),
}

impl OpenError {
    pub(super) fn syntax(flag: &str, source: &str, error: &minijinja::Error) -> Self {
        let line = error.line().unwrap_or(1);
        let offset = error.range().map_or(0, |range| range.start);
        let before = source.get(..offset).unwrap_or_default();
        let column = before
            .rsplit('\n')
            .next()
            .unwrap_or_default()
            .chars()
            .count()
            + 1;
        let message = match error.detail() {
            Some(detail) => detail.to_owned(),
            None => shown_error(error),
        };
        Self::Template {
            // The flag names keys of a body template, and the message what stands there.
            flag: plain(flag),
            line,
            column,
            message: plain(&message),
        }
    }
}
