//! The flags of every command. What is typed here can also stand in `brimful.toml`.

mod limits;

use std::path::PathBuf;
use std::time::Duration;

use brimful_providers::profile::Profile;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::UpstreamTable;
use crate::limits::LimitsArgs;
use crate::mock::MockArgs;
use crate::probe::ProbeArgs;
use crate::units;

pub(crate) use limits::{Charge, LimitArgs, LimitShape, Settle, Switch};

/// Pushes LLM API requests through rate limits: at the full rate, never over it, losing nothing.
#[derive(Debug, Parser)]
#[command(
    name = "brimful",
    version,
    max_term_width = 100,
    propagate_version = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Send a file of prompts and keep every answer once
    Run(Box<RunArgs>),
    /// Serve a fake provider with limits, latency and faults, to test programs with
    Mock(Box<MockArgs>),
    /// Print what is known of a provider's limits, and from where
    Limits(LimitsArgs),
    /// Ask the real server what it says of its limits
    Probe(Box<ProbeArgs>),
    /// Print a completion script for a shell
    Completions {
        /// The shell to complete for
        shell: clap_complete::Shell,
    },
    /// Print a man page
    Man {
        /// The command whose page to print; without it, the page of `brimful` itself
        command: Option<String>,
    },
}

const RUN_EXAMPLES: &str = "\
Examples:
  Try it without a key or a network:
    brimful run examples/emoji.csv -o captions.csv --provider mock \\
      --model demo --rpm 6000 \\
      --prompt 'Write a caption for {{ emoji }} ({{ name }})'
  An OpenAI Batch file at 500 requests and 200,000 tokens a minute:
    brimful run batch.jsonl -o answers.jsonl --rpm 500 --tpm 200k
  The same command again sends only what has no answer.

Exit codes: 0 every request answered; 1 fatal, nothing lost; 2 wrong usage or
refused by --strict; 3 finished with dead letters; 4 stopped by --deadline or
by --max-cost; 130, 143, 129 stopped by a signal.";

/// Send a file of prompts and keep every answer once
#[derive(Debug, Args)]
#[command(after_help = RUN_EXAMPLES)]
pub(crate) struct RunArgs {
    /// A batch file (OpenAI's, Anthropic's, Gemini's, Bedrock's or Mistral's), JSONL, CSV, TSV or
    /// plain text (a prompt a line); `-` for standard input
    #[arg(required_unless_present_any = ["repeat", "config"])]
    pub(crate) input: Option<PathBuf>,

    /// Where answers go: `.jsonl`, `.csv`, or `-` for standard output
    #[arg(short, long, value_name = "FILE", required_unless_present = "config")]
    pub(crate) output: Option<PathBuf>,

    /// Take flags that are not given here from the table `[run]` of this TOML file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// The tables `[[upstream]]` of the configuration file.
    #[arg(skip)]
    pub(crate) upstreams: Vec<UpstreamArgs>,

    #[command(flatten, next_help_heading = "Requests")]
    pub(crate) requests: RequestArgs,
    #[command(flatten, next_help_heading = "Where to")]
    pub(crate) target: TargetArgs,
    #[command(flatten, next_help_heading = "Limits")]
    pub(crate) limits: LimitArgs,
    #[command(flatten, next_help_heading = "Failures")]
    pub(crate) retry: RetryArgs,
    #[command(flatten, next_help_heading = "Journal and outputs")]
    pub(crate) outputs: OutputArgs,
    #[command(flatten, next_help_heading = "Stopping")]
    pub(crate) stop: StopArgs,
    #[command(flatten, next_help_heading = "Watching")]
    pub(crate) watch: WatchArgs,
}

