//! Opening a file of lines after anything may have happened to it.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt, fchown};
use std::path::{Path, PathBuf};

use super::files::{Access, OpenError, is_file, open_file, sidecar, sync_directory_of};
use super::line::{Kind, MAX_LINE_BYTES, fingerprint, is_torn_head};
use super::lines::Lines;
use super::scan::Scan;

const COPY_BYTES: usize = 1 << 20;

/// A file that consists of whole lines of ours.
#[derive(Debug)]
pub(super) struct Healed {
    /// Open for reading and appending.
    pub(super) file: File,
    pub(super) length: u64,
    /// What was found before anything was repaired.
    pub(super) scan: Scan,
}

/// Opens the file at `path` and repairs it: damaged bytes move to `corrupt_path`, a missing last
/// newline is added. A file without anything of ours is refused untouched. Doing it again, also
/// after a crash in the middle, at most copies damaged bytes a second time.
pub(super) fn open_healed(
    path: &Path,
    corrupt_path: &Path,
    kind: Kind,
    access: Access,
) -> Result<Healed, OpenError> {
    let existed = is_file(path)?;
    let file = open_file(path, access).map_err(|error| OpenError::at(path, "open", error))?;
    if !existed {
        sync_directory_of(path).map_err(|error| OpenError::at(path, "create", error))?;
    }
    let scan = Scan::of(&file, kind, MAX_LINE_BYTES)
        .map_err(|error| OpenError::at(path, "read", error))?;
    if scan.length > 0 && !scan.ours {
        let path = path.to_owned();
        return Err(OpenError::NotOurs { path });
    }
    remove_unfinished(path).map_err(|error| OpenError::at(path, "repair", error))?;
    if !scan.cuts.is_empty() {
        quarantine(&file, &scan.cuts, corrupt_path)
            .map_err(|error| OpenError::at(corrupt_path, "write", error))?;
    }
    let (file, length) =
        repair(path, file, &scan).map_err(|error| OpenError::at(path, "repair", error))?;
    Ok(Healed { file, length, scan })
}

/// Moves a file of ours out of the way, to the first of `PATH.old`, `PATH.old-2`, … that is free.
/// Nothing is ever overwritten: what is set aside has been paid for.
pub(super) fn set_aside(path: &Path) -> Result<Option<PathBuf>, OpenError> {
    if !is_file(path)? {
        return Ok(None);
    }
    let file =
        open_file(path, Access::Existing).map_err(|error| OpenError::at(path, "open", error))?;
    let failed = |error| OpenError::at(path, "set aside", error);
    if file.metadata().map_err(failed)?.len() == 0 {
        return Ok(None);
    }
    if !begins_as_ours(&file).map_err(failed)? {
        let path = path.to_owned();
        return Err(OpenError::NotOurs { path });
    }
    let mut target = sidecar(path, ".old");
    let mut number = 1_u64;
    while target.symlink_metadata().is_ok() {
        number += 1;
        target = sidecar(path, &format!(".old-{number}"));
    }
    std::fs::rename(path, &target).map_err(failed)?;
    sync_directory_of(path).map_err(failed)?;
    Ok(Some(target))
}

/// As a scan decides it, but without reading on.
fn begins_as_ours(file: &File) -> io::Result<bool> {
    let mut lines = Lines::of(file, MAX_LINE_BYTES);
    while let Some(line) = lines.next()? {
        let Some(bytes) = line.bytes else { continue };
        let torn_first_line = line.start == 0 && !line.ended && is_torn_head(bytes);
        if fingerprint(bytes).is_some() || torn_first_line {
            return Ok(true);
        }
    }
    Ok(false)
}

fn quarantine(file: &File, cuts: &[Range<u64>], corrupt_path: &Path) -> io::Result<()> {
    is_file(corrupt_path).map_err(io::Error::other)?;
    let corrupt = open_file(corrupt_path, Access::Create { private: true })?;
    let length = corrupt.metadata()?.len();
    let copied = copy_lines(file, cuts, &corrupt).and_then(|_| corrupt.sync_all());
    if let Err(error) = copied {
        // Half a copy is of no use; the original is still in its place.
        let _ = corrupt.set_len(length);
        return Err(error);
    }
    sync_directory_of(corrupt_path)
}

