//! Requests that ended without an answer.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use serde::Serialize;

use super::answered::Answered;
use super::files::{Access, OpenError, is_file, open_file, sidecar, sync_directory_of};
use super::heal::{open_healed, rewrite, set_aside};
use super::line::{DeadLetterShape, Kind, MAX_LINE_BYTES, fingerprint, parse, write_dead_letter};
use super::lines::Lines;
use super::stale::leftover_lines;
use super::storage::Tail;
use super::sync::Syncer;
use super::{AppendError, BUFFER_KEPT_BYTES, CloseError, Durability};
use crate::fingerprint::Fingerprint;

/// Code of a request that was never sent because a limit has no room for it, ever.
pub const EXCEEDS_LIMIT: &str = "exceeds_limit";

/// A request that ended without an answer.
#[derive(Debug)]
pub struct DeadLetter<'a, T> {
    /// Identity of the request, or of the row that could not be made into one.
    pub fingerprint: Fingerprint,
    /// The id shown to the user.
    pub custom_id: &'a str,
    /// The last response, if there was one.
    pub response: Option<DeadResponse<'a>>,
    /// Class of the error.
    pub code: &'a str,
    /// What went wrong.
    pub message: &'a str,
    /// Every attempt, the first one first.
    pub attempts: &'a [T],
}

/// The last response to a request that ended without an answer.
#[derive(Clone, Copy, Debug)]
pub struct DeadResponse<'a> {
    /// HTTP status.
    pub status_code: u16,
    /// The provider's name for the request.
    pub request_id: Option<&'a str>,
    /// The body. What is not JSON becomes a JSON string.
    pub body: &'a [u8],
}

/// What becomes of the dead letters of earlier runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Earlier {
    /// They stay, and their requests are skipped.
    Keep,
    /// They are dropped, and their requests are sent again.
    Retry,
    /// They are set aside under `PATH.old`, as the journal is.
    SetAside,
}

/// How to keep dead letters.
#[derive(Debug)]
#[non_exhaustive]
pub struct DeadLetterOptions {
    /// The file. It does not exist while there are no dead letters.
    pub path: PathBuf,
    /// Where damaged bytes go. Default: `PATH.corrupt`.
    pub corrupt_path: PathBuf,
    /// Default: [`Durability::Power`].
    pub durability: Durability,
    /// Default: [`Earlier::Keep`].
    pub earlier: Earlier,
}

impl DeadLetterOptions {
    /// The defaults for a file at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self {
            corrupt_path: sidecar(&path, ".corrupt"),
            path,
            durability: Durability::Power,
            earlier: Earlier::Keep,
        }
    }
}

/// The file of dead letters of an output. It has no lock of its own: open it while the journal of
/// the same output is open.
#[derive(Debug)]
pub struct DeadLetters {
    options: DeadLetterOptions,
    open: Option<Open>,
    earlier: Answered,
    count: u64,
    corrupt_lines: u64,
    line: Vec<u8>,
}

#[derive(Debug)]
struct Open {
    file: Arc<File>,
    tail: Tail,
    syncer: Syncer,
}

impl Open {
    fn new(file: File, length: u64, durability: Durability) -> io::Result<Self> {
        let file = Arc::new(file);
        let tail = Tail::new(Arc::<File>::clone(&file), length);
        let synced = Arc::new(AtomicU64::new(0));
        let syncer = Syncer::start(Arc::<File>::clone(&file), durability.grouping(), synced)?;
        Ok(Self { file, tail, syncer })
    }
}

impl DeadLetters {
    /// Opens the file if there is one, and heals it.
    pub fn open(options: DeadLetterOptions) -> Result<Self, OpenError> {
        let mut letters = Self {
            options,
            open: None,
            earlier: Answered::default(),
            count: 0,
            corrupt_lines: 0,
            line: Vec::new(),
        };
        let path = &letters.options.path;
        if letters.options.earlier == Earlier::SetAside {
            set_aside(path)?;
        }
        if !is_file(path)? {
            return Ok(letters);
        }
        let corrupt_path = &letters.options.corrupt_path;
        let mut healed = open_healed(path, corrupt_path, Kind::DeadLetter, Access::Existing)?;
        letters.corrupt_lines = healed.scan.damaged_lines + u64::from(healed.scan.torn_tail);
        let mut length = healed.length;
        if letters.options.earlier == Earlier::Retry {
            let emptied = healed.file.set_len(0).and_then(|()| healed.file.sync_all());
            emptied.map_err(|error| OpenError::at(path, "empty", error))?;
            length = 0;
        } else {
            letters.earlier = healed.scan.answered;
            let dropped = drop_unsent(path, &healed.file, length, &mut letters.earlier);
            let dropped = dropped.map_err(|error| OpenError::at(path, "repair", error))?;
            if let Some((file, shorter)) = dropped {
                (healed.file, length) = (file, shorter);
            }
            letters.count = letters.earlier.len();
        }
        let open = Open::new(healed.file, length, letters.options.durability);
        letters.open = Some(open.map_err(|error| OpenError::at(path, "open", error))?);
        Ok(letters)
    }

