//! The arithmetic that OpenAI and Groq print into their 429 messages.

use brimful_core::QuotaNumbers;

use crate::duration::wait_in_text;

/// Reads "Limit 10000, Used 8554, Requested 3082. Please try again in 9.816s" out of a message.
#[must_use]
pub fn quota_numbers(message: &str) -> Option<QuotaNumbers> {
    Some(QuotaNumbers {
        limit: Some(number_after(message, "Limit")?),
        used: number_after(message, "Used"),
        requested: number_after(message, "Requested"),
        // The texts hold durations, never instants: the clock does not matter.
        wait: wait_in_text(message, i64::MAX),
        ..QuotaNumbers::default()
    })
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

    use super::{QuotaNumbers, quota_numbers};

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
                    ..QuotaNumbers::default()
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
