//! Answers out: rows with their own columns, streamed or assembled.
//!
//! Every input row comes out exactly once, in JSONL or CSV, with its own columns as they were and
//! three more: `response`, the text of the answer; `usage`, the tokens that the provider reported,
//! as JSON; `error`, why there is no answer. A row without an answer has an empty `response` (null
//! in JSONL). Batch input to Batch output is not here: there the journal is the output.
//!
//! CSV cells are data: one that begins with `=`, `+`, `-` or `@` is written as it is, and a
//! spreadsheet may take it for a formula.

mod assemble;
mod native;
mod ordered;
mod result;

use std::borrow::Cow;
use std::io::{self, Write};
use std::path::Path;

use hashbrown::HashMap;
use serde_json::Value;
use serde_json_path::JsonPath;

use crate::source::{BatchForm, Row};
use result::Cells;

pub use assemble::{AssembleError, Recorded, assemble};
pub use ordered::Ordered;

/// The code of a row that could not be made into a request.
pub const BAD_ROW: &str = "invalid_row";

/// The code of a request that had no answer yet when the run ended.
pub const NOT_SENT: &str = "not_sent";

/// What is said of a request that had no answer yet when the run ended.
fn not_sent() -> String {
    format!("{NOT_SENT}: the run ended before this row was answered; run it again to go on")
}

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowFormat {
    /// One JSON object a line.
    Jsonl,
    /// A header and records, separated by commas.
    Csv,
    /// A provider's own batch output: an id and a result on every line, in the order of the input.
    Native(BatchForm),
}

impl RowFormat {
    /// By the extension of the output; `-` is JSONL.
    ///
    /// # Errors
    /// When the extension says nothing.
    pub fn of_path(path: &Path) -> Result<Self, OutputError> {
        if path == Path::new("-") {
            return Ok(Self::Jsonl);
        }
        let extension = path.extension().unwrap_or_default().to_string_lossy();
        match extension.to_ascii_lowercase().as_str() {
            "jsonl" | "ndjson" => Ok(Self::Jsonl),
            "csv" => Ok(Self::Csv),
            _ => Err(OutputError::Extension(path.display().to_string())),
        }
    }
}

/// How rows are written and what of the answer.
#[derive(Clone, Debug)]
pub struct OutputOptions {
    /// JSONL or CSV.
    pub format: RowFormat,
    /// Stands before `response`, `usage` and `error`; empty by default.
    pub prefix: String,
    /// JSONPath (RFC 9535) into the answer's body in the place of its text. One match is written as
    /// it is (a string as text), several as an array.
    pub response_path: Option<String>,
}

impl OutputOptions {
    /// Rows of this format with the text of answers.
    #[must_use]
    pub const fn new(format: RowFormat) -> Self {
        Self {
            format,
            prefix: String::new(),
            response_path: None,
        }
    }

    /// Names of the columns that are added: for `response`, `usage` and `error`. Sources take them
    /// as `reserved_columns`, so that collisions are found before anything is sent.
    #[must_use]
    pub fn own_columns(&self) -> [String; 3] {
        ["response", "usage", "error"].map(|name| format!("{}{name}", self.prefix))
    }

    /// Refuses a response path that does not parse: before the start, not when all is paid for.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn check_response_path(&self) -> Result<(), OutputError> {
        self.response_path
            .as_deref()
            .map_or(Ok(()), |path| parse_path(path).map(drop))
    }

    /// Refuses input columns whose names the output needs for itself.
    ///
    /// # Errors
    /// Names the column and the remedy.
    pub fn check_columns(&self, columns: &[String]) -> Result<(), OutputError> {
        let own = self.own_columns();
        match columns.iter().find(|column| own.contains(column)) {
            Some(column) => Err(OutputError::Collision(column.clone())),
            None => Ok(()),
        }
    }
}

/// Why an output cannot be written as asked.
#[derive(Debug, thiserror::Error)]
pub enum OutputError {
    /// The extension names no format.
    #[error("`{0}` says no format by its extension; write to a .jsonl or .csv file")]
    Extension(String),
    /// A column would stand twice.
    #[error(
        "the input has a column `{0}`, which the output needs for itself; give --output-prefix"
    )]
    Collision(String),
    /// The response path does not parse.
    #[error(
        "`--response-path {path}` is no JSONPath: {message}; write for instance $.choices[0].message.content"
    )]
    ResponsePath {
        /// What was given.
        path: String,
        /// What is wrong.
        message: String,
    },
    /// A CSV header must be known before the first row.
    #[error(
        "rows of JSON differ in their columns, so that no CSV header can be written while they are answered; write JSONL or to a .csv file"
    )]
    NoHeader,
    /// Writing failed.
    #[error("the output cannot be written")]
    Write(#[from] io::Error),
}

