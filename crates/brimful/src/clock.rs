//! The run's clock: monotonic for the engine, tied once to the calendar for people.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use brimful_core::Timestamp;

/// Readings of one origin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Instant,
    origin_unix: Duration,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub(crate) fn start() -> Self {
        let origin_unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            origin: Instant::now(),
            origin_unix,
        }
    }

    /// Now, for the engine.
    #[must_use]
    pub(crate) fn now(&self) -> Timestamp {
        self.timestamp(Instant::now())
    }

    /// The same instant, for the engine.
    #[must_use]
    pub(crate) fn timestamp(&self, instant: Instant) -> Timestamp {
        let since = instant.saturating_duration_since(self.origin);
        Timestamp::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX - 1))
    }

    /// The same instant, for a timer.
    #[must_use]
    pub(crate) fn instant(&self, timestamp: Timestamp) -> Instant {
        self.origin + Duration::from_nanos(timestamp.as_nanos())
    }

    /// Milliseconds since 1970 with three decimals, monotonic within the run.
    #[must_use]
    pub(crate) fn unix_ms(&self, timestamp: Timestamp) -> f64 {
        let since_1970 = self.origin_unix + Duration::from_nanos(timestamp.as_nanos());
        let micros = u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX);
        #[expect(
            clippy::cast_precision_loss,
            reason = "2^53 microseconds reach the year 2255"
        )]
        let millis = micros as f64 / 1000.0;
        millis
    }

    /// The calendar time of the start, RFC 3339 in UTC.
    #[must_use]
    pub(crate) fn started_at(&self) -> String {
        let nanos = i128::try_from(self.origin_unix.as_nanos()).unwrap_or(0);
        jiff::Timestamp::from_nanosecond(nanos - nanos % 1_000_000)
            .map_or_else(|_| String::new(), |timestamp| timestamp.to_string())
    }
}
