//! Which files belong to the project.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use ignore::{DirEntry, WalkBuilder};

/// A file of the project.
#[derive(Debug)]
pub(super) struct File {
    /// Relative to the workspace's root, with forward slashes.
    pub(super) path: String,
    /// Empty where it is not text.
    pub(super) text: String,
}

impl File {
    pub(super) fn name(&self) -> &str {
        self.path
            .rsplit_once('/')
            .map_or(&self.path, |(_, name)| name)
    }
}

/// Every file under `root`, sorted by path.
///
/// Left out: what a `.gitignore` names, Git's own folder, caches (they hold a `CACHEDIR.TAG`, as
/// Cargo's target folder does), Python's virtual environments and Node's packages.
pub(super) fn list(root: &Path) -> Result<Vec<File>> {
    let mut walk = WalkBuilder::new(root);
    // Only the project's own rules: what a machine's user ignores elsewhere is no matter here.
    walk.standard_filters(false)
        .git_ignore(true)
        .require_git(false)
        .filter_entry(is_own);
    let mut found = Vec::new();
    for entry in walk.build() {
        let entry = entry.context("list the project's files")?;
        if entry.file_type().is_some_and(|kind| kind.is_file()) {
            let path = entry.path();
            let bytes = fs::read(path).with_context(|| format!("read {}", path.display()))?;
            let relative = path.strip_prefix(root).unwrap_or(path);
            found.push(File {
                path: relative.to_string_lossy().replace('\\', "/"),
                text: String::from_utf8(bytes).unwrap_or_default(),
            });
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn is_own(entry: &DirEntry) -> bool {
    let (folder, name) = (entry.path(), entry.file_name());
    name != ".git"
        && name != "node_modules"
        && !folder.join("CACHEDIR.TAG").exists()
        && !folder.join("pyvenv.cfg").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_files_caches_and_foreign_packages_are_not_looked_into() {
        let root = tempfile::tempdir().unwrap();
        for (folder, marker) in [
            ("src/deep", "a.rs"),
            ("docs", "b.md"),
            ("target", "CACHEDIR.TAG"),
            ("venv", "pyvenv.cfg"),
            ("node_modules", "c.md"),
            (".git", "d.md"),
            (".ci", "run"),
            ("found", "e.md"),
        ] {
            let folder = root.path().join(folder);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(marker), "text").unwrap();
        }
        fs::write(root.path().join(".gitignore"), "/found\n").unwrap();
        fs::write(root.path().join("binary"), b"\xff").unwrap();
        let found = list(root.path()).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|file| (file.path.as_str(), file.text.as_str()))
            .collect();
        assert_eq!(
            found,
            [
                (".ci/run", "text"),
                (".gitignore", "/found\n"),
                ("binary", ""),
                ("docs/b.md", "text"),
                ("src/deep/a.rs", "text"),
            ]
        );
    }
}
