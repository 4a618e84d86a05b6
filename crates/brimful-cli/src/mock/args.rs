//! The flags of `brimful mock` and the configuration that they mean.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use brimful_sim::{
    BearerKey, Charge, Enforcement, LevelHeaders, LimitRule, Outage, RetryAfterStyle, ServerConfig,
};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgAction, Args};
use serde::de::DeserializeOwned;

use super::limit;
use crate::Usage;
use crate::units;
use crate::variable::unset;

const EXAMPLES: &str = "\
Examples:
  brimful mock --rpm 600 --latency 300ms --latency-sigma 0.5
  brimful run batch.jsonl -o out.jsonl --base-url http://127.0.0.1:8080/v1 --rpm 600
  curl http://127.0.0.1:8080/stats
  curl http://127.0.0.1:8080/config -d '{\"rpm\": 300, \"outage\": \"unavailable\"}'";

/// Serve a fake provider with limits, latency and faults, to test programs with.
///
/// It speaks OpenAI's API (/v1/chat/completions, also streamed, /v1/responses, /v1/completions,
/// /v1/embeddings, /v1/models), Anthropic's (/v1/messages) and Gemini's
/// (/v1beta/models/MODEL:generateContent and :streamGenerateContent). GET /stats gives its account,
/// POST /reset starts a new one; GET /config shows what can be changed, POST /config changes it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct MockArgs {
    #[command(flatten, next_help_heading = "Listening")]
    pub(super) listen: ListenArgs,
    #[command(flatten, next_help_heading = "Limits")]
    limits: LimitArgs,
    #[command(flatten, next_help_heading = "Charges")]
    charges: ChargeArgs,
    #[command(flatten, next_help_heading = "Answers")]
    answers: AnswerArgs,
    #[command(flatten, next_help_heading = "Faults")]
    faults: FaultArgs,
    #[command(flatten, next_help_heading = "What it tells")]
    told: ToldArgs,

    /// Change settings at set times: a TOML file of [[at]] tables
    #[arg(long, value_name = "FILE", help_heading = "Running")]
    pub(super) script: Option<PathBuf>,
    /// Do not keep what costs memory: duplicates, most per window
    #[arg(long, help_heading = "Running")]
    no_detail: bool,
    /// Seed of every random choice
    #[arg(long, value_name = "N", default_value = "0", help_heading = "Running")]
    pub(super) seed: u64,
}

#[derive(Debug, Args)]
pub(super) struct ListenArgs {
    /// Address to listen on; port 0 takes a free one. The base URL is printed on standard output
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080", value_parser = listen)]
    pub(super) listen: SocketAddr,
    /// Speak TLS, with a certificate made at the start
    #[arg(long, group = "encrypted")]
    pub(super) tls: bool,
    /// Write what clients have to trust to this file (PEM)
    #[arg(long, value_name = "FILE", requires = "encrypted")]
    pub(super) tls_cert_out: Option<PathBuf>,
    /// Speak TLS with these certificates (PEM, the server's own first)
    #[arg(long, value_name = "FILE", requires = "tls_key", group = "encrypted")]
    pub(super) tls_cert: Option<PathBuf>,
    /// Private key of --tls-cert (PEM, not encrypted)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(super) tls_key: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct LimitArgs {
    /// Requests a minute
    #[arg(long, value_name = "N", value_parser = units::positive)]
    rpm: Option<u64>,
    /// Requests a second
    #[arg(long, value_name = "N", value_parser = units::positive)]
    rps: Option<u64>,
    /// Requests a day; its bucket holds all of it
    #[arg(long, value_name = "N", value_parser = units::positive)]
    rpd: Option<u64>,
    /// Tokens a minute
    #[arg(long, value_name = "N", value_parser = units::positive)]
    tpm: Option<u64>,
    /// Input tokens a minute
    #[arg(long, value_name = "N", value_parser = units::positive)]
    itpm: Option<u64>,
    /// Output tokens a minute
    #[arg(long, value_name = "N", value_parser = units::positive)]
    otpm: Option<u64>,
    /// Requests in flight
    #[arg(long, value_name = "N", value_parser = units::positive)]
    concurrency: Option<u64>,
    /// A further limit, such as burst=10/1s or in=50k/10s,measure=input-tokens,enforcement=fixed
    #[arg(long, value_name = "NAME=N/TIME[,KEY=VALUE]", value_parser = limit::parse)]
    limit: Vec<LimitRule>,
    /// How rate limits are judged
    #[arg(long, value_name = "HOW", default_value = "token-bucket",
          value_parser = choice::<Enforcement>(&["token-bucket", "fixed", "sliding", "counter", "spacing"]))]
    enforcement: Enforcement,
    /// How much of its rate each bucket holds; buckets start full
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = units::duration)]
    burst: Duration,
    /// Requests that the request buckets hold, in place of --burst
    #[arg(long, value_name = "N", value_parser = units::positive)]
    burst_requests: Option<u64>,
    /// Tokens that the token buckets hold, in place of --burst
    #[arg(long, value_name = "N", value_parser = units::positive)]
    burst_tokens: Option<u64>,
    /// When after the start windows begin. Default: drawn from the seed
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    window_phase: Option<Duration>,
    /// Judge limits over a shorter time, such as 1s. Default: over their own windows
    #[arg(long, value_name = "TIME", value_parser = units::some_time)]
    judged_over: Option<Duration>,
    /// Share (0 to 1) of each rate that other tenants ask for
    #[arg(long, value_name = "SHARE", default_value = "0")]
    foreign_share: f64,
    /// Tokens of another tenant's request. Default: the mean of ours
    #[arg(long, value_name = "N", value_parser = units::positive)]
    foreign_tokens: Option<u64>,
}

