//! The rate-limit headers of every provider, as they have been seen or documented.

use std::time::Duration;

use brimful_core::LimitKind::{Concurrency, InputTokens, OutputTokens, Requests, TotalTokens};
use brimful_core::{LimitKind, Observation, Reading, Reset};
use brimful_providers::observe::{HeaderGrammar, observe};
use http::{HeaderMap, HeaderName, HeaderValue};

/// 2025-02-11T10:00:00Z
const NOW: i64 = 1_739_268_000_000;
const MINUTE: Option<Duration> = Some(Duration::from_secs(60));
const DAY: Option<Duration> = Some(Duration::from_secs(86_400));

fn headers(lines: &str) -> HeaderMap {
    lines
        .lines()
        .filter_map(|line| line.trim().split_once(": "))
        .map(|(name, value)| {
            let name: HeaderName = name.parse().expect("a name");
            (name, HeaderValue::from_str(value).expect("a value"))
        })
        .collect()
}

/// By kind and window: their order in the reply says nothing.
fn seen(grammar: HeaderGrammar, lines: &str) -> Vec<Reading> {
    let seen = observe(&headers(lines), grammar, NOW);
    let mut readings = seen.map_or_else(Vec::new, |seen| seen.readings);
    readings.sort_by_key(|reading| (reading.kind, reading.window));
    readings
}

fn reading(
    kind: LimitKind,
    window: Option<Duration>,
    [limit, remaining]: [u64; 2],
    reset: Option<Reset>,
) -> Reading {
    Reading {
        kind,
        window,
        limit: Some(limit),
        remaining: Some(remaining),
        reset,
        granularity: 1,
    }
}

fn full_ms(ms: u64) -> Option<Reset> {
    Some(Reset::Full(Duration::from_millis(ms)))
}

fn restart(secs: u64) -> Option<Reset> {
    Some(Reset::Restart(Duration::from_secs(secs)))
}

fn unclear_ms(ms: u64) -> Option<Reset> {
    Some(Reset::Unclear(Duration::from_millis(ms)))
}

const OPENAI: &str = "content-type: application/json
    x-ratelimit-limit-requests: 5000
    x-ratelimit-limit-tokens: 160000
    x-ratelimit-remaining-requests: 4999
    x-ratelimit-remaining-tokens: 159976
    x-ratelimit-reset-requests: 12ms
    x-ratelimit-reset-tokens: 9ms";

#[test]
fn openais_windows_follow_from_levels_and_resets() {
    for grammar in [HeaderGrammar::Openai, HeaderGrammar::Generic] {
        assert_eq!(
            seen(grammar, OPENAI),
            [
                reading(Requests, MINUTE, [5_000, 4_999], full_ms(12)),
                reading(TotalTokens, MINUTE, [160_000, 159_976], full_ms(9)),
            ]
        );
        let of_a_day = "x-ratelimit-limit-requests: 10000
            x-ratelimit-remaining-requests: 9999
            x-ratelimit-reset-requests: 8.64s
            x-ratelimit-limit-tokens: 1500000
            x-ratelimit-remaining-tokens: 1495621
            x-ratelimit-reset-tokens: 4m12.172s";
        assert_eq!(
            seen(grammar, of_a_day),
            [
                reading(Requests, DAY, [10_000, 9_999], full_ms(8_640)),
                reading(TotalTokens, DAY, [1_500_000, 1_495_621], full_ms(252_172)),
            ]
        );
    }
}

#[test]
fn servers_of_openais_form_may_name_input_and_output_apart() {
    let lines = "x-ratelimit-limit-input-tokens: 6000
        x-ratelimit-remaining-input-tokens: 3000
        x-ratelimit-reset-input-tokens: 30s
        x-ratelimit-limit-output-tokens: 600
        x-ratelimit-remaining-output-tokens: 60
        x-ratelimit-reset-output-tokens: 54s";
    for grammar in [HeaderGrammar::Openai, HeaderGrammar::Generic] {
        assert_eq!(
            seen(grammar, lines),
            [
                reading(InputTokens, MINUTE, [6_000, 3_000], full_ms(30_000)),
                reading(OutputTokens, MINUTE, [600, 60], full_ms(54_000)),
            ]
        );
    }
}

