//! The files of a journal: names, opening, and what may stand in the way.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::storage::is_full;

/// Why a journal or a file of dead letters cannot be used. Nothing has been changed, except that a
/// damaged file of ours may have been healed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another run holds the lock.
    #[error("another run is writing `{}`: wait for its end or choose another output", path.display())]
    Locked {
        /// The output that both runs want.
        path: PathBuf,
    },
    /// The file system cannot lock, and two runs on one output would pay twice.
    #[error(
        "the file system of `{}` has no file locks, which keep two runs apart: put the output on a local disk",
        path.display()
    )]
    NoLocks {
        /// The output that was to be locked.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file has content, and none of it was written by Brimful.
    #[error(
        "`{}` was not written by brimful and is left as it is: choose another output or move it away",
        path.display()
    )]
    NotOurs {
        /// The file that is in the way.
        path: PathBuf,
    },
    /// There is something else than a regular file.
    #[error("`{}` is {found}: {remedy}", path.display())]
    NotAFile {
        /// What was to be opened.
        path: PathBuf,
        /// What it is.
        found: &'static str,
        /// What to do.
        remedy: String,
    },
    /// The directory of the output is missing.
    #[error("the directory `{}` does not exist: create it or choose another output", path.display())]
    NoDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// No permission, or a read-only file system.
    #[error("no permission to {doing} `{}`: allow it or choose another output", path.display())]
    Forbidden {
        /// What was tried.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The disk is full.
    #[error("no room to {doing} `{}`: free some disk space and run the same command again", path.display())]
    DiskFull {
        /// What was tried.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Anything else.
    #[error("could not {doing} `{}`", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl OpenError {
    pub(super) fn at(path: &Path, doing: &'static str, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::Forbidden {
                    doing,
                    path,
                    source,
                }
            }
            _ if is_full(&source) => Self::DiskFull {
                doing,
                path,
                source,
            },
            _ => Self::Io {
                doing,
                path,
                source,
            },
        }
    }
}

/// The file next to `path` whose name has `suffix` in addition.
pub(super) fn sidecar(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

/// How to open a file.
#[derive(Clone, Copy, Debug)]
pub(super) enum Access {
    /// Fail if there is none.
    Existing,
    /// Make one if there is none; `private`: nobody else may read it.
    Create { private: bool },
}

/// Opens for reading and appending. Never follows a symbolic link, which could lead a write to a
/// file that nobody has named.
pub(super) fn open_file(path: &Path, access: Access) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true);
    if let Access::Create { private } = access {
        options
            .create(true)
            .mode(if private { 0o600 } else { 0o666 });
    }
    options.custom_flags(NO_FOLLOW).open(path)
}

const NO_FOLLOW: i32 = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();

/// Whether there is a file at `path`. Anything but a regular file or nothing is an error.
pub(super) fn is_file(path: &Path) -> Result<bool, OpenError> {
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let directory = directory_of(path);
            return match directory.is_dir() {
                true => Ok(false),
                false => Err(OpenError::NoDirectory {
                    path: directory.to_owned(),
                }),
            };
        }
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            let path = directory_of(path).to_owned();
            return Err(OpenError::NoDirectory { path });
        }
        Err(error) => return Err(OpenError::at(path, "look at", error)),
    };
    if found.is_file() {
        return Ok(true);
    }
    let (found, remedy) = if found.is_symlink() {
        let remedy = match std::fs::canonicalize(path) {
            Ok(target) => format!("name the file that it points to, `{}`", target.display()),
            Err(_) => "it points nowhere; choose another output".to_owned(),
        };
        ("a symbolic link", remedy)
    } else if found.is_dir() {
        ("a directory", "name a file in it".to_owned())
    } else {
        ("not a regular file", "choose another output".to_owned())
    };
    Err(OpenError::NotAFile {
        path: path.to_owned(),
        found,
        remedy,
    })
}

/// Makes creations, renames and removals in the directory of `path` survive a power loss.
pub(super) fn sync_directory_of(path: &Path) -> io::Result<()> {
    File::open(directory_of(path))?.sync_all()
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_no_regular_file_is_refused_with_a_remedy() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out.jsonl");
        assert!(!is_file(&path).unwrap());
        let target = directory.path().join("target.jsonl");
        std::os::unix::fs::symlink(&target, &path).unwrap();
        assert!(
            is_file(&path)
                .unwrap_err()
                .to_string()
                .contains("points nowhere")
        );
        std::fs::write(&target, "").unwrap();
        let refused = is_file(&path).unwrap_err().to_string();
        assert!(
            refused.contains("symbolic link") && refused.contains("target.jsonl"),
            "{refused}"
        );
        assert!(open_file(&path, Access::Create { private: false }).is_err());
        let refused = is_file(directory.path()).unwrap_err().to_string();
        assert!(refused.contains("a directory"), "{refused}");
        assert!(is_file(&target).unwrap());
    }

    #[test]
    fn a_missing_directory_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let refused = is_file(&directory.path().join("missing/out.jsonl")).unwrap_err();
        assert!(matches!(&refused, OpenError::NoDirectory { path } if path.ends_with("missing")));
        std::fs::write(directory.path().join("file"), "").unwrap();
        let refused = is_file(&directory.path().join("file/out.jsonl")).unwrap_err();
        assert!(matches!(&refused, OpenError::NoDirectory { path } if path.ends_with("file")));
        assert_eq!(directory_of(Path::new("out.jsonl")), Path::new("."));
    }

    #[test]
    fn errors_of_the_system_become_what_the_user_can_do() {
        let at = |kind: io::ErrorKind| OpenError::at(Path::new("o"), "open", kind.into());
        assert!(matches!(
            at(io::ErrorKind::PermissionDenied),
            OpenError::Forbidden { .. }
        ));
        assert!(matches!(
            at(io::ErrorKind::ReadOnlyFilesystem),
            OpenError::Forbidden { .. }
        ));
        assert!(matches!(
            at(io::ErrorKind::StorageFull),
            OpenError::DiskFull { .. }
        ));
        assert!(matches!(
            at(io::ErrorKind::QuotaExceeded),
            OpenError::DiskFull { .. }
        ));
        assert!(matches!(at(io::ErrorKind::TimedOut), OpenError::Io { .. }));
    }

    #[test]
    fn a_private_file_is_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("private");
        let file = open_file(&path, Access::Create { private: true }).unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}
