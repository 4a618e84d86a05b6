//! Changes to a configuration: for a live server, and on a script.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, IntoDeserializer, Visitor, value};

use super::{
    Charge, ConfigError, Enforcement, LevelHeaders, LimitRule, Outage, RetryAfterStyle,
    ServerConfig, human,
};

/// What to do with a setting that may be absent. Written as its value, or as `"none"` (in JSON also
/// `null`) to take it away; not mentioned, it stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Change<T> {
    /// Leave it as it is.
    #[default]
    Keep,
    /// Take it away.
    Clear,
    /// Give it this value.
    Set(T),
}

impl<T: Clone> Change<T> {
    fn apply_to(&self, setting: &mut Option<T>) {
        match self {
            Self::Keep => {}
            Self::Clear => *setting = None,
            Self::Set(value) => *setting = Some(value.clone()),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Change<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ChangeVisitor(PhantomData))
    }
}

struct ChangeVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ChangeVisitor<T> {
    type Value = Change<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value or \"none\"")
    }

    fn visit_unit<E: Error>(self) -> Result<Change<T>, E> {
        Ok(Change::Clear)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Change<T>, E> {
        if text == "none" {
            return Ok(Change::Clear);
        }
        let text: value::StrDeserializer<'_, E> = text.into_deserializer();
        T::deserialize(text).map(Change::Set)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Change<T>, E> {
        let number: value::U64Deserializer<E> = number.into_deserializer();
        T::deserialize(number).map(Change::Set)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Change<T>, E> {
        let number: value::I64Deserializer<E> = number.into_deserializer();
        T::deserialize(number).map(Change::Set)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Change<T>, E> {
        let number: value::F64Deserializer<E> = number.into_deserializer();
        T::deserialize(number).map(Change::Set)
    }
}

/// New values for some settings of a [`ServerConfig`]; what is `None` or [`Change::Keep`] stays.
///
/// In JSON and TOML the keys are the flags of `brimful mock` without their dashes in front, and
/// durations are strings such as `"250ms"` or numbers of seconds. Unknown keys are errors. Each
/// field means what the one of `ServerConfig` does; times and sizes have the units named there.
#[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[non_exhaustive]
pub struct ConfigPatch {
    /// Requests a minute.
    pub rpm: Change<u64>,
    /// Requests a second.
    pub rps: Change<u64>,
    /// Requests a day.
    pub rpd: Change<u64>,
    /// Tokens a minute.
    pub tpm: Change<u64>,
    /// Input tokens a minute.
    pub itpm: Change<u64>,
    /// Output tokens a minute.
    pub otpm: Change<u64>,
    /// Requests in flight.
    pub concurrency: Change<u64>,
    /// All further limits: the list is replaced.
    pub limits: Option<Vec<LimitRule>>,
    /// How rate limits are judged.
    pub enforcement: Option<Enforcement>,
    /// How much of its rate a bucket holds, in time.
    #[serde(deserialize_with = "human::optional")]
    pub burst: Option<Duration>,
    /// Requests that the request buckets hold, in place of `burst`.
    pub burst_requests: Change<u64>,
    /// Tokens that the token buckets hold, in place of `burst`.
    pub burst_tokens: Change<u64>,
    /// When windows begin; cleared: drawn from the seed.
    #[serde(deserialize_with = "human::change")]
    pub window_phase: Change<Duration>,
    /// The shorter time over which limits are judged.
    #[serde(deserialize_with = "human::change")]
    pub judged_over: Change<Duration>,
    /// What a request takes from the token limits.
    pub charge: Option<Charge>,
    /// Output tokens charged when a request names no maximum.
    pub default_output_tokens: Option<u64>,
    /// What the server takes for each token that it should.
    pub charge_scale: Option<f64>,
    /// Whether charges are corrected to real usage.
    pub refund: Option<bool>,
    /// Whether requests that fail keep what they took.
    pub failed_requests_count: Option<bool>,
    /// Whether refused requests take from the request limits.
    pub refused_requests_count: Option<bool>,
    /// Share (0 to 1) of each rate limit that foreign tenants ask for.
    pub foreign_share: Option<f64>,
    /// Tokens of a foreign request.
    pub foreign_tokens: Change<u64>,

    /// Time to the first byte, or its median.
    #[serde(deserialize_with = "human::optional")]
    pub latency: Option<Duration>,
    /// Spread of the latency (σ of its logarithm, no unit).
    pub latency_sigma: Option<f64>,
    /// Time that each output token adds.
    #[serde(deserialize_with = "human::optional")]
    pub latency_per_token: Option<Duration>,
    /// Requests in flight above which latency grows in proportion.
    pub saturation_in_flight: Change<u64>,
    /// Whether times grow with every request in flight.
    pub saturation_gradual: Option<bool>,
    /// Answers that are generated at once; applies to what is admitted from then on.
    pub slots: Change<u64>,
    /// Output tokens of an answer, or their median.
    pub output_tokens: Option<f64>,
    /// Spread of the answer length (σ of its logarithm, no unit).
    pub output_sigma: Option<f64>,
    /// Time from sending to arrival, or its median.
    #[serde(deserialize_with = "human::optional")]
    pub arrival_delay: Option<Duration>,
    /// Spread of the arrival delay (σ of its logarithm, no unit).
    pub arrival_delay_sigma: Option<f64>,
    /// The longest arrival delay.
    #[serde(deserialize_with = "human::change")]
    pub arrival_delay_max: Change<Duration>,

    /// Nobody is served, in this way.
    pub outage: Change<Outage>,
    /// Share (0 to 1) answered with 500.
    pub error_share: Option<f64>,
    /// Share (0 to 1) answered with 503.
    pub overload_share: Option<f64>,
    /// Share (0 to 1) never answered.
    pub hang_share: Option<f64>,
    /// Share (0 to 1) whose connection is reset.
    pub reset_share: Option<f64>,
    /// Share (0 to 1) whose answer breaks off.
    pub truncate_share: Option<f64>,
    /// Share (0 to 1) answered with what is not JSON.
    pub garbage_share: Option<f64>,

    /// How a 429 says when to come back.
    pub retry_after: Option<RetryAfterStyle>,
    /// What headers tell of the levels.
    pub level_headers: Option<LevelHeaders>,
    /// How old the levels of late headers are.
    #[serde(deserialize_with = "human::optional")]
    pub level_headers_lag: Option<Duration>,
    /// Answers before the wallet is empty.
    pub quota_after: Change<u64>,
    /// Whether the Authorization header comes back.
    pub echo_headers: Option<bool>,
    /// Whether texts contain terminal escape sequences.
    pub escape_codes: Option<bool>,
    /// Whether JSON bodies are spread over several lines.
    pub pretty: Option<bool>,
}

impl ConfigPatch {
    /// `config` with these changes, if that can be served.
    pub fn applied_to(&self, config: &ServerConfig) -> Result<ServerConfig, ConfigError> {
        let mut config = config.clone();
        self.change_limits(&mut config);
        self.change_behaviour(&mut config);
        config.check()?;
        Ok(config)
    }

    fn change_limits(&self, config: &mut ServerConfig) {
        self.rpm.apply_to(&mut config.rpm);
        self.rps.apply_to(&mut config.rps);
        self.rpd.apply_to(&mut config.rpd);
        self.tpm.apply_to(&mut config.tpm);
        self.itpm.apply_to(&mut config.itpm);
        self.otpm.apply_to(&mut config.otpm);
        self.concurrency.apply_to(&mut config.concurrency);
        set(&mut config.limits, &self.limits);
        set(&mut config.enforcement, &self.enforcement);
        set(&mut config.burst, &self.burst);
        self.burst_requests.apply_to(&mut config.burst_requests);
        self.burst_tokens.apply_to(&mut config.burst_tokens);
        self.window_phase.apply_to(&mut config.window_phase);
        self.judged_over.apply_to(&mut config.judged_over);
        set(&mut config.charge, &self.charge);
        set(
            &mut config.default_output_tokens,
            &self.default_output_tokens,
        );
        set(&mut config.charge_scale, &self.charge_scale);
        set(&mut config.refund, &self.refund);
        set(
            &mut config.failed_requests_count,
            &self.failed_requests_count,
        );
        set(
            &mut config.refused_requests_count,
            &self.refused_requests_count,
        );
        set(&mut config.foreign_share, &self.foreign_share);
        self.foreign_tokens.apply_to(&mut config.foreign_tokens);
    }

    fn change_behaviour(&self, config: &mut ServerConfig) {
        let millis = |time: Duration| time.as_secs_f64() * 1_000.0;
        set(&mut config.latency_ms_median, &self.latency.map(millis));
        set(&mut config.latency_sigma, &self.latency_sigma);
        let per_token = self.latency_per_token.map(millis);
        set(&mut config.latency_ms_per_token, &per_token);
        self.saturation_in_flight
            .apply_to(&mut config.saturation_in_flight);
        set(&mut config.saturation_gradual, &self.saturation_gradual);
        self.slots.apply_to(&mut config.slots);
        set(&mut config.output_tokens_median, &self.output_tokens);
        set(&mut config.output_tokens_sigma, &self.output_sigma);
        let delay = self.arrival_delay.map(millis);
        set(&mut config.arrival_delay_ms_median, &delay);
        set(&mut config.arrival_delay_sigma, &self.arrival_delay_sigma);
        self.arrival_delay_max
            .apply_to(&mut config.arrival_delay_max);
        self.outage.apply_to(&mut config.outage);
        set(&mut config.error_share, &self.error_share);
        set(&mut config.overload_share, &self.overload_share);
        set(&mut config.hang_share, &self.hang_share);
        set(&mut config.reset_share, &self.reset_share);
        set(&mut config.truncate_share, &self.truncate_share);
        set(&mut config.garbage_share, &self.garbage_share);
        set(&mut config.retry_after, &self.retry_after);
        set(&mut config.level_headers, &self.level_headers);
        set(&mut config.level_headers_lag, &self.level_headers_lag);
        self.quota_after.apply_to(&mut config.quota_after);
        set(&mut config.echo_headers, &self.echo_headers);
        set(&mut config.escape_codes, &self.escape_codes);
        set(&mut config.pretty, &self.pretty);
    }
}

fn set<T: Clone>(setting: &mut T, new: &Option<T>) {
    if let Some(new) = new {
        setting.clone_from(new);
    }
}

/// A change at a time.
#[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScriptStep {
    /// When, counted from the server's start.
    #[serde(deserialize_with = "human::duration")]
    pub after: Duration,
    /// What changes.
    #[serde(flatten)]
    pub patch: ConfigPatch,
}

/// A script file: a list `at` of steps, in any order.
///
/// ```toml
/// [[at]]
/// after = "30s"
/// error-share = 0.5
///
/// [[at]]
/// after = "45s"
/// error-share = 0.0
/// rpm = 300
/// ```
#[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// The steps, for [`ServerConfig::script`].
    #[serde(default)]
    pub at: Vec<ScriptStep>,
}

#[cfg(test)]
mod tests {
    use crate::config::Measure;

    use super::*;

    #[test]
    fn a_script_is_read_from_toml_with_the_flags_names() {
        let text = r#"
            [[at]]
            after = "1m30s"
            rpm = 300
            tpm = "none"
            latency = "250ms"
            judged-over = "10s"
            enforcement = "fixed"
            retry-after = "missing"
            outage = "hang"

            [[at]]
            after = 100
            outage = "none"
            [[at.limits]]
            name = "burst"
            measure = "requests"
            amount = 10
            window = "1s"
            enforcement = "sliding"
        "#;
        let script: Script = toml::from_str(text).unwrap();
        let first = &script.at[0];
        assert_eq!(first.after, Duration::from_secs(90));
        assert_eq!(first.patch.rpm, Change::Set(300));
        assert_eq!(first.patch.tpm, Change::Clear);
        assert_eq!(first.patch.rps, Change::Keep);
        assert_eq!(first.patch.latency, Some(Duration::from_millis(250)));
        assert_eq!(
            first.patch.judged_over,
            Change::Set(Duration::from_secs(10))
        );
        assert_eq!(first.patch.enforcement, Some(Enforcement::FixedWindow));
        assert_eq!(first.patch.outage, Change::Set(Outage::Hang));
        let second = &script.at[1];
        assert_eq!(second.after, Duration::from_secs(100));
        assert_eq!(second.patch.outage, Change::Clear);
        let mut rule = LimitRule::new("burst", Measure::Requests, 10, Duration::from_secs(1));
        rule.enforcement = Some(Enforcement::SlidingLog);
        assert_eq!(second.patch.limits, Some(vec![rule]));
    }

    #[test]
    fn unknown_keys_and_values_are_errors() {
        for text in [
            "[[at]]\nafter = '1s'\nrmp = 1",
            "[[at]]\nrpm = 1",
            "[[at]]\nafter = 'soon'",
            "[[at]]\nafter = -1",
            "[[at]]\nafter = '1s'\nenforcement = 'sometimes'",
            "[[on]]\nafter = '1s'",
        ] {
            assert!(toml::from_str::<Script>(text).is_err(), "{text}");
        }
        for json in [
            r#"{"rpm": -1}"#,
            r#"{"rpm": "many"}"#,
            r#"{"burst": "-1s"}"#,
            r#"{"after": "1s"}"#,
        ] {
            assert!(serde_json::from_str::<ConfigPatch>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn a_patch_changes_what_it_mentions_and_nothing_else() {
        let mut config = ServerConfig {
            rpm: Some(600),
            tpm: Some(1_000),
            error_share: 0.25,
            ..ServerConfig::default()
        };
        let json = r#"{"rpm": null, "tpm": 50, "latency": 0.25, "foreign-share": 0.5}"#;
        let patch: ConfigPatch = serde_json::from_str(json).unwrap();
        let patched = patch.applied_to(&config).unwrap();
        config.rpm = None;
        config.tpm = Some(50);
        config.latency_ms_median = 250.0;
        config.foreign_share = 0.5;
        assert_eq!(patched, config);
        assert_eq!(
            ConfigPatch::default().applied_to(&config),
            Ok(config.clone())
        );
    }

    #[test]
    fn a_patch_that_makes_no_sense_is_refused_with_the_fields_name() {
        let patch: ConfigPatch = serde_json::from_str(r#"{"rpm": 0}"#).unwrap();
        assert_eq!(
            patch.applied_to(&ServerConfig::default()),
            Err(ConfigError::ZeroLimit { name: "rpm" })
        );
    }
}
