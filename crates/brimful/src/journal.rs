//! The journal: every answer once, whatever kills the run.
//!
//! A journal is a file of lines in OpenAI Batch output form that is only ever appended to, answers
//! that arrive together with one `write`. Opening it takes the lock on the output, reads what
//! earlier runs have answered and repairs what a crash has left behind. Next to a journal at `PATH`
//! there may be:
//!
//! | file | what it is |
//! |---|---|
//! | `PATH.lock` | held while a run writes; a leftover is no obstacle |
//! | `PATH.spare` | room for the answers under way when the disk fills up |
//! | `PATH.rewrite` | a new version of the journal that is not finished; a leftover is removed |
//! | `PATH.corrupt` | damaged bytes, taken out of the journal |
//! | `PATH.old`, `PATH.old-2`, … | journals set aside by a fresh start |
//!
//! Nothing here knows secrets: bodies are redacted before they come.

mod answered;
mod dead;
mod files;
mod heal;
mod index;
mod line;
mod lines;
mod lock;
mod scan;
mod spare;
mod stale;
mod storage;
mod sync;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use answered::Answered;
pub use dead::{DeadLetter, DeadLetterOptions, DeadLetters, DeadResponse, EXCEEDS_LIMIT, Earlier};
pub use files::OpenError;
pub use index::{
    AnswerIndex, AnswerLine, AnswerReader, DeadLetterLine, DeadLetterReader, Offset, ReadError,
};
pub use lock::OutputLock;
pub use stale::StaleError;

use crate::fingerprint::Fingerprint;
use files::{Access, is_file, sidecar, sync_directory_of};
use heal::{open_healed, rewrite, set_aside};
use line::{Kind, MAX_LINE_BYTES, write_answer};
use spare::Spare;
use stale::{copy_to_stale, leftover_lines, take_back};
use storage::{Storage, Tail, is_full};
use sync::{Grouping, Syncer};

const SPARE_BYTES: u64 = 16 << 20;
const GROUP_MAX_DELAY: Duration = Duration::from_millis(50);
const GROUP_MAX_ANSWERS: u32 = 256;
/// A line buffer larger than this is given back after use.
const BUFFER_KEPT_BYTES: usize = 1 << 20;
/// Answers that are written together have at most so many bytes of ids and bodies; a larger one is
/// written alone. It bounds the buffer, and larger writes gain nothing.
const TOGETHER_MAX_BYTES: usize = 256 << 10;

/// What an answer survives once it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Also a power loss, from the fsync of its group on.
    Power,
    /// The end of the process, however sudden; fsync only when the journal is closed.
    Process,
}

impl Durability {
    fn grouping(self) -> Option<Grouping> {
        (self == Self::Power).then_some(Grouping {
            max_delay: GROUP_MAX_DELAY,
            max_answers: GROUP_MAX_ANSWERS.into(),
        })
    }
}

/// How to keep a journal.
#[derive(Debug)]
#[non_exhaustive]
pub struct JournalOptions {
    /// The file. It is created if there is none.
    pub path: PathBuf,
    /// Where damaged bytes go. Default: `PATH.corrupt`.
    pub corrupt_path: PathBuf,
    /// Default: [`Durability::Power`].
    pub durability: Durability,
    /// Room kept for the moment when the disk is full. Default: 16 MiB; 0 keeps none.
    pub spare_bytes: u64,
    /// An answer is fsynced so long after it was written, at the latest. Default: 50 ms.
    pub group_max_delay: Duration,
    /// So many answers are fsynced at once. Default: 256; 0 is as 1.
    pub group_max_answers: u32,
    /// Only the owner may read the file, if it is created. Default: `false`.
    pub private: bool,
    /// Start without the answers of earlier runs: their journal is renamed to the first of
    /// `PATH.old`, `PATH.old-2`, … that is free. Default: `false`.
    pub fresh: bool,
    /// Where earlier runs have moved answers whose request was no longer in the input. They are
    /// taken back first: the request may be there again. Default: nowhere.
    pub stale_path: Option<PathBuf>,
    /// The lock on `path`, if it is held already. Default: it is taken.
    pub lock: Option<OutputLock>,
}

