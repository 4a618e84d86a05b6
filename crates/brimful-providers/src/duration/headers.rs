//! Which of the many headers and texts says how long to wait.

use std::time::Duration;

use http::HeaderMap;

use super::{NANOS_PER_MS, nonzero, parse_instant, parse_wait, read_number, wait_in_text};

/// What the body of a failure says about waiting.
#[derive(Clone, Copy, Debug, Default)]
pub struct BodyHint<'a> {
    /// The reply is a 429, or says in other words that a limit is full. Only then do the
    /// `…ratelimit-reset` headers count.
    pub throttled: bool,
    /// The message for humans, searched for "try again in 9.816s" and its like.
    pub message: &'a str,
    /// `retryDelay` of Google's `RetryInfo`.
    pub retry_delay: Option<&'a str>,
    /// `X-RateLimit-Reset` where the provider (OpenRouter) repeats its headers in the body.
    pub reset: Option<&'a str>,
}

/// How long the provider asks to wait after a failure.
///
/// The first of these that says something: `retry-after-ms`; `retry-after`; for a throttled reply
/// the reset of a limit that has nothing left; the body. Not used are the resets of OpenAI, Groq
/// and Anthropic: they name the instant at which a limit is *completely* free again, and a wait
/// until then would waste up to a minute of quota. An absolute instant is compared with the
/// server's own `Date` where there is one, because the local clock may be wrong.
#[must_use]
pub fn retry_after(headers: &HeaderMap, hint: BodyHint<'_>, now_unix_ms: i64) -> Option<Duration> {
    let now_unix_ms = server_unix_ms(headers).unwrap_or(now_unix_ms);
    // Of repeated headers the longest counts: earlier attempts would fail.
    let longest = |name, parse: &dyn Fn(&str) -> Option<Duration>| {
        values(headers, name).filter_map(parse).max()
    };
    longest("retry-after-ms", &parse_ms)
        .or_else(|| longest("retry-after", &|text| parse_wait(text, now_unix_ms)))
        .or_else(|| {
            hint.throttled
                .then(|| reset_of_spent(headers, now_unix_ms))
                .flatten()
        })
        .or_else(|| parse_wait(hint.retry_delay?, now_unix_ms))
        .or_else(|| wait_in_text(hint.message, now_unix_ms))
        .or_else(|| parse_wait(hint.reset.filter(|_| hint.throttled)?, now_unix_ms))
}

/// The server's wall clock when it wrote its reply, to a second; `None` without a `Date`.
#[must_use]
pub fn server_unix_ms(headers: &HeaderMap) -> Option<i64> {
    values(headers, "date")
        .find_map(parse_instant)
        .and_then(|nanos| i64::try_from(nanos.div_euclid(NANOS_PER_MS)).ok())
}

fn values<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
}

fn parse_ms(text: &str) -> Option<Duration> {
    let (millis_e9, rest) = read_number(text.trim())?;
    if !rest.is_empty() {
        return None;
    }
    nonzero(millis_e9 / 1000)
}

/// The longest reset of a limit that has nothing left, where the provider's reset is the instant
/// of the next admission: windows that restart (IETF draft, OpenRouter, Together, Azure).
fn reset_of_spent(headers: &HeaderMap, now_unix_ms: i64) -> Option<Duration> {
    let remaining = |name: &str| {
        values(headers, name)
            .next()
            .and_then(|text| read_number(text.trim()))
    };
    let whole = [
        ("x-ratelimit-reset", "x-ratelimit-remaining"),
        ("ratelimit-reset", "ratelimit-remaining"),
    ]
    .into_iter()
    .filter(|(_, left)| remaining(left).is_none_or(|(left, _)| left == 0))
    .filter_map(|(reset, _)| parse_wait(values(headers, reset).next()?, now_unix_ms));
    // OpenAI gives these two a unit and means "full again"; Azure, whose minute restarts, does not.
    let azure = [
        ("x-ratelimit-reset-tokens", "x-ratelimit-remaining-tokens"),
        (
            "x-ratelimit-reset-requests",
            "x-ratelimit-remaining-requests",
        ),
        ("x-rate-limit-reset-tokens", "x-ratelimit-remaining-tokens"),
    ]
    .into_iter()
    .filter(|(_, left)| remaining(left).is_some_and(|(left, _)| left == 0))
    .filter_map(|(reset, _)| values(headers, reset).next())
    .filter(|text| text.bytes().all(|b| b.is_ascii_digit()))
    .filter_map(|text| parse_wait(text, now_unix_ms));
    let ietf = values(headers, "ratelimit")
        .flat_map(|list| list.split(','))
        .filter_map(ietf_reset);
    whole.chain(azure).chain(ietf).max()
}

