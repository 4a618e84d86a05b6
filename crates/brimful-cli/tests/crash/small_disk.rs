//! A real disk that is small enough to be filled.
//!
//! On Linux it is a tmpfs in a mount namespace of its own, in which the test runs once more: nobody
//! else sees it, and it is gone with the process, however that ends. It needs no root where users
//! may have namespaces. On macOS it is a disk image. Anywhere else, and in containers that forbid
//! mounting, name an empty file system of 64 to 256 MB by `BRIMFUL_TEST_SMALL_DISK`, such as one of
//! `docker run --tmpfs /small:size=64m`.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
#[cfg(any(target_os = "linux", target_os = "macos"))]
use std::process::Command;

const VARIABLE: &str = "BRIMFUL_TEST_SMALL_DISK";
/// What a run keeps free for the answers that are under way when the disk fills up.
const SPARE_BYTES: u64 = 16 << 20;
/// Filling a disk larger than this would be a nuisance, and a mistake.
const DISK_BYTES_MAX: u64 = 256 << 20;

/// Calls `scene` with an empty folder on a small disk. `test` is the path of the test that calls.
pub(crate) fn on_small_disk(test: &str, scene: impl FnOnce(&Path)) {
    if let Some(disk) = std::env::var_os(VARIABLE) {
        let folder = tempfile::tempdir_in(PathBuf::from(disk)).unwrap();
        return scene(folder.path());
    }
    elsewhere(test, scene);
}

/// Runs this one test again, where there is a small disk.
#[cfg(target_os = "linux")]
fn elsewhere(test: &str, _: impl FnOnce(&Path)) {
    const MOUNT: &str = "mount -t tmpfs -o size=64m brimful-test \"$0\" && exec \"$@\"";
    // As oneself where that is allowed, else with the rights that root may have.
    let namespaces: [&[&str]; 2] = [&["--map-root-user", "--mount"], &["--mount"]];
    let disk = tempfile::tempdir().unwrap();
    let mounted = |namespace: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(namespace).args(["sh", "-c", MOUNT]);
        command.arg(disk.path());
        command
    };
    let possible = |namespace: &&&[&str]| {
        let tried = mounted(namespace).arg("true").output();
        tried.is_ok_and(|tried| tried.status.success())
    };
    let Some(namespace) = namespaces.iter().find(possible) else {
        panic!(
            "no small disk: allow `unshare --map-root-user --mount` (user namespaces) or run as \
             root with CAP_SYS_ADMIN, or set {VARIABLE} to an empty file system of 64 to 256 MB"
        );
    };
    let again = mounted(namespace)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(VARIABLE, disk.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&again.stdout);
    let errors = String::from_utf8_lossy(&again.stderr);
    assert!(again.status.success(), "{said}\n{errors}");
    assert!(said.contains("1 passed"), "{test} is not a test: {said}");
    for line in said.lines().filter(|line| line.starts_with("full disk")) {
        println!("{line}");
    }
}

#[cfg(target_os = "macos")]
fn elsewhere(_: &str, scene: impl FnOnce(&Path)) {
    struct Attached(PathBuf);
    impl Drop for Attached {
        fn drop(&mut self) {
            let mut command = Command::new("hdiutil");
            let _detached = command.args(["detach", "-force"]).arg(&self.0).output();
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let (image, disk) = (folder.path().join("small.dmg"), folder.path().join("small"));
    std::fs::create_dir(&disk).unwrap();
    let hdiutil = |arguments: &[&str]| {
        let done = Command::new("hdiutil").args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(
            done.status.success(),
            "no small disk: {said}; set {VARIABLE} to an empty file system of 64 to 256 MB"
        );
    };
    let (image, at) = (image.to_str().unwrap(), disk.to_str().unwrap());
    let format = ["-fs", "HFS+", "-volname", "brimful-test"];
    hdiutil(&[&["create", "-size", "64m"], &format[..], &[image]].concat());
    let _attached = Attached(disk.clone());
    hdiutil(&["attach", "-nobrowse", "-mountpoint", at, image]);
    scene(&disk);
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn elsewhere(_: &str, _: impl FnOnce(&Path)) {
    panic!("no small disk: set {VARIABLE} to an empty file system of 64 to 256 MB");
}

/// Something large beside the output, which the user can delete.
#[derive(Debug)]
pub(crate) struct Ballast(PathBuf);

impl Ballast {
    /// Leaves room for the spare file of a run and `room` bytes more.
    pub(crate) fn leaving(folder: &Path, room: u64) -> Self {
        let path = folder.join("ballast");
        let mut file = File::create(&path).unwrap();
        let block = [0xA5; 1 << 12];
        loop {
            let free = free_bytes(folder);
            assert!(free < DISK_BYTES_MAX, "{VARIABLE} is too large to fill");
            if free <= SPARE_BYTES + room {
                break;
            }
            match file.write_all(&block) {
                Err(error) if error.kind() == ErrorKind::StorageFull => break,
                written => written.unwrap(),
            }
        }
        Self(path)
    }

    /// The user makes room.
    pub(crate) fn delete(self) {
        std::fs::remove_file(self.0).unwrap();
    }
}

pub(crate) fn free_bytes(folder: &Path) -> u64 {
    let disk = rustix::fs::statvfs(folder).unwrap();
    disk.f_bavail * disk.f_frsize
}
