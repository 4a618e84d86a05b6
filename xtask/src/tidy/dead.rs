//! Files that nothing refers to: they mislead readers, and rot.
//!
//! Modules are [`super::modules`]' business. Here are pages that no link leads to, and everything
//! else that no other file names: examples, fixtures, scripts, settings.

use std::collections::{BTreeMap, BTreeSet};

use super::Problem;
use super::files::File;
use super::links;
use super::modules::Reach;

/// Pages at which a reader begins.
const FRONT: [&str; 3] = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"];

/// Names that a tool looks for, wherever they stand, with the tool.
const KNOWN: &[(&str, &str)] = &[
    (".gitignore", "Git"),
    ("Cargo.lock", "Cargo"),
    ("Cargo.toml", "Cargo"),
    ("LICENSE-APACHE", "readers and GitHub"),
    ("LICENSE-MIT", "readers and GitHub"),
    ("clippy.toml", "clippy"),
    ("rustfmt.toml", "rustfmt"),
];

/// Paths that a tool looks for, with the tool.
const KNOWN_PATHS: &[(&str, &str)] = &[
    (".cargo/config.toml", "Cargo"),
    (".ci/run", "continuous integration"),
    (".config/nextest.toml", "cargo-nextest"),
    ("deny.toml", "cargo-deny"),
];

/// Folders that are read as a whole, with the file that reads them.
const FOLDERS: &[(&str, &str)] = &[("fuzz/corpus/", "fuzz/properties/tests/corpus/main.rs")];

pub(super) fn check(files: &[File], reach: &Reach) -> Vec<Problem> {
    let linked = linked_pages(files);
    let mut problems = Vec::new();
    for file in files {
        let what = if file.path.ends_with(".md") {
            let reached = linked.contains(file.path.as_str());
            (!reached).then_some("is dead: no link leads to it; link to it or remove it")
        } else {
            let used = is_known(file) || reach.contains_key(&file.path);
            let dead = !used && !is_read_as_part(file, files) && !is_named(file, files);
            dead.then_some(
                "is dead: no other file names it; name it where it is used, or remove it",
            )
        };
        if let Some(what) = what {
            problems.push(Problem::new(&file.path, 0, what));
        }
    }
    problems
}

/// The pages that a reader can come to from the front pages.
fn linked_pages(files: &[File]) -> BTreeSet<&str> {
    let pages: BTreeMap<&str, &File> = files
        .iter()
        .filter(|file| file.path.ends_with(".md"))
        .map(|file| (file.path.as_str(), file))
        .collect();
    let mut reached = BTreeSet::new();
    let mut open: Vec<&File> = FRONT
        .iter()
        .filter_map(|path| pages.get(path).copied())
        .collect();
    while let Some(page) = open.pop() {
        if reached.insert(page.path.as_str()) {
            let targets = links::targets(&page.path, &page.text);
            open.extend(targets.iter().filter_map(|path| pages.get(path.as_str())));
        }
    }
    reached
}

fn is_known(file: &File) -> bool {
    KNOWN.iter().any(|(name, _)| file.name() == *name)
        || KNOWN_PATHS.iter().any(|(path, _)| file.path == *path)
        || is_regression(&file.path)
}

/// What proptest has found once and tries first from then on.
fn is_regression(path: &str) -> bool {
    path.ends_with(".txt") && path.split('/').any(|part| part == "proptest-regressions")
        || path.ends_with(".proptest-regressions")
}

fn is_read_as_part(file: &File, files: &[File]) -> bool {
    FOLDERS.iter().any(|(folder, reader)| {
        file.path.starts_with(folder) && files.iter().any(|other| other.path == *reader)
    })
}

/// Whether another file holds this one's name as a word of its own.
fn is_named(file: &File, files: &[File]) -> bool {
    let name = file.name();
    files
        .iter()
        .filter(|other| other.path != file.path && other.name() != "Cargo.lock")
        .any(|other| holds(&other.text, name) || imports(other, name))
}

