//! Rows in, requests out.
//!
//! A [`Source`] reads its input once, line by line, on the thread that iterates it, and yields
//! every row as an [`Item`]: a request, or a bad row with the reason. A bad row never stops the
//! others. What would fail every row is refused by [`Source::open`]. Memory is bounded by the
//! longest line; of a request with an explicit id at most 15 bytes stay (see `ids`), of the others
//! nothing.
//!
//! What a row is: a line of Batch JSONL, row JSONL or text, an element of a batch document, or a
//! CSV record. Blank lines are no rows.
//!
//! Templates (`prompt`, `system`, and the strings of `body_template`) are Jinja. They see the
//! columns of the row; `index`, its 1-based number; and `row`, all its columns (for names that are
//! no identifiers: `{{ row["First name"] }}`). A column named `index` or `row` wins. A line of text
//! is the column `text`. CSV cells are strings; JSON values keep their type, and null prints as
//! nothing. A string of a body template always renders to a string, whatever is in the cell, with
//! one exception that the template's author asks for: a string that is nothing but `{{ … | tojson
//! }}` becomes that JSON value itself.

mod batch;
mod check;
mod delimited;
mod detect;
mod document;
mod ids;
mod lines;
mod native;
mod open_error;
mod peek;
mod requests;
mod row;
mod template;
mod units;
mod validate;

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use brimful_providers::dialect::Endpoint;
use brimful_providers::profile::CountRule;
use serde_json::{Map, Value};

use crate::models::ModelLanes;
use crate::request::Item;
use detect::StartError;
use lines::{Lines, Text};
use requests::{Maker, Place};

pub use native::BatchForm;
pub use open_error::OpenError;
pub use peek::first_model;
pub(crate) use row::json_text;
pub use row::{JsonRow, Row};
pub use units::UnitExpression;
pub use validate::{Problem, ValidateError, Validated, validate};

/// Longest line by default: 64 MB.
pub const LINE_MAX_BYTES: usize = 64 * 1024 * 1024;

/// What to do when a column of the input has the name of one of the output's own.
const RESERVED_REMEDY: &str = "the output needs that name: rename it, or give --output-prefix";

/// Where rows come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A file, or a named pipe.
    Path(PathBuf),
    /// Standard input, read as it comes.
    Stdin,
    /// No input: so many requests from one prompt.
    Repeat(u64),
}

/// What the rows of an input look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenAI Batch JSONL: every line is a whole request.
    Batch,
    /// The batch file of another provider: an id and a body on every line.
    Native(BatchForm),
    /// One JSON object a line.
    Jsonl,
    /// A header and records, separated by commas, semicolons or tabs, whichever the header has most
    /// of.
    Csv,
    /// A header and records, separated by tabs; quotes mean what they mean in CSV.
    Tsv,
    /// One prompt a line.
    Text,
}

impl Format {
    const fn described(self) -> &'static str {
        match self {
            Self::Batch => "Batch JSONL",
            Self::Native(form) => form.described(),
            Self::Jsonl => "JSONL of rows",
            Self::Csv => "CSV",
            Self::Tsv => "TSV",
            Self::Text => "plain text",
        }
    }
}

