//! Appends that leave either a whole line or nothing.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;

/// What lines are appended to. A file; in tests, a file on a disk that can be full or broken.
pub(super) trait Storage: fmt::Debug + Send + Sync {
    /// Appends some of `bytes` and says how many.
    fn write(&self, bytes: &[u8]) -> io::Result<usize>;
    /// Cuts off everything after `length` bytes.
    fn truncate(&self, length: u64) -> io::Result<()>;
    /// Returns when everything that was written is on the disk.
    fn sync(&self) -> io::Result<()>;
}

/// The file must have been opened for appending.
impl Storage for File {
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        (&mut &*self).write(bytes)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// The end of a file of lines.
#[derive(Debug)]
pub(super) struct Tail {
    storage: Arc<dyn Storage>,
    /// Length of the whole lines.
    length: u64,
    /// Half a line could not be cut off again. Whatever followed it would be glued to it.
    stuck: bool,
}

impl Tail {
    pub(super) fn new(storage: Arc<dyn Storage>, length: u64) -> Self {
        Self {
            storage,
            length,
            stuck: false,
        }
    }

    /// Length of the whole lines.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Writes whole lines, with one system call if the system takes all. On an error the file
    /// ends where it ended before.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.stuck {
            self.cut()?;
        }
        if let Err(error) = write_whole(&*self.storage, lines) {
            self.stuck = true;
            // The error of the write says more than that of the cut, which the next append repeats.
            let _ = self.cut();
            return Err(error);
        }
        self.length += lines.len() as u64;
        Ok(())
    }

    fn cut(&mut self) -> io::Result<()> {
        self.storage.truncate(self.length)?;
        self.stuck = false;
        Ok(())
    }
}

fn write_whole(storage: &dyn Storage, mut rest: &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        match storage.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => rest = rest.get(n..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Whether an error means that there is no room: on the disk, in the user's share of it, or in a
/// file of the size that the user allows (`ulimit -f`).
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}