/// One of several upstreams.
#[derive(Debug)]
pub(crate) struct UpstreamArgs {
    pub(crate) table: UpstreamTable,
    /// Its own flags as those of a run, with what it takes over from the run.
    pub(crate) run: RunArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RequestArgs {
    /// What INPUT is, when its content does not tell
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) input_format: Option<InputFormat>,
    /// Prompt of each row, a template: `Translate: {{ text }}`
    #[arg(long, value_name = "TEMPLATE", conflicts_with = "prompt_file")]
    pub(crate) prompt: Option<String>,
    /// As --prompt, from a file
    #[arg(long, value_name = "FILE")]
    pub(crate) prompt_file: Option<PathBuf>,
    /// System prompt (instructions) of each row, a template
    #[arg(long, value_name = "TEMPLATE")]
    pub(crate) system: Option<String>,
    /// Whole body of each request: a JSON document whose strings are templates, or its file
    #[arg(long, value_name = "JSON|FILE", conflicts_with_all = ["prompt", "prompt_file", "system"])]
    pub(crate) body_template: Option<String>,
    /// Model named in each body
    #[arg(short, long)]
    pub(crate) model: Option<String>,
    /// Endpoint of rows: chat, responses, completions, embeddings, messages, generate-content,
    /// converse, or a path. Default: what --provider has, else chat
    #[arg(long, value_name = "NAME|PATH")]
    pub(crate) endpoint: Option<String>,
    /// Set a field of each body; the value is JSON, else text: --param temperature=0
    #[arg(long, value_name = "NAME=JSON")]
    pub(crate) param: Vec<String>,
    /// Column that names each row; must be unique. Default: the row number
    #[arg(long, value_name = "COLUMN")]
    pub(crate) id_column: Option<String>,
    /// Column with the input tokens of each row. Default: as --count says
    #[arg(long, value_name = "COLUMN")]
    pub(crate) estimate_column: Option<String>,
    /// How input tokens are counted: chars, characters / 4, or exact, by the tokenizer of the model
    /// where that is public (OpenAI's families; others by characters). Default: as the provider
    /// counts, which `brimful limits` tells
    #[arg(long, value_enum, value_name = "HOW")]
    pub(crate) count: Option<Count>,
    /// Only the first N rows
    #[arg(long, value_name = "N", value_parser = units::amount)]
    pub(crate) first: Option<u64>,
    /// No INPUT: N requests from one prompt, in which `{{ index }}` counts from 1
    #[arg(long, value_name = "N", value_parser = units::positive, conflicts_with_all = ["input", "id_column", "estimate_column", "first"])]
    pub(crate) repeat: Option<u64>,
    /// Check all rows first and refuse to start if any is bad
    #[arg(long)]
    pub(crate) strict: bool,
    /// Longest line of the input
    #[arg(long, value_name = "BYTES", default_value = "64MB", value_parser = units::bytes)]
    pub(crate) line_max_bytes: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Count {
    Chars,
    Exact,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum InputFormat {
    Batch,
    AnthropicBatch,
    GeminiBatch,
    BedrockBatch,
    MistralBatch,
    Jsonl,
    Csv,
    Tsv,
    Text,
}

#[derive(Debug, Args)]
pub(crate) struct TargetArgs {
    /// Whose API: its address, key variable, dialect and way of charging. `mock` is a simulator
    /// inside this program that needs neither key nor network
    #[arg(long, value_name = "NAME", value_parser = provider())]
    pub(crate) provider: Option<Provider>,
    /// Address of the API, such as http://localhost:8000/v1. Without --provider it is one that
    /// speaks as OpenAI does. Default: the variable of the provider's SDK ($OPENAI_BASE_URL), else
    /// the provider's own address
    #[arg(long, value_name = "URL")]
    pub(crate) base_url: Option<String>,
    /// Environment variable that holds the key. Default: that of the provider's SDK, such as
    /// OPENAI_API_KEY
    #[arg(long, value_name = "VAR")]
    pub(crate) api_key_env: Option<String>,
    /// Send this header; `env:VAR` takes the value from the environment: 'X-Team: env:TEAM'
    #[arg(long, value_name = "NAME: VALUE")]
    pub(crate) header: Vec<String>,
    /// From sending to the last byte of an answer
    #[arg(long, value_name = "TIME", default_value = "600s", value_parser = units::some_time)]
    pub(crate) timeout: Duration,
    /// Name lookup, TCP and TLS
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = units::some_time)]
    pub(crate) connect_timeout: Duration,
    /// Largest answer, decompressed
    #[arg(long, value_name = "BYTES", default_value = "64MB", value_parser = units::bytes)]
    pub(crate) response_max_bytes: u64,
    /// Largest head of an answer
    #[arg(long, value_name = "BYTES", default_value = "64KB", value_parser = units::bytes)]
    pub(crate) headers_max_bytes: u64,
}

