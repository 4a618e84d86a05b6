//! What the server tells of its limits: `x-ratelimit-*`, `retry-after` and their notations.

use std::fmt;
use std::time::Duration;

use brimful_core::Timestamp;
use bytes::Bytes;
use fastrand::Rng;
use http::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};

use crate::config::{RetryAfterStyle, ServerConfig};
use crate::json::push_number;
use crate::levels::Levels;

pub(crate) const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

/// The three headers of one limit, by what they count.
const REQUESTS: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
];
const TOKENS: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-tokens"),
    HeaderName::from_static("x-ratelimit-remaining-tokens"),
    HeaderName::from_static("x-ratelimit-reset-tokens"),
];

const INPUT_TOKENS: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-input-tokens"),
    HeaderName::from_static("x-ratelimit-remaining-input-tokens"),
    HeaderName::from_static("x-ratelimit-reset-input-tokens"),
];
const OUTPUT_TOKENS: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-output-tokens"),
    HeaderName::from_static("x-ratelimit-remaining-output-tokens"),
    HeaderName::from_static("x-ratelimit-reset-output-tokens"),
];

/// Adds the level of each measure.
pub(crate) fn append_levels(headers: &mut HeaderMap, levels: &Levels) {
    let told = [
        (REQUESTS, levels.requests),
        (TOKENS, levels.tokens),
        (INPUT_TOKENS, levels.input_tokens),
        (OUTPUT_TOKENS, levels.output_tokens),
    ];
    // All values lie in one buffer: on the busiest path of the server an allocation for each of
    // them would cost more than writing them.
    let mut text = Vec::with_capacity(96);
    let mut ends = [[0; 3]; 4];
    for ((_, level), ends) in told.iter().zip(&mut ends) {
        let Some(level) = level else { continue };
        push_number(&mut text, level.limit);
        ends[0] = text.len();
        push_number(&mut text, level.remaining);
        ends[1] = text.len();
        push_go_duration(&mut text, level.until_full);
        ends[2] = text.len();
    }
    let text = Bytes::from(text);
    let mut start = 0;
    for ((names, level), ends) in told.into_iter().zip(ends) {
        if level.is_none() {
            continue;
        }
        for (name, end) in names.into_iter().zip(ends) {
            if let Ok(value) = HeaderValue::from_maybe_shared(text.slice(start..end)) {
                headers.insert(name, value);
            }
            start = end;
        }
    }
}

/// The wait that a 429 names: the exact one, unless the server is configured to lie.
pub(crate) fn told_wait(style: RetryAfterStyle, exact: Duration, rng: &mut Rng) -> Duration {
    match style {
        RetryAfterStyle::Wrong if rng.bool() => exact / 5,
        RetryAfterStyle::Wrong => exact.saturating_mul(5),
        RetryAfterStyle::Absurd if rng.bool() => Duration::ZERO,
        RetryAfterStyle::Absurd => Duration::from_secs(86_400),
        _ => exact,
    }
}

/// Adds when to come back, in the configured style.
pub(crate) fn append_retry_after(
    headers: &mut HeaderMap,
    config: &ServerConfig,
    now: Timestamp,
    wait: Duration,
) {
    let style = config.retry_after;
    let in_seconds = HeaderValue::from(ceil_secs(wait));
    let in_millis = HeaderValue::from(ceil_millis(wait));
    match style {
        RetryAfterStyle::Missing | RetryAfterStyle::Silent => {}
        RetryAfterStyle::Unreadable => {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("in a little while"));
        }
        RetryAfterStyle::Right | RetryAfterStyle::Wrong | RetryAfterStyle::Absurd => {
            headers.insert(RETRY_AFTER, in_seconds);
            headers.insert(RETRY_AFTER_MS, in_millis);
        }
        RetryAfterStyle::Seconds => {
            headers.insert(RETRY_AFTER, in_seconds);
        }
        RetryAfterStyle::Millis => {
            headers.insert(RETRY_AFTER_MS, in_millis);
        }
        RetryAfterStyle::Date => {
            let since_epoch = config
                .wall_clock_origin
                .saturating_add(now.since(Timestamp::ZERO))
                .saturating_add(wait);
            headers.insert(RETRY_AFTER, value(&http_date(ceil_secs(since_epoch))));
        }
    }
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn ceil_secs(duration: Duration) -> u64 {
    duration
        .as_secs()
        .saturating_add(u64::from(duration.subsec_nanos() > 0))
}

fn ceil_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// A duration as Go prints it and OpenAI sends it, rounded up to whole milliseconds: `12ms`,
/// `3.89s`, `6m0s`, `23h18m29.144s`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GoDuration(pub(crate) Duration);

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(24);
        push_go_duration(&mut text, self.0);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