/// How a row ended.
#[derive(Clone, Copy, Debug)]
pub enum RowResult<'a> {
    /// With an answer.
    Answer {
        /// URL path of the request, which tells where the answer's text is.
        path: &'a str,
        /// The answer's body, JSON.
        body: &'a [u8],
    },
    /// Without one, for good.
    Dead {
        /// A word for programs.
        code: &'a str,
        /// A sentence for people.
        message: &'a str,
        /// Status and body of the last reply, if there was one.
        response: Option<(u16, &'a [u8])>,
    },
    /// The run ended before it: the same run again sends it.
    Pending,
}

/// How many rows were written, by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowCounts {
    /// With an answer.
    pub answered: u64,
    /// Without one, for good.
    pub failed: u64,
    /// Not sent yet, or without a result when the run ended.
    pub pending: u64,
    /// Answered, but the response path or the known places of text matched nothing in the answer;
    /// part of `answered`.
    pub unmatched: u64,
}

impl RowCounts {
    /// All rows.
    #[must_use]
    pub const fn rows(&self) -> u64 {
        self.answered + self.failed + self.pending
    }
}

/// Writes rows, each with one `write` of the whole row.
#[derive(Debug)]
pub struct RowWriter<W> {
    out: W,
    format: RowFormat,
    /// Names of the added columns; where a CSV header or a JSON row has one of them already, it is
    /// written with underscores before it, so that nothing is lost.
    own: [String; 3],
    /// The input's columns, for CSV.
    header: Vec<String>,
    response_path: Option<JsonPath>,
    counts: RowCounts,
    buf: Vec<u8>,
}

impl<W: Write> RowWriter<W> {
    /// A writer that has written the CSV header, if there is one.
    ///
    /// `columns` are the input's; `None` where rows may differ, which CSV cannot have. Plain text
    /// has the column `text`, a repeated prompt `index`.
    ///
    /// # Errors
    /// When the response path does not parse, a CSV has no columns, names collide or writing fails.
    pub fn new(
        out: W,
        options: &OutputOptions,
        columns: Option<&[String]>,
    ) -> Result<Self, OutputError> {
        options.check_columns(columns.unwrap_or_default())?;
        Self::with_header(out, options, columns)
    }

    /// As `new`, but a collision in the header is resolved by underscores.
    fn with_header(
        out: W,
        options: &OutputOptions,
        columns: Option<&[String]>,
    ) -> Result<Self, OutputError> {
        let response_path = options
            .response_path
            .as_deref()
            .map(parse_path)
            .transpose()?;
        let mut writer = Self {
            out,
            format: options.format,
            own: options.own_columns(),
            header: Vec::new(),
            response_path,
            counts: RowCounts::default(),
            buf: Vec::new(),
        };
        if options.format == RowFormat::Csv {
            writer.header = columns.ok_or(OutputError::NoHeader)?.to_vec();
            let taken: Vec<&str> = writer.header.iter().map(String::as_str).collect();
            let own = writer
                .own
                .each_ref()
                .map(|name| free_name(name, &taken).into_owned());
            let names = taken.into_iter().chain(own.iter().map(String::as_str));
            write_record(&mut writer.buf, names);
            writer.out.write_all(&writer.buf)?;
        }
        Ok(writer)
    }

    /// Writes one row, known to the user by `id`, with its result.
    ///
    /// # Errors
    /// When the underlying writer fails; part of the row may have been written.
    pub fn write_row(&mut self, id: &str, row: &Row, result: RowResult<'_>) -> io::Result<()> {
        match result {
            RowResult::Answer { .. } => self.counts.answered += 1,
            RowResult::Dead { .. } => self.counts.failed += 1,
            RowResult::Pending => self.counts.pending += 1,
        }
        self.buf.clear();
        if let RowFormat::Native(form) = self.format {
            native::put(&mut self.buf, form, id, row, result)?;
            return self.out.write_all(&self.buf);
        }
        let cells = Cells::new(result, self.response_path.as_ref());
        self.counts.unmatched += u64::from(cells.is_unmatched);
        match self.format {
            RowFormat::Csv => self.put_record(row, &cells),
            _ => self.put_object(row, &cells)?,
        }
        self.out.write_all(&self.buf)
    }

