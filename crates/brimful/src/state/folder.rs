//! The folder itself: permissions, the salt, the lock, writing whole files.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::StateError;

/// Length of a key of BLAKE3.
pub(super) const SALT_BYTES: usize = 32;

const NO_FOLLOW: i32 = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();

pub(super) fn make(path: &Path) -> Result<(), StateError> {
    // One that is there keeps the permissions that its owner gave it.
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(StateError::at(path, "make the folder"))
}

/// Held while files are read and changed together: milliseconds. The kernel releases it however
/// the process ends.
pub(super) fn lock(folder: &Path) -> Result<File, StateError> {
    let path = folder.join("lock");
    let locked = private(OpenOptions::new().write(true).create(true), &path)
        .and_then(|file| file.lock().map(|()| file));
    locked.map_err(StateError::at(&path, "lock"))
}

/// The random bytes that fingerprints of keys depend on; made when there are none.
pub(super) fn salt(folder: &Path) -> Result<[u8; SALT_BYTES], StateError> {
    let path = folder.join("salt");
    let _held = lock(folder)?;
    let mut salt = [0; SALT_BYTES];
    match fs::read(&path) {
        Ok(bytes) if bytes.len() == SALT_BYTES => {
            salt.copy_from_slice(&bytes);
            return Ok(salt);
        }
        // Cut short by a full disk or a power loss: what was named by it cannot be found again.
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(StateError::at(&path, "read")(error)),
    }
    let random = Path::new("/dev/urandom");
    File::open(random)
        .and_then(|mut file| file.read_exact(&mut salt))
        .map_err(StateError::at(random, "read"))?;
    write(&path, &salt)?;
    Ok(salt)
}

/// Writes a file as a whole: at any moment there is the old one or the new one.
pub(super) fn write(path: &Path, contents: &[u8]) -> Result<(), StateError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let written = (|| {
        // Left behind by a run that was killed while it wrote; nobody else writes under the lock.
        let _leftover = fs::remove_file(&new);
        let mut file = private(OpenOptions::new().write(true).create_new(true), &new)?;
        file.write_all(contents)?;
        file.sync_data()?;
        fs::rename(&new, path)
    })();
    written.map_err(|error| {
        let _gone = fs::remove_file(&new);
        StateError::at(path, "write")(error)
    })
}

/// Opens for the owner alone, and never through a symbolic link.
pub(super) fn private(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    options.mode(0o600).custom_flags(NO_FOLLOW).open(path)
}

/// Files whose name has this ending, sorted.
pub(super) fn files(folder: &Path, ending: &str) -> Result<Vec<PathBuf>, StateError> {
    let entries = fs::read_dir(folder)
        .and_then(Iterator::collect::<io::Result<Vec<_>>>)
        .map_err(StateError::at(folder, "read the folder"))?;
    let mut paths: Vec<PathBuf> = entries
        .into_iter()
        .filter(|entry| entry.file_name().to_string_lossy().ends_with(ending))
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    Ok(paths)
}