fn repair(path: &Path, file: File, scan: &Scan) -> io::Result<(File, u64)> {
    let whole = match &scan.cuts[..] {
        [] => scan.length,
        [tail] if tail.end == scan.length => tail.start,
        cuts => {
            let rewritten = rewrite(path, &file, scan.length, cuts)?;
            return sync_directory_of(path).map(|()| rewritten);
        }
    };
    let mut length = whole;
    if whole < scan.length {
        file.set_len(whole)?;
    }
    if whole > 0 && byte_at(&file, whole - 1)? != b'\n' {
        (&file).write_all(b"\n")?;
        length += 1;
    }
    if length != scan.length || scan.unended {
        file.sync_all()?;
    }
    Ok((file, length))
}

/// Replaces the file at `path`, open as `file`, by one without the `cuts`. At every moment there is
/// one or the other, whole; which of them a power loss leaves is certain only after
/// [`sync_directory_of`]. From then on `file` is of no use.
pub(super) fn rewrite(
    path: &Path,
    file: &File,
    length: u64,
    cuts: &[Range<u64>],
) -> io::Result<(File, u64)> {
    remove_unfinished(path)?;
    let unfinished = unfinished(path);
    let written = write_without(&unfinished, file, length, cuts)
        .and_then(|written| std::fs::rename(&unfinished, path).map(|()| written));
    if written.is_err() {
        // It takes room that may be what was lacking.
        let _ = remove_unfinished(path);
    }
    written
}

fn write_without(
    target: &Path,
    file: &File,
    length: u64,
    cuts: &[Range<u64>],
) -> io::Result<(File, u64)> {
    let new = open_file(target, Access::Create { private: true })?;
    let starts = std::iter::once(0).chain(cuts.iter().map(|cut| cut.end));
    let ends = cuts
        .iter()
        .map(|cut| cut.start)
        .chain(std::iter::once(length));
    let kept: Vec<_> = starts.zip(ends).map(|(start, end)| start..end).collect();
    let written = copy_lines(file, &kept, &new)?;
    let old = file.metadata()?;
    new.set_permissions(old.permissions())?;
    // Only root may give a file away; for anybody else it is their own already.
    let _ = fchown(&new, Some(old.uid()), Some(old.gid()));
    new.sync_all()?;
    Ok((new, written))
}

/// Copies pieces of `from`, each with a newline at its end, and says how many bytes that made.
fn copy_lines(from: &File, pieces: &[Range<u64>], to: &File) -> io::Result<u64> {
    let mut out = BufWriter::with_capacity(COPY_BYTES, to);
    let mut buffer = vec![0; COPY_BYTES];
    let mut written = 0;
    for piece in pieces {
        let mut at = piece.start;
        let mut last = b'\n';
        while at < piece.end {
            let left = usize::try_from(piece.end - at).unwrap_or(usize::MAX);
            let part = &mut buffer[..left.min(COPY_BYTES)];
            from.read_exact_at(part, at)?;
            out.write_all(part)?;
            at += part.len() as u64;
            last = part.last().copied().unwrap_or(last);
        }
        written += piece.end - piece.start;
        if last != b'\n' {
            out.write_all(b"\n")?;
            written += 1;
        }
    }
    out.flush()?;
    Ok(written)
}

fn byte_at(file: &File, offset: u64) -> io::Result<u8> {
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset)?;
    Ok(byte[0])
}

/// Where a new version of the file at `path` is written before it takes its place.
fn unfinished(path: &Path) -> PathBuf {
    sidecar(path, ".rewrite")
}

/// Removes what a run that was killed while it rewrote the file has left.
fn remove_unfinished(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(unfinished(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