#[test]
fn of_an_organisation_and_a_project_the_smaller_limit_counts() {
    let lines = "x-ratelimit-limit-tokens: 30000
        x-ratelimit-remaining-tokens: 15000
        x-ratelimit-reset-tokens: 30s
        x-ratelimit-limit-project-tokens: 12000
        x-ratelimit-remaining-project-tokens: 6000
        x-ratelimit-reset-project-tokens: 30s";
    assert_eq!(
        seen(HeaderGrammar::Openai, lines),
        [reading(
            TotalTokens,
            MINUTE,
            [12_000, 6_000],
            full_ms(30_000)
        )]
    );
}

#[test]
fn azures_bare_seconds_are_the_restart_of_its_minute() {
    let lines = "x-ratelimit-limit-tokens: 60000
        x-ratelimit-remaining-tokens: 12000
        x-rate-limit-reset-tokens: 55
        x-ratelimit-remaining-requests: 59
        x-ratelimit-reset-requests: 1";
    assert_eq!(
        seen(HeaderGrammar::Azure, lines),
        [
            Reading {
                limit: None,
                ..reading(Requests, None, [0, 59], restart(1))
            },
            reading(TotalTokens, MINUTE, [60_000, 12_000], restart(55)),
        ]
    );
}

#[test]
fn azures_minus_one_zero_and_nothing_say_nothing() {
    for value in ["-1", "0", " ", "none"] {
        let lines = format!(
            "x-ratelimit-limit-tokens: {value}
            x-ratelimit-remaining-tokens: {value}
            x-ratelimit-reset-tokens: {value}
            x-ratelimit-remaining-requests: {value}
            x-ratelimit-limit-requests: {value}"
        );
        for grammar in [HeaderGrammar::Azure, HeaderGrammar::Generic] {
            assert_eq!(observe(&headers(&lines), grammar, NOW), None, "{value:?}");
        }
    }
}

const ANTHROPIC: &str = "date: Tue, 11 Feb 2025 12:00:00 GMT
    anthropic-ratelimit-requests-limit: 1000
    anthropic-ratelimit-requests-remaining: 999
    anthropic-ratelimit-requests-reset: 2025-02-11T12:00:00Z
    anthropic-ratelimit-input-tokens-limit: 80000
    anthropic-ratelimit-input-tokens-remaining: 80000
    anthropic-ratelimit-input-tokens-reset: 2025-02-11T12:00:00Z
    anthropic-ratelimit-output-tokens-limit: 16000
    anthropic-ratelimit-output-tokens-remaining: 12000
    anthropic-ratelimit-output-tokens-reset: 2025-02-11T12:00:15Z
    anthropic-ratelimit-tokens-limit: 96000
    anthropic-ratelimit-tokens-remaining: 92000
    anthropic-ratelimit-tokens-reset: 2025-02-11T12:00:15Z
    anthropic-priority-output-tokens-limit: 5
    anthropic-priority-output-tokens-remaining: 5";

/// providers.md §3: 4,000 of 16,000 tokens are free again after 15 s, by the reply's own clock.
#[test]
fn anthropics_instants_are_read_by_the_replys_own_clock_and_implied_totals_are_left_out() {
    for grammar in [HeaderGrammar::Anthropic, HeaderGrammar::Generic] {
        let thousands = |reading| Reading {
            granularity: 1_000,
            ..reading
        };
        assert_eq!(
            seen(grammar, ANTHROPIC),
            [
                reading(Requests, MINUTE, [1_000, 999], None),
                thousands(reading(InputTokens, MINUTE, [80_000, 80_000], None)),
                thousands(reading(
                    OutputTokens,
                    MINUTE,
                    [16_000, 12_000],
                    full_ms(15_000)
                )),
            ]
        );
        // The rate that follows is the limit.
        assert_eq!((16_000 - 12_000) * 60 / 15, 16_000);
    }
}

#[test]
fn a_workspaces_own_total_is_a_limit_of_its_own() {
    let lines = ANTHROPIC.replace("tokens-limit: 96000", "tokens-limit: 30000");
    let total = seen(HeaderGrammar::Anthropic, &lines)
        .into_iter()
        .find(|reading| reading.kind == TotalTokens);
    assert_eq!(total.and_then(|total| total.limit), Some(30_000));
}

