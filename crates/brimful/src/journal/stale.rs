//! Answers whose request is no longer in the input.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::answered::Answered;
use super::files::{Access, OpenError, sidecar};
use super::heal::{Healed, open_healed};
use super::line::{Kind, MAX_LINE_BYTES};
use super::lines::{FromStart, Lines};
use super::scan::each_line;
use crate::fingerprint::Fingerprint;

/// Why stale answers could not be moved. They are still in the journal, perhaps also in the file
/// for stale answers; the next complete run moves them without doubling any.
#[derive(Debug, thiserror::Error)]
pub enum StaleError {
    /// The file for stale answers cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Reading, writing or syncing failed.
    #[error("could not move stale answers from `{}` to `{}`", journal.display(), stale.display())]
    Io {
        /// The journal.
        journal: PathBuf,
        /// The file for stale answers.
        stale: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl StaleError {
    pub(super) fn at(journal: &Path, stale: &Path, source: io::Error) -> Self {
        Self::Io {
            journal: journal.to_owned(),
            stale: stale.to_owned(),
            source,
        }
    }
}

/// The lines, in the order of the file and with neighbours joined, that hold the `leftover`: for
/// each fingerprint so many of its latest lines as are left over.
pub(super) fn leftover_lines(file: &File, leftover: &Answered) -> io::Result<Vec<Range<u64>>> {
    let mut kept: HashMap<Fingerprint, u64> = HashMap::new();
    each_line(file, |fingerprint, _| {
        if leftover.count(fingerprint) > 0 {
            *kept.entry(fingerprint).or_default() += 1;
        }
    })?;
    for (fingerprint, kept) in &mut kept {
        *kept = kept.saturating_sub(u64::from(leftover.count(*fingerprint)));
    }
    let mut pieces: Vec<Range<u64>> = Vec::new();
    each_line(file, |fingerprint, line| {
        match kept.get_mut(&fingerprint) {
            None => return,
            Some(0) => {}
            Some(earlier) => {
                *earlier -= 1;
                return;
            }
        }
        match pieces.last_mut() {
            Some(last) if last.end == line.start => last.end = line.end,
            _ => pieces.push(line),
        }
    })?;
    Ok(pieces)
}

/// Appends the lines in `pieces` to the file at `stale_path` and says how many lines they are. A
/// line that is there already, from an attempt that was killed before the journal was rewritten, is
/// not repeated. When this returns, the lines are on the disk.
pub(super) fn copy_to_stale(
    journal: &File,
    journal_path: &Path,
    pieces: &[Range<u64>],
    stale_path: &Path,
) -> Result<u64, StaleError> {
    let failed = |source| StaleError::at(journal_path, stale_path, source);
    let private = is_private(journal).map_err(failed)?;
    let corrupt_path = sidecar(stale_path, ".corrupt");
    let healed = open_healed(
        stale_path,
        &corrupt_path,
        Kind::Answer,
        Access::Create { private },
    )?;
    append_missing(journal, pieces, &healed.file, healed.length).map_err(failed)
}

fn append_missing(
    journal: &File,
    pieces: &[Range<u64>],
    stale: &File,
    stale_length: u64,
) -> io::Result<u64> {
    let mut present = Answered::default();
    each_text(stale, 0..stale_length, |text| {
        present.push(digest(text));
        Ok(())
    })?;
    present.settle();
    let mut out = BufWriter::new(stale);
    let mut moved = 0;
    for piece in pieces {
        each_text(journal, piece.clone(), |text| {
            moved += 1;
            if !present.is_empty() && present.take(digest(text)) {
                return Ok(());
            }
            out.write_all(text)?;
            out.write_all(b"\n")
        })?;
    }
    out.flush()?;
    stale.sync_all()?;
    Ok(moved)
}

/// Appends every stale answer to the journal, of which the next complete run moves those again that
/// are still not wanted. After a crash in the middle a line may stand in both files: it is moved
/// again, and not doubled.
pub(super) fn take_back(
    path: &Path,
    healed: &mut Healed,
    stale_path: &Path,
    corrupt_path: &Path,
) -> Result<(), OpenError> {
    let stale = open_healed(stale_path, corrupt_path, Kind::Answer, Access::Existing)?;
    let mut from = FromStart {
        file: &stale.file,
        offset: 0,
    };
    io::copy(&mut from, &mut &healed.file)
        .and_then(|_| healed.file.sync_data())
        .map_err(|error| OpenError::at(path, "write", error))?;
    *healed = open_healed(path, corrupt_path, Kind::Answer, Access::Existing)?;
    std::fs::remove_file(stale_path).map_err(|error| OpenError::at(stale_path, "remove", error))
}

fn is_private(file: &File) -> io::Result<bool> {
    Ok(file.metadata()?.permissions().mode() & 0o077 == 0)
}

/// Of the whole line, to recognise it again.
fn digest(line: &[u8]) -> Fingerprint {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&blake3::hash(line).as_bytes()[..16]);
    Fingerprint(bytes)
}

/// The lines in a stretch of a file that consists of whole lines.
fn each_text(
    file: &File,
    piece: Range<u64>,
    mut look: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let source = FromStart {
        file,
        offset: piece.start,
    }
    .take(piece.end - piece.start);
    let mut lines = Lines::new(source, MAX_LINE_BYTES);
    while let Some(line) = lines.next()? {
        look(line.bytes.ok_or(io::ErrorKind::FileTooLarge)?)?;
    }
    Ok(())
}