fn push_go_duration(out: &mut Vec<u8>, duration: Duration) {
    let millis = ceil_millis(duration);
    if (1..1_000).contains(&millis) {
        push_number(out, millis);
        out.extend_from_slice(b"ms");
        return;
    }
    let (secs, fraction) = (millis / 1_000, millis % 1_000);
    let (hours, minutes) = (secs / 3_600, secs / 60 % 60);
    if hours > 0 {
        push_number(out, hours);
        out.push(b'h');
    }
    if secs >= 60 {
        push_number(out, minutes);
        out.push(b'm');
    }
    push_number(out, secs % 60);
    if fraction > 0 {
        let digits = [fraction / 100, fraction / 10 % 10, fraction % 10].map(|d| b'0' + d as u8);
        let shown = 3 - digits
            .iter()
            .rev()
            .take_while(|&&digit| digit == b'0')
            .count();
        out.push(b'.');
        out.extend_from_slice(&digits[..shown]);
    }
    out.push(b's');
}

/// `1970-01-01T00:00:00Z`, for years up to 9999.
pub(crate) fn rfc3339(unix_secs: u64) -> String {
    let unix_secs = unix_secs.min(LAST);
    let (days, secs) = (unix_secs / 86_400, unix_secs % 86_400);
    let (year, month, day) = civil(days);
    let (hours, minutes) = (secs / 3_600, secs / 60 % 60);
    let month = month + 1;
    let secs = secs % 60;
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{secs:02}Z")
}

/// The last second of the year 9999.
const LAST: u64 = 253_402_300_799;

/// `Thu, 01 Jan 1970 00:00:00 GMT` (RFC 9110 §5.6.7), for years up to 9999.
fn http_date(unix_secs: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let unix_secs = unix_secs.min(LAST);
    let (days, secs) = (unix_secs / 86_400, unix_secs % 86_400);
    let (year, month, day) = civil(days);
    format!(
        "{}, {day:02} {} {year:04} {:02}:{:02}:{:02} GMT",
        DAYS[(days % 7) as usize],
        MONTHS[month],
        secs / 3_600,
        secs / 60 % 60,
        secs % 60,
    )
}

/// Year, month (from 0) and day of the month of a day since 1970-01-01.
///
/// Counts from March 1st of year 0, so that the leap day is the last of its year; 400 years are
/// 146,097 days. (Howard Hinnant, "chrono-compatible low-level date algorithms".)
fn civil(days: u64) -> (u64, usize, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = (from_march + 2) % 12;
    (
        era * 400 + year_of_era + u64::from(month < 2),
        month as usize,
        day,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_real_ones_do() {
        let vectors = [
            (0, "0s"),
            (9, "9ms"),
            (1_000, "1s"),
            (3_114, "3.114s"),
            (8_640, "8.64s"),
            (252_172, "4m12.172s"),
            (360_000, "6m0s"),
            (3_600_000, "1h0m0s"),
            (83_909_144, "23h18m29.144s"),
        ];
        for (millis, text) in vectors {
            assert_eq!(GoDuration(Duration::from_millis(millis)).to_string(), text);
        }
        assert_eq!(GoDuration(Duration::from_nanos(1)).to_string(), "1ms");
    }

    #[test]
    fn dates_read_as_rfc_9110_demands() {
        assert_eq!(http_date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(http_date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(http_date(951_782_399), "Mon, 28 Feb 2000 23:59:59 GMT");
        assert_eq!(http_date(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(http_date(1_767_225_600), "Thu, 01 Jan 2026 00:00:00 GMT");
        assert_eq!(http_date(u64::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
    }

    #[test]
    fn instants_read_as_rfc_3339_demands() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59Z");
    }

    fn retry_after(style: RetryAfterStyle) -> (Option<String>, Option<String>) {
        let config = ServerConfig {
            retry_after: style,
            ..ServerConfig::default()
        };
        let mut headers = HeaderMap::new();
        let wait = told_wait(style, Duration::from_millis(1_250), &mut Rng::with_seed(1));
        append_retry_after(&mut headers, &config, Timestamp::from_secs(10), wait);
        let text = |name: HeaderName| {
            headers
                .get(name)
                .map(|value| value.to_str().unwrap().to_owned())
        };
        (text(RETRY_AFTER), text(RETRY_AFTER_MS))
    }

    #[test]
    fn each_style_says_it_in_its_own_way() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            retry_after(RetryAfterStyle::Right),
            (some("2"), some("1250"))
        );
        assert_eq!(retry_after(RetryAfterStyle::Missing), (None, None));
        assert_eq!(retry_after(RetryAfterStyle::Seconds), (some("2"), None));
        assert_eq!(retry_after(RetryAfterStyle::Millis), (None, some("1250")));
        let date = some("Thu, 01 Jan 2026 00:00:12 GMT");
        assert_eq!(retry_after(RetryAfterStyle::Date), (date, None));
        let (_, wrong) = retry_after(RetryAfterStyle::Wrong);
        assert!(wrong == some("250") || wrong == some("6250"), "{wrong:?}");
        let (seconds, millis) = retry_after(RetryAfterStyle::Absurd);
        assert!(
            seconds == some("0") || seconds == some("86400"),
            "{seconds:?}"
        );
        assert_eq!(
            millis,
            seconds.map(|seconds| seconds.replacen("86400", "86400000", 1))
        );
        let (unreadable, none) = retry_after(RetryAfterStyle::Unreadable);
        assert!(unreadable.is_some_and(|text| text.parse::<f64>().is_err()) && none.is_none());
    }
}