#[test]
fn groqs_requests_are_those_of_a_day_and_its_tokens_those_of_a_minute() {
    let lines = "x-ratelimit-limit-requests: 14400
        x-ratelimit-limit-tokens: 18000
        x-ratelimit-remaining-requests: 14370
        x-ratelimit-remaining-tokens: 17997
        x-ratelimit-reset-requests: 2m59.56s
        x-ratelimit-reset-tokens: 10ms";
    assert_eq!(
        seen(HeaderGrammar::Groq, lines),
        [
            reading(Requests, DAY, [14_400, 14_370], full_ms(179_560)),
            reading(TotalTokens, MINUTE, [18_000, 17_997], full_ms(10)),
        ]
    );
    // 30 requests of 14,400 in a day and 3 tokens of 18,000 in a minute, to the server's rounding.
    assert_eq!(86_400_000_u64 * 30 / 14_400, 180_000);
    assert_eq!(60_000 * 3 / 18_000, 10);
}

#[test]
fn mistral_tells_the_cost_of_the_request() {
    for grammar in [HeaderGrammar::Mistral, HeaderGrammar::Generic] {
        let now = "x-ratelimit-limit-req-minute: 360
            x-ratelimit-remaining-req-minute: 359
            x-ratelimit-limit-tokens-minute: 500000
            x-ratelimit-remaining-tokens-minute: 499123
            x-ratelimit-tokens-query-cost: 877";
        assert_eq!(
            observe(&headers(now), grammar, NOW),
            Some(Observation {
                readings: vec![
                    reading(Requests, MINUTE, [360, 359], None),
                    reading(TotalTokens, MINUTE, [500_000, 499_123], None),
                ],
                charged_tokens: Some(877),
            })
        );
        let older = "ratelimitbysize-limit: 500000
            ratelimitbysize-remaining: 499900
            ratelimitbysize-reset: 42
            ratelimitbysize-query-cost: 32";
        assert_eq!(
            observe(&headers(older), grammar, NOW),
            Some(Observation {
                readings: vec![reading(
                    TotalTokens,
                    MINUTE,
                    [500_000, 499_900],
                    unclear_ms(42_000)
                )],
                charged_tokens: Some(32),
            })
        );
    }
}

#[test]
fn cerebras_names_its_windows_and_counts_seconds_with_fractions() {
    for grammar in [HeaderGrammar::Cerebras, HeaderGrammar::Generic] {
        let lines = "x-ratelimit-limit-requests-day: 1000000000
            x-ratelimit-limit-tokens-minute: 1000000000
            x-ratelimit-remaining-requests-day: 999997455
            x-ratelimit-remaining-tokens-minute: 999998298
            x-ratelimit-reset-requests-day: 33011.382867
            x-ratelimit-reset-tokens-minute: 11.382";
        let day = Some(Reset::Unclear(Duration::from_nanos(33_011_382_867_000)));
        assert_eq!(
            seen(grammar, lines),
            [
                reading(Requests, DAY, [1_000_000_000, 999_997_455], day),
                reading(
                    TotalTokens,
                    MINUTE,
                    [1_000_000_000, 999_998_298],
                    unclear_ms(11_382)
                ),
            ]
        );
    }
}

#[test]
fn together_and_openrouter_share_names_but_not_meanings() {
    let together = "x-ratelimit-limit: 10
        x-ratelimit-remaining: 7
        x-ratelimit-limit-dynamic: 6
        x-ratelimit-remaining-dynamic: 3
        x-ratelimit-reset: 2
        x-tokenlimit-limit: 4000
        x-tokenlimit-remaining: 3500";
    for grammar in [HeaderGrammar::Together, HeaderGrammar::Generic] {
        assert_eq!(
            seen(grammar, together),
            [
                reading(Requests, None, [6, 3], unclear_ms(2_000)),
                reading(TotalTokens, None, [4_000, 3_500], unclear_ms(2_000)),
            ]
        );
    }
    let openrouter = "x-ratelimit-limit: 20
        x-ratelimit-remaining: 0
        x-ratelimit-reset: 1739268015000";
    assert_eq!(
        seen(HeaderGrammar::Openrouter, openrouter),
        [reading(Requests, None, [20, 0], restart(15))]
    );
}

#[test]
fn of_fireworks_prompt_tokens_the_tighter_class_counts() {
    let lines = "x-ratelimit-limit-tokens-prompt: 60000
        x-ratelimit-remaining-tokens-prompt: 59000
        x-ratelimit-limit-tokens-cache-adjusted-prompt: 15000
        x-ratelimit-remaining-tokens-cache-adjusted-prompt: 14000
        x-ratelimit-limit-tokens-generated: 600
        x-ratelimit-remaining-tokens-generated: 590
        x-ratelimit-over-limit: no";
    for grammar in [HeaderGrammar::Fireworks, HeaderGrammar::Generic] {
        assert_eq!(
            seen(grammar, lines),
            [
                reading(InputTokens, None, [15_000, 14_000], None),
                reading(OutputTokens, None, [600, 590], None),
            ]
        );
    }
}

