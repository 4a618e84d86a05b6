//! Finding answers again, for the final file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde_json::value::RawValue;

use super::line::{AnswerShape, DeadLetterShape, MAX_LINE_BYTES, ResponseShape, parse};
use super::scan::each_line;
use crate::fingerprint::Fingerprint;

/// Read at once. Answers lie nearly in the order of the input, so that the next is often in it.
const WINDOW_BYTES: usize = 64 << 10;
/// In the place of a line: it has been taken.
const TAKEN: u64 = 1 << 63;

/// Why a line could not be found or read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Reading failed.
    #[error("could not read `{}`", path.display())]
    Io {
        /// The journal.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something else has changed the file meanwhile.
    #[error("`{}` has been changed at byte {offset} during the run: run the same command again", path.display())]
    Damaged {
        /// The journal.
        path: PathBuf,
        /// Where the line was.
        offset: u64,
    },
}

/// Where a line starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Offset(u64);

/// Where the lines for each fingerprint are, in a journal or a file of dead letters: 24 bytes a
/// line. Built after stale lines have been moved.
#[derive(Debug, Default)]
pub struct AnswerIndex {
    /// Sorted by fingerprint, then what has been taken, then by offset.
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    fingerprint: Fingerprint,
    place: u64,
}

impl AnswerIndex {
    /// Reads the file at `path` twice. There are no lines in a file that does not exist.
    pub fn build(path: &Path) -> Result<Self, ReadError> {
        let failed = |source| ReadError::Io {
            path: path.to_owned(),
            source,
        };
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            other => other.map_err(failed)?,
        };
        // Counted first: a list that grows needs room for its old and its new version.
        let mut count = 0;
        each_line(&file, |_, _| count += 1).map_err(failed)?;
        let mut entries = Vec::with_capacity(count);
        each_line(&file, |fingerprint, line| {
            entries.push(Entry {
                fingerprint,
                place: line.start,
            });
        })
        .map_err(failed)?;
        entries.sort_unstable_by_key(|entry| (entry.fingerprint, entry.place));
        Ok(Self { entries })
    }

    /// Takes the earliest line for this fingerprint that has not been taken.
    pub fn take(&mut self, fingerprint: Fingerprint) -> Option<Offset> {
        let at = self.entries.partition_point(|entry| {
            (entry.fingerprint, entry.place & TAKEN == 0) < (fingerprint, true)
        });
        let entry = self
            .entries
            .get_mut(at)
            .filter(|entry| entry.fingerprint == fingerprint)?;
        let offset = Offset(entry.place);
        entry.place |= TAKEN;
        Some(offset)
    }

    /// Number of lines, taken or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no lines at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// What a journal says about one request.
#[derive(Debug)]
pub struct AnswerLine {
    /// The id shown to the user.
    pub custom_id: String,
    /// HTTP status.
    pub status_code: u16,
    /// The provider's name for the request.
    pub request_id: Option<String>,
    /// The body, as the provider wrote it.
    pub body: Box<RawValue>,
}

/// What a file of dead letters says about one request.
#[derive(Debug)]
pub struct DeadLetterLine {
    /// The id shown to the user.
    pub custom_id: String,
    /// HTTP status and body of the last response, if there was one.
    pub response: Option<(u16, Box<RawValue>)>,
    /// Class of the error.
    pub code: String,
    /// What went wrong.
    pub message: String,
}

/// Reads answers from a journal.
#[derive(Debug)]
pub struct AnswerReader {
    lines: LineAt,
}

impl AnswerReader {
    /// Opens the journal at `path`. It may be appended to meanwhile, but not rewritten.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        Ok(Self {
            lines: LineAt::open(path)?,
        })
    }

    /// Reads the answer at `offset`, which an [`AnswerIndex`] of the same file has given.
    pub fn read(&mut self, offset: Offset) -> Result<AnswerLine, ReadError> {
        self.lines.with(offset, |line: AnswerShape<'_>| {
            let ResponseShape {
                status_code,
                request_id,
                body,
            } = line.response;
            AnswerLine {
                custom_id: line.custom_id.0.into_owned(),
                status_code,
                request_id: request_id.map(|id| id.0.into_owned()),
                body: body.to_owned(),
            }
        })
    }
}

/// Reads dead letters.
#[derive(Debug)]
pub struct DeadLetterReader {
    lines: LineAt,
}

impl DeadLetterReader {
    /// Opens the file of dead letters at `path`. It may be appended to meanwhile, but not
    /// rewritten.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        Ok(Self {
            lines: LineAt::open(path)?,
        })
    }

    /// Reads the dead letter at `offset`, which an [`AnswerIndex`] of the same file has given.
    pub fn read(&mut self, offset: Offset) -> Result<DeadLetterLine, ReadError> {
        self.lines
            .with(offset, |line: DeadLetterShape<'_>| DeadLetterLine {
                custom_id: line.custom_id.0.into_owned(),
                response: line
                    .response
                    .map(|response| (response.status_code, response.body.to_owned())),
                code: line.error.code.0.into_owned(),
                message: line.error.message.0.into_owned(),
            })
    }
}

/// Lines by their offset.
#[derive(Debug)]
struct LineAt {
    file: File,
    path: PathBuf,
    /// What was read last, from `window_start` on.
    window: Vec<u8>,
    window_start: u64,
}

impl LineAt {
    fn open(path: &Path) -> Result<Self, ReadError> {
        let path = path.to_owned();
        match File::open(&path) {
            Ok(file) => Ok(Self {
                file,
                path,
                window: Vec::new(),
                window_start: 0,
            }),
            Err(source) => Err(ReadError::Io { path, source }),
        }
    }

    fn with<'a, T: serde::Deserialize<'a>, U>(
        &'a mut self,
        offset: Offset,
        make: impl FnOnce(T) -> U,
    ) -> Result<U, ReadError> {
        let outcome = match self.find(offset.0) {
            Ok(range) => Ok(range.and_then(|range| parse(&self.window[range])).map(make)),
            Err(source) => Err(source),
        };
        match outcome {
            Ok(Some(made)) => Ok(made),
            Ok(None) => Err(ReadError::Damaged {
                path: self.path.clone(),
                offset: offset.0,
            }),
            Err(source) => Err(ReadError::Io {
                path: self.path.clone(),
                source,
            }),
        }
    }

    /// Where in the window the line is; `None` if there is none.
    fn find(&mut self, offset: u64) -> io::Result<Option<std::ops::Range<usize>>> {
        let within = offset
            .checked_sub(self.window_start)
            .and_then(|at| usize::try_from(at).ok());
        if let Some(start) = within.filter(|&at| at < self.window.len())
            && let Some(length) = memchr::memchr(b'\n', &self.window[start..])
        {
            return Ok(Some(start..start + length));
        }
        self.window_start = offset;
        self.window.clear();
        self.window.shrink_to(WINDOW_BYTES);
        loop {
            let filled = self.window.len();
            if filled > MAX_LINE_BYTES {
                return Ok(None);
            }
            self.window.resize((filled * 2).max(WINDOW_BYTES), 0);
            let count = read_at(
                &self.file,
                &mut self.window[filled..],
                offset + filled as u64,
            );
            self.window.truncate(filled + *count.as_ref().unwrap_or(&0));
            if count? == 0 {
                return Ok(None);
            }
            if let Some(at) = memchr::memchr(b'\n', &self.window[filled..]) {
                return Ok(Some(0..filled + at));
            }
        }
    }
}

fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        match file.read_at(buffer, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
