//! `cargo xtask tidy`: the rules about structure that neither rustc nor clippy knows.
//!
//! Every rule is a function from what was read to problems, so that its test is a failing example.

use std::fmt;
use std::path::Path;

use anyhow::{Result, bail};

use self::source::Source;

mod dead;
mod exceptions;
mod files;
mod independence;
mod layers;
mod links;
mod modules;
mod names;
mod public;
mod size;
mod source;
mod text;
mod units;
mod vocabulary;
mod workspace;

/// One broken rule.
#[derive(Debug, PartialEq, Eq)]
struct Problem {
    /// A file relative to the workspace's root, with forward slashes.
    path: String,
    /// 1-based; 0 when the whole file is meant.
    line: usize,
    /// What is wrong and what to do.
    what: String,
}

impl Problem {
    fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            what: what.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.what),
            line => write!(f, "{}:{line}: {}", self.path, self.what),
        }
    }
}

/// Prints every problem in the workspace at `root`; an error when there is one.
pub(crate) fn run(root: &Path) -> Result<()> {
    let packages = workspace::load(root)?;
    let files = files::list(root)?;
    let text = |path: &str| files.iter().find(|file| file.path == path);
    let manifest = text("Cargo.toml").map_or("", |file| &file.text);
    let mut problems = layers::check(manifest, &packages);
    let mut sources = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".rs")) {
        match Source::parse(&file.path, file.text.clone()) {
            Ok(source) => sources.push(source),
            Err(problem) => problems.push(problem),
        }
    }
    let reach = modules::reach(&packages, &sources);
    problems.extend(modules::check(&packages, &sources, &reach));
    problems.extend(size::check(
        &sources,
        &reach,
        exceptions::FILES,
        exceptions::FUNCTIONS,
    ));
    for source in &sources {
        problems.extend(text::check(source));
        problems.extend(names::check(source));
        problems.extend(independence::check(source));
    }
    let production: Vec<&Source> = sources
        .iter()
        .filter(|source| reach.get(&source.path) == Some(&false))
        .collect();
    problems.extend(production.iter().flat_map(|source| units::check(source)));
    problems.extend(vocabulary::check(
        &files,
        &production,
        exceptions::FOREIGN_NAMES,
    ));
    problems.extend(links::check(root, &files));
    problems.extend(dead::check(&files, &reach));
    report(problems, files.len())
}

fn report(mut problems: Vec<Problem>, files: usize) -> Result<()> {
    problems.sort_by(|a, b| (&a.path, a.line, &a.what).cmp(&(&b.path, b.line, &b.what)));
    for problem in &problems {
        println!("{problem}");
    }
    match problems.len() {
        0 => println!("{files} files are tidy"),
        1 => bail!("1 problem in the structure of the code"),
        count => bail!("{count} problems in the structure of the code"),
    }
    Ok(())
}
