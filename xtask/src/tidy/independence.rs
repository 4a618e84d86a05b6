//! The simulated provider shares no code with the engine's limiters.
//!
//! Were both the same code, "no 429s" would be true by construction. So the simulated server may
//! take from the core only the words in which the two speak. Only the virtual runs, which set
//! engine and server against each other, know both, and the server must not reach the engine
//! through them either. Tokens are searched and not paths, because a macro's arguments are no paths
//! yet.

use proc_macro2::{TokenStream, TokenTree};

use super::Problem;
use super::source::Source;

const SIMULATOR: &str = "crates/brimful-sim/src/";
/// The only files of the simulator that may use the engine, and their module's name.
const VIRTUAL_RUNS: [&str; 14] = [
    "crates/brimful-sim/src/virtual_run.rs",
    "crates/brimful-sim/src/virtual_run/checks.rs",
    "crates/brimful-sim/src/virtual_run/client.rs",
    "crates/brimful-sim/src/virtual_run/client/ending.rs",
    "crates/brimful-sim/src/virtual_run/flight.rs",
    "crates/brimful-sim/src/virtual_run/promise.rs",
    "crates/brimful-sim/src/virtual_run/report.rs",
    "crates/brimful-sim/src/virtual_run/sample.rs",
    "crates/brimful-sim/src/virtual_run/tally.rs",
    "crates/brimful-sim/src/virtual_run/trace.rs",
    "crates/brimful-sim/src/virtual_run/zoo.rs",
    "crates/brimful-sim/src/virtual_run/zoo/faults.rs",
    "crates/brimful-sim/src/virtual_run/zoo/rates.rs",
    "crates/brimful-sim/src/virtual_run/zoo/tokens.rs",
];
/// All scenarios of learning, which are many files.
const LEARN: &str = "crates/brimful-sim/src/virtual_run/learn";
const VIRTUAL_RUN: &str = "virtual_run";
const ROOT: &str = "crates/brimful-sim/src/lib.rs";
const CORE: &str = "brimful_core";
const SHARED_WORDS: [&str; 3] = ["Timestamp", "Usage", "Class"];

pub(super) fn check(source: &Source) -> Vec<Problem> {
    let mut problems = Vec::new();
    if source.path.starts_with(SIMULATOR) && !is_virtual_run(&source.path) {
        search(&source.path, source.tokens.clone(), &mut problems);
    }
    problems
}

fn is_virtual_run(path: &str) -> bool {
    VIRTUAL_RUNS.contains(&path) || path.starts_with(LEARN)
}

fn search(path: &str, tokens: TokenStream, problems: &mut Vec<Problem>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (index, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(group) => search(path, group.stream(), problems),
            TokenTree::Ident(name) if name == CORE && !is_shared(&tokens[index + 1..]) => {
                let words = SHARED_WORDS.join(", ");
                let what = format!(
                    "the simulator may take only {words} from `{CORE}`: write what it needs anew"
                );
                problems.push(Problem::new(path, name.span().start().line, what));
            }
            // Only the crate's root names the module, to declare it.
            TokenTree::Ident(name) if name == VIRTUAL_RUN && path != ROOT => {
                let what = format!("the simulated server may not use `{VIRTUAL_RUN}`");
                problems.push(Problem::new(path, name.span().start().line, what));
            }
            _ => {}
        }
    }
}

/// Whether what follows the crate's name leads to the shared words and to nothing else.
fn is_shared(rest: &[TokenTree]) -> bool {
    let [
        TokenTree::Punct(first),
        TokenTree::Punct(second),
        target,
        ..,
    ] = rest
    else {
        return false;
    };
    if (first.as_char(), second.as_char()) != (':', ':') {
        return false;
    }
    match target {
        TokenTree::Group(group) => {
            let tokens: Vec<TokenTree> = group.stream().into_iter().collect();
            let is_comma = |token: &TokenTree| matches!(token, TokenTree::Punct(mark) if mark.as_char() == ',');
            let names: Vec<_> = tokens
                .split(is_comma)
                .filter(|tokens| !tokens.is_empty())
                .collect();
            !names.is_empty() && names.iter().all(|tokens| is_shared_word(&tokens[0]))
        }
        target => is_shared_word(target),
    }
}

fn is_shared_word(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Ident(name) if SHARED_WORDS.iter().any(|word| name == word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> usize {
        check(&Source::parse(path, text.to_owned()).unwrap()).len()
    }

    #[test]
    fn the_shared_words_are_fine() {
        for text in [
            "use brimful_core::Timestamp;",
            "use brimful_core::{Class, Usage as Reported, Timestamp};",
            "fn a(now: brimful_core::Timestamp) { now; }",
            "use brimful_core::Class::Throttled;",
            "//! [`brimful_core::limit`] is not used.",
        ] {
            assert_eq!(found("crates/brimful-sim/src/lib.rs", text), 0, "{text}");
        }
    }

    #[test]
    fn everything_else_of_the_core_is_found() {
        for text in [
            "use brimful_core::limit::TokenBucket;",
            "use brimful_core::{Timestamp, budget::Budget};",
            "use brimful_core::*;",
            "use brimful_core::{self};",
            "use brimful_core as core;",
            "use {brimful_core::queue};",
            "extern crate brimful_core;",
            "fn a() { vec![brimful_core::engine::Engine::new()]; }",
            "pub use ::brimful_core::Engine;",
        ] {
            assert_eq!(found("crates/brimful-sim/src/a/b.rs", text), 1, "{text}");
        }
    }

    #[test]
    fn the_virtual_runs_know_both_sides_and_the_server_does_not_know_them() {
        let engine = "use brimful_core::Engine;";
        assert_eq!(
            found("crates/brimful-sim/src/virtual_run/client.rs", engine),
            0
        );
        let unnamed = "crates/brimful-sim/src/virtual_run/limits.rs";
        assert_eq!(found(unnamed, engine), 1, "the files are named one by one");
        let back_door = "use crate::virtual_run::VirtualRun;";
        assert_eq!(
            found("crates/brimful-sim/src/limits/bucket.rs", back_door),
            1
        );
        assert_eq!(
            found("crates/brimful-sim/src/lib.rs", "pub mod virtual_run;"),
            0
        );
    }

    #[test]
    fn other_crates_and_the_simulators_own_tests_may_use_the_engine() {
        let text = "use brimful_core::Engine;";
        for path in [
            "crates/brimful/src/driver.rs",
            "crates/brimful-sim/tests/scenarios.rs",
        ] {
            assert_eq!(found(path, text), 0, "{path}");
        }
    }
}