#[derive(Debug, Args)]
struct ChargeArgs {
    /// What a request is charged of its input and max_tokens
    #[arg(long, value_name = "RULE", default_value = "sum",
          value_parser = choice::<Charge>(&["sum", "max", "input", "produced"]))]
    charge: Charge,
    /// What is charged for each token that should be
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    charge_scale: f64,
    /// Output tokens charged where a request sets no max_tokens
    #[arg(long, value_name = "N", default_value = "16", value_parser = units::amount)]
    default_output_tokens: u64,
    /// Correct charges by real usage when an answer ends
    #[arg(long)]
    refund: bool,
    /// Whether requests that fail (500, 503, hang, reset) have used up what they took
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    failed_requests_count: bool,
    /// Whether a 429 takes from the request limits too
    #[arg(long, value_name = "BOOL", default_value_t = false, action = ArgAction::Set)]
    refused_requests_count: bool,
}

#[derive(Debug, Args)]
struct AnswerArgs {
    /// Time to the first byte; the median, with --latency-sigma
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = units::duration)]
    latency: Duration,
    /// Spread of a log-normal latency: σ of its logarithm
    #[arg(long, value_name = "SIGMA", default_value = "0")]
    latency_sigma: f64,
    /// Time that each output token adds
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = units::duration)]
    latency_per_token: Duration,
    /// Requests in flight beyond which all times grow in proportion
    #[arg(long, value_name = "N", value_parser = units::positive)]
    saturation_in_flight: Option<u64>,
    /// All times grow by 1/N for each request in flight, N being --saturation-in-flight
    #[arg(long, requires = "saturation_in_flight")]
    saturation_gradual: bool,
    /// Answers that are generated at once; further requests wait in line
    #[arg(long, value_name = "N", value_parser = units::positive)]
    slots: Option<u64>,
    /// Time from arrival to admission, as a slow way to the server; the median, with its sigma
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = units::duration)]
    arrival_delay: Duration,
    /// Spread of a log-normal arrival delay: σ of its logarithm
    #[arg(long, value_name = "SIGMA", default_value = "0")]
    arrival_delay_sigma: f64,
    /// Longest arrival delay
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    arrival_delay_max: Option<Duration>,
    /// Output tokens of an answer, cut by max_tokens; the median, with --output-sigma
    #[arg(long, value_name = "N", default_value = "16")]
    output_tokens: f64,
    /// Spread of a log-normal answer length: σ of its logarithm
    #[arg(long, value_name = "SIGMA", default_value = "0")]
    output_sigma: f64,
    /// Spread JSON bodies over several lines
    #[arg(long)]
    pretty: bool,
}

