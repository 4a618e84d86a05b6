//! Durations and instants as providers write them in headers and messages.
//!
//! Everything is integer arithmetic on nanoseconds: `9.816s` is exactly that.

mod headers;

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::{rfc2822, strtime};
use jiff::tz::TimeZone;

pub use self::headers::{BodyHint, retry_after, server_unix_ms};

const NANOS_PER_SEC: u128 = 1_000_000_000;
const NANOS_PER_MS: i128 = 1_000_000;

/// No provider's wait or date is longer; a longer text is not looked at.
const WAIT_TEXT_BYTES_MAX: usize = 128;

/// Bare numbers from here are seconds since 1970 (the year 2001); smaller ones are seconds to wait
/// (up to 31 years).
const EPOCH_SECS_MIN: u128 = 1_000_000_000;
/// Bare numbers from here are milliseconds since 1970 (the year 1973; as seconds, 5138).
const EPOCH_MS_MIN: u128 = 100_000_000_000;
/// Bare numbers from here are nothing that a provider sends (as milliseconds, the year 5138).
const EPOCH_MS_END: u128 = 100_000_000_000_000;

/// How long to wait from now, read from a header's value. `None` when the text says nothing usable:
/// garbage, zero, a negative number, an instant that has passed.
///
/// Accepted: Go durations (`12ms`, `6m0s`, `23h18m29.144s`, `µs`, `us`, `ns`), also with spaces and
/// whole words (`1 hour 5 minutes`); bare numbers (`55`, `0.5`: seconds; from 10⁹ seconds since
/// 1970; from 10¹¹ milliseconds since 1970; from 10¹⁴ nothing); RFC 3339; the three forms of an
/// HTTP date. `now_unix_ms` is the wall clock's reading and matters for absolute instants only.
#[must_use]
pub fn parse_wait(text: &str, now_unix_ms: i64) -> Option<Duration> {
    let text = text.trim();
    if text.len() > WAIT_TEXT_BYTES_MAX {
        return None;
    }
    match read_span(text) {
        Some((span, "")) => span.wait(now_unix_ms),
        _ => wait_until(parse_instant(text)?, now_unix_ms),
    }
}

/// The wait named in a message for humans: "Please try again in 9.816s", "retry after 86400
/// seconds".
#[must_use]
pub fn wait_in_text(message: &str, now_unix_ms: i64) -> Option<Duration> {
    const PHRASES: [&str; 4] = ["try again in", "retry in", "retry after", "try again after"];
    let lower = message.to_ascii_lowercase();
    PHRASES.iter().find_map(|phrase| {
        lower.match_indices(phrase).find_map(|(at, _)| {
            let rest = message[at + phrase.len()..].trim_start_matches([' ', ':']);
            let word = rest
                .split_whitespace()
                .next()?
                .trim_end_matches(['.', ',', ')', '"']);
            if word.len() <= WAIT_TEXT_BYTES_MAX
                && let Some(instant) = parse_instant(word)
            {
                return wait_until(instant, now_unix_ms);
            }
            let (span, rest) = read_span(rest)?;
            let is_whole = !rest.starts_with(|c: char| c.is_alphanumeric() || "-:/".contains(c));
            span.wait(now_unix_ms).filter(|_| is_whole)
        })
    })
}

/// The time until midnight in California, where Google's daily quotas start anew.
pub(crate) fn until_pacific_midnight(now_unix_ms: i64) -> Option<Duration> {
    // The rule instead of a time zone database, which not every machine has.
    let pacific = TimeZone::posix("PST8PDT,M3.2.0,M11.1.0").ok()?;
    let now = Timestamp::from_millisecond(now_unix_ms)
        .ok()?
        .to_zoned(pacific);
    let midnight = now.tomorrow().ok()?.start_of_day().ok()?;
    wait_until(midnight.timestamp().as_nanosecond(), now_unix_ms)
}

/// One number or duration at the start of a text.
enum Span {
    /// A number without a unit, times 10⁹.
    Bare(u128),
    /// Nanoseconds.
    Units(u128),
}

impl Span {
    fn wait(&self, now_unix_ms: i64) -> Option<Duration> {
        let (number, since_epoch) = match *self {
            Self::Units(nanos) => return nonzero(nanos),
            Self::Bare(number) => (number, number / NANOS_PER_SEC),
        };
        match since_epoch {
            0..EPOCH_SECS_MIN => nonzero(number),
            EPOCH_SECS_MIN..EPOCH_MS_MIN => wait_until(i128::try_from(number).ok()?, now_unix_ms),
            EPOCH_MS_MIN..EPOCH_MS_END => {
                wait_until(i128::try_from(number / 1000).ok()?, now_unix_ms)
            }
            _ => None,
        }
    }
}