/// What to read and how to make requests of it.
#[derive(Clone, Debug)]
pub struct SourceOptions {
    /// Where rows come from.
    pub input: Input,
    /// What they look like; `None` decides by the file's extension and content.
    pub format: Option<Format>,
    /// Template of the prompt; `None` is `{{ text }}` for plain text and an error for other rows.
    pub prompt: Option<String>,
    /// Template of the system prompt.
    pub system: Option<String>,
    /// A JSON object whose strings are templates, in the place of `prompt` and `system`.
    pub body_template: Option<String>,
    /// Model of every request; the `model` of a body template, or of a line of a provider's batch
    /// file, takes precedence.
    pub model: Option<String>,
    /// Where the requests of rows go. Batch lines say it themselves.
    pub endpoint: Endpoint,
    /// Further top-level fields of every body.
    pub params: Map<String, Value>,
    /// Column that holds the row's explicit id. Without it the id is the row number, which is never
    /// part of the fingerprint.
    pub id_column: Option<String>,
    /// Column (of a Batch line: top-level key) that holds the input tokens, in the place of the
    /// estimate. An empty cell leaves the estimate.
    pub estimate_column: Option<String>,
    /// How input tokens are counted where no column says them. Default: by characters. The reader
    /// has a thread of its own, so that a large body holds up nothing that is in flight.
    pub count: CountRule,
    /// What requests cost of custom kinds, by the number of the kind; at most
    /// [`CUSTOM_KINDS`](brimful_core::CUSTOM_KINDS).
    pub units: Vec<UnitExpression>,
    /// The lanes that requests go in by their model.
    pub lanes: Arc<ModelLanes>,
    /// Only so many rows; `None` is all.
    pub first: Option<u64>,
    /// Longest line in bytes. A longer one is a bad row and not held in memory. 64 MB by default.
    pub line_max_bytes: usize,
    /// Whether items carry the columns of their row, for outputs that are written as rows are
    /// answered.
    pub keep_columns: bool,
    /// Names that the output needs for its own columns (see [`crate::output::OutputOptions`]); an
    /// input that has one of them is refused. Rows of JSON that have one are bad rows, unless the
    /// first has it already.
    pub reserved_columns: Vec<String>,
    /// A copy of what is read from standard input or a pipe, for outputs that are written at the
    /// end. Created anew (mode 0600); not used for files, which can be read again.
    pub spool: Option<PathBuf>,
}

impl SourceOptions {
    /// Everything by default: chat endpoint, no prompt, all rows.
    #[must_use]
    pub fn new(input: Input) -> Self {
        Self {
            input,
            format: None,
            prompt: None,
            system: None,
            body_template: None,
            model: None,
            endpoint: Endpoint::Chat,
            params: Map::new(),
            id_column: None,
            estimate_column: None,
            count: CountRule::Chars,
            units: Vec::new(),
            lanes: Arc::default(),
            first: None,
            line_max_bytes: LINE_MAX_BYTES,
            keep_columns: false,
            reserved_columns: Vec::new(),
            spool: None,
        }
    }
}