#[derive(Debug, Args)]
struct FaultArgs {
    /// Serve nobody: connections refused, requests hanging, reset, or answered with 503
    #[arg(long, value_name = "HOW",
          value_parser = choice::<Outage>(&["refuse", "hang", "reset", "unavailable"]))]
    outage: Option<Outage>,
    /// Share (0 to 1) of admitted requests answered with 500
    #[arg(long, value_name = "SHARE", default_value = "0")]
    error_share: f64,
    /// Share answered with 503 (Anthropic: 529)
    #[arg(long, value_name = "SHARE", default_value = "0")]
    overload_share: f64,
    /// Share that is never answered
    #[arg(long, value_name = "SHARE", default_value = "0")]
    hang_share: f64,
    /// Share whose connection (HTTP/2: stream) is reset
    #[arg(long, value_name = "SHARE", default_value = "0")]
    reset_share: f64,
    /// Share whose answer breaks off
    #[arg(long, value_name = "SHARE", default_value = "0")]
    truncate_share: f64,
    /// Share answered with 200 and a body that is not JSON
    #[arg(long, value_name = "SHARE", default_value = "0")]
    garbage_share: f64,
    /// Answers after which every request gets 429 insufficient_quota
    #[arg(long, value_name = "N", value_parser = units::amount)]
    quota_after: Option<u64>,
    /// Environment variable with the key that requests must bear; others get 401
    #[arg(long, value_name = "VAR")]
    auth_env: Option<String>,
}

#[derive(Debug, Args)]
struct ToldArgs {
    /// How a 429 says when to come back
    #[arg(long, value_name = "STYLE", default_value = "right",
          value_parser = choice::<RetryAfterStyle>(&["right", "missing", "seconds", "ms", "date", "wrong", "absurd", "unreadable", "silent"]))]
    retry_after: RetryAfterStyle,
    /// What headers tell of the levels
    #[arg(long, value_name = "STYLE", default_value = "right",
          value_parser = choice::<LevelHeaders>(&["right", "absent", "late", "rounded", "wrong-limit", "wrong-remaining"]))]
    level_headers: LevelHeaders,
    /// How old the levels of `--level-headers late` are
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = units::duration)]
    level_headers_lag: Duration,
    /// Send the key's header back in bodies and headers, to test that it is kept secret
    #[arg(long)]
    echo_headers: bool,
    /// Put terminal escape codes into texts
    #[arg(long)]
    escape_codes: bool,
}

impl MockArgs {
    pub(super) fn config(&self) -> anyhow::Result<ServerConfig> {
        let mut config = ServerConfig::default();
        self.limits.set(&mut config);
        self.charges.set(&mut config);
        self.answers.set(&mut config);
        self.faults.set(&mut config)?;
        self.told.set(&mut config);
        config.detailed_ledger = !self.no_detail;
        Ok(config)
    }
}

impl LimitArgs {
    fn set(&self, config: &mut ServerConfig) {
        config.rpm = self.rpm;
        config.rps = self.rps;
        config.rpd = self.rpd;
        config.tpm = self.tpm;
        config.itpm = self.itpm;
        config.otpm = self.otpm;
        config.concurrency = self.concurrency;
        config.limits.clone_from(&self.limit);
        config.enforcement = self.enforcement;
        config.burst = self.burst;
        config.burst_requests = self.burst_requests;
        config.burst_tokens = self.burst_tokens;
        config.window_phase = self.window_phase;
        config.judged_over = self.judged_over;
        config.foreign_share = self.foreign_share;
        config.foreign_tokens = self.foreign_tokens;
    }
}

impl ChargeArgs {
    const fn set(&self, config: &mut ServerConfig) {
        config.charge = self.charge;
        config.charge_scale = self.charge_scale;
        config.default_output_tokens = self.default_output_tokens;
        config.refund = self.refund;
        config.failed_requests_count = self.failed_requests_count;
        config.refused_requests_count = self.refused_requests_count;
    }
}

