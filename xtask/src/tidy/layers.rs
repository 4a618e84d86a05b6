//! Who may depend on whom.
//!
//! Dependencies between crates point one way, and a crate that must not do I/O has no dependency
//! that could. Edges for tests and build scripts are held to the same table: a test that needs a
//! crate from above belongs above.

use toml::Table;

use super::Problem;
use super::workspace::{Dependency, Package};

/// Every crate of the workspace with the crates of the workspace that it may depend on.
const EDGES: &[(&str, &[&str])] = &[
    ("brimful-core", &[]),
    ("brimful-providers", &["brimful-core"]),
    ("brimful-sim", &["brimful-core", "brimful-providers"]),
    (
        "brimful",
        &["brimful-core", "brimful-providers", "brimful-sim"],
    ),
    (
        "brimful-gateway",
        &[
            "brimful-core",
            "brimful-providers",
            "brimful-sim",
            "brimful",
        ],
    ),
    (
        "brimful-cli",
        &[
            "brimful-core",
            "brimful-providers",
            "brimful-sim",
            "brimful",
            "brimful-gateway",
        ],
    ),
    (
        "brimful-bench",
        // Neither the library nor the command: it measures the binary from outside.
        &["brimful-core", "brimful-providers", "brimful-sim"],
    ),
    (
        "brimful-fuzz",
        &["brimful-core", "brimful-providers", "brimful"],
    ),
    ("xtask", &[]),
];

/// The sans-IO crates with the foreign crates that they may use outside of tests. None of these
/// opens a file or a socket, and those that could read a clock or draw entropy from the operating
/// system do so only with features that [`BARE`] forbids or functions that clippy refuses.
const SANS_IO: &[(&str, &[&str])] = &[
    ("brimful-core", &["fastrand", "thiserror"]),
    (
        "brimful-providers",
        &[
            "bytes",
            "http",
            "jiff",
            "serde",
            "serde_json",
            "sfv",
            "thiserror",
            "tiktoken",
            "toml",
        ],
    ),
    (
        "brimful-sim",
        &[
            "bytes",
            "fastrand",
            "http",
            "jiff",
            "serde",
            "serde_json",
            "thiserror",
        ],
    ),
];

/// Crates whose default features bring a clock or the operating system's entropy, with the
/// features that a sans-IO crate may turn on.
const BARE: &[(&str, &[&str])] = &[("fastrand", &["alloc"]), ("jiff", &["alloc", "std"])];

/// The one crate that needs unsafe code, for the macros of its Python binding.
const MAY_ALLOW_UNSAFE: &str = "brimful-python";

pub(super) fn check(root_manifest: &str, packages: &[Package]) -> Vec<Problem> {
    let mut problems = Vec::new();
    if unsafe_code(root_manifest).as_deref() != Some("forbid") {
        let what = "needs `unsafe_code = \"forbid\"` under [workspace.lints.rust]";
        problems.push(Problem::new("Cargo.toml", 0, what));
    }
    for package in packages {
        edges(packages, package, &mut problems);
        sans_io(packages, package, &mut problems);
        lints(package, &mut problems);
    }
    problems
}

fn edges(packages: &[Package], package: &Package, problems: &mut Vec<Problem>) {
    let mut complain = |what| problems.push(Problem::new(&package.manifest_path(), 0, what));
    let Some((_, allowed)) = EDGES.iter().find(|(name, _)| *name == package.name) else {
        complain(format!(
            "`{}` is in no layer: add it to EDGES in xtask",
            package.name
        ));
        return;
    };
    for dependency in package
        .dependencies
        .iter()
        .filter(|edge| is_member(packages, &edge.name))
    {
        let name = &dependency.name;
        if !allowed.contains(&name.as_str()) {
            complain(format!(
                "`{}` may not depend on `{name}`: move what needs it up, or what is needed down",
                package.name
            ));
        }
        if dependency.renamed {
            complain(format!("`{name}` is renamed: use its own name"));
        }
    }
}

fn sans_io(packages: &[Package], package: &Package, problems: &mut Vec<Problem>) {
    let Some((_, allowed)) = SANS_IO.iter().find(|(name, _)| *name == package.name) else {
        return;
    };
    let mut complain = |what| problems.push(Problem::new(&package.manifest_path(), 0, what));
    let foreign = |edge: &&Dependency| !edge.dev && !is_member(packages, &edge.name);
    for dependency in package.dependencies.iter().filter(foreign) {
        let name = &dependency.name;
        if !allowed.contains(&name.as_str()) {
            complain(format!(
                "`{name}` is not among the crates that a sans-IO crate may use: do without it, or \
                 enter it into SANS_IO in xtask if it does no I/O"
            ));
        }
        let Some((_, features)) = BARE.iter().find(|(bare, _)| bare == name) else {
            continue;
        };
        if dependency.default_features {
            complain(format!("`{name}` needs `default-features = false` here"));
        }
        for feature in &dependency.features {
            if !features.contains(&feature.as_str()) {
                complain(format!(
                    "the feature `{feature}` of `{name}` is not sans-IO: turn it off"
                ));
            }
        }
    }
}