#[test]
fn the_ietf_draft_joins_levels_to_policies_by_name() {
    let lines = r#"ratelimit-policy: "burst";q=100;w=60,"daily";q=1000;w=86400;pk=:cHNsZWF2ZQ==:
        ratelimit-policy: "tpm";q=9000;w=60;qu="tokens", "slots";q=8;qu="concurrent-requests"
        ratelimit-policy: "bytes";q=1;qu="content-bytes"
        ratelimit: "burst";r=50;t=30
        ratelimit: "tpm";r=8000, "bytes";r=1;t=1, "daily";r=999;t=80000"#;
    for grammar in [HeaderGrammar::Ietf, HeaderGrammar::Generic] {
        assert_eq!(
            seen(grammar, lines),
            [
                reading(Requests, MINUTE, [100, 50], restart(30)),
                reading(Requests, DAY, [1_000, 999], restart(80_000)),
                reading(TotalTokens, MINUTE, [9_000, 8_000], None),
                Reading {
                    remaining: None,
                    ..reading(Concurrency, None, [8, 0], None)
                },
            ]
        );
    }
}

#[test]
fn the_older_forms_of_the_draft_are_read_too() {
    let expected = [reading(Requests, MINUTE, [100, 50], restart(30))];
    for lines in [
        "ratelimit: limit=100, remaining=50, reset=30\nratelimit-policy: 10;w=1, 100;w=60",
        "ratelimit-limit: 100, 10;w=1, 100;w=60\nratelimit-remaining: 50\nratelimit-reset: 30",
        "ratelimit-limit: 100\nratelimit-remaining: 50\nratelimit-reset: 30
         ratelimit-policy: 100;w=60",
        "ratelimit-remaining: 50\nratelimit-reset: 30\nratelimit-policy: 100;w=60",
    ] {
        assert_eq!(seen(HeaderGrammar::Ietf, lines), expected, "{lines}");
    }
    let bare = "ratelimit-limit: 100\nratelimit-remaining: 50\nratelimit-reset: 30";
    assert_eq!(
        seen(HeaderGrammar::Generic, bare),
        [reading(Requests, None, [100, 50], restart(30))]
    );
    assert_eq!(
        seen(HeaderGrammar::Ietf, "ratelimit: \"default\";r=50;t=30"),
        [Reading {
            limit: None,
            ..reading(Requests, None, [0, 50], restart(30))
        }]
    );
}

#[test]
fn hostile_headers_give_nothing_or_something_bounded() {
    let long = format!("ratelimit-policy: {}", "\"a\";q=1;w=1,".repeat(2_000));
    for lines in [
        "ratelimit: ((((",
        "ratelimit: \"a\";r=-1",
        "ratelimit-limit: 99999999999999999999999",
        "x-ratelimit-limit-tokens: 9e9",
        "x-ratelimit-limit: 1,2",
        "x-ratelimit-over-limit: yes",
        &long,
    ] {
        assert_eq!(
            observe(&headers(lines), HeaderGrammar::Generic, NOW),
            None,
            "{lines}"
        );
    }
    let many: Vec<String> = (1..=40).map(|w| format!("\"p{w}\";q=5;w={w}")).collect();
    let many = seen(
        HeaderGrammar::Ietf,
        &format!("ratelimit-policy: {}", many.join(",")),
    );
    assert_eq!(many.len(), 16);
    let over = seen(
        HeaderGrammar::Openai,
        "x-ratelimit-limit-tokens: 10\nx-ratelimit-remaining-tokens: 12\nx-ratelimit-reset-tokens: 99999h",
    );
    assert_eq!(over, [reading(TotalTokens, None, [10, 10], None)]);
}

#[test]
fn a_reply_without_such_headers_has_no_observation() {
    let plain = headers("content-type: application/json\ndate: Tue, 11 Feb 2025 12:00:00 GMT");
    for grammar in [
        HeaderGrammar::None,
        HeaderGrammar::Openai,
        HeaderGrammar::Anthropic,
        HeaderGrammar::Ietf,
        HeaderGrammar::Generic,
    ] {
        assert_eq!(observe(&plain, grammar, NOW), None, "{grammar}");
    }
    assert_eq!(observe(&headers(OPENAI), HeaderGrammar::None, NOW), None);
}
