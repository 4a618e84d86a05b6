//! Durations as people write them in script files and requests.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

use super::Change;

/// A duration written as `"250ms"`, `"30s"`, `"1m30s"`, or as a number of seconds.
struct Human(Duration);

impl<'de> Deserialize<'de> for Human {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(HumanVisitor).map(Human)
    }
}

struct HumanVisitor;

impl Visitor<'_> for HumanVisitor {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as \"250ms\" or \"1m30s\", or a number of seconds")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
        if let Ok(seconds) = text.parse::<f64>() {
            return self.visit_f64(seconds);
        }
        let wrong = || E::invalid_value(serde::de::Unexpected::Str(text), &self);
        let signed: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
        Duration::try_from(signed).map_err(|_| wrong())
    }

    fn visit_f64<E: Error>(self, seconds: f64) -> Result<Duration, E> {
        Duration::try_from_secs_f64(seconds)
            .map_err(|_| E::invalid_value(serde::de::Unexpected::Float(seconds), &self))
    }

    fn visit_u64<E: Error>(self, seconds: u64) -> Result<Duration, E> {
        Ok(Duration::from_secs(seconds))
    }

    fn visit_i64<E: Error>(self, seconds: i64) -> Result<Duration, E> {
        let seconds = u64::try_from(seconds)
            .map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(seconds), &self))?;
        self.visit_u64(seconds)
    }
}

pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    Human::deserialize(deserializer).map(|Human(time)| time)
}

pub(super) fn optional<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    Option::<Human>::deserialize(deserializer).map(|human| human.map(|Human(time)| time))
}

pub(super) fn change<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Change<Duration>, D::Error> {
    Ok(match Change::<Human>::deserialize(deserializer)? {
        Change::Keep => Change::Keep,
        Change::Clear => Change::Clear,
        Change::Set(Human(time)) => Change::Set(time),
    })
}
