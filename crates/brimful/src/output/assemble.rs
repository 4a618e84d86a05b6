//! The final file, made from the input and the journal at the end of a run.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use hashbrown::HashSet;

use super::{BAD_ROW, OutputError, OutputOptions, RowCounts, RowFormat, RowResult, RowWriter};
use crate::fingerprint::Fingerprint;
use crate::request::Item;
use crate::source::{Format, Input, OpenError, ReadError, Row, Source, SourceOptions};

/// Most columns that the rows of a JSON input may have together in a CSV output.
const COLUMNS_MAX: usize = 10_000;

/// What the journal says of a request.
#[derive(Clone, Debug)]
pub enum Recorded {
    /// Its answer's body, JSON.
    Answer(Bytes),
    /// Why it has none, for good.
    Dead {
        /// A word for programs.
        code: String,
        /// A sentence for people.
        message: String,
        /// Status and body of the last reply, if there was one.
        response: Option<(u16, Bytes)>,
    },
    /// Nothing.
    Pending,
}

/// Why the final file could not be made. The output that was there before is untouched.
#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    /// The input cannot be opened again.
    #[error("the input cannot be read again")]
    Open(#[from] OpenError),
    /// The input cannot be read to its end.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The journal cannot be read.
    #[error("the journal cannot be read")]
    Lookup(#[source] io::Error),
    /// Rows of JSON with too many columns.
    #[error("the rows have more than {COLUMNS_MAX} different columns together; write JSONL")]
    TooManyColumns,
    /// The output cannot be written.
    #[error("`{path}` cannot be written")]
    Write {
        /// The output, or the temporary file beside it.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: OutputError,
    },
}

/// Reads the input again and writes every row of it, in its order, with what `lookup` knows of it.
///
/// `source` comes from [`Source::options_to_reread`]. `lookup` is asked once for every request, in
/// input order, so that rows with the same fingerprint can be given their answers one by one. Bad
/// rows come out as failed with their reason and are not looked up; requests without a record come
/// out as not sent. Only the rows that the run covered are written (`first`).
///
/// The file is written beside `out` under another name, synced, and renamed: at any moment there is
/// the old file or the new one. What is no regular file (a pipe, a device) is written in place.
///
/// The CSV header of JSON rows is the union of their columns in the order of appearance, for which
/// the input is read once more.
///
/// # Errors
/// When input, journal or output fail; the output is then as it was.
pub fn assemble(
    source: &SourceOptions,
    out: &Path,
    options: &OutputOptions,
    lookup: &mut dyn FnMut(&Fingerprint) -> io::Result<Recorded>,
) -> Result<RowCounts, AssembleError> {
    let source = SourceOptions {
        keep_columns: true,
        ..source.clone()
    };
    let header = match options.format {
        RowFormat::Csv => Some(columns_of(&source)?),
        RowFormat::Jsonl | RowFormat::Native(_) => None,
    };
    let rows = Source::open(source)?;
    let mut target = Target::open(out).map_err(|error| failed(out, error.into()))?;
    let path = target.path.clone();
    let written = write_rows(
        rows,
        target.writer(),
        options,
        header.as_deref(),
        lookup,
        &path,
    );
    match written {
        Ok(counts) => {
            target
                .publish()
                .map_err(|error| failed(out, error.into()))?;
            Ok(counts)
        }
        Err(error) => {
            target.discard();
            Err(error)
        }
    }
}

fn failed(path: &Path, source: OutputError) -> AssembleError {
    AssembleError::Write {
        path: path.to_owned(),
        source,
    }
}

fn write_rows(
    rows: Source,
    out: &mut dyn Write,
    options: &OutputOptions,
    header: Option<&[String]>,
    lookup: &mut dyn FnMut(&Fingerprint) -> io::Result<Recorded>,
    path: &Path,
) -> Result<RowCounts, AssembleError> {
    let mut writer =
        RowWriter::with_header(out, options, header).map_err(|error| failed(path, error))?;
    let nothing = Row::empty();
    for item in rows {
        let written = match item? {
            Item::Request(request) => {
                let record = lookup(&request.fingerprint).map_err(AssembleError::Lookup)?;
                let row = request.columns.as_deref().unwrap_or(&nothing);
                writer.write_row(&request.id, row, record.result(&request.path))
            }
            Item::Bad(bad) => {
                let message = match bad.line {
                    0 => bad.reason,
                    line => format!("line {line}: {}", bad.reason),
                };
                let row = bad.columns.as_deref().unwrap_or(&nothing);
                writer.write_row(
                    &bad.id,
                    row,
                    RowResult::Dead {
                        code: BAD_ROW,
                        message: &message,
                        response: None,
                    },
                )
            }
        };
        written.map_err(|error| failed(path, error.into()))?;
    }
    let counts = writer.counts();
    writer
        .finish()
        .map_err(|error| failed(path, error.into()))?;
    Ok(counts)
}

impl Recorded {
    fn result<'a>(&'a self, path: &'a str) -> RowResult<'a> {
        match self {
            Self::Answer(body) => RowResult::Answer { path, body },
            Self::Dead {
                code,
                message,
                response,
            } => RowResult::Dead {
                code,
                message,
                response: response.as_ref().map(|(status, body)| (*status, &**body)),
            },
            Self::Pending => RowResult::Pending,
        }
    }
}

/// The columns of all rows.
fn columns_of(source: &SourceOptions) -> Result<Vec<String>, AssembleError> {
    let rows = Source::open(source.clone())?;
    if let Some(columns) = rows.columns() {
        return Ok(columns.to_vec());
    }
    match (&source.input, rows.format()) {
        (Input::Repeat(_), _) => return Ok(vec!["index".to_owned()]),
        (_, Format::Text) => return Ok(vec!["text".to_owned()]),
        _ => {}
    }
    let mut columns = Vec::new();
    let mut seen = HashSet::new();
    for item in rows {
        let row = match item? {
            Item::Request(request) => request.columns,
            Item::Bad(bad) => bad.columns,
        };
        for name in row.iter().flat_map(|row| row.names()) {
            if !seen.contains(name) {
                let name: Arc<str> = name.into();
                columns.push(name.to_string());
                seen.insert(name);
            }
        }
        if columns.len() > COLUMNS_MAX {
            return Err(AssembleError::TooManyColumns);
        }
    }
    Ok(columns)
}

/// The file that is written, and what has to be done for it to become the output.
struct Target {
    out: BufWriter<File>,
    path: PathBuf,
    /// `None` when the output is written in place.
    rename_to: Option<PathBuf>,
}

impl Target {
    fn open(out: &Path) -> io::Result<Self> {
        // A link stays a link: the file that it points to is replaced.
        let out = fs::canonicalize(out).unwrap_or_else(|_| out.to_owned());
        if fs::metadata(&out).is_ok_and(|metadata| !metadata.is_file()) {
            let file = OpenOptions::new().write(true).open(&out)?;
            return Ok(Self {
                out: BufWriter::new(file),
                path: out,
                rename_to: None,
            });
        }
        let mut name = std::ffi::OsString::from(".");
        name.push(out.file_name().unwrap_or_default());
        name.push(".partial");
        let path = out.with_file_name(name);
        // What a crash has left is removed and not opened: it could be a link to something else.
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)?;
        if let Ok(metadata) = fs::metadata(&out) {
            file.set_permissions(metadata.permissions())?;
        }
        Ok(Self {
            out: BufWriter::with_capacity(256 * 1024, file),
            path,
            rename_to: Some(out),
        })
    }

    fn writer(&mut self) -> &mut dyn Write {
        &mut self.out
    }

    fn publish(mut self) -> io::Result<()> {
        let published = self.try_publish();
        if published.is_err() {
            self.discard();
        }
        published
    }

    fn try_publish(&mut self) -> io::Result<()> {
        self.out.flush()?;
        let Some(out) = &self.rename_to else {
            return Ok(());
        };
        self.out.get_ref().sync_all()?;
        fs::rename(&self.path, out)?;
        if let Some(directory) = out.parent().filter(|path| !path.as_os_str().is_empty()) {
            // Some file systems cannot sync a directory; the rename itself has happened.
            let _ = File::open(directory).and_then(|directory| directory.sync_all());
        }
        Ok(())
    }

    fn discard(self) {
        if self.rename_to.is_some() {
            let _ = fs::remove_file(&self.path);
        }
    }
}
