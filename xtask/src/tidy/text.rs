//! What may not be left in a file, and how wide a line may be.

use proc_macro2::{TokenStream, TokenTree};

use super::Problem;
use super::source::Source;

/// Most characters of a line: rustfmt's `max_width`, which rustfmt does not apply to comments.
const COLUMNS_MAX: usize = 100;

/// Notes to oneself: an open point is an issue, not a comment. Split, or this file would have some.
const MARKS: [&str; 2] = [concat!("FIX", "ME"), concat!("TO", "DO")];

/// Macros for the time of writing only.
const UNFINISHED: [&str; 3] = ["dbg", "todo", "unimplemented"];

pub(super) fn check(source: &Source) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, line) in source.text.lines().enumerate() {
        let mut complain = |what| problems.push(Problem::new(&source.path, index + 1, what));
        if let Some(mark) = MARKS.iter().find(|mark| has_word(line, mark)) {
            complain(format!("holds {mark}: do it, or file it"));
        }
    }
    problems.extend(wide_lines(source));
    unfinished(&source.path, source.tokens.clone(), &mut problems);
    problems
}

/// Comments alone: rustfmt sees to code, and a long literal is sometimes clearer whole. A line with
/// an address cannot be broken.
fn wide_lines(source: &Source) -> impl Iterator<Item = Problem> {
    source.text.lines().enumerate().filter_map(|(index, line)| {
        let columns = line.chars().count();
        let wide =
            columns > COLUMNS_MAX && line.trim_start().starts_with("//") && !line.contains("://");
        let what = || format!("is {columns} columns wide, of at most {COLUMNS_MAX}: break it");
        wide.then(|| Problem::new(&source.path, index + 1, what()))
    })
}

/// Whether `word` stands in `line` with no letter, digit or underscore beside it.
fn has_word(line: &str, word: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(start, _)| {
        !line[..start].ends_with(part_of_word)
            && !line[start + word.len()..].starts_with(part_of_word)
    })
}

fn unfinished(path: &str, tokens: TokenStream, problems: &mut Vec<Problem>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (index, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(group) => unfinished(path, group.stream(), problems),
            TokenTree::Ident(name) if UNFINISHED.iter().any(|macro_name| name == macro_name) => {
                let called = matches!(
                    tokens.get(index + 1..index + 3),
                    Some([TokenTree::Punct(mark), TokenTree::Group(_)]) if mark.as_char() == '!'
                );
                if called {
                    let line = name.span().start().line;
                    problems.push(Problem::new(
                        path,
                        line,
                        format!("calls `{name}!`: finish it"),
                    ));
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let source = Source::parse("src/a.rs", text.to_owned()).unwrap();
        check(&source).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn notes_to_oneself_are_found_as_whole_words() {
        let [fix, _] = MARKS;
        let text = format!("// {fix}: later\n// {fix}S and PRE_{fix} are other words\n");
        assert_eq!(
            found(&text),
            [format!("src/a.rs:1: holds {fix}: do it, or file it")]
        );
    }

    #[test]
    fn unfinished_macros_are_found_inside_other_macros_too() {
        let text = "fn a() {\n    assert!(dbg!(1) == 1);\n    let todo = 1; if todo != 2 {}\n}\n";
        assert_eq!(found(text), ["src/a.rs:2: calls `dbg!`: finish it"]);
    }

    #[test]
    fn a_wide_comment_is_found_but_not_a_wide_literal_or_address() {
        let wide = "é".repeat(COLUMNS_MAX - 2);
        let text = format!("// {wide}\n/// https://{wide}\nconst A: &str = \"{wide}{wide}\";\n");
        assert_eq!(
            found(&text),
            ["src/a.rs:1: is 101 columns wide, of at most 100: break it"]
        );
        assert_eq!(found(&format!("//{wide}\n")), [] as [&str; 0]);
    }
}
