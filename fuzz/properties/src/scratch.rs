//! A folder for the files of one thread, emptied by each use.

use std::cell::OnceCell;
use std::fs;
use std::path::Path;

use tempfile::TempDir;

thread_local! {
    static FOLDER: OnceCell<TempDir> = const { OnceCell::new() };
}

/// Calls `with` with an empty folder. One folder serves all calls, because a fuzzer makes thousands
/// a second; what an earlier call left after a panic is removed first.
pub(crate) fn in_folder(with: impl FnOnce(&Path)) {
    FOLDER.with(|folder| {
        let folder = folder.get_or_init(|| {
            TempDir::new().expect("the system's folder for such files is writable")
        });
        for entry in fs::read_dir(folder.path()).expect("the folder is ours") {
            let entry = entry.expect("the folder is ours");
            fs::remove_file(entry.path()).expect("only files are made here");
        }
        with(folder.path());
    });
}