impl JournalOptions {
    /// The defaults for a journal at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self {
            corrupt_path: sidecar(&path, ".corrupt"),
            path,
            durability: Durability::Power,
            spare_bytes: SPARE_BYTES,
            group_max_delay: GROUP_MAX_DELAY,
            group_max_answers: GROUP_MAX_ANSWERS,
            private: false,
            fresh: false,
            stale_path: None,
            lock: None,
        }
    }

    fn grouping(&self) -> Option<Grouping> {
        self.durability.grouping().map(|_| Grouping {
            max_delay: self.group_max_delay,
            max_answers: self.group_max_answers.max(1).into(),
        })
    }
}

/// One answer.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// Identity of the request.
    pub fingerprint: Fingerprint,
    /// The id shown to the user.
    pub custom_id: &'a str,
    /// HTTP status.
    pub status_code: u16,
    /// The provider's name for the request.
    pub request_id: Option<&'a str>,
    /// Valid JSON, already parsed by the caller; line breaks between its tokens become spaces.
    /// Bytes that are not JSON would be taken for damage by the next run.
    pub body: &'a [u8],
}

/// The line that a journal has for an answer, with its newline.
#[must_use]
pub fn answer_line(answer: &Answer<'_>) -> Vec<u8> {
    let mut line = Vec::new();
    write_answer(&mut line, answer);
    line
}

/// How many of `answers`, at least one, are written together.
fn fitting_together(answers: &[Answer<'_>]) -> usize {
    let mut bytes = 0;
    let fitting = answers.iter().take_while(|answer| {
        bytes += answer.custom_id.len() + answer.body.len();
        bytes <= TOGETHER_MAX_BYTES
    });
    fitting.count().max(1)
}

/// How an answer was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "once the spare room is in use nothing more may be sent"]
pub enum Appended {
    /// As usual.
    Fine,
    /// The disk is full and the spare room has been given up for it: send nothing more.
    OnSpare,
}

/// Why an answer is not safe. Send nothing more after any of them.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The disk is full and no spare room is left. The file ends with the answer before.
    #[error("the disk is full: `{custom_id}` could not be written to `{}`", path.display())]
    DiskFull {
        /// The file.
        path: PathBuf,
        /// The request that was answered.
        custom_id: String,
        /// What the system said.
        source: io::Error,
    },
    /// The file cannot be written. It ends with the answer before.
    #[error("`{custom_id}` could not be written to `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The request that was answered.
        custom_id: String,
        /// What the system said.
        source: io::Error,
    },
    /// An fsync has failed, now or earlier. This answer has been written, but it and all answers
    /// since the last good fsync may not survive a power loss.
    #[error(
        "`{custom_id}` was written to `{}`, but the disk does not confirm what was written",
        path.display()
    )]
    NotDurable {
        /// The file.
        path: PathBuf,
        /// The request that was answered.
        custom_id: String,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The line would be longer than the next run would read.
    #[error("`{custom_id}` makes a line of {length} bytes, the most is {max}: ask for less output")]
    TooLong {
        /// The request that was answered.
        custom_id: String,
        /// Length of the line.
        length: usize,
        /// Longest line that is kept.
        max: usize,
    },
}

impl AppendError {
    fn at(path: &Path, custom_id: &str, source: io::Error) -> Self {
        let (path, custom_id) = (path.to_owned(), custom_id.to_owned());
        match is_full(&source) {
            true => Self::DiskFull {
                path,
                custom_id,
                source,
            },
            false => Self::Write {
                path,
                custom_id,
                source,
            },
        }
    }

    fn not_durable(path: &Path, custom_id: &str, source: Arc<io::Error>) -> Self {
        Self::NotDurable {
            path: path.to_owned(),
            custom_id: custom_id.to_owned(),
            source,
        }
    }

    fn check_length(length: usize, max: usize, custom_id: &str) -> Result<(), Self> {
        match length > max {
            true => Err(Self::TooLong {
                custom_id: custom_id.to_owned(),
                length,
                max,
            }),
            false => Ok(()),
        }
    }
}

