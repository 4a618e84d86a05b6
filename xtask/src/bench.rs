//! `cargo xtask bench`: builds, in the release profile, the binary that is measured and the bench
//! that measures it, and hands all arguments to the bench.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

pub(crate) fn run(root: &Path, arguments: &[&str]) -> Result<()> {
    let packages = ["--package", "brimful-cli", "--package", "brimful-bench"];
    let status = Command::new(env!("CARGO"))
        .args(["build", "--release"])
        .args(packages)
        .current_dir(root)
        .status()?;
    ensure!(status.success(), "the release build failed");
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let status = Command::new(target.join("release").join("brimful-bench"))
        .args(arguments)
        .current_dir(root)
        .status()
        .context("cannot start the bench")?;
    ensure!(status.success(), "the bench ended with {status}");
    Ok(())
}
