//! Links between the project's pages lead somewhere.

use std::collections::HashMap;
use std::path::Path;

use super::Problem;
use super::files::File;
use super::modules::join;

/// A link in a page.
#[derive(Debug, PartialEq, Eq)]
struct Link {
    line: usize,
    target: String,
}

pub(super) fn check(root: &Path, files: &[File]) -> Vec<Problem> {
    let texts: HashMap<&str, &str> = files
        .iter()
        .filter(|file| file.path.ends_with(".md"))
        .map(|file| (file.path.as_str(), file.text.as_str()))
        .collect();
    let mut problems = Vec::new();
    for (page, text) in &texts {
        for link in links(text) {
            if let Some(what) = dead_end(root, &texts, page, &link.target) {
                problems.push(Problem::new(page, link.line, what));
            }
        }
    }
    problems
}

/// The files to which a page's links lead.
pub(super) fn targets(page: &str, text: &str) -> Vec<String> {
    links(text)
        .iter()
        .filter(|link| is_within(&link.target))
        .map(|link| resolve(page, &link.target).0)
        .collect()
}

fn is_within(target: &str) -> bool {
    !target.contains("://") && !target.starts_with("mailto:")
}

/// The file, relative to the root, and the heading in it.
fn resolve<'a>(page: &str, target: &'a str) -> (String, &'a str) {
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = match (file.strip_prefix('/'), page.rsplit_once('/')) {
        _ if file.is_empty() => page.to_owned(),
        (Some(from_root), _) => join("", from_root),
        (None, Some((folder, _))) => join(folder, file),
        (None, None) => join("", file),
    };
    (path, anchor)
}

/// Why the target leads nowhere; `None` when it leads somewhere or out of the project.
fn dead_end(root: &Path, texts: &HashMap<&str, &str>, page: &str, target: &str) -> Option<String> {
    if !is_within(target) {
        return None;
    }
    let (path, anchor) = resolve(page, target);
    if !texts.contains_key(path.as_str()) && !root.join(&path).exists() {
        return Some(format!(
            "links to {target}, but there is no {path}: correct the link"
        ));
    }
    let text = texts.get(path.as_str())?;
    let known = anchor.is_empty() || headings(text).any(|heading| heading == anchor);
    (!known).then(|| format!("links to {target}, but {path} has no such heading: correct it"))
}

/// Inline links, images and reference definitions outside code.
fn links(text: &str) -> Vec<Link> {
    let mut found = Vec::new();
    for (line, content) in prose(text) {
        let content = without_code(content);
        let mut rest = content.as_str();
        while let Some((_, after)) = rest.split_once("](") {
            let target = after.split([')', ' ']).next().unwrap_or_default();
            found.push(Link {
                line,
                target: target.trim_matches(['<', '>']).to_owned(),
            });
            rest = after;
        }
        let definition = content
            .strip_prefix('[')
            .and_then(|label| label.split_once("]: "));
        if let Some(target) = definition.and_then(|(_, target)| target.split_whitespace().next()) {
            found.push(Link {
                line,
                target: target.to_owned(),
            });
        }
    }
    found
}

/// The anchors of a page's headings: lower case, hyphens for spaces, other punctuation dropped.
fn headings(text: &str) -> impl Iterator<Item = String> {
    prose(text)
        .filter(|(_, line)| line.starts_with('#'))
        .map(|(_, line)| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title
                .chars()
                .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
}

/// The numbered lines outside code blocks.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fence: Option<&str> = None;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let start = line.trim_start();
        let mark = ["```", "~~~"]
            .into_iter()
            .find(|mark| start.starts_with(mark));
        match (fence, mark) {
            (None, Some(mark)) => fence = Some(mark),
            (Some(open), Some(mark)) if open == mark => fence = None,
            (None, None) => return Some((index + 1, line)),
            _ => {}
        }
        None
    })
}

/// The line without what stands between backticks.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_in_prose_but_not_in_code() {
        let text = "See [a](b.md), ![c](<d.png>) and [e](f.md \"title\").\n\
                    `[code](no.md)`\n```\n[block](no.md)\n```\n[ref]: g.md\n";
        let found: Vec<_> = links(text)
            .into_iter()
            .map(|link| (link.line, link.target))
            .collect();
        let expected = [(1, "b.md"), (1, "d.png"), (1, "f.md"), (6, "g.md")];
        assert_eq!(
            found,
            expected.map(|(line, target)| (line, target.to_owned()))
        );
    }

    #[test]
    fn dead_ends_are_files_and_headings_that_do_not_exist() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let page = "docs/page.md";
        let text = "# The page\n## What `run` does, and why\n";
        let texts = HashMap::from([(page, text)]);
        for (target, fine) in [
            ("../Cargo.toml", true),
            ("/src/main.rs", true),
            ("../src", true),
            ("#the-page", true),
            ("#what-run-does-and-why", true),
            ("https://example.com/nothing", true),
            ("Cargo.toml", false),
            ("#the-pages", false),
        ] {
            let found = dead_end(root, &texts, page, target);
            assert_eq!(found.is_none(), fine, "{target}: {found:?}");
        }
    }
}