impl AnswerArgs {
    const fn set(&self, config: &mut ServerConfig) {
        config.latency_ms_median = millis(self.latency);
        config.latency_sigma = self.latency_sigma;
        config.latency_ms_per_token = millis(self.latency_per_token);
        config.saturation_in_flight = self.saturation_in_flight;
        config.saturation_gradual = self.saturation_gradual;
        config.slots = self.slots;
        config.arrival_delay_ms_median = millis(self.arrival_delay);
        config.arrival_delay_sigma = self.arrival_delay_sigma;
        config.arrival_delay_max = self.arrival_delay_max;
        config.output_tokens_median = self.output_tokens;
        config.output_tokens_sigma = self.output_sigma;
        config.pretty = self.pretty;
    }
}

impl FaultArgs {
    fn set(&self, config: &mut ServerConfig) -> anyhow::Result<()> {
        config.outage = self.outage;
        config.error_share = self.error_share;
        config.overload_share = self.overload_share;
        config.hang_share = self.hang_share;
        config.reset_share = self.reset_share;
        config.truncate_share = self.truncate_share;
        config.garbage_share = self.garbage_share;
        config.quota_after = self.quota_after;
        if let Some(variable) = &self.auth_env {
            let key = std::env::var(variable).unwrap_or_default();
            if key.trim().is_empty() {
                return Err(Usage(unset("--auth-env", variable)).into());
            }
            config.auth = Some(BearerKey::from(key));
        }
        Ok(())
    }
}

impl ToldArgs {
    const fn set(&self, config: &mut ServerConfig) {
        config.retry_after = self.retry_after;
        config.level_headers = self.level_headers;
        config.level_headers_lag = self.level_headers_lag;
        config.echo_headers = self.echo_headers;
        config.escape_codes = self.escape_codes;
    }
}

const fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// One of `names`, as the configuration's own reader understands them, so that flags, scripts and
/// `POST /config` have the same words.
fn choice<T>(names: &'static [&'static str]) -> impl TypedValueParser<Value = T>
where
    T: DeserializeOwned + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(names).try_map(|text| named(&text))
}

/// A value of the configuration by its name; what cannot be is refused with the names that can.
pub(super) fn named<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let value = serde_json::Value::String(text.to_owned());
    serde_json::from_value(value).map_err(|error| error.to_string())
}

/// An address; `localhost` is the one name that needs no look-up.
fn listen(text: &str) -> Result<SocketAddr, String> {
    let address = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    address
        .parse()
        .map_err(|_| "write an IP address and a port, such as 127.0.0.1:8080".to_owned())
}

#[cfg(test)]
mod tests {
    use brimful_gateway::mock::setting_names;
    use clap::{Command, FromArgMatches as _};

    use super::*;

    fn parsed(flags: &str) -> ServerConfig {
        let argv = std::iter::once("mock").chain(flags.split_whitespace());
        let matches = MockArgs::augment_args(Command::new("mock"))
            .try_get_matches_from(argv)
            .unwrap();
        let args = MockArgs::from_arg_matches(&matches).unwrap();
        args.config().unwrap()
    }

    #[test]
    fn every_setting_has_a_flag_of_its_name() {
        let command = MockArgs::augment_args(Command::new("mock"));
        let flags: Vec<&str> = command
            .get_arguments()
            .filter_map(clap::Arg::get_long)
            .collect();
        for name in setting_names() {
            // A list in a script, one at a time on the command line.
            let name = if name == "limits" { "limit" } else { &name };
            assert!(flags.contains(&name), "--{name} is missing");
        }
    }

    #[test]
    fn flags_that_are_not_given_mean_the_default() {
        assert_eq!(parsed(""), ServerConfig::default());
    }

    #[test]
    fn every_choice_that_is_offered_can_be_taken() {
        let command = MockArgs::augment_args(Command::new("mock"));
        for arg in command.get_arguments() {
            for value in arg.get_possible_values() {
                let Some(flag) = arg.get_long() else { continue };
                if arg.get_action().takes_values() {
                    parsed(&format!("--{flag} {}", value.get_name()));
                }
            }
        }
        let config =
            parsed("--enforcement counter --charge produced --retry-after ms --outage hang");
        assert_eq!(config.enforcement, Enforcement::SlidingCounter);
        assert_eq!(config.retry_after, RetryAfterStyle::Millis);
        assert_eq!(
            (config.charge, config.outage),
            (Charge::Produced, Some(Outage::Hang))
        );
    }
}
