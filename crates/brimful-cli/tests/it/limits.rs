//! What is known of providers, as a user asks for it.

use serde_json::Value;

use crate::workdir::{TestDir, repository};

#[test]
fn every_provider_is_listed_with_its_limits() {
    let listed = TestDir::new().brimful("limits").exits(0).stdout;
    for (name, word) in [
        ("openai", "the larger of input and max_tokens"),
        ("anthropic", "rpm itpm otpm"),
        ("vllm", "concurrency"),
        ("generic", "as given"),
    ] {
        let line = listed.lines().find(|line| line.starts_with(name));
        assert!(line.is_some_and(|line| line.contains(word)), "{listed}");
    }
}

#[test]
fn one_provider_is_shown_with_the_sources_of_its_facts() {
    let shown = TestDir::new().brimful("limits groq").exits(0).stdout;
    for word in [
        "Groq (groq)",
        "GROQ_API_KEY",
        "token bucket, all at once",
        "[limits, deduced]",
        "rpm 30, rpd 1,000, tpm 12,000, tpd 100,000",
        "https://console.groq.com/docs/rate-limits",
        "2026-11-22",
    ] {
        assert!(shown.contains(word), "no `{word}` in:\n{shown}");
    }
}

#[test]
fn programs_get_the_same_as_json() {
    let dir = TestDir::new();
    let one = dir.brimful("limits bedrock --json").exits(0).stdout;
    let one: Value = serde_json::from_str(&one).unwrap();
    assert_eq!(one["name"], "bedrock");
    assert_eq!(one["charge"][1]["output-percent"], 500);
    let all = dir.brimful("limits --json").exits(0).stdout;
    let all: Vec<Value> = serde_json::from_str(&all).unwrap();
    assert_eq!(all.len(), 20);
}

#[test]
fn the_page_of_the_documentation_is_what_the_program_prints() {
    let printed = TestDir::new().brimful("limits --markdown").exits(0).stdout;
    let kept = std::fs::read_to_string(repository("docs/providers.md")).unwrap();
    assert!(
        printed == kept,
        "brimful limits --markdown > docs/providers.md"
    );
}

#[test]
fn an_unknown_provider_is_refused_with_the_one_that_was_meant() {
    let dir = TestDir::new();
    let refused = dir.brimful("limits antropic").exits(2);
    refused.says(&["`antropic`", "did you mean `anthropic`?", "openrouter"]);
}
