//! Which files are compiled: a file that no `mod` reaches is dead, and rots.

use std::collections::{BTreeMap, HashMap};

use syn::{Attribute, Expr, Item, Lit, Meta};

use super::Problem;
use super::source::{Source, is_test_only};
use super::workspace::Package;

/// The reached files; `true` for those that exist in test builds only.
pub(super) type Reach = BTreeMap<String, bool>;

/// Follows the `mod` items from every target of every package.
pub(super) fn reach(packages: &[Package], sources: &[Source]) -> Reach {
    let by_path: HashMap<&str, &Source> = sources
        .iter()
        .map(|source| (source.path.as_str(), source))
        .collect();
    let mut reach = Reach::new();
    let mut open: Vec<(String, bool, bool)> = packages
        .iter()
        .flat_map(|package| &package.targets)
        .map(|target| (target.path.clone(), target.test, true))
        .collect();
    while let Some((path, test, root)) = open.pop() {
        // Seen before, and not only by tests: nothing new can come of it.
        if reach
            .get(&path)
            .is_some_and(|&only_tests| !only_tests || test)
        {
            continue;
        }
        let Some(source) = by_path.get(path.as_str()) else {
            continue;
        };
        reach.insert(path, test);
        let folder = folder_of_children(&source.path, root);
        let mut children = Vec::new();
        declared(
            &source.syntax.items,
            &folder,
            parent(&source.path),
            test,
            &mut children,
        );
        open.extend(children.into_iter().map(|(path, test)| (path, test, false)));
    }
    reach
}

pub(super) fn check(packages: &[Package], sources: &[Source], reach: &Reach) -> Vec<Problem> {
    let in_package = |path: &str| {
        packages.iter().any(|package| {
            path.strip_prefix(package.folder.as_str())
                .is_some_and(|rest| rest.starts_with('/'))
        })
    };
    let mut problems = Vec::new();
    for path in sources
        .iter()
        .map(|source| source.path.as_str())
        .filter(|path| in_package(path))
    {
        if path.ends_with("/mod.rs") {
            problems.push(Problem::new(
                path,
                0,
                "is a mod.rs: name it after its folder, beside it",
            ));
        }
        if !reach.contains_key(path) {
            problems.push(Problem::new(
                path,
                0,
                "is dead: no `mod` reaches it; declare it or remove it",
            ));
        }
    }
    problems
}

/// The files that the items declare, with whether they are for tests only.
fn declared(
    items: &[Item],
    folder: &str,
    folder_of_file: &str,
    test: bool,
    found: &mut Vec<(String, bool)>,
) {
    for item in items {
        let Item::Mod(module) = item else { continue };
        let test = test || is_test_only(&module.attrs);
        let inside = join(folder, &module.ident.to_string());
        match (&module.content, path_attribute(&module.attrs)) {
            (Some((_, items)), _) => declared(items, &inside, &inside, test, found),
            (None, Some(path)) => found.push((join(folder_of_file, &path), test)),
            (None, None) => {
                found.push((format!("{inside}.rs"), test));
                found.push((format!("{inside}/mod.rs"), test));
            }
        }
    }
}

/// The value of `#[path = "…"]`.
fn path_attribute(attributes: &[Attribute]) -> Option<String> {
    attributes
        .iter()
        .find_map(|attribute| match &attribute.meta {
            Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
                Expr::Lit(literal) => match &literal.lit {
                    Lit::Str(text) => Some(text.value()),
                    _ => None,
                },
                _ => None,
            },
            _ => None,
        })
}

fn folder_of_children(path: &str, root: bool) -> String {
    if root || path.ends_with("/mod.rs") {
        return parent(path).to_owned();
    }
    path.strip_suffix(".rs").unwrap_or(path).to_owned()
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// `folder/path` with `.` and `..` resolved.
pub(super) fn join(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::super::workspace::Target;
    use super::*;

    fn sources(files: &[(&str, &str)]) -> Vec<Source> {
        let parse = |(path, text): &(&str, &str)| Source::parse(path, (*text).to_owned()).unwrap();
        files.iter().map(parse).collect()
    }

    fn package(targets: &[(&str, bool)]) -> Vec<Package> {
        let target = |(path, test): &(&str, bool)| Target {
            path: (*path).to_owned(),
            test: *test,
        };
        vec![Package {
            folder: "crates/a".to_owned(),
            targets: targets.iter().map(target).collect(),
            ..Package::default()
        }]
    }

    fn found(packages: &[Package], files: &[(&str, &str)]) -> Vec<String> {
        let sources = sources(files);
        let reach = reach(packages, &sources);
        check(packages, &sources, &reach)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_file_that_no_module_declares_is_dead() {
        let files = [
            (
                "crates/a/src/lib.rs",
                "mod b; mod inline { mod d; } #[path = \"odd/e.rs\"] mod e;",
            ),
            ("crates/a/src/b.rs", "mod c;"),
            ("crates/a/src/b/c.rs", ""),
            ("crates/a/src/inline/d.rs", ""),
            ("crates/a/src/odd/e.rs", ""),
            ("crates/a/src/old.rs", "mod older;"),
            ("crates/a/src/old/older.rs", ""),
            ("elsewhere/script.rs", ""),
        ];
        assert_eq!(
            found(&package(&[("crates/a/src/lib.rs", false)]), &files),
            [
                "crates/a/src/old.rs: is dead: no `mod` reaches it; declare it or remove it",
                "crates/a/src/old/older.rs: is dead: no `mod` reaches it; declare it or remove it",
            ]
        );
    }

    #[test]
    fn mod_rs_is_found_even_though_it_is_reached() {
        let files = [
            ("crates/a/src/lib.rs", "mod b;"),
            ("crates/a/src/b/mod.rs", ""),
        ];
        let found = found(&package(&[("crates/a/src/lib.rs", false)]), &files);
        assert_eq!(found.len(), 1);
        assert!(
            found[0].starts_with("crates/a/src/b/mod.rs: is a mod.rs"),
            "{found:?}"
        );
    }

    #[test]
    fn a_file_is_for_tests_only_when_nothing_else_reaches_it() {
        let files = [
            (
                "crates/a/src/lib.rs",
                "#[cfg(test)] mod tests; #[path = \"../shared.rs\"] mod s;",
            ),
            ("crates/a/src/tests.rs", "mod deep;"),
            ("crates/a/src/tests/deep.rs", ""),
            ("crates/a/shared.rs", ""),
            (
                "crates/a/tests/it.rs",
                "#[path = \"../shared.rs\"] mod shared;",
            ),
        ];
        let sources = sources(&files);
        for order in [[0, 1], [1, 0]] {
            let targets = [
                ("crates/a/src/lib.rs", false),
                ("crates/a/tests/it.rs", true),
            ];
            let reach = reach(&package(&order.map(|at| targets[at])), &sources);
            let only_tests: Vec<&str> = reach
                .iter()
                .filter(|(_, test)| **test)
                .map(|(path, _)| path.as_str())
                .collect();
            assert_eq!(
                only_tests,
                [
                    "crates/a/src/tests.rs",
                    "crates/a/src/tests/deep.rs",
                    "crates/a/tests/it.rs"
                ]
            );
        }
    }
}