/// Why a file could not be closed properly.
#[derive(Debug, thiserror::Error)]
pub enum CloseError {
    /// An fsync has failed, now or earlier: answers since the last good one may not survive a power
    /// loss.
    #[error("the disk does not confirm what was written to `{}`", path.display())]
    Sync {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// Something else failed. What was written is on the disk.
    #[error("could not finish `{}`", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What earlier runs have left.
#[derive(Debug)]
pub struct Recovered {
    /// Which requests are answered.
    pub answered: Answered,
    /// How many answers there are.
    pub answers: u64,
    /// Damaged lines within the file; their requests run again.
    pub corrupt_lines: u64,
    /// The last line was not whole, or zeros followed it.
    pub torn_tail: bool,
    /// Where the damaged bytes have gone, if there were any.
    pub corrupt_file: Option<PathBuf>,
    /// The earlier journal, if a fresh start was wanted and there was one.
    pub set_aside: Option<PathBuf>,
}

/// An open journal. Dropping it is as closing it, but tells of no errors.
#[derive(Debug)]
pub struct Journal {
    options: JournalOptions,
    file: Arc<File>,
    tail: Tail,
    // Dropped in this order: everything is written before the lock is released.
    syncer: Syncer,
    spare: Spare,
    _lock: OutputLock,
    synced: Arc<AtomicU64>,
    written: u64,
    on_spare: bool,
    lines: Vec<u8>,
}

impl Journal {
    /// Takes the lock, reads what earlier runs have answered, repairs the file if need be, and sets
    /// spare room aside.
    pub fn open(options: JournalOptions) -> Result<(Self, Recovered), OpenError> {
        Self::open_on(options, |file| file)
    }

    fn open_on(
        mut options: JournalOptions,
        storage: impl FnOnce(Arc<File>) -> Arc<dyn Storage>,
    ) -> Result<(Self, Recovered), OpenError> {
        let path = &options.path;
        is_file(path)?;
        let lock = match options.lock.take() {
            Some(lock) => lock,
            None => OutputLock::acquire(path)?,
        };
        let set_aside = if options.fresh {
            set_aside(path)?
        } else {
            None
        };
        let access = Access::Create {
            private: options.private,
        };
        let mut healed = open_healed(path, &options.corrupt_path, Kind::Answer, access)?;
        if let Some(stale) = options.stale_path.as_deref().filter(|_| !options.fresh)
            && is_file(stale)?
        {
            take_back(path, &mut healed, stale, &options.corrupt_path)?;
        }
        if options.durability == Durability::Power && healed.length > 0 {
            // An earlier run may have been killed before its last fsync, and its answers are about
            // to be relied upon.
            let synced = healed.file.sync_data();
            synced.map_err(|error| OpenError::at(path, "sync", error))?;
        }
        let spare = Spare::keep(path, options.spare_bytes)?;
        let recovered = Recovered {
            answers: healed.scan.answered.len(),
            answered: healed.scan.answered,
            corrupt_lines: healed.scan.damaged_lines,
            torn_tail: healed.scan.torn_tail,
            corrupt_file: (!healed.scan.cuts.is_empty()).then(|| options.corrupt_path.clone()),
            set_aside,
        };
        let file = Arc::new(healed.file);
        let storage = storage(Arc::clone(&file));
        let synced = Arc::new(AtomicU64::new(0));
        let syncer = Syncer::start(
            Arc::clone(&storage),
            options.grouping(),
            Arc::clone(&synced),
        )
        .map_err(|error| OpenError::at(path, "open", error))?;
        let journal = Self {
            tail: Tail::new(storage, healed.length),
            options,
            file,
            syncer,
            spare,
            _lock: lock,
            synced,
            written: 0,
            on_spare: false,
            lines: Vec::new(),
        };
        Ok((journal, recovered))
    }

    /// Writes one answer, with one system call and without waiting for the disk. When this returns
    /// [`Appended`], the answer survives the end of the process.
    pub fn append(&mut self, answer: &Answer<'_>) -> Result<Appended, AppendError> {
        self.lines.clear();
        write_answer(&mut self.lines, answer);
        AppendError::check_length(self.lines.len(), MAX_LINE_BYTES, answer.custom_id)?;
        let mut appended = self.tail.append(&self.lines);
        if appended.as_ref().is_err_and(is_full) && self.spare.release() {
            self.on_spare = true;
            appended = self.tail.append(&self.lines);
        }
        self.lines.shrink_to(BUFFER_KEPT_BYTES);
        appended.map_err(|error| AppendError::at(&self.options.path, answer.custom_id, error))?;
        self.written += 1;
        let durable = self.syncer.wrote(1);
        self.appended(answer, &durable)
    }

    /// Writes answers that have arrived together, with one system call where they fit in one. Says
    /// of each what [`Journal::append`] would say of it, in their order.
    pub fn append_all(&mut self, answers: &[Answer<'_>]) -> Vec<Result<Appended, AppendError>> {
        let mut outcomes = Vec::with_capacity(answers.len());
        let mut rest = answers;
        while !rest.is_empty() {
            let (together, after) = rest.split_at(fitting_together(rest));
            rest = after;
            if together.len() > 1 && self.append_together(together) {
                let durable = self.syncer.wrote(together.len() as u64);
                outcomes.extend(together.iter().map(|one| self.appended(one, &durable)));
            } else {
                // One by one the spare room is used, what still fits is kept, and what does not is
                // named.
                outcomes.extend(together.iter().map(|one| self.append(one)));
            }
        }
        outcomes
    }

    /// `false`: none of them is in the file.
    fn append_together(&mut self, answers: &[Answer<'_>]) -> bool {
        self.lines.clear();
        for answer in answers {
            write_answer(&mut self.lines, answer);
        }
        let appended = self.tail.append(&self.lines).is_ok();
        self.lines.shrink_to(BUFFER_KEPT_BYTES);
        if appended {
            self.written += answers.len() as u64;
        }
        appended
    }

    /// What is said of an answer that was written.
    fn appended(
        &self,
        answer: &Answer<'_>,
        durable: &Result<(), Arc<io::Error>>,
    ) -> Result<Appended, AppendError> {
        match durable {
            Err(source) => Err(AppendError::not_durable(
                &self.options.path,
                answer.custom_id,
                Arc::clone(source),
            )),
            Ok(()) if self.on_spare => Ok(Appended::OnSpare),
            Ok(()) => Ok(Appended::Fine),
        }
    }

    /// Gives the spare room back to the disk. For the end of a run, when no answer is under way any
    /// more and other files need the room.
    pub fn give_up_spare(&mut self) {
        self.spare.release();
    }

    /// Answers written since the journal was opened.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// How many of them are known to be on the disk.
    #[must_use]
    pub fn synced(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }

    /// What [`Journal::synced`] reads, for whoever watches from elsewhere.
    #[must_use]
    pub fn synced_counter(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.synced)
    }

    /// Where the journal is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.options.path
    }

    /// Moves answers whose request is no longer in the input to the file at `stale_path`, and says
    /// how many. `leftover` is [`Recovered::answered`] after every row of the input has taken its
    /// answer: call this only at the end of a run that has seen the whole input. Offsets of the
    /// journal's lines change.
    pub fn split_stale(
        &mut self,
        leftover: &Answered,
        stale_path: &Path,
    ) -> Result<u64, StaleError> {
        if leftover.is_empty() {
            return Ok(0);
        }
        let path = &self.options.path;
        let failed = |source| StaleError::at(path, stale_path, source);
        self.syncer
            .finish()
            .map_err(|error| failed(io::Error::new(error.kind(), error)))?;
        let pieces = leftover_lines(&self.file, leftover).map_err(failed)?;
        let moved = copy_to_stale(&self.file, path, &pieces, stale_path)?;
        let (file, length) =
            rewrite(path, &self.file, self.tail.length(), &pieces).map_err(failed)?;
        self.file = Arc::new(file);
        self.tail = Tail::new(Arc::<File>::clone(&self.file), length);
        let storage = Arc::<File>::clone(&self.file);
        let synced = Arc::clone(&self.synced);
        self.syncer = Syncer::start(storage, self.options.grouping(), synced).map_err(failed)?;
        sync_directory_of(path).map_err(failed)?;
        Ok(moved)
    }

    /// Fsyncs what is left, removes the spare room and releases the lock.
    pub fn close(mut self) -> Result<(), CloseError> {
        let path = self.options.path.clone();
        self.syncer
            .finish()
            .map_err(|source| CloseError::Sync { path, source })
    }
}
