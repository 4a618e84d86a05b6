//! What refusals say of the limit that refused: OpenAI and Groq print their arithmetic, Anthropic
//! and Google the amount, others at least the name.

use std::time::Duration;

use brimful_core::{LimitKind, QuotaNumbers};

use super::error::Violation;
use crate::duration::wait_in_text;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// Reads "on tokens per min (TPM): Limit 10000, Used 8554, Requested 3082. Please try again in
/// 9.816s" out of a message, or "of 20,000 input tokens per minute". `None` where it names neither
/// a limit nor an amount.
#[must_use]
pub fn quota_numbers(message: &str) -> Option<QuotaNumbers> {
    let named = named_limit(message);
    let amount = number_after(message, "Limit");
    let limit = amount.or_else(|| named?.amount);
    if named.is_none() && limit.is_none() {
        return None;
    }
    Some(QuotaNumbers {
        kind: named.map(|named| named.kind),
        window: named.map(|named| named.window),
        limit,
        used: number_after(message, "Used"),
        requested: number_after(message, "Requested"),
        // The texts hold durations, never instants: the clock does not matter.
        wait: wait_in_text(message, i64::MAX),
    })
}

/// What Google says of a violated limit by its `quotaId`, such as
/// `GenerateContentInputTokensPerModelPerMinute-FreeTier`, and `quotaValue`.
///
/// It counts input only and calls it tokens a minute; so does the limit here.
pub(super) fn google_numbers(violations: &[Violation]) -> Option<QuotaNumbers> {
    let longest = violations
        .iter()
        .filter_map(|violation| Some((window_of_id(&violation.quota_id)?, violation)))
        .max_by_key(|(window, _)| *window);
    let (window, violation) = match longest {
        Some((window, violation)) => (Some(window), violation),
        None => (None, violations.first()?),
    };
    let id = &violation.quota_id;
    let kind = if id.contains("Token") {
        Some(LimitKind::TotalTokens)
    } else {
        id.contains("Request").then_some(LimitKind::Requests)
    };
    (kind.is_some() || violation.quota_value.is_some()).then_some(QuotaNumbers {
        kind,
        window,
        limit: violation.quota_value,
        ..QuotaNumbers::default()
    })
}

fn window_of_id(id: &str) -> Option<Duration> {
    [("PerDay", DAY), ("PerHour", HOUR), ("PerMinute", MINUTE)]
        .into_iter()
        .find(|(word, _)| id.contains(word))
        .map(|(_, window)| window)
}

#[derive(Clone, Copy)]
struct Named {
    kind: LimitKind,
    window: Duration,
    /// A number right before the unit.
    amount: Option<u64>,
}

/// The limit that a message names: "requests per min", "20,000 input tokens per minute".
fn named_limit(message: &str) -> Option<Named> {
    let lower = message.to_ascii_lowercase();
    lower.match_indices(" per ").find_map(|(at, per)| {
        let window = window_of_word(&lower[at + per.len()..])?;
        let before = lower[..at].trim_end();
        let (kind, rest) = UNITS
            .into_iter()
            .find_map(|(unit, kind)| Some((kind, before.strip_suffix(unit)?)))?;
        Some(Named {
            kind,
            window,
            amount: number_before(rest),
        })
    })
}

/// The longest first: each of the others ends with one that is shorter.
const UNITS: [(&str, LimitKind); 4] = [
    ("input tokens", LimitKind::InputTokens),
    ("output tokens", LimitKind::OutputTokens),
    ("tokens", LimitKind::TotalTokens),
    ("requests", LimitKind::Requests),
];

fn window_of_word(text: &str) -> Option<Duration> {
    let end = text.find(|c: char| !c.is_ascii_alphabetic());
    match &text[..end.unwrap_or(text.len())] {
        "s" | "sec" | "second" => Some(SECOND),
        "min" | "minute" => Some(MINUTE),
        "hour" => Some(HOUR),
        "day" => Some(DAY),
        _ => None,
    }
}

/// A number at the end of a text, also with commas: `of 20,000`.
fn number_before(text: &str) -> Option<u64> {
    let text = text.strip_suffix(' ')?;
    let start = text.rfind(|c: char| !c.is_ascii_digit() && c != ',');
    let number = start.map_or(text, |at| {
        // A character may be longer than a byte.
        let width = text[at..].chars().next().map_or(1, char::len_utf8);
        &text[at + width..]
    });
    number.replace(',', "").parse().ok()
}

