//! Which runs use an upstream at this moment on this machine.
//!
//! Each announces itself by a file that it keeps locked. The kernel releases the lock however the
//! process ends, so that a file without a lock is left over, and a process id that was given to
//! another program deceives nobody.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{StateError, folder};

/// Ending of the names of announcements.
const ENDING: &str = ".run.json";
/// An announcement is not larger.
const BYTES_MAX: u64 = 4096;

/// Another run with the same key on this machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Other {
    /// What its levels are marked with.
    pub run: String,
    /// Its process.
    pub pid: u32,
    /// When it started, in milliseconds since 1970.
    pub started_unix_ms: u64,
    /// The part of every limit that it takes; 100 for all of it.
    pub share_percent: f64,
}

/// This run's announcement. It is withdrawn when this is dropped.
#[derive(Debug)]
pub struct Presence {
    folder: PathBuf,
    stem: String,
    ours: PathBuf,
    run: String,
    /// Holds the lock while it is open.
    _file: File,
}

impl Presence {
    pub(super) fn announce(
        folder: &Path,
        stem: &str,
        share_percent: f64,
        started_unix_ms: u64,
    ) -> Result<Self, StateError> {
        let pid = std::process::id();
        // Under the folder's lock nobody takes the file for one that was left over.
        let _held = folder::lock(folder)?;
        let (number, ours, file) = (0_u32..)
            .map(|n| (n, folder.join(format!("{stem}.{pid}.{n}{ENDING}"))))
            .find_map(|(n, path)| {
                let mut options = OpenOptions::new();
                options.write(true).create(true).truncate(false);
                let file = folder::private(&mut options, &path);
                match file.map(|file| (file.try_lock(), file)) {
                    Ok((Ok(()), file)) => Some(Ok((n, path, file))),
                    // Another run of this process.
                    Ok((Err(TryLockError::WouldBlock), _)) => None,
                    Ok((Err(TryLockError::Error(error)), _)) | Err(error) => {
                        Some(Err(StateError::at(&path, "announce this run in")(error)))
                    }
                }
            })
            .expect("processes have finitely many runs")?;
        let me = Other {
            run: format!("{pid}-{started_unix_ms}-{number}"),
            pid,
            started_unix_ms,
            share_percent,
        };
        let text = serde_json::to_vec(&me).unwrap_or_default();
        let written = file.set_len(0).and_then(|()| (&file).write_all(&text));
        written.map_err(StateError::at(&ours, "announce this run in"))?;
        Ok(Self {
            folder: folder.to_owned(),
            stem: stem.to_owned(),
            ours,
            run: me.run,
            _file: file,
        })
    }

    /// What this run's levels are marked with.
    #[must_use]
    pub fn run(&self) -> &str {
        &self.run
    }

    /// The other runs at this moment. What is left over of runs that were killed is removed.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn others(&self) -> Result<Vec<Other>, StateError> {
        let _held = folder::lock(&self.folder)?;
        let mut others = Vec::new();
        for path in folder::files(&self.folder, ENDING)? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let rest = name.strip_prefix(&self.stem);
            if path != self.ours && rest.is_some_and(|rest| rest.starts_with('.')) {
                others.extend(alive(&path));
            }
        }
        Ok(others)
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        // What cannot be removed is unlocked all the same.
        let _ = fs::remove_file(&self.ours);
    }
}

/// Whose announcement it is, while it is locked.
fn alive(path: &Path) -> Option<Other> {
    let mut file = folder::private(OpenOptions::new().read(true), path).ok()?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {}
        _ => {
            let _removed = fs::remove_file(path);
            return None;
        }
    }
    let mut text = Vec::new();
    Read::by_ref(&mut file)
        .take(BYTES_MAX)
        .read_to_end(&mut text)
        .ok()?;
    serde_json::from_slice(&text).ok()
}
