//! The configuration as `GET /config` shows it: with the keys that `POST /config` takes.

use std::time::Duration;

use brimful_sim::{LimitRule, ServerConfig};
use serde_json::{Map, Value, json};

/// Every setting that can be changed, durations in seconds. The key that requests must bear is not
/// among them.
pub(super) fn as_json(config: &ServerConfig) -> Value {
    let mut all = limits(config);
    all.extend(behaviour(config));
    Value::Object(all)
}

/// The keys that `POST /config` and scripts take.
#[must_use]
pub fn setting_names() -> Vec<String> {
    match as_json(&ServerConfig::default()) {
        Value::Object(settings) => settings.into_iter().map(|(name, _)| name).collect(),
        _ => Vec::new(),
    }
}

fn limits(config: &ServerConfig) -> Map<String, Value> {
    let rules: Vec<Value> = config.limits.iter().map(rule).collect();
    object(json!({
        "rpm": config.rpm,
        "rps": config.rps,
        "rpd": config.rpd,
        "tpm": config.tpm,
        "itpm": config.itpm,
        "otpm": config.otpm,
        "concurrency": config.concurrency,
        "limits": rules,
        "enforcement": config.enforcement,
        "burst": seconds(config.burst),
        "burst-requests": config.burst_requests,
        "burst-tokens": config.burst_tokens,
        "window-phase": config.window_phase.map(seconds),
        "judged-over": config.judged_over.map(seconds),
        "charge": config.charge,
        "charge-scale": config.charge_scale,
        "default-output-tokens": config.default_output_tokens,
        "refund": config.refund,
        "failed-requests-count": config.failed_requests_count,
        "refused-requests-count": config.refused_requests_count,
        "foreign-share": config.foreign_share,
        "foreign-tokens": config.foreign_tokens,
    }))
}

fn behaviour(config: &ServerConfig) -> Map<String, Value> {
    object(json!({
        "latency": config.latency_ms_median / 1e3,
        "latency-sigma": config.latency_sigma,
        "latency-per-token": config.latency_ms_per_token / 1e3,
        "saturation-in-flight": config.saturation_in_flight,
        "saturation-gradual": config.saturation_gradual,
        "slots": config.slots,
        "output-tokens": config.output_tokens_median,
        "output-sigma": config.output_tokens_sigma,
        "arrival-delay": config.arrival_delay_ms_median / 1e3,
        "arrival-delay-sigma": config.arrival_delay_sigma,
        "arrival-delay-max": config.arrival_delay_max.map(seconds),
        "outage": config.outage,
        "error-share": config.error_share,
        "overload-share": config.overload_share,
        "hang-share": config.hang_share,
        "reset-share": config.reset_share,
        "truncate-share": config.truncate_share,
        "garbage-share": config.garbage_share,
        "retry-after": config.retry_after,
        "level-headers": config.level_headers,
        "level-headers-lag": seconds(config.level_headers_lag),
        "quota-after": config.quota_after,
        "echo-headers": config.echo_headers,
        "escape-codes": config.escape_codes,
        "pretty": config.pretty,
    }))
}

fn rule(rule: &LimitRule) -> Value {
    json!({
        "name": rule.name,
        "measure": rule.measure,
        "amount": rule.amount,
        "window": seconds(rule.window),
        "enforcement": rule.enforcement,
        "burst": rule.burst.map(seconds),
        "window-phase": rule.window_phase.map(seconds),
        "judged-over": rule.judged_over.map(seconds),
    })
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// A message of the simulated server with its field's name replaced by what users call it, after
/// `dashes`: `` `latency_ms_median` must be… `` becomes `latency must be…`.
#[must_use]
pub fn in_users_words(message: &str, dashes: &str) -> String {
    let Some((field, rest)) = message
        .strip_prefix('`')
        .and_then(|text| text.split_once('`'))
    else {
        return message.to_owned();
    };
    let name = match field {
        "latency_ms_median" => "latency",
        "latency_ms_per_token" => "latency-per-token",
        "output_tokens_median" => "output-tokens",
        "output_tokens_sigma" => "output-sigma",
        "arrival_delay_ms_median" => "arrival-delay",
        other => &other.replace('_', "-"),
    };
    format!("{dashes}{name}{rest}")
}

#[cfg(test)]
mod tests {
    use brimful_sim::{ConfigPatch, Enforcement, Measure, Outage};

    use super::*;

    #[test]
    fn what_is_shown_can_be_sent_back_and_changes_nothing() {
        let mut config = ServerConfig::default();
        config.rpm = Some(600);
        config.enforcement = Enforcement::SlidingCounter;
        config.latency_ms_median = 250.0;
        config.latency_ms_per_token = 1.5;
        config.arrival_delay_max = Some(Duration::from_millis(1_500));
        config.outage = Some(Outage::Unavailable);
        let mut rule = LimitRule::new("burst", Measure::InputTokens, 9, Duration::from_secs(10));
        rule.judged_over = Some(Duration::from_secs(1));
        config.limits = vec![rule];
        let shown = as_json(&config).to_string();
        let patch: ConfigPatch = serde_json::from_str(&shown).unwrap();
        let mut from_nothing = ServerConfig::default();
        from_nothing.wall_clock_origin = config.wall_clock_origin;
        assert_eq!(patch.applied_to(&from_nothing), Ok(config));
    }

    #[test]
    fn every_setting_of_a_patch_is_shown() {
        // A patch's own debug form lists its fields; a key forgotten above would be missing here.
        let fields = format!("{:#?}", ConfigPatch::default());
        let shown = as_json(&ServerConfig::default());
        for line in fields.lines().filter_map(|line| line.strip_prefix("    ")) {
            let field = line.split(':').next().unwrap().replace('_', "-");
            assert!(shown.get(&field).is_some(), "{field} is not shown");
        }
    }

    #[test]
    fn messages_name_what_users_typed() {
        let message = "`latency_ms_median` must be between 0 and 1";
        assert_eq!(
            in_users_words(message, "--"),
            "--latency must be between 0 and 1"
        );
        assert_eq!(
            in_users_words("the shares add up", "--"),
            "the shares add up"
        );
    }
}