fn number_after(message: &str, word: &str) -> Option<u64> {
    message.match_indices(word).find_map(|(at, _)| {
        let rest = message[at + word.len()..].trim_start_matches([':', ' ']);
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        rest[..digits].parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::error::Violation;
    use super::*;

    /// The wait of a level that drains continuously and holds one minute of its rate.
    fn drained_wait(numbers: &QuotaNumbers) -> Duration {
        let limit = numbers.limit.unwrap();
        let excess = numbers.used.unwrap() + numbers.requested.unwrap() - limit;
        Duration::from_nanos(excess * 60_000_000_000 / limit)
    }

    fn message(limit: u64, used: u64, requested: u64, wait: &str) -> String {
        format!(
            "Rate limit reached for gpt-4 in organization org-x on tokens per min (TPM): Limit \
             {limit}, Used {used}, Requested {requested}. Please try again in {wait}. Visit \
             https://platform.openai.com/account/rate-limits to learn more."
        )
    }

    /// providers.md §1.3.
    #[test]
    fn openai_waits_until_the_level_has_drained_to_the_millisecond() {
        for (limit, used, requested, wait, wait_ms) in [
            (10_000, 8_554, 3_082, "9.816s", 9_816),
            (30_000, 29_937, 385, "644ms", 644),
            (30_000, 14_567, 24_754, "18.642s", 18_642),
            (30_000, 18_928, 11_159, "174ms", 174),
            (30_000, 28_039, 3_906, "3.89s", 3_890),
            (30_000, 22_343, 10_955, "6.596s", 6_596),
        ] {
            let numbers = quota_numbers(&message(limit, used, requested, wait)).unwrap();
            let wait = Duration::from_millis(wait_ms);
            assert_eq!(
                numbers,
                QuotaNumbers {
                    limit: Some(limit),
                    used: Some(used),
                    requested: Some(requested),
                    wait: Some(wait),
                    kind: Some(LimitKind::TotalTokens),
                    window: Some(MINUTE),
                }
            );
            assert_eq!(drained_wait(&numbers), wait);
            assert!(!numbers.never_fits());
        }
    }

    /// providers.md §6.
    #[test]
    fn groqs_wait_is_the_same_arithmetic_less_three_milliseconds_of_clock() {
        let numbers = quota_numbers(&message(15_000, 11_972, 4_351, "5.289s")).unwrap();
        assert_eq!(numbers.wait, Some(Duration::from_millis(5_289)));
        assert_eq!(drained_wait(&numbers), Duration::from_millis(5_292));
    }

    /// providers.md §1.2.
    #[test]
    fn a_request_larger_than_the_limit_never_fits() {
        let text = "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested \
                    31538. The input or output tokens must be reduced in order to run successfully.";
        let numbers = quota_numbers(text).unwrap();
        assert_eq!(
            (numbers.limit, numbers.used, numbers.requested),
            (Some(30_000), None, Some(31_538))
        );
        assert!(numbers.never_fits());
    }

    #[test]
    fn the_name_of_a_limit_says_kind_window_and_perhaps_amount() {
        for (text, kind, window, limit) in [
            (
                "This request would exceed the rate limit for your organization (uuid) of 20,000 \
                 input tokens per minute. For details, see https://docs.anthropic.com.",
                LimitKind::InputTokens,
                MINUTE,
                Some(20_000),
            ),
            (
                "This request would exceed your organization's rate limit of 50 requests per minute",
                LimitKind::Requests,
                MINUTE,
                Some(50),
            ),
            (
                "exceed the rate limit of 8,000 output tokens per minute.",
                LimitKind::OutputTokens,
                MINUTE,
                Some(8_000),
            ),
            (
                "Rate limit reached for gpt-4 on requests per day (RPD): Limit 200, Used 200",
                LimitKind::Requests,
                DAY,
                Some(200),
            ),
            (
                "Rate limit reached on requests per min. Limit: 3 / min. Please try again in 20s.",
                LimitKind::Requests,
                MINUTE,
                Some(3),
            ),
            (
                "Tokens per minute limit exceeded - too many tokens processed.",
                LimitKind::TotalTokens,
                MINUTE,
                None,
            ),
            ("Größe 7tokens per day", LimitKind::TotalTokens, DAY, None),
        ] {
            let numbers = quota_numbers(text).expect(text);
            assert_eq!(
                (numbers.kind, numbers.window, numbers.limit),
                (Some(kind), Some(window), limit),
                "{text}"
            );
        }
    }

    #[test]
    fn googles_value_is_the_limit_and_its_id_the_kind_and_window() {
        let violation = |quota_id: &str, quota_value| Violation {
            quota_id: quota_id.to_owned(),
            quota_value,
        };
        let minute = violation(
            "GenerateContentInputTokensPerModelPerMinute-FreeTier",
            Some(250_000),
        );
        let numbers = google_numbers(&[minute]).unwrap();
        assert_eq!(
            (numbers.kind, numbers.window, numbers.limit),
            (Some(LimitKind::TotalTokens), Some(MINUTE), Some(250_000))
        );
        let both = [
            violation("GenerateRequestsPerMinutePerProjectPerModel", Some(15)),
            violation(
                "GenerateRequestsPerDayPerProjectPerModel-FreeTier",
                Some(50),
            ),
        ];
        let numbers = google_numbers(&both).unwrap();
        assert_eq!(
            (numbers.kind, numbers.window, numbers.limit),
            (Some(LimitKind::Requests), Some(DAY), Some(50))
        );
        assert_eq!(google_numbers(&[]), None);
        assert_eq!(google_numbers(&[violation("Spend", None)]), None);
    }

    #[test]
    fn other_texts_hold_no_numbers() {
        for text in [
            "",
            "Limit",
            "Limits apply",
            "Limit: none",
            "Limit 99999999999999999999999",
        ] {
            assert_eq!(quota_numbers(text), None, "{text}");
        }
        assert_eq!(
            quota_numbers("Limit: 3 / min. Please try again in 20s.")
                .unwrap()
                .limit,
            Some(3)
        );
    }

    proptest! {
        #[test]
        fn numbers_round_trip(limit: u64, used: u64, requested: u64, noise in "\\PC{0,20}") {
            let numbers = quota_numbers(&message(limit, used, requested, "1.5s")).unwrap();
            prop_assert_eq!(
                (numbers.limit, numbers.used, numbers.requested, numbers.wait),
                (Some(limit), Some(used), Some(requested), Some(Duration::from_millis(1500)))
            );
            let _ = quota_numbers(&format!("Limit {noise}"));
        }
    }
}
