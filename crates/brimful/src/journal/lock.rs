//! One run on one output.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::files::{Access, OpenError, open_file, sidecar};

/// How often the lock file may vanish between opening and locking it before that counts as taken.
const MAX_TRIES: u32 = 32;

/// The lock on an output: an advisory lock on `OUTPUT.lock`, which the kernel releases however the
/// process ends. A leftover file is therefore no obstacle.
#[derive(Debug)]
pub struct OutputLock {
    path: PathBuf,
    /// Holds the lock while it is open.
    _file: File,
}

impl OutputLock {
    /// Takes the lock on `output`, or says who else has it.
    pub fn acquire(output: &Path) -> Result<Self, OpenError> {
        let path = sidecar(output, ".lock");
        for _ in 0..MAX_TRIES {
            let file = open_file(&path, Access::Create { private: false })
                .map_err(|error| OpenError::at(&path, "lock", error))?;
            match lock_found(file, &path) {
                Ok(Some(file)) => return Ok(Self { path, _file: file }),
                Ok(None) => {}
                Err(TryLockError::WouldBlock) => break,
                Err(TryLockError::Error(error)) if has_no_locks(&error) => {
                    let path = output.to_owned();
                    return Err(OpenError::NoLocks {
                        path,
                        source: error,
                    });
                }
                Err(TryLockError::Error(error)) => {
                    return Err(OpenError::at(&path, "lock", error));
                }
            }
        }
        Err(OpenError::Locked {
            path: output.to_owned(),
        })
    }
}

impl Drop for OutputLock {
    fn drop(&mut self) {
        // What cannot be removed is unlocked all the same.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Locks the file that was found at `path`. `None`: it is there no longer. The last owner removes
/// the file while it still holds the lock; whoever had opened it just before then locks a file that
/// nobody else will find.
fn lock_found(file: File, path: &Path) -> Result<Option<File>, TryLockError> {
    file.try_lock()?;
    Ok(is_still_at(&file, path).then_some(file))
}

fn is_still_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::symlink_metadata(path)) {
        (Ok(ours), Ok(found)) => (ours.dev(), ours.ino()) == (found.dev(), found.ino()),
        _ => false,
    }
}

fn has_no_locks(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Unsupported
        || error.raw_os_error() == Some(rustix::io::Errno::NOLCK.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_run_on_an_output_is_refused_until_the_first_has_ended() {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("out.jsonl");
        let first = OutputLock::acquire(&output).unwrap();
        let refused = OutputLock::acquire(&output).unwrap_err();
        assert!(matches!(refused, OpenError::Locked { .. }));
        assert!(refused.to_string().contains("out.jsonl`"), "{refused}");
        drop(first);
        drop(OutputLock::acquire(&output).unwrap());
        assert!(!sidecar(&output, ".lock").exists());
    }

    #[test]
    fn the_lock_file_of_a_killed_run_is_no_obstacle() {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("out.jsonl");
        std::fs::write(sidecar(&output, ".lock"), "").unwrap();
        OutputLock::acquire(&output).unwrap();
    }

    #[test]
    fn a_lock_on_a_file_that_was_removed_meanwhile_is_no_lock() {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("out.jsonl");
        let path = sidecar(&output, ".lock");
        let open = || File::open(&path).unwrap();
        let first = OutputLock::acquire(&output).unwrap();
        let (early, late) = (open(), open());
        assert!(matches!(
            lock_found(open(), &path),
            Err(TryLockError::WouldBlock)
        ));
        drop(first);
        assert!(lock_found(early, &path).unwrap().is_none());
        let second = OutputLock::acquire(&output).unwrap();
        assert!(lock_found(late, &path).unwrap().is_none());
        drop(second);
        File::create(&path).unwrap();
        assert!(lock_found(open(), &path).unwrap().is_some());
    }

    #[test]
    fn many_threads_never_hold_the_lock_together() {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("out.jsonl");
        let inside = std::sync::atomic::AtomicU32::new(0);
        let order = std::sync::atomic::Ordering::SeqCst;
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        if let Ok(lock) = OutputLock::acquire(&output) {
                            assert_eq!(inside.fetch_add(1, order), 0);
                            assert_eq!(inside.fetch_sub(1, order), 1);
                            drop(lock);
                        }
                    }
                });
            }
        });
    }
}
