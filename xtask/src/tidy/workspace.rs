//! What Cargo knows about the workspace, reduced to what the rules ask for.

use std::path::Path;

use anyhow::{Context as _, Result};
use cargo_metadata::{Metadata, MetadataCommand, TargetKind};

/// A member of the workspace.
#[derive(Debug, Default)]
pub(super) struct Package {
    pub(super) name: String,
    /// Its folder, relative to the workspace's root, with forward slashes.
    pub(super) folder: String,
    /// The text of its `Cargo.toml`.
    pub(super) manifest: String,
    pub(super) dependencies: Vec<Dependency>,
    pub(super) targets: Vec<Target>,
}

impl Package {
    pub(super) fn manifest_path(&self) -> String {
        format!("{}/Cargo.toml", self.folder)
    }
}

/// An edge as it stands in a manifest.
#[derive(Debug, Default)]
pub(super) struct Dependency {
    pub(super) name: String,
    pub(super) renamed: bool,
    /// Used by tests, examples and benchmarks only.
    pub(super) dev: bool,
    pub(super) default_features: bool,
    pub(super) features: Vec<String>,
}

/// What Cargo compiles by itself: a library, a binary, an integration test, a build script.
#[derive(Debug)]
pub(super) struct Target {
    /// Relative to the workspace's root, with forward slashes.
    pub(super) path: String,
    /// Whether it ships to nobody: a test, benchmark or example.
    pub(super) test: bool,
}

/// Asks Cargo. Nothing is resolved or downloaded.
pub(super) fn load(root: &Path) -> Result<Vec<Package>> {
    let metadata = MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .no_deps()
        .exec()
        .context("ask cargo for the workspace's metadata")?;
    metadata
        .packages
        .iter()
        .map(|package| reduce(&metadata, package))
        .collect()
}

fn reduce(metadata: &Metadata, package: &cargo_metadata::Package) -> Result<Package> {
    let relative = |path: &cargo_metadata::camino::Utf8Path| {
        let path = path.strip_prefix(&metadata.workspace_root).unwrap_or(path);
        path.as_str().replace('\\', "/")
    };
    let manifest = std::fs::read_to_string(&package.manifest_path)
        .with_context(|| format!("read {}", package.manifest_path))?;
    let folder = package
        .manifest_path
        .parent()
        .context("a manifest lies in a folder")?;
    let dependencies = package.dependencies.iter().map(|dependency| Dependency {
        name: dependency.name.clone(),
        renamed: dependency.rename.is_some(),
        dev: dependency.kind == cargo_metadata::DependencyKind::Development,
        default_features: dependency.uses_default_features,
        features: dependency.features.clone(),
    });
    let targets = package.targets.iter().map(|target| Target {
        path: relative(&target.src_path),
        test: target.kind.iter().any(|kind| {
            matches!(
                kind,
                TargetKind::Test | TargetKind::Bench | TargetKind::Example
            )
        }),
    });
    Ok(Package {
        name: package.name.to_string(),
        folder: relative(folder),
        manifest,
        dependencies: dependencies.collect(),
        targets: targets.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_workspace_is_read_with_paths_relative_to_its_root() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let packages = load(root).unwrap();
        let own = packages
            .iter()
            .find(|package| package.name == "xtask")
            .unwrap();
        assert_eq!(own.manifest_path(), "xtask/Cargo.toml");
        assert_eq!(own.targets[0].path, "xtask/src/main.rs");
        assert!(!own.targets[0].test);
        let edge = own
            .dependencies
            .iter()
            .find(|edge| edge.name == "tempfile")
            .unwrap();
        assert!(edge.dev && !edge.renamed);
    }
}