    /// What was written so far.
    #[must_use]
    pub const fn counts(&self) -> RowCounts {
        self.counts
    }

    /// The underlying writer.
    pub const fn out_mut(&mut self) -> &mut W {
        &mut self.out
    }

    /// Flushes and gives the underlying writer back.
    ///
    /// # Errors
    /// When flushing fails.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }

    fn put_object(&mut self, row: &Row, cells: &Cells) -> io::Result<()> {
        let buf = &mut self.buf;
        let mut before = b'{';
        let mut put_name = |buf: &mut Vec<u8>, name: &str| {
            buf.push(std::mem::replace(&mut before, b','));
            serde_json::to_writer(&mut *buf, name)?;
            buf.push(b':');
            io::Result::Ok(())
        };
        match row {
            Row::Json(fields) => {
                for (name, value) in fields.iter() {
                    put_name(buf, name)?;
                    buf.extend_from_slice(value.get().as_bytes());
                }
            }
            row => {
                for name in row.names() {
                    // A bad row may have fewer cells than the header has columns.
                    let Some(text) = row.text(name) else { continue };
                    put_name(buf, name)?;
                    serde_json::to_writer(&mut *buf, &*text)?;
                }
            }
        }
        let taken: Vec<&str> = row.names().collect();
        let error = cells.error.as_deref().map_or(Value::Null, Value::from);
        for (name, value) in self.own.iter().zip([&cells.response, &cells.usage, &error]) {
            put_name(buf, &free_name(name, &taken))?;
            serde_json::to_writer(&mut *buf, value)?;
        }
        buf.extend_from_slice(b"}\n");
        Ok(())
    }

    fn put_record(&mut self, row: &Row, cells: &Cells) {
        let own = [
            as_text(&cells.response),
            as_text(&cells.usage),
            as_text_of(&cells.error),
        ];
        let own = own.iter().map(|cell| &**cell);
        let header = &self.header;
        match row {
            Row::Cells {
                header: names,
                cells,
            } if names[..] == header[..] => {
                let cells = (0..header.len()).map(|at| cells.get(at).map_or("", String::as_str));
                write_record(&mut self.buf, cells.chain(own));
            }
            Row::Json(fields) => {
                let fields: HashMap<&str, Cow<'_, str>> = fields
                    .iter()
                    .map(|(name, value)| (name, crate::source::json_text(value.get())))
                    .collect();
                let cells = header
                    .iter()
                    .map(|name| fields.get(&**name).map_or("", |text| text));
                write_record(&mut self.buf, cells.chain(own));
            }
            row => {
                let texts: Vec<_> = header
                    .iter()
                    .map(|name| row.text(name).unwrap_or_default())
                    .collect();
                write_record(&mut self.buf, texts.iter().map(|text| &**text).chain(own));
            }
        }
    }
}

/// A JSON value as a cell: strings as they are, null as nothing, everything else as JSON.
fn as_text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Null => Cow::Borrowed(""),
        Value::String(text) => Cow::Borrowed(text),
        other => Cow::Owned(other.to_string()),
    }
}

fn as_text_of(text: &Option<String>) -> Cow<'_, str> {
    Cow::Borrowed(text.as_deref().unwrap_or_default())
}

fn parse_path(path: &str) -> Result<JsonPath, OutputError> {
    JsonPath::parse(path).map_err(|error| OutputError::ResponsePath {
        path: path.to_owned(),
        message: error.message().to_owned(),
    })
}

/// `name`, with as many underscores before it as make it differ from all of `taken`.
fn free_name<'a>(name: &'a str, taken: &[&str]) -> Cow<'a, str> {
    let mut free = Cow::Borrowed(name);
    while taken.contains(&&*free) {
        free = Cow::Owned(format!("_{free}"));
    }
    free
}

fn write_record<'a>(buf: &mut Vec<u8>, cells: impl Iterator<Item = &'a str>) {
    for (at, cell) in cells.enumerate() {
        if at > 0 {
            buf.push(b',');
        }
        if memchr::memchr3(b'"', b',', b'\n', cell.as_bytes()).is_none() && !cell.contains('\r') {
            buf.extend_from_slice(cell.as_bytes());
            continue;
        }
        buf.push(b'"');
        for (at, piece) in cell.split('"').enumerate() {
            if at > 0 {
                buf.extend_from_slice(b"\"\"");
            }
            buf.extend_from_slice(piece.as_bytes());
        }
        buf.push(b'"');
    }
    buf.push(b'\n');
}

#[cfg(test)]
mod tests;
