//! `brimful mock`: a fake provider to test programs with.

use std::net::SocketAddr;
use std::time::Duration;

use brimful_gateway::mock::MockServer;
use brimful_sim::{BearerKey, Charge, RetryAfterStyle, ServerConfig};
use clap::{Args, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use crate::Usage;
use crate::exit::Exit;
use crate::units;

const EXAMPLES: &str = "\
Examples:
  brimful mock --rpm 600 --latency 300ms --latency-sigma 0.5
  brimful run batch.jsonl -o out.jsonl --base-url http://127.0.0.1:8080/v1 --rpm 600
  curl http://127.0.0.1:8080/stats";

/// Serve a fake provider with limits, latency and faults, to test programs with.
///
/// It speaks OpenAI's API: /v1/chat/completions (also streamed), /v1/responses, /v1/completions,
/// /v1/embeddings and /v1/models. GET /stats gives its account, POST /reset starts a new one.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct MockArgs {
    /// Address to listen on; port 0 takes a free one. The base URL is printed on standard output
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080", value_parser = listen)]
    listen: SocketAddr,

    /// Requests a minute
    #[arg(long, value_name = "N", value_parser = units::positive)]
    rpm: Option<u64>,
    /// Requests a second
    #[arg(long, value_name = "N", value_parser = units::positive)]
    rps: Option<u64>,
    /// Tokens a minute
    #[arg(long, value_name = "N", value_parser = units::positive)]
    tpm: Option<u64>,
    /// Requests in flight
    #[arg(long, value_name = "N", value_parser = units::positive)]
    concurrency: Option<u64>,
    /// How much of its rate each bucket holds; buckets start full
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = units::duration)]
    burst: Duration,
    /// What a request is charged of its input and max_tokens
    #[arg(long, value_enum, default_value = "sum")]
    charge: ChargeFlag,
    /// Output tokens charged where a request sets no max_tokens
    #[arg(long, value_name = "N", default_value = "16", value_parser = units::amount)]
    default_output_tokens: u64,
    /// Correct charges by real usage when an answer ends
    #[arg(long)]
    refund: bool,

    /// Time to the first byte; the median, with --latency-sigma
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = units::duration)]
    latency: Duration,
    /// Spread of a log-normal latency: σ of its logarithm
    #[arg(long, value_name = "SIGMA", default_value = "0")]
    latency_sigma: f64,
    /// Time that each output token adds
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = units::duration)]
    latency_per_token: Duration,
    /// Output tokens of an answer, cut by max_tokens; the median, with --output-sigma
    #[arg(long, value_name = "N", default_value = "16")]
    output_tokens: f64,
    /// Spread of a log-normal answer length: σ of its logarithm
    #[arg(long, value_name = "SIGMA", default_value = "0")]
    output_sigma: f64,

    /// Share (0 to 1) of admitted requests answered with 500
    #[arg(long, value_name = "SHARE", default_value = "0")]
    error_share: f64,
    /// Share answered with 503
    #[arg(long, value_name = "SHARE", default_value = "0")]
    overload_share: f64,
    /// Share that is never answered
    #[arg(long, value_name = "SHARE", default_value = "0")]
    hang_share: f64,
    /// Share whose connection is reset
    #[arg(long, value_name = "SHARE", default_value = "0")]
    reset_share: f64,
    /// Share whose answer breaks off
    #[arg(long, value_name = "SHARE", default_value = "0")]
    truncate_share: f64,
    /// Share answered with 200 and a body that is not JSON
    #[arg(long, value_name = "SHARE", default_value = "0")]
    garbage_share: f64,
    /// How a 429 says when to come back
    #[arg(long, value_enum, default_value = "right")]
    retry_after: RetryAfter,
    /// Answers after which every request gets 429 insufficient_quota
    #[arg(long, value_name = "N", value_parser = units::amount)]
    quota_after: Option<u64>,
    /// Environment variable with the key that requests must bear; others get 401
    #[arg(long, value_name = "VAR")]
    auth_env: Option<String>,
    /// Send the Authorization header back in bodies and headers, to test that it is kept secret
    #[arg(long)]
    echo_headers: bool,
    /// Put terminal escape codes into texts
    #[arg(long)]
    escape_codes: bool,
    /// Spread JSON bodies over several lines
    #[arg(long)]
    pretty: bool,
    /// Do not keep what costs memory: duplicates, most per window
    #[arg(long)]
    no_detail: bool,
    /// Seed of every random choice
    #[arg(long, value_name = "N", default_value = "0")]
    seed: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ChargeFlag {
    Sum,
    Max,
    Input,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RetryAfter {
    Right,
    Missing,
    Seconds,
    Ms,
    Date,
    Wrong,
}

impl MockArgs {
    fn config(&self) -> anyhow::Result<ServerConfig> {
        let millis = |time: Duration| time.as_secs_f64() * 1000.0;
        let mut config = ServerConfig::default();
        config.rpm = self.rpm;
        config.rps = self.rps;
        config.tpm = self.tpm;
        config.concurrency = self.concurrency;
        config.burst = self.burst;
        config.charge = match self.charge {
            ChargeFlag::Sum => Charge::Sum,
            ChargeFlag::Max => Charge::Max,
            ChargeFlag::Input => Charge::Input,
        };
        config.default_output_tokens = self.default_output_tokens;
        config.refund = self.refund;
        config.latency_ms_median = millis(self.latency);
        config.latency_sigma = self.latency_sigma;
        config.latency_ms_per_token = millis(self.latency_per_token);
        config.output_tokens_median = self.output_tokens;
        config.output_tokens_sigma = self.output_sigma;
        config.error_share = self.error_share;
        config.overload_share = self.overload_share;
        config.hang_share = self.hang_share;
        config.reset_share = self.reset_share;
        config.truncate_share = self.truncate_share;
        config.garbage_share = self.garbage_share;
        config.retry_after = match self.retry_after {
            RetryAfter::Right => RetryAfterStyle::Right,
            RetryAfter::Missing => RetryAfterStyle::Missing,
            RetryAfter::Seconds => RetryAfterStyle::Seconds,
            RetryAfter::Ms => RetryAfterStyle::Millis,
            RetryAfter::Date => RetryAfterStyle::Date,
            RetryAfter::Wrong => RetryAfterStyle::Wrong,
        };
        config.quota_after = self.quota_after;
        if let Some(variable) = &self.auth_env {
            let key = std::env::var(variable)
                .map_err(|_| Usage(format!("--auth-env {variable}: the variable is not set")))?;
            config.auth = Some(BearerKey::from(key));
        }
        config.echo_headers = self.echo_headers;
        config.escape_codes = self.escape_codes;
        config.pretty = self.pretty;
        config.detailed_ledger = !self.no_detail;
        Ok(config)
    }
}

/// The simulator names its own fields: here they are flags.
fn as_flag(message: &str) -> String {
    let Some((field, rest)) = message
        .strip_prefix('`')
        .and_then(|text| text.split_once('`'))
    else {
        return message.to_owned();
    };
    let flag = match field {
        "latency_ms_median" => "latency",
        "latency_ms_per_token" => "latency-per-token",
        "output_tokens_median" => "output-tokens",
        "output_tokens_sigma" => "output-sigma",
        other => &other.replace('_', "-"),
    };
    format!("--{flag}{rest}")
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

/// Serves until Ctrl-C or SIGTERM.
pub(crate) async fn mock(args: &MockArgs) -> anyhow::Result<Exit> {
    use std::io::Write;
    let server = MockServer::bind(args.listen, args.config()?, args.seed).map_err(|error| {
        match error.kind() {
            std::io::ErrorKind::InvalidInput => Usage(as_flag(&error.to_string())).into(),
            _ => anyhow::Error::new(error).context(format!("cannot listen on {}", args.listen)),
        }
    })?;
    let address = server.local_addr()?;
    // Before anyone learns that it is there, and may want it to end.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    {
        let mut out = std::io::stdout().lock();
        writeln!(out, "http://{address}/v1")?;
        out.flush()?;
    }
    server
        .serve(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        })
        .await;
    Ok(Exit::Complete)
}
