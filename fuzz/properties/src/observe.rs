//! Levels of limits, as headers name them.

use std::time::Duration;

use brimful_core::{Observation, Reset};
use brimful_providers::observe::{HeaderGrammar, observe};

use crate::message;

/// 2025-02-11T10:00:00Z
const NOW_UNIX_MS: i64 = 1_739_268_000_000;
const READINGS_MAX: usize = 16;
const AMOUNT_MAX: u64 = 1_000_000_000_000_000;
const RESET_MAX: Duration = Duration::from_secs(32 * 24 * 3600);

const GRAMMARS: [HeaderGrammar; 12] = [
    HeaderGrammar::None,
    HeaderGrammar::Openai,
    HeaderGrammar::Azure,
    HeaderGrammar::Anthropic,
    HeaderGrammar::Groq,
    HeaderGrammar::Mistral,
    HeaderGrammar::Cerebras,
    HeaderGrammar::Together,
    HeaderGrammar::Fireworks,
    HeaderGrammar::Openrouter,
    HeaderGrammar::Ietf,
    HeaderGrammar::Generic,
];

/// Lines of headers, up to an empty one.
pub fn hold(data: &[u8]) {
    let (_, headers, _) = message::split(&[b"\n", data].concat());
    for grammar in GRAMMARS {
        let seen = observe(&headers, grammar, NOW_UNIX_MS);
        // With a date of the server's own the local clock does not matter.
        if headers
            .get("date")
            .is_some_and(|date| date == "Tue, 11 Feb 2025 10:00:00 GMT")
        {
            assert_eq!(seen, observe(&headers, grammar, NOW_UNIX_MS + 12_345));
        }
        if let Some(seen) = seen {
            assert_ne!(grammar, HeaderGrammar::None);
            is_sound(&seen);
            let found = observe(&headers, HeaderGrammar::Generic, NOW_UNIX_MS);
            // OpenRouter's and Azure's names are among them under another meaning.
            assert!(found.is_some(), "{grammar} saw what no form has");
        }
    }
}

fn is_sound(seen: &Observation) {
    let readings = &seen.readings;
    assert!(!readings.is_empty() || seen.charged_tokens.is_some());
    assert!(readings.len() <= READINGS_MAX);
    for (index, reading) in readings.iter().enumerate() {
        assert!(reading.limit.is_some() || reading.remaining.is_some());
        assert_ne!(reading.limit, Some(0));
        assert_ne!(reading.granularity, 0);
        assert_ne!(reading.window, Some(Duration::ZERO));
        assert!(reading.limit.unwrap_or(0) <= AMOUNT_MAX);
        assert!(reading.remaining.unwrap_or(0) <= reading.limit.unwrap_or(AMOUNT_MAX));
        if let Some(Reset::Full(wait) | Reset::Restart(wait) | Reset::Unclear(wait)) = reading.reset
        {
            assert!(!wait.is_zero() && wait <= RESET_MAX);
        }
        let is_first = readings[..index]
            .iter()
            .all(|earlier| (earlier.kind, earlier.window) != (reading.kind, reading.window));
        assert!(is_first, "two levels of one limit");
    }
}
