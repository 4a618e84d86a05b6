//! Amounts and durations as people type them.

use std::time::Duration;

/// `6000`, `6_000`, `6,000`, `100k`, `3M`, `1.5M`.
pub(crate) fn amount(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not an amount such as 6000, 100k or 3M");
    let plain: String = text.chars().filter(|c| !matches!(c, '_' | ',')).collect();
    let (digits, unit) = match plain.char_indices().last() {
        Some((at, 'k' | 'K')) => (&plain[..at], 1_000_u64),
        Some((at, 'm' | 'M')) => (&plain[..at], 1_000_000),
        Some((at, 'g' | 'G' | 'b' | 'B')) => (&plain[..at], 1_000_000_000),
        _ => (plain.as_str(), 1),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) || fraction.len() > 9 {
        return Err(wrong());
    }
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let mut value = whole.checked_mul(unit).ok_or_else(wrong)?;
    if !fraction.is_empty() {
        let scale = 10_u64.pow(u32::try_from(fraction.len()).map_err(|_| wrong())?);
        let part = fraction
            .parse::<u64>()
            .map_err(|_| wrong())?
            .checked_mul(unit)
            .ok_or_else(wrong)?;
        if part % scale != 0 {
            return Err(wrong());
        }
        value = value.checked_add(part / scale).ok_or_else(wrong)?;
    }
    Ok(value)
}

/// As [`amount`], but not zero.
pub(crate) fn positive(text: &str) -> Result<u64, String> {
    match amount(text)? {
        0 => Err("must be at least 1".to_owned()),
        value => Ok(value),
    }
}

/// `30s`, `500ms`, `1m30s`, `24h`; a number alone is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration such as 500ms, 30s, 1m30s or 24h");
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map_err(|_| wrong());
    }
    let signed: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(signed).map_err(|_| wrong())
}

/// As [`duration`], but not zero: a bound that nothing could keep.
pub(crate) fn some_time(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("must be more than 0".to_owned()),
        time => Ok(time),
    }
}

/// US dollars: `2`, `0.5`.
pub(crate) fn dollars(text: &str) -> Result<f64, String> {
    let value = text.trim().parse().ok();
    value
        .filter(|value: &f64| value.is_finite() && *value >= 0.0)
        .ok_or_else(|| format!("`{text}` is not an amount of US dollars such as 2.50"))
}

/// A bucket's capacity: so many requests, or as much of every rate as fits in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Burst {
    Requests(u64),
    Time(Duration),
}

pub(crate) fn burst(text: &str) -> Result<Burst, String> {
    if let Ok(requests) = positive(text) {
        return Ok(Burst::Requests(requests));
    }
    match duration(text) {
        Ok(time) if !time.is_zero() => Ok(Burst::Time(time)),
        _ => Err(format!(
            "`{text}` is neither a number of requests nor a duration such as 1s"
        )),
    }
}

/// A part of a whole, in millionths: more than none, at most all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share(u32);

impl Share {
    /// All of it.
    pub(crate) const WHOLE: Self = Self(1_000_000);

    /// The part of an amount, rounded down, but at least one.
    pub(crate) fn of(self, amount: u64) -> u64 {
        let part = u128::from(amount) * u128::from(self.0) / 1_000_000;
        u64::try_from(part).unwrap_or(u64::MAX).max(1)
    }

    /// Whether nothing of an amount is lost or added by rounding.
    pub(crate) fn is_exact(self, amount: u64) -> bool {
        (u128::from(amount) * u128::from(self.0)).is_multiple_of(1_000_000)
    }

    /// In millionths.
    pub(crate) const fn millionths(self) -> u32 {
        self.0
    }

    /// In per cent.
    pub(crate) fn percent(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }
}

/// `50%`, `12.5%`.
pub(crate) fn share(text: &str) -> Result<Share, String> {
    let wrong = || format!("`{text}` is no part such as 50% (more than 0%, at most 100%)");
    let digits = text.trim().strip_suffix('%').ok_or_else(wrong)?.trim();
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty()
        || whole.len() > 3
        || fraction.len() > 4
        || !plain(whole)
        || !plain(fraction)
    {
        return Err(wrong());
    }
    // Four digits of a per cent are millionths.
    let millionths: u32 = format!("{whole}{fraction:0<4}")
        .parse()
        .map_err(|_| wrong())?;
    match millionths {
        1..=1_000_000 => Ok(Share(millionths)),
        _ => Err(wrong()),
    }
}

/// Bytes: `64MB`, `16MiB`, `65536`.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a size such as 65536, 64KB or 64MB");
    let lower = text.to_ascii_lowercase();
    let digits_end = lower
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(lower.len());
    let number: u64 = lower[..digits_end].parse().map_err(|_| wrong())?;
    let shift = match lower[digits_end..].trim() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return Err(wrong()),
    };
    number
        .checked_mul(1 << shift)
        .filter(|&size| size > 0)
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_may_have_units_and_separators() {
        for (text, value) in [
            ("6000", 6000),
            ("6_000", 6000),
            ("1,000", 1000),
            ("100k", 100_000),
            ("1.5M", 1_500_000),
        ] {
            assert_eq!(amount(text), Ok(value), "{text}");
        }
        for text in [
            "",
            "k",
            "-1",
            "1e3",
            "1.5",
            "0x10",
            "99999999999999999999",
            ".5k",
            "1.23456k",
        ] {
            assert!(amount(text).is_err(), "{text}");
        }
        assert!(positive("0").is_err());
    }

    #[test]
    fn durations_are_seconds_unless_they_say_otherwise() {
        for (text, millis) in [
            ("30", 30_000),
            ("0.5", 500),
            ("500ms", 500),
            ("1m30s", 90_000),
            ("24h", 86_400_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "-1", "-5s", "soon", "inf", "NaN"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn bounds_of_time_are_not_zero_and_money_is_finite() {
        assert!(some_time("0").is_err() && some_time("0ms").is_err());
        assert_eq!(some_time("1ms"), Ok(Duration::from_millis(1)));
        assert_eq!(dollars("2.50"), Ok(2.5));
        for text in ["", "-1", "NaN", "inf", "2$"] {
            assert!(dollars(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_burst_is_requests_or_time() {
        assert_eq!(burst("100"), Ok(Burst::Requests(100)));
        assert_eq!(burst("2s"), Ok(Burst::Time(Duration::from_secs(2))));
        assert!(burst("0").is_err());
        assert!(burst("0s").is_err());
    }

    #[test]
    fn a_share_is_more_than_nothing_and_at_most_all() {
        for (text, of_thousand) in [
            ("50%", 500),
            (" 12.5 %", 125),
            ("100%", 1000),
            ("0.0001%", 1),
        ] {
            assert_eq!(share(text).unwrap().of(1000), of_thousand, "{text}");
        }
        assert_eq!(share("33%").unwrap().of(10), 3, "rounded down");
        assert!((share("33%").unwrap().percent() - 33.0).abs() < 1e-9);
        for text in [
            "",
            "50",
            "0%",
            "100.0001%",
            "101%",
            "-5%",
            "x%",
            "%",
            "1.23456%",
        ] {
            assert!(share(text).is_err(), "{text}");
        }
        assert_eq!(Share::WHOLE.of(u64::MAX), u64::MAX);
    }

    #[test]
    fn sizes_have_binary_units() {
        assert_eq!(bytes("64MB"), Ok(64 << 20));
        assert_eq!(bytes("65536"), Ok(65536));
        assert!(bytes("0").is_err());
        assert!(bytes("big").is_err());
    }
}
