//! Real refusals and headers, foretold by the limit that the profile describes: the same number of
//! milliseconds. The vectors are from public threads, of which `docs/providers.md` names one each.

use std::time::Duration;

use brimful_core::{Budget, Charge, Decision, LimitKind, Reset, Timestamp};
use brimful_providers::observe::observe;
use brimful_providers::profile::Profile;
use brimful_providers::reply::quota_numbers;
use http::{HeaderMap, HeaderName, HeaderValue};

const MS: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
/// 2025-02-11T10:00:00Z
const NOW: i64 = 1_739_268_000_000;

/// A provider's limit as the server has it: without room for a client's jitter.
fn budget(provider: &str, kind: LimitKind, amount: u64, window: Duration) -> Budget {
    let profile = Profile::by_name(provider).expect("a known provider");
    let spec = profile.spec("limit", kind, amount, window);
    Budget::new(vec![spec.jitter(Duration::ZERO)]).expect("a limit")
}

/// So many units of every kind of token, or of requests.
const fn units(units: u64) -> Charge {
    let mut charge = Charge::request();
    charge.requests = units;
    charge.input = units;
    charge.output = units;
    charge.total = units;
    charge
}

/// How long `needs` units wait once `used` of them are taken.
fn wait(mut budget: Budget, used: u64, needs: u64) -> Duration {
    let start = Timestamp::ZERO;
    if used > 0 {
        let _held = budget.reserve(start, units(used)).expect("they fit");
    }
    match budget.decide(start, &units(needs)) {
        Decision::Go => Duration::ZERO,
        Decision::WaitUntil(then) => then.since(start),
        never @ Decision::Never(_) => panic!("{never:?}"),
    }
}

fn whole_ms(duration: Duration) -> u128 {
    // Servers round up: a wait that is too short would be refused again.
    duration.as_nanos().div_ceil(1_000_000)
}

#[test]
fn refusals_of_openai_are_foretold_to_the_millisecond() {
    for (limit, used, requested, text) in [
        (10_000, 8_554, 3_082, "9.816s"),
        (30_000, 29_937, 385, "644ms"),
        (30_000, 14_567, 24_754, "18.642s"),
        (30_000, 18_928, 11_159, "174ms"),
        (30_000, 28_039, 3_906, "3.89s"),
        (30_000, 22_343, 10_955, "6.596s"),
    ] {
        let message = format!(
            "Rate limit reached for gpt-4o in organization org-x on tokens per min (TPM): Limit \
             {limit}, Used {used}, Requested {requested}. Please try again in {text}."
        );
        let said = quota_numbers(&message).expect("numbers");
        let kind = said.kind.expect("a kind");
        let window = said.window.expect("a window");
        let foretold = wait(budget("openai", kind, limit, window), used, requested);
        assert_eq!(
            whole_ms(foretold),
            whole_ms(said.wait.expect("a wait")),
            "{text}"
        );
    }
}

#[test]
fn refusals_of_groq_are_foretold_but_for_the_milliseconds_between_two_clocks() {
    let message = "Rate limit reached for model `m` on tokens per minute (TPM): Limit 15000, Used \
                   11972, Requested 4351. Please try again in 5.289s.";
    let said = quota_numbers(message).expect("numbers");
    let bucket = budget("groq", LimitKind::TotalTokens, 15_000, MINUTE);
    let foretold = wait(bucket, 11_972, 4_351);
    assert_eq!(foretold.saturating_sub(said.wait.expect("a wait")), 3 * MS);
}

/// The reset that headers show for one limit, and the wait until all of it is free.
fn reset_of(provider: &str, lines: &[(&'static str, &str)]) -> (Duration, Duration) {
    let headers: HeaderMap = lines
        .iter()
        .map(|(name, value)| {
            let value = HeaderValue::from_str(value).expect("a value");
            (HeaderName::from_static(name), value)
        })
        .collect();
    let grammar = Profile::by_name(provider).expect("known").replies.headers;
    let seen = observe(&headers, grammar, NOW).expect("a limit");
    let reading = seen.readings[0];
    let Some(Reset::Full(said)) = reading.reset else {
        panic!("{reading:?}");
    };
    let (limit, left) = (
        reading.limit.expect("told"),
        reading.remaining.expect("told"),
    );
    let window = reading.window.expect("inferred or known");
    let budget = budget(provider, reading.kind, limit, window);
    (said, wait(budget, limit - left, limit))
}

#[test]
fn resets_are_the_time_until_all_is_free() {
    for (limit, left, reset) in [
        ("160000", "159976", "9ms"),
        ("10000", "9481", "3.114s"),
        ("1500000", "1495621", "4m12.172s"),
    ] {
        let (said, foretold) = reset_of(
            "openai",
            &[
                ("x-ratelimit-limit-tokens", limit),
                ("x-ratelimit-remaining-tokens", left),
                ("x-ratelimit-reset-tokens", reset),
            ],
        );
        // The level is no whole number, what remains is: less than one unit, and the rounding.
        let unit = if reset.contains('m') && !reset.ends_with("ms") {
            DAY / 1_500_000
        } else {
            MINUTE / 10_000
        };
        assert!(
            said.abs_diff(foretold) <= unit + MS,
            "{reset}: {foretold:?}"
        );
    }
    for (limit, left, reset) in [("5000", "4999", "12ms"), ("10000", "9999", "8.64s")] {
        let (said, foretold) = reset_of(
            "openai",
            &[
                ("x-ratelimit-limit-requests", limit),
                ("x-ratelimit-remaining-requests", left),
                ("x-ratelimit-reset-requests", reset),
            ],
        );
        assert_eq!(said, foretold, "{reset}");
    }
}

#[test]
fn anthropics_reset_of_output_is_that_of_its_bucket() {
    let (said, foretold) = reset_of(
        "anthropic",
        &[
            ("date", "Tue, 11 Feb 2025 10:00:00 GMT"),
            ("anthropic-ratelimit-output-tokens-limit", "16000"),
            ("anthropic-ratelimit-output-tokens-remaining", "12000"),
            (
                "anthropic-ratelimit-output-tokens-reset",
                "2025-02-11T10:00:15Z",
            ),
        ],
    );
    assert_eq!(said, foretold);
}
