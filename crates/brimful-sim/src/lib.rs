//! A fake provider without I/O: limits, latency and faults, all seeded.
//!
//! [`Server`] is the brain: it is told the time and a request, and says what to answer and after
//! how long. Who calls it decides what time is: an HTTP shell passes a clock's, a simulation its
//! own. Every draw comes from one seed, so a run can be repeated.
//!
//! It shares nothing with the engine's limiters but the instant type. A client that never sees a
//! 429 from this server has thereby been checked by someone else's arithmetic.
//!
//! What is deliberately not here: sockets, clocks, threads, and how a client should behave.
//!
//! ```
//! use brimful_core::Timestamp;
//! use brimful_sim::{Action, Ending, IncomingRequest, Server, ServerConfig, answer_tag};
//!
//! let mut config = ServerConfig::default();
//! config.rpm = Some(600);
//! let mut server = Server::new(config, 7)?;
//! let request = IncomingRequest {
//!     method: &http::Method::POST,
//!     path: "/v1/chat/completions",
//!     body: br#"{"model":"m","messages":[{"role":"user","content":"hello"}]}"#,
//!     authorization: None,
//! };
//! let reply = server.handle(Timestamp::ZERO, request);
//! let Action::Respond { status, body, .. } = reply.action else {
//!     panic!("no fault is configured")
//! };
//! assert_eq!(status, 200);
//! assert!(String::from_utf8_lossy(&body).contains(&answer_tag("hello")));
//! server.finished(Timestamp::from_millis(1), reply.ticket, Ending::Sent);
//! assert_eq!(server.stats().answered, 1);
//! # Ok::<(), brimful_sim::ConfigError>(())
//! ```

mod answer;
mod anthropic;
mod config;
mod draw;
mod endpoint;
mod gemini;
mod hash;
mod json;
mod ledger;
mod levels;
mod limits;
mod production;
mod prompt;
mod rate_headers;
mod refusal;
mod reply;
mod server;
pub mod virtual_run;

pub use config::{
    BearerKey, Change, Charge, ConfigError, ConfigPatch, Enforcement, LevelHeaders, LimitRule,
    Measure, Outage, RetryAfterStyle, Script, ScriptStep, ServerConfig,
};
pub use hash::answer_tag;
pub use ledger::{Arrival, FaultCounts, Stats, ThrottledCounts};
pub use limits::LimitStats;
pub use reply::{Action, Chunk, Ending, IncomingRequest, Reply, Ticket};
pub use server::Server;
