//! Days that begin at an hour of some zone: when a provider's daily limits are full again.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};

/// The time of day at which daily limits begin anew, on the clocks of a zone.
///
/// Most days have 24 hours; those on which clocks change have 23 or 25. A time that the clocks jump
/// over is taken as late as they jump, one that comes twice as the first of the two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DailyReset {
    time: Time,
    zone: TimeZone,
    /// As it was written.
    name: String,
}

/// A day of a provider's, from one reset to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Day {
    /// Its beginning, in milliseconds since 1970.
    pub begins_unix_ms: u64,
    /// Its end, which is the beginning of the next.
    pub ends_unix_ms: u64,
}

/// The text names no reset.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no time of day in a zone, such as 00:00@America/Los_Angeles or 17:00@UTC")]
pub struct ParseDailyResetError(String);

impl FromStr for DailyReset {
    type Err = ParseDailyResetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseDailyResetError(text.to_owned());
        let (time, zone) = text.split_once('@').ok_or_else(wrong)?;
        let (hour, minute) = time.trim().split_once(':').ok_or_else(wrong)?;
        let number = |digits: &str| {
            let all_digits = digits.len() <= 2 && digits.bytes().all(|b| b.is_ascii_digit());
            digits.parse::<i8>().ok().filter(|_| all_digits)
        };
        let (hour, minute) = (
            number(hour).ok_or_else(wrong)?,
            number(minute).ok_or_else(wrong)?,
        );
        let time = Time::new(hour, minute, 0, 0).map_err(|_| wrong())?;
        let zone = TimeZone::get(zone.trim()).map_err(|_| wrong())?;
        let name = text.trim().to_owned();
        Ok(Self { time, zone, name })
    }
}

impl fmt::Display for DailyReset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl DailyReset {
    /// The day that an instant lies in. `None` for instants beyond the calendar (the year 9999).
    #[must_use]
    pub fn day_of(&self, at_unix_ms: u64) -> Option<Day> {
        let at = Timestamp::from_millisecond(i64::try_from(at_unix_ms).ok()?).ok()?;
        let date = at.to_zoned(self.zone.clone()).date();
        let reset = |days: i64| -> Option<Zoned> {
            let date = date.checked_add(days.days()).ok()?;
            date.to_datetime(self.time).to_zoned(self.zone.clone()).ok()
        };
        let millis = |zoned: Zoned| u64::try_from(zoned.timestamp().as_millisecond()).ok();
        let of_date = reset(0)?;
        let (begins, ends) = if of_date.timestamp() <= at {
            (of_date, reset(1)?)
        } else {
            (reset(-1)?, of_date)
        };
        Some(Day {
            begins_unix_ms: millis(begins)?,
            ends_unix_ms: millis(ends)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: u64 = 3_600_000;

    fn ms(text: &str) -> u64 {
        let at: Timestamp = text.parse().unwrap();
        u64::try_from(at.as_millisecond()).unwrap()
    }

    fn day(reset: &str, at: &str) -> (String, u64) {
        let reset: DailyReset = reset.parse().unwrap();
        let day = reset.day_of(ms(at)).unwrap();
        let begins = Timestamp::from_millisecond(day.begins_unix_ms.try_into().unwrap()).unwrap();
        let length = day.ends_unix_ms - day.begins_unix_ms;
        assert_eq!(length % HOUR_MS, 0);
        assert!(day.begins_unix_ms <= ms(at) && ms(at) < day.ends_unix_ms);
        (begins.to_string(), length / HOUR_MS)
    }

    #[test]
    fn a_day_lasts_from_one_reset_to_the_next() {
        for (reset, at, begins) in [
            ("00:00@UTC", "2026-11-22T20:00:00Z", "2026-11-22T00:00:00Z"),
            ("00:00@UTC", "2026-11-22T00:00:00Z", "2026-11-22T00:00:00Z"),
            ("17:30@UTC", "2026-11-22T17:29:59Z", "2026-11-21T17:30:00Z"),
            (
                "00:00@America/Los_Angeles",
                "2026-11-22T07:59:59Z",
                "2026-11-21T08:00:00Z",
            ),
            (
                "00:00@America/Los_Angeles",
                "2026-11-22T08:00:00Z",
                "2026-11-22T08:00:00Z",
            ),
        ] {
            assert_eq!(day(reset, at), (begins.to_owned(), 24), "{reset} {at}");
        }
    }

    #[test]
    fn days_on_which_clocks_change_have_23_and_25_hours() {
        let midnight = "00:00@America/Los_Angeles";
        assert_eq!(
            day(midnight, "2026-03-08T20:00:00Z"),
            ("2026-03-08T08:00:00Z".to_owned(), 23)
        );
        assert_eq!(
            day(midnight, "2026-11-02T07:30:00Z"),
            ("2026-11-01T07:00:00Z".to_owned(), 25)
        );
        // 02:30 is jumped over on 8 March, and comes twice on 1 November.
        let night = "02:30@America/Los_Angeles";
        assert_eq!(
            day(night, "2026-03-08T12:00:00Z"),
            ("2026-03-08T10:30:00Z".to_owned(), 23)
        );
        assert_eq!(
            day("01:30@America/Los_Angeles", "2026-11-01T09:00:00Z"),
            ("2026-11-01T08:30:00Z".to_owned(), 25)
        );
    }

    #[test]
    fn what_is_no_time_of_day_in_a_zone_is_refused_with_an_example() {
        for text in [
            "",
            "00:00",
            "24:00@UTC",
            "7@UTC",
            "07:60@UTC",
            "00:00@Nowhere/Land",
            "-1:00@UTC",
            "+1:00@UTC",
            "00:000@UTC",
            "@UTC",
        ] {
            let error = text.parse::<DailyReset>().unwrap_err().to_string();
            assert!(error.contains("00:00@America/Los_Angeles"), "{text}");
        }
        let reset: DailyReset = " 7:05@Europe/Berlin ".parse().unwrap();
        assert_eq!(reset.to_string(), "7:05@Europe/Berlin");
        assert_eq!(reset.day_of(u64::MAX), None);
    }
}