    /// Hands out the dead letters of earlier runs, for whoever reads the input, to be taken one by
    /// one. What is left belongs back by [`DeadLetters::give_back`].
    #[must_use]
    pub fn lend_earlier(&mut self) -> Answered {
        std::mem::take(&mut self.earlier)
    }

    /// Takes back what no row has taken.
    pub fn give_back(&mut self, left: Answered) {
        self.earlier = left;
    }

    /// Whether this request ended without an answer in an earlier run. Takes one such dead letter
    /// out, so that of several equal requests only as many are skipped as have failed.
    pub fn take(&mut self, fingerprint: Fingerprint) -> bool {
        self.earlier.take(fingerprint)
    }

    /// Whether [`DeadLetters::take`] would find one.
    #[must_use]
    pub fn contains(&self, fingerprint: Fingerprint) -> bool {
        self.earlier.count(fingerprint) > 0
    }

    /// Number of dead letters in the file.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Damaged lines that were moved away when the file was opened.
    #[must_use]
    pub fn corrupt_lines(&self) -> u64 {
        self.corrupt_lines
    }

    /// Writes one dead letter. An error costs only the record: the request has no answer and is
    /// sent again by the next run.
    pub fn append<T: Serialize>(&mut self, letter: &DeadLetter<'_, T>) -> Result<(), AppendError> {
        let failed = |error| AppendError::at(&self.options.path, letter.custom_id, error);
        write_dead_letter(&mut self.line, letter).map_err(|error| failed(error.into()))?;
        AppendError::check_length(self.line.len(), MAX_LINE_BYTES, letter.custom_id)?;
        let open = match &mut self.open {
            Some(open) => open,
            None => {
                let created = create(&self.options).map_err(failed)?;
                self.open.insert(created)
            }
        };
        let appended = open.tail.append(&self.line);
        self.line.shrink_to(BUFFER_KEPT_BYTES);
        appended.map_err(failed)?;
        self.count += 1;
        open.syncer.wrote(1).map_err(|source| {
            AppendError::not_durable(&self.options.path, letter.custom_id, source)
        })
    }

    /// Makes everything durable and says how many dead letters there are. `input_complete`: every
    /// row of the input has been seen, so that dead letters that no row has taken are of requests
    /// that are no longer in the input, and are dropped. A file without any is removed.
    pub fn finish(mut self, input_complete: bool) -> Result<u64, CloseError> {
        let Some(mut open) = self.open.take() else {
            return Ok(0);
        };
        let path = &self.options.path;
        let failed = |source| CloseError::Io {
            path: path.clone(),
            source,
        };
        open.syncer.finish().map_err(|source| CloseError::Sync {
            path: path.clone(),
            source,
        })?;
        let mut length = open.tail.length();
        if input_complete && !self.earlier.is_empty() {
            let cuts = leftover_lines(&open.file, &self.earlier).map_err(failed)?;
            length = rewrite(path, &open.file, length, &cuts).map_err(failed)?.1;
            self.count -= self.earlier.len();
        }
        if length == 0 {
            std::fs::remove_file(path).map_err(failed)?;
        }
        sync_directory_of(path).map_err(failed)?;
        Ok(self.count)
    }
}

/// Drops what was never sent because of a limit: with other limits it may fit. `None`: there was
/// nothing of the kind.
fn drop_unsent(
    path: &Path,
    file: &File,
    length: u64,
    earlier: &mut Answered,
) -> io::Result<Option<(File, u64)>> {
    let unsent = fingerprints_of(file, EXCEEDS_LIMIT)?;
    if unsent.is_empty() {
        return Ok(None);
    }
    for fingerprint in &unsent {
        earlier.take(*fingerprint);
    }
    let unsent: Answered = unsent.into_iter().collect();
    let cuts = leftover_lines(file, &unsent)?;
    rewrite(path, file, length, &cuts).map(Some)
}

/// Requests whose dead letters have this code.
fn fingerprints_of(file: &File, code: &str) -> io::Result<Vec<Fingerprint>> {
    let mut found = Vec::new();
    let mut lines = Lines::of(file, MAX_LINE_BYTES);
    while let Some(line) = lines.next()? {
        let Some(bytes) = line.bytes else { continue };
        let letter = parse::<DeadLetterShape<'_>>(bytes);
        if letter.is_some_and(|letter| letter.error.code.0 == code) {
            found.extend(fingerprint(bytes));
        }
    }
    Ok(found)
}

fn create(options: &DeadLetterOptions) -> io::Result<Open> {
    let file = open_file(&options.path, Access::Create { private: false })?;
    sync_directory_of(&options.path)?;
    let length = file.metadata()?.len();
    Open::new(file, length, options.durability)
}
