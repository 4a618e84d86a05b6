//! The flags about limits.

use std::path::PathBuf;
use std::time::Duration;

use brimful::daily::DailyReset;
use clap::{Args, ValueEnum};

use crate::run::custom::{self, CustomLimit, RampArg};
use crate::units::{self, Burst, Share};

#[derive(Debug, Args)]
pub(crate) struct LimitArgs {
    /// Requests a minute
    #[arg(long, value_name = "N", value_parser = units::positive)]
    pub(crate) rpm: Option<u64>,
    /// Requests a second
    #[arg(long, value_name = "N", value_parser = units::positive)]
    pub(crate) rps: Option<u64>,
    /// Requests an hour
    #[arg(long, value_name = "N", value_parser = units::positive)]
    pub(crate) rph: Option<u64>,
    /// Requests a day (any 24 hours; see --daily-reset)
    #[arg(long, value_name = "N", value_parser = units::positive)]
    pub(crate) rpd: Option<u64>,
    /// Tokens a minute, input and output
    #[arg(long, value_name = "N", value_parser = units::positive)]
    pub(crate) tpm: Option<u64>,
    /// Input tokens a minute
    #[arg(long, value_name = "N", value_parser = units::positive)]
    pub(crate) itpm: Option<u64>,
    /// Output tokens a minute
    #[arg(long, value_name = "N", value_parser = units::positive)]
    pub(crate) otpm: Option<u64>,
    /// Tokens an hour
    #[arg(long, value_name = "N", value_parser = units::positive)]
    pub(crate) tph: Option<u64>,
    /// Tokens a day (any 24 hours; see --daily-reset)
    #[arg(long, value_name = "N", value_parser = units::positive)]
    pub(crate) tpd: Option<u64>,
    /// A limit of its own: 'images=50/1m'. Then, separated by commas: of=EXPR, what a request
    /// counts (of=body.n; also requests, tokens, input_tokens, output_tokens, in_flight);
    /// models=GLOB+GLOB, the models that share it; reset=HH:MM@ZONE; shape=SHAPE. Repeat it for
    /// more
    #[arg(long, value_name = "NAME=AMOUNT/WINDOW", value_parser = custom::parse)]
    pub(crate) limit: Vec<CustomLimit>,
    /// When the limits of a day begin anew: 00:00@America/Los_Angeles. Default: any 24 hours
    #[arg(long, value_name = "HH:MM@ZONE")]
    pub(crate) daily_reset: Option<DailyReset>,
    /// Take the limits that the provider publishes for this tier and the model. Flags win over them
    #[arg(long, value_name = "NAME")]
    pub(crate) tier: Option<String>,
    /// Take this part of every limit and leave the rest to others with the same key: 50%
    #[arg(long, value_name = "PERCENT", value_parser = units::share)]
    pub(crate) share: Option<Share>,
    /// Grow into every rate by at most this much: +50%/15m. It begins with a tenth of each, or with
    /// what from= says: +50%/15m,from=25%
    #[arg(long, value_name = "+PERCENT/TIME", value_parser = custom::parse_ramp)]
    pub(crate) ramp: Option<RampArg>,
    /// Most requests in flight. auto: as many as the rate needs, 64 when no rate is given
    #[arg(long, value_name = "N|auto", default_value = "auto")]
    pub(crate) concurrency: String,
    /// How the server enforces the limits. paced, the default, is for servers of which this is not
    /// known and uses 99.1 % of the rate; token-bucket uses all of it; sliding and fixed windows
    /// never see more than the limit, whatever their phase, and lose what --jitter takes
    #[arg(long, value_enum)]
    pub(crate) limit_shape: Option<LimitShape>,
    /// What may be sent at once: requests, or a time (1s: one second of every rate). The capacity
    /// of the server's buckets, or a part of its windows that surely nobody has used. Without it
    /// nothing is sent in bursts. Needs a --limit-shape other than paced
    #[arg(long, value_name = "N|TIME", value_parser = units::burst)]
    pub(crate) burst: Option<Burst>,
    /// Variation of the delay to the server that must not lead over a limit. Default: 0.5 % of each
    /// window for paced; for sliding and fixed the same, but 50ms to 300ms; 300ms for a bucket with
    /// a declared burst
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    pub(crate) jitter: Option<Duration>,
    /// What a request is charged before it is sent, of estimated input and max_tokens. Default: as
    /// the provider counts, as far as that is known; else sum
    #[arg(long, value_enum)]
    pub(crate) charge: Option<Charge>,
    /// Whether the server corrects a charge by the usage it reports. Default: as the provider does,
    /// as far as that is known; else none
    #[arg(long, value_enum)]
    pub(crate) settle: Option<Settle>,
    /// Output tokens assumed where a request sets no max_tokens
    #[arg(long, value_name = "N", default_value = "1024", value_parser = units::amount)]
    pub(crate) default_output_tokens: u64,
    /// Whether limits are learnt while the run goes on: from what replies say of them and from what
    /// is refused. off: only what is given holds
    #[arg(long, value_enum, default_value = "on")]
    pub(crate) learn: Switch,
    /// Keep levels of windows of an hour and more, and what was learnt, in this folder. Default:
    /// $BRIMFUL_STATE_DIR, else $XDG_STATE_HOME/brimful, else ~/.local/state/brimful
    #[arg(long, value_name = "FOLDER", conflicts_with = "no_state")]
    pub(crate) state_dir: Option<PathBuf>,
    /// Keep nothing of the kind, and use nothing
    #[arg(long)]
    pub(crate) no_state: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LimitShape {
    Paced,
    TokenBucket,
    Sliding,
    Fixed,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Charge {
    Max,
    Sum,
    Input,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Settle {
    None,
    Usage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}