/// The workspace's lints forbid unsafe code; a crate that does not inherit them escapes that.
fn lints(package: &Package, problems: &mut Vec<Problem>) {
    let inherits = || -> Option<bool> {
        package
            .manifest
            .parse::<Table>()
            .ok()?
            .get("lints")?
            .get("workspace")?
            .as_bool()
    };
    if package.name != MAY_ALLOW_UNSAFE && inherits() != Some(true) {
        let what = "needs `[lints] workspace = true`: it forbids unsafe code";
        problems.push(Problem::new(&package.manifest_path(), 0, what));
    }
}

/// The level of the lint that every crate inherits.
fn unsafe_code(root_manifest: &str) -> Option<String> {
    let manifest = root_manifest.parse::<Table>().ok()?;
    let lints = manifest.get("workspace")?.get("lints")?.get("rust")?;
    Some(lints.get("unsafe_code")?.as_str()?.to_owned())
}

fn is_member(packages: &[Package], name: &str) -> bool {
    packages.iter().any(|package| package.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[&str]) -> Package {
        let dependencies = dependencies.iter().map(|name| Dependency {
            name: (*name).to_owned(),
            ..Dependency::default()
        });
        Package {
            name: name.to_owned(),
            folder: format!("crates/{name}"),
            manifest: "[lints]\nworkspace = true".to_owned(),
            dependencies: dependencies.collect(),
            targets: Vec::new(),
        }
    }

    const ROOT: &str = "[workspace.lints.rust]\nunsafe_code = \"forbid\"";

    fn complaints(packages: &[Package]) -> Vec<String> {
        check(ROOT, packages)
            .into_iter()
            .map(|problem| problem.to_string())
            .collect()
    }

    #[test]
    fn edges_that_point_down_are_fine() {
        let packages = [
            package("brimful-core", &["fastrand", "thiserror"]),
            package("brimful-providers", &["brimful-core", "http"]),
            package("brimful", &["brimful-core", "brimful-providers", "tokio"]),
        ];
        assert_eq!(complaints(&packages), [] as [&str; 0]);
    }

    #[test]
    fn an_edge_that_points_up_is_found() {
        let packages = [
            package("brimful-core", &["brimful"]),
            package("brimful", &[]),
        ];
        assert_eq!(
            complaints(&packages),
            [
                "crates/brimful-core/Cargo.toml: `brimful-core` may not depend on `brimful`: move what \
                 needs it up, or what is needed down"
            ]
        );
    }

    #[test]
    fn tests_may_not_reach_up_either() {
        let mut core = package("brimful-core", &["brimful-sim"]);
        core.dependencies[0].dev = true;
        let packages = [core, package("brimful-sim", &[])];
        assert_eq!(complaints(&packages).len(), 1);
    }

    #[test]
    fn a_crate_outside_the_table_is_found() {
        assert!(complaints(&[package("brimful-common", &[])])[0].contains("is in no layer"));
    }

    #[test]
    fn a_renamed_edge_is_found() {
        let mut providers = package("brimful-providers", &["brimful-core"]);
        providers.dependencies[0].renamed = true;
        let found = complaints(&[providers, package("brimful-core", &[])]);
        assert!(found[0].contains("is renamed"), "{found:?}");
    }

    #[test]
    fn a_runtime_in_a_sans_io_crate_is_found_but_not_in_its_tests() {
        let mut sim = package("brimful-sim", &["tokio", "proptest"]);
        sim.dependencies[1].dev = true;
        let found = complaints(&[sim]);
        assert_eq!(found.len(), 1);
        assert!(
            found[0].contains("`tokio` is not among the crates"),
            "{found:?}"
        );
    }

    #[test]
    fn entropy_of_the_operating_system_is_found_in_features() {
        let mut core = package("brimful-core", &["fastrand"]);
        core.dependencies[0].default_features = true;
        core.dependencies[0].features = vec!["std".to_owned()];
        let found = complaints(&[core]);
        assert!(found[0].contains("default-features = false"), "{found:?}");
        assert!(
            found[1].contains("the feature `std` of `fastrand`"),
            "{found:?}"
        );
    }

    #[test]
    fn a_workspace_that_does_not_forbid_unsafe_code_is_found() {
        for root in [
            "",
            "[workspace.lints.rust]\nunsafe_code = \"deny\"",
            "not = toml = at all",
        ] {
            assert_eq!(check(root, &[]).len(), 1, "{root}");
        }
    }

    #[test]
    fn a_crate_that_does_not_inherit_the_lints_is_found() {
        for manifest in [
            "",
            "[lints]\nworkspace = false",
            "[lints.rust]\nunsafe_code = \"allow\"",
        ] {
            let mut core = package("brimful-core", &[]);
            core.manifest = manifest.to_owned();
            assert!(
                complaints(&[core])[0].contains("forbids unsafe code"),
                "{manifest}"
            );
        }
    }
}
