//! Room kept for the answers that are under way when the disk fills up.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::files::{Access, OpenError, open_file, sidecar};

/// Bytes in one of the blocks that `stat` counts.
const STAT_BLOCK_BYTES: u64 = 512;

/// `OUTPUT.spare`: a file of real blocks, removed when there is no other room.
#[derive(Debug)]
pub(super) struct Spare {
    path: PathBuf,
    kept: bool,
}

impl Spare {
    /// Takes the room; `bytes` = 0 takes none. A spare file that a killed run left is used again.
    pub(super) fn keep(output: &Path, bytes: u64) -> Result<Self, OpenError> {
        let path = sidecar(output, ".spare");
        if bytes == 0 {
            remove(&path).map_err(|error| OpenError::at(&path, "remove", error))?;
            return Ok(Self { path, kept: false });
        }
        if !holds(&path, bytes)
            && let Err(error) = remove(&path).and_then(|()| create(&path, bytes))
        {
            // The error of the creation is the one to report.
            let _ = remove(&path);
            return Err(OpenError::at(&path, "create", error));
        }
        Ok(Self { path, kept: true })
    }

    /// Gives the room back to the disk. `false` when there is none (any more).
    pub(super) fn release(&mut self) -> bool {
        std::mem::take(&mut self.kept) && remove(&self.path).is_ok()
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        self.release();
    }
}

fn holds(path: &Path, bytes: u64) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| {
        found.is_file() && found.len() == bytes && found.blocks() * STAT_BLOCK_BYTES >= bytes
    })
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn create(path: &Path, bytes: u64) -> io::Result<()> {
    let file = open_file(path, Access::Create { private: true })?;
    if !allocate(&file, bytes)? {
        fill(&file, bytes)?;
    }
    // Blocks that exist only in memory may turn out not to exist on the disk.
    file.sync_all()
}

/// `false`: this system or file system cannot allocate blocks without writing them.
#[cfg(target_os = "linux")]
fn allocate(file: &File, bytes: u64) -> io::Result<bool> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;
    loop {
        return match fallocate(file, FallocateFlags::empty(), 0, bytes) {
            Ok(()) => Ok(true),
            Err(Errno::INTR) => continue,
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
            Err(error) => Err(error.into()),
        };
    }
}

#[cfg(not(target_os = "linux"))]
fn allocate(_: &File, _: u64) -> io::Result<bool> {
    Ok(false)
}

/// Noise, because a file system that compresses would keep next to nothing for zeros.
fn fill(mut file: &File, bytes: u64) -> io::Result<()> {
    let mut noise = blake3::Hasher::new_derive_key("brimful spare file noise").finalize_xof();
    let mut block = vec![0; 1 << 16];
    let mut left = bytes;
    while left > 0 {
        noise.fill(&mut block);
        let length = left.min(block.len() as u64);
        file.write_all(&block[..usize::try_from(length).unwrap_or(block.len())])?;
        left -= length;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: u64 = 300_000;

    #[test]
    fn the_spare_file_holds_real_blocks_until_it_is_released() {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("out.jsonl");
        let path = sidecar(&output, ".spare");
        let mut spare = Spare::keep(&output, BYTES).unwrap();
        assert!(blocks_bytes(&path) >= BYTES);
        assert!(spare.release());
        assert!(!path.exists());
        assert!(!spare.release());
    }

    #[test]
    fn a_written_spare_file_holds_real_blocks_too() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("spare");
        let file = File::create_new(&path).unwrap();
        fill(&file, BYTES).unwrap();
        file.sync_all().unwrap();
        assert!(blocks_bytes(&path) >= BYTES);
    }

    #[test]
    fn a_leftover_of_the_right_size_is_used_again_and_any_other_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("out.jsonl");
        let path = sidecar(&output, ".spare");
        std::mem::forget(Spare::keep(&output, BYTES).unwrap());
        let inode = std::fs::metadata(&path).unwrap().ino();
        std::mem::forget(Spare::keep(&output, BYTES).unwrap());
        assert_eq!(std::fs::metadata(&path).unwrap().ino(), inode);
        // Full length, but without blocks.
        File::create(&path).unwrap().set_len(BYTES).unwrap();
        let spare = Spare::keep(&output, BYTES).unwrap();
        assert!(blocks_bytes(&path) >= BYTES);
        drop(spare);
        assert!(!path.exists());
    }

    #[test]
    fn no_spare_file_when_none_is_wanted() {
        let directory = tempfile::tempdir().unwrap();
        let output = directory.path().join("out.jsonl");
        std::fs::write(sidecar(&output, ".spare"), "left by a killed run").unwrap();
        let mut spare = Spare::keep(&output, 0).unwrap();
        assert!(!sidecar(&output, ".spare").exists());
        assert!(!spare.release());
    }

    fn blocks_bytes(path: &Path) -> u64 {
        std::fs::metadata(path).unwrap().blocks() * 512
    }
}
