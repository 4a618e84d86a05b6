//! The real engine against the fake provider, in virtual time.
//!
//! A [`VirtualRun`] says what runs: the engine's configuration, the server's, a workload, a network
//! between them and how the client wakes up. [`VirtualRun::run`] carries it out: an event heap
//! takes the place of the clock, so ten minutes take milliseconds, and equal seeds give equal runs,
//! to the nanosecond. Bodies and headers are real and are read by the code of production.
//!
//! Every run checks the engine's laws beside what it measures; the [`Report`] tells both.
//! [`zoo`] is the table of scenarios; [`learn`] that of those in which something has to be found
//! out.
//!
//! What is deliberately not here: sockets, connection pools, files, the journal. This is the only
//! part of the crate that knows the engine; the server's modules must not (`cargo xtask tidy`).

mod checks;
mod client;
mod events;
mod flight;
pub mod learn;
mod network;
mod promise;
mod report;
mod sample;
mod tally;
mod trace;
mod workload;
pub mod zoo;

use std::time::Duration;

use brimful_core::{
    EngineConfig, EngineConfigError, LimitKind, LimitSpec, Timestamp, UpstreamConfig,
};
use brimful_providers::observe::HeaderGrammar;

use crate::config::{ConfigError, ServerConfig};

pub use checks::Violation;
pub use network::{Delay, Network};
pub use report::Report;
pub use sample::{LimitSample, Sample};
pub use trace::{End, Step};
pub use workload::{Amount, Order, Size, Sizes, Workload};

/// What runs against what.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct VirtualRun {
    /// The engine, as the user would have declared it. Its seed is replaced by the run's.
    pub engine: EngineConfig,
    /// The provider, of the engine's first upstream.
    pub server: ServerConfig,
    /// Those of its further upstreams, in their order. Default: none. A run with several is judged
    /// by the laws that hold for each upstream alone; waits are not bounded.
    pub further: Vec<ServerConfig>,
    /// What is to be answered.
    pub workload: Workload,
    /// What lies between client and provider. Default: no delay, no loss.
    pub network: Network,
    /// How the client behaves. Default: as `brimful run` by default, waking up exactly in time.
    pub client: Client,
    /// Virtual time after which a run that has not ended is reported as stuck. Default: 7 days.
    pub give_up_after: Duration,
    /// Whether the engine may find out limits of its own: waits are then not held to the rates that
    /// were declared. Default: no.
    pub learns: bool,
    /// Whether the server may take something else for tokens than was declared: what starts is then
    /// not held to the limits on tokens. Default: no.
    pub charges_differ: bool,
    /// How often the server's account is noted in [`Report::samples`], and with it every time to a
    /// first byte. Not zero. `None`, the default: never.
    pub sample_every: Option<Duration>,
}

/// How the client around the engine behaves.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Client {
    /// Longest time of an attempt. Default: 600 s.
    pub timeout: Duration,
    /// Whether the engine is told of first bytes, as a client does that has answers streamed.
    /// Default: no.
    pub sees_first_bytes: bool,
    /// How late each wake-up is. Default: not at all.
    pub wake_late: Delay,
    /// Requests that wait in the engine. Default: 1,024.
    pub look_ahead: usize,
    /// Times in which the client does nothing. Default: none. In order and apart from each other.
    pub suspensions: Vec<Suspension>,
    /// Share (0 to 1) of requests whose caller cancels them, at a moment within `cancel_within` of
    /// their submission. Default: 0.
    pub cancel_share: f64,
    /// See `cancel_share`. Default: 10 s.
    pub cancel_within: Duration,
    /// In whose grammar the levels that replies name are read. Default:
    /// [`HeaderGrammar::None`]: they are not.
    pub grammar: HeaderGrammar,
}

impl Default for Client {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(600),
            sees_first_bytes: false,
            wake_late: Delay::NONE,
            look_ahead: 1024,
            suspensions: Vec::new(),
            cancel_share: 0.0,
            cancel_within: Duration::from_secs(10),
            grammar: HeaderGrammar::None,
        }
    }
}

/// A stretch in which the client's process gets no time: a suspended laptop, a stopped container, a
/// machine that swaps. What arrives meanwhile is seen afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspension {
    /// When it begins, on the server's clock.
    pub at: Timestamp,
    /// How long it lasts.
    pub length: Duration,
    /// Whether the client's clock goes on meanwhile. Linux's monotonic clock stands still while the
    /// machine sleeps and goes on while a process is stopped.
    pub clock_runs: bool,
}

/// Why a run cannot begin.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum RunError {
    /// The engine does not accept its configuration.
    #[error(transparent)]
    Engine(#[from] EngineConfigError),
    /// The server does not accept its configuration.
    #[error(transparent)]
    Server(#[from] ConfigError),
}

impl VirtualRun {
    /// A run over a network without delay and with a punctual client.
    #[must_use]
    pub fn new(engine: EngineConfig, server: ServerConfig, workload: Workload) -> Self {
        Self {
            engine,
            server,
            further: Vec::new(),
            workload,
            network: Network::default(),
            client: Client::default(),
            give_up_after: Duration::from_secs(7 * 24 * 3600),
            learns: false,
            charges_differ: false,
            sample_every: None,
        }
    }

    /// The upstreams with the limits that what starts is held to.
    fn promised(&self) -> Vec<UpstreamConfig> {
        use LimitKind::{InputTokens, OutputTokens, TotalTokens};
        let mut upstreams = self.engine.upstreams.clone();
        for upstream in upstreams.iter_mut().filter(|_| self.charges_differ) {
            let counts_tokens =
                |spec: &LimitSpec| matches!(spec.kind, TotalTokens | InputTokens | OutputTokens);
            upstream.limits.retain(|spec| !counts_tokens(spec));
        }
        upstreams
    }

    /// Runs to the end. Equal seeds give equal reports.
    pub fn run(&self, seed: u64) -> Result<Report, RunError> {
        self.run_traced(seed, &mut |_, _| {})
    }

    /// The same, and tells `observe` every step with its instant on the server's clock.
    pub fn run_traced(
        &self,
        seed: u64,
        observe: &mut dyn FnMut(Timestamp, &Step),
    ) -> Result<Report, RunError> {
        Ok(client::Driver::new(self, seed, observe)?.drive())
    }
}