/// `"default";r=0;t=30` of the IETF draft: 30 s, and nothing when something remains.
fn ietf_reset(item: &str) -> Option<Duration> {
    let parameter = |name: char| {
        item.split(';')
            .skip(1)
            .find_map(|p| p.trim().strip_prefix(name)?.strip_prefix('='))
    };
    let (left, _) = read_number(parameter('r')?)?;
    let (secs_e9, rest) = read_number(parameter('t')?)?;
    if left != 0 || !rest.is_empty() {
        return None;
    }
    nonzero(secs_e9)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderMap, HeaderName, HeaderValue};

    use super::{BodyHint, retry_after};

    /// 2025-02-11T10:00:00Z
    const NOW: i64 = 1_739_268_000_000;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect()
    }

    fn after(pairs: &[(&'static str, &str)], hint: BodyHint<'_>) -> Option<Duration> {
        retry_after(&headers(pairs), hint, NOW)
    }

    const THROTTLED: BodyHint<'static> = BodyHint {
        throttled: true,
        message: "",
        retry_delay: None,
        reset: None,
    };

    #[test]
    fn milliseconds_win_over_seconds_and_headers_over_the_body() {
        let hint = BodyHint {
            message: "Please try again in 9.816s.",
            ..THROTTLED
        };
        let all = [
            ("retry-after", "10"),
            ("retry-after-ms", "9816.5"),
            ("x-ratelimit-reset", "60"),
        ];
        assert_eq!(after(&all, hint), Some(Duration::from_micros(9_816_500)));
        assert_eq!(
            after(&[all[0], all[2]], hint),
            Some(Duration::from_secs(10))
        );
        assert_eq!(after(&[all[2]], hint), Some(Duration::from_secs(60)));
        assert_eq!(after(&[], hint), Some(Duration::from_millis(9_816)));
    }

    #[test]
    fn an_unusable_header_gives_way_to_the_next_source() {
        let hint = BodyHint {
            retry_delay: Some("26s"),
            ..THROTTLED
        };
        let waits = [("retry-after-ms", "-1"), ("retry-after", "0")];
        assert_eq!(after(&waits, hint), Some(Duration::from_secs(26)));
    }

    #[test]
    fn the_longest_of_repeated_headers_counts() {
        let waits = [("retry-after", "2"), ("retry-after", "7")];
        assert_eq!(after(&waits, THROTTLED), Some(Duration::from_secs(7)));
    }

    #[test]
    fn a_date_is_compared_with_the_servers_clock() {
        let waits = [
            ("date", "Tue, 11 Feb 2025 12:00:00 GMT"),
            ("retry-after", "Tue, 11 Feb 2025 12:00:15 GMT"),
        ];
        assert_eq!(after(&waits, THROTTLED), Some(Duration::from_secs(15)));
    }

    #[test]
    fn a_reset_that_means_completely_full_is_no_wait() {
        for (name, value) in [
            ("x-ratelimit-reset-tokens", "59.9s"),
            ("x-ratelimit-reset-requests", "8.64s"),
            ("anthropic-ratelimit-tokens-reset", "2025-02-11T10:00:15Z"),
            ("x-ratelimit-reset-tokens-minute", "33.1"),
        ] {
            let spent = ("x-ratelimit-remaining-tokens", "0");
            assert_eq!(after(&[(name, value), spent], THROTTLED), None, "{name}");
        }
    }

    #[test]
    fn the_reset_of_a_spent_window_is_the_wait_of_a_throttled_reply_only() {
        for spent in [
            &[("x-ratelimit-reset", "15")][..],
            &[
                ("x-ratelimit-reset", "1739268015000"),
                ("x-ratelimit-remaining", "0"),
            ],
            &[("ratelimit", "\"burst\";r=0;t=15, \"daily\";r=9;t=9000")],
            &[("ratelimit-reset", "15"), ("ratelimit-remaining", "0")],
            &[
                ("x-ratelimit-reset-tokens", "15"),
                ("x-ratelimit-remaining-tokens", "0"),
            ],
        ] {
            assert_eq!(
                after(spent, THROTTLED),
                Some(Duration::from_secs(15)),
                "{spent:?}"
            );
            assert_eq!(after(spent, BodyHint::default()), None, "{spent:?}");
        }
        for not_spent in [
            &[("x-ratelimit-reset", "15"), ("x-ratelimit-remaining", "3")][..],
            &[
                ("x-ratelimit-reset-tokens", "15"),
                ("x-ratelimit-remaining-tokens", "90"),
            ],
            &[("x-ratelimit-reset-tokens", "15")],
            &[("ratelimit", "\"daily\";r=9;t=9000, ;;=, \"x\";r=0;t=no")],
            &[
                ("x-ratelimit-reset-tokens", "-1"),
                ("x-ratelimit-remaining-tokens", "0"),
            ],
        ] {
            assert_eq!(after(not_spent, THROTTLED), None, "{not_spent:?}");
        }
    }
}