/// Whether one Python file imports another, which it names without the ending.
fn imports(from: &File, name: &str) -> bool {
    let Some(module) = name.strip_suffix(".py") else {
        return false;
    };
    let is_import = |line: &&str| line.starts_with("import ") || line.starts_with("from ");
    from.path.ends_with(".py")
        && from
            .text
            .lines()
            .map(str::trim_start)
            .filter(is_import)
            .any(|line| holds(line, module))
}

fn holds(text: &str, name: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
    text.match_indices(name).any(|(start, _)| {
        let (before, after) = (&text[..start], &text[start + name.len()..]);
        // The end of a sentence is no part of a name, the beginning of a suffix is.
        let mut after = after.chars();
        let longer = match after.next() {
            Some('.') => after.next().is_some_and(part_of_name),
            next => next.is_some_and(part_of_name),
        };
        !before.ends_with(part_of_name) && !before.ends_with('.') && !longer
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dead(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<_> = files
            .iter()
            .map(|(path, text)| File {
                path: (*path).to_owned(),
                text: (*text).to_owned(),
            })
            .collect();
        let reach = Reach::from([("src/lib.rs".to_owned(), false)]);
        check(&files, &reach)
            .into_iter()
            .map(|problem| problem.path)
            .collect()
    }

    #[test]
    fn a_page_needs_links_that_lead_to_it_from_a_front_page() {
        let files = [
            ("README.md", "[docs](docs/a.md#top)"),
            ("docs/a.md", "[next](b.md)"),
            ("docs/b.md", ""),
            ("docs/island.md", "[peer](peer.md), see README.md"),
            ("docs/peer.md", "[island](island.md)"),
        ];
        assert_eq!(dead(&files), ["docs/island.md", "docs/peer.md"]);
    }

    #[test]
    fn any_other_file_needs_another_that_names_it() {
        let files = [
            ("README.md", "Try `examples/rows.csv`."),
            ("examples/rows.csv", "rows.csv"),
            ("examples/old-rows.csv", "old-rows.csv names itself"),
            ("examples/rows.csv.gz", ""),
            ("src/lib.rs", "include_str!(\"table.txt\")"),
            ("src/table.txt", ""),
            ("scripts/run.sh", ""),
        ];
        assert_eq!(
            dead(&files),
            [
                "examples/old-rows.csv",
                "examples/rows.csv.gz",
                "scripts/run.sh"
            ]
        );
    }

    #[test]
    fn a_python_file_may_be_imported() {
        let files = [
            ("README.md", "Run peers/run.py."),
            (
                "peers/run.py",
                "def f():\n    from account import Account\n# unused",
            ),
            ("peers/account.py", ""),
            ("peers/unused.py", ""),
        ];
        assert_eq!(dead(&files), ["peers/unused.py"]);
    }

    #[test]
    fn what_tools_look_for_needs_no_mention_but_only_where_they_look() {
        let files = [
            ("crates/a/Cargo.toml", ""),
            (".ci/run", ""),
            ("deny.toml", ""),
            ("src/proptest-regressions/a.txt", ""),
            ("old/deny.toml", ""),
            ("old/.ci/run", ""),
        ];
        assert_eq!(dead(&files), ["old/deny.toml", "old/.ci/run"]);
    }

    #[test]
    fn a_folder_that_is_read_as_a_whole_dies_with_its_reader() {
        let input = ("fuzz/corpus/rows/csv", "");
        let reader = ("fuzz/properties/tests/corpus/main.rs", "main.rs");
        assert_eq!(dead(&[input]), ["fuzz/corpus/rows/csv"]);
        // The reader itself is a Rust file that no target of this test reaches.
        assert_eq!(
            dead(&[input, reader]),
            ["fuzz/properties/tests/corpus/main.rs"]
        );
    }
}
