//! Which files belong to the project.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// Every `.rs` and `.md` file under `root`, relative to it, with forward slashes, sorted.
///
/// Not looked into: hidden folders, caches (they hold a `CACHEDIR.TAG`, as Cargo's target folder
/// does), Python's virtual environments and Node's packages.
pub(super) fn list(root: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let path = root.join(&folder);
        let entries = fs::read_dir(&path).with_context(|| format!("read {}", path.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("read {}", path.display()))?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let relative = if folder.is_empty() {
                name.clone()
            } else {
                format!("{folder}/{name}")
            };
            // A link to a folder is not followed: it could lead out or in circles.
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if !name.starts_with('.') && !is_foreign(&entry.path(), &name) {
                    folders.push(relative);
                }
            } else if name.ends_with(".rs") || name.ends_with(".md") {
                found.push(relative);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn is_foreign(folder: &Path, name: &str) -> bool {
    name == "node_modules"
        || folder.join("CACHEDIR.TAG").exists()
        || folder.join("pyvenv.cfg").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_hidden_folders_and_foreign_packages_are_not_looked_into() {
        let root = tempfile::tempdir().unwrap();
        for (folder, marker) in [
            ("src/deep", "a.rs"),
            ("docs", "b.md"),
            ("target", "CACHEDIR.TAG"),
            ("venv", "pyvenv.cfg"),
            ("node_modules", "c.md"),
            (".hidden", "d.md"),
        ] {
            let folder = root.path().join(folder);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(marker), "").unwrap();
            fs::write(folder.join("page.md"), "").unwrap();
            fs::write(folder.join("data.csv"), "").unwrap();
        }
        assert_eq!(
            list(root.path()).unwrap(),
            [
                "docs/b.md",
                "docs/page.md",
                "src/deep/a.rs",
                "src/deep/page.md"
            ]
        );
    }
}