impl RunArgs {
    /// Takes over from the run what is not given for this upstream. `given`: whether a flag is, by
    /// the name of its field.
    pub(crate) fn inherit(&mut self, run: &Self, given: impl Fn(&str) -> bool) {
        let (own, target) = (&mut self.target, &run.target);
        if !given("timeout") {
            own.timeout = target.timeout;
        }
        if !given("connect_timeout") {
            own.connect_timeout = target.connect_timeout;
        }
        if !given("response_max_bytes") {
            own.response_max_bytes = target.response_max_bytes;
        }
        if !given("headers_max_bytes") {
            own.headers_max_bytes = target.headers_max_bytes;
        }
        if !given("learn") {
            self.limits.learn = run.limits.learn;
        }
        if !given("share") {
            self.limits.share = run.limits.share;
        }
        self.limits.default_output_tokens = run.limits.default_output_tokens;
        self.requests.model.clone_from(&run.requests.model);
        self.watch.seed = run.watch.seed;
        self.watch.log_format = run.watch.log_format;
    }
}

impl AsRef<TargetArgs> for RunArgs {
    fn as_ref(&self) -> &TargetArgs {
        &self.target
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Provider {
    /// The name of a profile.
    Known(&'static str),
    /// The simulator inside this program.
    Mock,
}

fn provider() -> impl TypedValueParser<Value = Provider> {
    let names = Profile::names().chain(["mock"]);
    PossibleValuesParser::new(names).map(|given| {
        let known = Profile::names().find(|name| *name == given);
        known.map_or(Provider::Mock, Provider::Known)
    })
}

#[derive(Debug, Args)]
pub(crate) struct RetryArgs {
    /// First backoff; doubles with each attempt
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = units::duration)]
    pub(crate) base_backoff: Duration,
    /// Longest backoff
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = units::duration)]
    pub(crate) max_backoff: Duration,
    /// Attempts of one request; being throttled (429) does not use them up
    #[arg(long, value_name = "N", default_value = "6", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_attempts: u32,
    /// Give a request up this long after its first attempt
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = units::some_time)]
    pub(crate) max_request_time: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct OutputArgs {
    /// Keep answers here for resuming, where -o is not such a file itself. Default:
    /// OUTPUT.journal.jsonl; with `-o -`, none
    #[arg(long, value_name = "FILE")]
    pub(crate) journal: Option<PathBuf>,
    /// What an answer must survive: power loss (written to disk in groups), or this process's death
    #[arg(long, value_enum, default_value = "power")]
    pub(crate) durability: Durability,
    /// Send all dead letters of earlier runs again; not with --first
    #[arg(long)]
    pub(crate) retry_failed: bool,
    /// Forget earlier answers (they are kept in FILE.old) and send everything
    #[arg(long)]
    pub(crate) fresh: bool,
    /// With `-o -`: rows in the order of the input
    #[arg(long)]
    pub(crate) ordered: bool,
    /// Part of the answer that becomes the column `response`: '$.choices[0].message.content'
    #[arg(long, value_name = "JSONPATH")]
    pub(crate) response_path: Option<String>,
    /// Put this before the names of the columns response, usage and error
    #[arg(long, value_name = "PREFIX")]
    pub(crate) output_prefix: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Durability {
    Power,
    Process,
}

#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    /// After SIGTERM or SIGHUP: how long answers in flight are awaited
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = units::duration)]
    pub(crate) grace: Duration,
    /// Start nothing after this long; the same command goes on later
    #[arg(long, value_name = "TIME", value_parser = units::some_time)]
    pub(crate) deadline: Option<Duration>,
    /// Price in US dollars for a million tokens, input and output: 0.15,0.60
    #[arg(long, value_name = "IN,OUT")]
    pub(crate) price: Option<String>,
    /// Start nothing once answers have cost this many US dollars; needs --price. What is in flight
    /// then may exceed it
    #[arg(long, value_name = "USD", requires = "price", value_parser = units::dollars, allow_negative_numbers = true)]
    pub(crate) max_cost: Option<f64>,
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// How progress is shown. auto: a bar on a terminal, else lines of JSON
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) progress: ProgressStyle,
    /// Time between two lines of JSON progress
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = units::some_time)]
    pub(crate) progress_every: Duration,
    /// Write one line of JSON for each attempt
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
    /// Messages on standard error: text, or lines of JSON with one for each attempt
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) log_format: LogFormat,
    /// Seed of every random choice
    #[arg(long, value_name = "N", default_value = "0")]
    pub(crate) seed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressStyle {
    Auto,
    Bar,
    Json,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}