/// Reads numbers with units as far as they go, or one number without.
fn read_span(text: &str) -> Option<(Span, &str)> {
    let (first, after) = read_number(text)?;
    let Some((unit_nanos, mut rest)) = read_unit(after) else {
        return Some((Span::Bare(first), after));
    };
    let mut nanos = scale(first, unit_nanos)?;
    loop {
        let next = rest.trim_start_matches([' ', ',']);
        let next = next.strip_prefix("and ").unwrap_or(next);
        let Some((number, after)) = read_number(next) else {
            break;
        };
        let Some((unit_nanos, after)) = read_unit(after) else {
            break;
        };
        nanos = nanos.checked_add(scale(number, unit_nanos)?)?;
        rest = after;
    }
    Some((Span::Units(nanos), rest))
}

/// Reads an unsigned decimal number, times 10⁹. Digits beyond the ninth decimal are dropped.
fn read_number(text: &str) -> Option<(u128, &str)> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let (whole, rest) = split_digits(text);
    let (fraction, rest) = match rest.strip_prefix('.').map(split_digits) {
        Some((fraction, rest)) if !fraction.is_empty() => (fraction, rest),
        _ => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut number: u128 = 0;
    for digit in whole
        .bytes()
        .chain(fraction.bytes().chain(std::iter::repeat(b'0')).take(9))
    {
        number = number
            .checked_mul(10)?
            .checked_add(u128::from(digit - b'0'))?;
    }
    Some((number, rest))
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

fn read_unit(text: &str) -> Option<(u128, &str)> {
    let text = text.trim_start_matches(' ');
    let end = text
        .find(|c: char| !c.is_alphabetic())
        .unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let nanos = match word.to_ascii_lowercase().as_str() {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" | "millisecond" | "milliseconds" => 1_000_000,
        "s" | "sec" | "secs" | "second" | "seconds" => NANOS_PER_SEC,
        "m" | "min" | "mins" | "minute" | "minutes" => 60 * NANOS_PER_SEC,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3_600 * NANOS_PER_SEC,
        "d" | "day" | "days" => 86_400 * NANOS_PER_SEC,
        _ => return None,
    };
    Some((nanos, rest))
}

/// `number_e9` × 10⁻⁹ units, in nanoseconds.
fn scale(number_e9: u128, unit_nanos: u128) -> Option<u128> {
    Some(number_e9.checked_mul(unit_nanos)? / NANOS_PER_SEC)
}

fn nonzero(nanos: u128) -> Option<Duration> {
    let secs = u64::try_from(nanos / NANOS_PER_SEC).ok()?;
    let subsec = u32::try_from(nanos % NANOS_PER_SEC).ok()?;
    (nanos > 0).then(|| Duration::new(secs, subsec))
}

fn wait_until(instant_nanos: i128, now_unix_ms: i64) -> Option<Duration> {
    let now = i128::from(now_unix_ms) * NANOS_PER_MS;
    nonzero(u128::try_from(instant_nanos.checked_sub(now)?).ok()?)
}

/// Nanoseconds since 1970 of an RFC 3339 instant or an HTTP date.
fn parse_instant(text: &str) -> Option<i128> {
    let text = text.trim();
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Some(instant.as_nanosecond());
    }
    let is_date =
        text.len() <= WAIT_TEXT_BYTES_MAX && text.starts_with(|c: char| c.is_alphabetic());
    if !is_date {
        return None;
    }
    if let Ok(instant) = rfc2822::DateTimeParser::new().parse_timestamp(text) {
        return Some(instant.as_nanosecond());
    }
    // The two obsolete forms that RFC 9110 still asks recipients to read.
    ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"]
        .into_iter()
        .find_map(|format| {
            let date: DateTime = strtime::parse(format, text).ok()?.to_datetime().ok()?;
            Some(
                date.to_zoned(TimeZone::UTC)
                    .ok()?
                    .timestamp()
                    .as_nanosecond(),
            )
        })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{parse_wait, until_pacific_midnight, wait_in_text};

    /// 2025-02-11T10:00:00Z
    const NOW: i64 = 1_739_268_000_000;

    #[test]
    fn every_documented_form_is_read_exactly() {
        for (text, nanos) in [
            ("12ms", 12_000_000_u64),
            ("1s", 1_000_000_000),
            ("6m0s", 360_000_000_000),
            ("4m12.172s", 252_172_000_000),
            ("23h18m29.144s", 83_909_144_000_000),
            ("1h", 3_600_000_000_000),
            ("2m59.56s", 179_560_000_000),
            ("7.66s", 7_660_000_000),
            ("55", 55_000_000_000),
            ("0.5", 500_000_000),
            ("33011.382867", 33_011_382_867_000),
            ("26s", 26_000_000_000),
            ("57.238747106s", 57_238_747_106),
            ("1.5µs", 1_500),
            ("1.5μs", 1_500),
            ("250us", 250_000),
            ("7ns", 7),
            ("  86400 ", 86_400_000_000_000),
            ("+5s", 5_000_000_000),
            (".5s", 500_000_000),
            ("1 hour, 5 minutes and 2 seconds", 3_902_000_000_000),
            ("0.1234567899", 123_456_789),
        ] {
            assert_eq!(
                parse_wait(text, NOW),
                Some(Duration::from_nanos(nanos)),
                "{text}"
            );
        }
    }

    #[test]
    fn instants_are_counted_from_now() {
        for text in [
            "2025-02-11T10:00:15Z",
            "2025-02-11T11:00:15.000+01:00",
            "1739268015000",
            "1739268015",
            "1739268015.0",
            "Tue, 11 Feb 2025 10:00:15 GMT",
            "Tuesday, 11-Feb-25 10:00:15 GMT",
            "Tue Feb 11 10:00:15 2025",
        ] {
            assert_eq!(
                parse_wait(text, NOW),
                Some(Duration::from_secs(15)),
                "{text}"
            );
        }
    }

    #[test]
    fn what_says_nothing_usable_is_ignored() {
        for text in [
            "",
            " ",
            "-1",
            "-1s",
            "0",
            "0s",
            "0.0",
            "0m0s",
            "0.0000000001",
            "NaN",
            "inf",
            "1e3",
            ".",
            "s",
            "5.",
            "5 x",
            "5s!",
            "1_000",
            "0x10",
            "2025-02-11T09:59:59Z",
            "2025-02-11T10:00:00Z",
            "1739267999999",
            "1739267999",
            "Tue, 11 Feb 2025 09:00:00 GMT",
            "2025-02-11",
            "100000000000000",
            "99999999999999999999999999999999999999999999",
            "99999999999999999999999999999999h",
            "Tue, 99 Feb 2025 10:00:15 GMT",
            "yes",
        ] {
            assert_eq!(parse_wait(text, NOW), None, "{text:?}");
        }
        assert_eq!(parse_wait(&"1".repeat(1 << 20), NOW), None);
    }

    #[test]
    fn waits_are_found_in_messages() {
        for (message, millis) in [
            (
                "Rate limit reached. Please try again in 9.816s. Visit …",
                9_816,
            ),
            ("Please try again in 644ms.", 644),
            ("Please try again in 7m51.36s", 471_360),
            (
                "Please retry after 86400 seconds. Please go here",
                86_400_000,
            ),
            ("Please retry in 57.238747106s.", 57_238),
            ("RETRY AFTER: 3", 3_000),
            ("try again in a moment, or try again in 2 minutes", 120_000),
            ("Retry after 2025-02-11T10:00:15Z.", 15_000),
        ] {
            let wait = wait_in_text(message, NOW).map(|wait| wait.as_millis());
            assert_eq!(wait, Some(millis), "{message}");
        }
        for message in [
            "",
            "please wait",
            "try again in",
            "retry after 5x",
            "retry in 2025-13-99",
            "İretry in",
        ] {
            assert_eq!(wait_in_text(message, NOW), None, "{message}");
        }
    }

    #[test]
    fn californian_midnight_follows_daylight_saving() {
        let hours = |now| until_pacific_midnight(now).map(|wait| wait.as_secs_f64() / 3600.0);
        assert_eq!(hours(NOW), Some(22.0)); // 02:00 PST
        assert_eq!(hours(1_752_228_000_000), Some(21.0)); // 2025-07-11T10:00Z = 03:00 PDT
        assert_eq!(hours(1_741_507_200_000), Some(23.0)); // 2025-03-09 00:00 PST, the short day
        assert_eq!(hours(i64::MAX), None);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,40}|[0-9TZ:.+\\-hmsuµn ,GMTa-z]{0,40}", now in any::<i64>()) {
            let wait = parse_wait(&text, now);
            prop_assert_ne!(wait, Some(Duration::ZERO));
            let _ = wait_in_text(&format!("try again in {text}"), now);
            until_pacific_midnight(now);
        }

        #[test]
        fn a_go_duration_round_trips(
            hours in 0_u64..100_000, minutes in 0_u64..60, secs in 0_u64..60, nanos in 1_u32..1_000_000_000
        ) {
            let text = format!("{hours}h{minutes}m{secs}.{nanos:09}s");
            let expected = Duration::new(hours * 3600 + minutes * 60 + secs, nanos);
            prop_assert_eq!(parse_wait(&text, NOW), Some(expected));
            prop_assert_eq!(wait_in_text(&format!("Please try again in {text}."), NOW), Some(expected));
        }

        #[test]
        fn a_decimal_of_seconds_round_trips(secs in 0_u64..999_999_999, nanos in 1_u32..1_000_000_000) {
            let text = format!("{secs}.{nanos:09}");
            prop_assert_eq!(parse_wait(&text, NOW), Some(Duration::new(secs, nanos)));
        }

        #[test]
        fn an_epoch_round_trips(wait_ms in 1_u32..) {
            let at_ms = NOW + i64::from(wait_ms);
            let expected = Some(Duration::from_millis(u64::from(wait_ms)));
            prop_assert_eq!(parse_wait(&at_ms.to_string(), NOW), expected);
            let rfc3339 = jiff::Timestamp::from_millisecond(at_ms).unwrap().to_string();
            prop_assert_eq!(parse_wait(&rfc3339, NOW), expected);
        }
    }
}
