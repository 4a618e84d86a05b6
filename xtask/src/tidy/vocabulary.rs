//! Words that the glossary refuses, in public names.
//!
//! The glossary's own table is what is read: of its last column the words that stand between
//! backticks. The others are refused in one sense only ("line" for a row), which no program can
//! tell from the senses that are fine.

use super::Problem;
use super::exceptions::ForeignName;
use super::files::File;
use super::public;
use super::source::Source;

const GLOSSARY: &str = "docs/glossary.md";

/// A refused word or phrase, and the glossary's own.
#[derive(Debug, PartialEq, Eq)]
struct Refused {
    words: Vec<String>,
    /// What stands in the first column, without marks.
    instead: Vec<String>,
}

pub(super) fn check(files: &[File], sources: &[&Source], foreign: &[ForeignName]) -> Vec<Problem> {
    let glossary = files.iter().find(|file| file.path == GLOSSARY);
    let refused = refused(glossary.map_or("", |file| &file.text));
    let mut problems = Vec::new();
    if refused.is_empty() {
        let what = "marks no word in the last column of its table: put what no public name may \
                    hold between backticks";
        problems.push(Problem::new(GLOSSARY, 0, what));
    }
    let mut used = vec![false; foreign.len()];
    for source in sources {
        for name in public::names(source) {
            let words = words(&name.text);
            let Some(word) = refused.iter().find(|word| holds(&words, &word.words)) else {
                continue;
            };
            let known = foreign
                .iter()
                .position(|known| known.name == name.text && is_in(&source.path, known.path));
            if let Some(at) = known {
                used[at] = true;
                continue;
            }
            let what = format!(
                "`{}` says {}: the glossary's word is {}; rename it, or enter a foreign term \
                 into FOREIGN_NAMES in xtask with its reason",
                name.text,
                word.words.join(" "),
                word.instead.join(" or "),
            );
            problems.push(Problem::new(&source.path, name.line, what));
        }
    }
    for (entry, used) in foreign.iter().zip(used) {
        if !used || entry.reason.is_empty() {
            let wrong = if used {
                "has no reason"
            } else {
                "is not needed"
            };
            let what = format!("the exception for the name `{}` {wrong}", entry.name);
            problems.push(Problem::new(entry.path, 0, what));
        }
    }
    problems
}

fn is_in(path: &str, file_or_folder: &str) -> bool {
    path == file_or_folder || (file_or_folder.ends_with('/') && path.starts_with(file_or_folder))
}

/// The words between backticks in the last column of the glossary's first table.
fn refused(glossary: &str) -> Vec<Refused> {
    let mut found: Vec<Refused> = Vec::new();
    let rows = glossary
        .lines()
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'));
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        let [word, _, not] = cells[..] else { continue };
        let instead = word.replace("**", "").trim().to_owned();
        for phrase in not.split('`').skip(1).step_by(2) {
            let words = phrase.split_whitespace().map(str::to_lowercase).collect();
            match found.iter_mut().find(|refused| refused.words == words) {
                Some(known) => known.instead.push(instead.clone()),
                None => found.push(Refused {
                    words,
                    instead: vec![instead.clone()],
                }),
            }
        }
    }
    found
}

/// The words of an identifier of either case: `HTTPTaskQueue` and `http_task_queue` are the same.
fn words(identifier: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let letters: Vec<char> = identifier.chars().collect();
    let mut inside = false;
    for (at, &letter) in letters.iter().enumerate() {
        let is_letter = letter.is_alphanumeric();
        let after_lower = at > 0 && letters[at - 1].is_lowercase();
        let before_lower = letters.get(at + 1).is_some_and(|next| next.is_lowercase());
        let begins = letter.is_uppercase() && (after_lower || before_lower);
        if is_letter && (!inside || begins) {
            words.push(String::new());
        }
        inside = is_letter;
        if let Some(word) = words.last_mut().filter(|_| is_letter) {
            word.extend(letter.to_lowercase());
        }
    }
    words
}

/// Whether the phrase stands in the identifier, its last word also in the plural.
fn holds(words: &[String], phrase: &[String]) -> bool {
    let same = |word: &String, wanted: &String| {
        word == wanted || word.strip_suffix('s').is_some_and(|word| word == wanted)
    };
    !phrase.is_empty()
        && words.windows(phrase.len()).any(|window| {
            window
                .iter()
                .zip(phrase)
                .all(|(word, wanted)| same(word, wanted))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "# G\n\n| word | meaning | not |\n|---|---|---|\n\
        | **request** | wanted | `job`, `task` |\n| **batch** | many | `job` |\n\
        | **wait** | time | `queue time`, latency |\n\n| class | a | `b` |\n";

    fn found(text: &str, foreign: &[ForeignName]) -> Vec<String> {
        let glossary = File {
            path: GLOSSARY.to_owned(),
            text: TABLE.to_owned(),
        };
        let source = Source::parse("src/a.rs", text.to_owned()).unwrap();
        check(&[glossary], &[&source], foreign)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn refused_words_are_found_in_public_names_of_either_case() {
        let text =
            "pub struct JobQueue;\npub fn run(tasks: u8) {}\npub const QUEUE_TIME: u8 = 0;\n";
        let found = found(text, &[]);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(
            found[0].starts_with(
                "src/a.rs:1: `JobQueue` says job: the glossary's word is request or batch; rename"
            ),
            "{found:?}"
        );
        assert!(found[1].contains("`tasks` says task"), "{found:?}");
        assert!(
            found[2].contains("`QUEUE_TIME` says queue time"),
            "{found:?}"
        );
    }

    #[test]
    fn private_names_unmarked_words_and_parts_of_words_are_fine() {
        let text = "struct Job;\npub fn latency() {}\npub fn multitasking(jobless: u8, b: u8) {}\n\
                    pub(crate) fn task() {}\npub fn queue() { let job = time; }\n";
        assert_eq!(found(text, &[]), [] as [&str; 0]);
    }

    #[test]
    fn a_foreign_name_is_fine_where_it_is_entered_and_the_entry_goes_with_it() {
        let of = |path, reason| ForeignName {
            path,
            name: "job_id",
            reason,
        };
        let entry = |reason| of("src/a.rs", reason);
        let text = "pub fn of(job_id: u8) {}";
        assert_eq!(found(text, &[entry("the API's own")]), [] as [&str; 0]);
        assert_eq!(found(text, &[of("src/", "the API's own")]), [] as [&str; 0]);
        assert_eq!(found(text, &[of("src/a", "another file")]).len(), 2);
        let silent = found(text, &[entry("")]);
        assert!(silent[0].contains("has no reason"), "{silent:?}");
        let gone = found("", &[entry("the API's own")]);
        assert!(gone[0].contains("is not needed"), "{gone:?}");
    }

    #[test]
    fn a_glossary_that_marks_nothing_is_found() {
        assert_eq!(check(&[], &[], &[]).len(), 1);
    }

    #[test]
    fn identifiers_fall_into_words() {
        for (identifier, expected) in [
            ("http_task_queue", "http task queue"),
            ("HTTPTaskQueue", "http task queue"),
            ("_x1_Y", "x1 y"),
            ("MAX_LINE", "max line"),
            ("V1Path", "v1 path"),
        ] {
            assert_eq!(words(identifier).join(" "), expected);
        }
    }
}