/// Why reading stopped before the end. Nothing of the input is lost: the same run again goes on.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The input, or the copy of standard input, failed.
    #[error("reading the input failed at line {line}")]
    Io {
        /// 1-based line at which it failed.
        line: u64,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Reads rows and yields them as requests or bad rows, in the order of the input.
///
/// After an error the iterator ends.
#[derive(Debug)]
pub struct Source {
    /// `None` for a repeated prompt.
    lines: Option<Lines>,
    maker: Maker,
    format: Format,
    delimiter: u8,
    options: SourceOptions,
    is_stream: bool,
    bytes_total: Option<u64>,
    rows: u64,
    rows_max: u64,
}

impl Source {
    /// Opens the input, finds out its format and checks the options against it.
    ///
    /// Waits for the first line of standard input. An empty input is no error: it has no rows.
    ///
    /// # Errors
    /// Everything that would fail every row, before anything is sent.
    pub fn open(options: SourceOptions) -> Result<Self, OpenError> {
        if let Input::Repeat(count) = options.input {
            let maker = Maker::new(options.clone(), Format::Text, b',', None)?;
            let rows_max = options.first.unwrap_or(u64::MAX).min(count);
            return Ok(Self {
                lines: None,
                maker,
                format: Format::Text,
                delimiter: b',',
                options,
                is_stream: false,
                bytes_total: None,
                rows: 0,
                rows_max,
            });
        }
        let (reader, bytes_total) =
            open_input(&options.input).map_err(|source| OpenError::Read {
                path: shown_path(&options.input),
                source,
            })?;
        Self::from_reader(options, reader, bytes_total)
    }

    /// Reads from `reader` in the place of `options.input`, whose name still tells the format.
    fn from_reader(
        options: SourceOptions,
        reader: Box<dyn Read + Send>,
        bytes_total: Option<u64>,
    ) -> Result<Self, OpenError> {
        let spool = match (&options.spool, bytes_total) {
            (Some(path), None) => Some(create_spool(path)?),
            _ => None,
        };
        let has_prompt = options.prompt.is_some() || options.body_template.is_some();
        let (reader, is_document) = match options.format {
            // Rows may have a column `requests`.
            None if has_prompt => (reader, false),
            None | Some(Format::Native(BatchForm::Anthropic)) => document::lines_of(reader)
                .map_err(|source| OpenError::Read {
                    path: shown_path(&options.input),
                    source,
                })?,
            Some(_) => (reader, false),
        };
        let asked = match is_document {
            true => Some(Format::Native(BatchForm::Anthropic)),
            false => options.format,
        };
        let mut lines = Lines::new(reader, spool, options.line_max_bytes);
        let start = detect::check_start(&mut lines).and_then(|()| {
            let detected = detect::detect(&mut lines, asked, &options.input, has_prompt)?;
            let header = match detected.format {
                Format::Csv | Format::Tsv => read_header(&mut lines, detected.delimiter)?,
                Format::Jsonl => {
                    refuse_reserved(&mut lines, &options.reserved_columns)?;
                    None
                }
                _ => None,
            };
            Ok((detected, header))
        });
        let (detected, header) = start.map_err(|error| match error {
            StartError::Open(error) => error,
            StartError::Io(source) => OpenError::Read {
                path: shown_path(&options.input),
                source,
            },
        })?;
        let detect::Detected { format, delimiter } = detected;
        let maker = Maker::new(options.clone(), format, delimiter, header)?;
        Ok(Self {
            lines: Some(lines),
            maker,
            format,
            delimiter,
            is_stream: bytes_total.is_none(),
            bytes_total,
            rows: 0,
            rows_max: options.first.unwrap_or(u64::MAX),
            options,
        })
    }

    /// What the input turned out to be; text for a repeated prompt.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.format
    }

    /// The header of a CSV or TSV; `None` for other formats and for an empty file.
    #[must_use]
    pub fn columns(&self) -> Option<&[String]> {
        self.maker.header()
    }

    /// Bytes of the input behind the last item.
    #[must_use]
    pub fn bytes_read(&self) -> u64 {
        self.lines.as_ref().map_or(0, Lines::consumed)
    }

    /// Size of the input in bytes; `None` for standard input, pipes and repeated prompts.
    #[must_use]
    pub const fn bytes_total(&self) -> Option<u64> {
        self.bytes_total
    }

    /// Whether the next row may be long in coming: nothing of it has been read yet.
    pub(crate) fn may_wait(&self) -> bool {
        self.lines.as_ref().is_some_and(Lines::is_drained)
    }

    /// Rows of the whole run: exact for a repeated prompt, extrapolated from the bytes read for a
    /// file, unknown for a stream and before the first row.
    #[must_use]
    pub fn rows_expected(&self) -> Option<u64> {
        if self.lines.is_none() {
            return Some(self.rows_max);
        }
        let read = self.bytes_read();
        if self.rows == 0 || read == 0 {
            return None;
        }
        let rows = u128::from(self.rows) * u128::from(self.bytes_total?) / u128::from(read);
        Some(
            u64::try_from(rows)
                .unwrap_or(u64::MAX)
                .clamp(self.rows, self.rows_max),
        )
    }

    /// Options that read the same rows again, with the format that was found: from the file itself,
    /// or from the copy of a stream. `None` for a stream without a copy.
    #[must_use]
    pub fn options_to_reread(&self) -> Option<SourceOptions> {
        let mut options = self.options.clone();
        if self.lines.is_some() {
            options.format = Some(self.format);
        }
        if self.is_stream && self.lines.is_some() {
            options.input = Input::Path(options.spool.take()?);
        }
        options.spool = None;
        Some(options)
    }

    fn next_row(&mut self) -> io::Result<Option<Item>> {
        let Some(lines) = &mut self.lines else {
            self.rows += 1;
            return Ok(Some(self.maker.repeated(self.rows)));
        };
        loop {
            let is_table = matches!(self.format, Format::Csv | Format::Tsv);
            let line = if is_table {
                lines.next_record(self.delimiter)
            } else {
                lines.next_line()
            }?;
            let Some(line) = line else { return Ok(None) };
            let bytes = match &line.text {
                Text::Whole(range) | Text::Unclosed(range) => lines.bytes(range),
                Text::TooLong { head, .. } => head,
            };
            if !is_table && bytes.trim_ascii().is_empty() && matches!(line.text, Text::Whole(_)) {
                continue;
            }
            self.rows += 1;
            let place = Place {
                row: self.rows,
                line: line.number,
            };
            return Ok(Some(self.maker.item(place, &line.text, bytes)));
        }
    }
}

impl Iterator for Source {
    type Item = Result<Item, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rows >= self.rows_max {
            return None;
        }
        match self.next_row() {
            Ok(item) => item.map(Ok),
            Err(source) => {
                self.rows_max = 0;
                let line = self.lines.as_ref().map_or(0, Lines::next_number);
                Some(Err(ReadError::Io { line, source }))
            }
        }
    }
}

fn open_input(input: &Input) -> io::Result<(Box<dyn Read + Send>, Option<u64>)> {
    match input {
        Input::Path(path) => {
            let file = File::open(path)?;
            let metadata = file.metadata()?;
            if metadata.is_dir() {
                return Err(io::Error::new(
                    io::ErrorKind::IsADirectory,
                    "it is a directory",
                ));
            }
            let bytes_total = metadata.is_file().then_some(metadata.len());
            Ok((Box::new(file), bytes_total))
        }
        _ => Ok((Box::new(io::stdin()), None)),
    }
}

fn shown_path(input: &Input) -> PathBuf {
    match input {
        Input::Path(path) => path.clone(),
        _ => PathBuf::from("-"),
    }
}

/// Prompts may be confidential: only the owner can read the copy.
fn create_spool(path: &Path) -> Result<File, OpenError> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(|source| OpenError::Spool {
        path: path.to_owned(),
        source,
    })
}

fn read_header(lines: &mut Lines, delimiter: u8) -> Result<Option<Arc<[String]>>, StartError> {
    let Some(line) = lines.next_record(delimiter)? else {
        return Ok(None);
    };
    let wrong = |reason: String| StartError::Open(OpenError::Header(reason));
    let Text::Whole(range) = line.text else {
        return Err(wrong(
            "does not end; close the quotes of its first line".to_owned(),
        ));
    };
    let text = str::from_utf8(lines.bytes(&range))
        .map_err(|_| wrong("is not valid UTF-8; convert the input with iconv".to_owned()))?;
    let mut fields = delimited::Fields::default();
    fields.split(text, delimiter);
    let names: Vec<String> = fields.iter().map(str::to_owned).collect();
    for (at, name) in names.iter().enumerate() {
        if names[..at].contains(name) {
            return Err(wrong(format!(
                "has two columns {}; rename one",
                shown(name)
            )));
        }
    }
    Ok(Some(names.into()))
}

/// Looks at the first row of JSON, so that an input all of whose rows collide is refused at once.
fn refuse_reserved(lines: &mut Lines, reserved: &[String]) -> Result<(), StartError> {
    let Some((line, _)) = detect::first_line(lines)? else {
        return Ok(());
    };
    let row = str::from_utf8(&line).map_or_else(|_| Row::empty(), Row::of_json);
    match row
        .names()
        .find(|name| reserved.iter().any(|reserved| reserved == name))
    {
        Some(name) => Err(OpenError::Reserved(shown(name)).into()),
        None => Ok(()),
    }
}

/// ` (did you mean `x`?)`, or nothing.
fn near(name: &str, candidates: &[String]) -> String {
    let name = name.to_lowercase();
    let scored = candidates.iter().map(|candidate| {
        let distance = strsim::osa_distance(&name, &candidate.to_lowercase());
        (distance, candidate)
    });
    match scored.min_by_key(|(distance, _)| *distance) {
        Some((distance, candidate)) if distance <= 1 + name.chars().count() / 3 => {
            format!(" (did you mean {}?)", shown(candidate))
        }
        _ => String::new(),
    }
}

/// Data for a message: in backticks, on one line, without control characters, not too long.
fn shown(text: &str) -> String {
    const LONGEST: usize = 60;
    let cut = text.chars().nth(LONGEST).is_some();
    let text: String = text.chars().take(LONGEST).collect();
    format!("`{}{}`", plain(&text), if cut { "…" } else { "" })
}

fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{FFFD}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests;
