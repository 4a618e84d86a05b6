//! The asynchronous library around the engine: driver, HTTP transport, sources, journal, outputs.
//!
//! The entry point is [`run::Run`]: it opens the input and the outputs, drives every request
//! through the limits, and closes everything. What is in between is usable on its own.

mod attempt;
mod clock;
pub mod daily;
pub mod driver;
pub mod fingerprint;
pub mod journal;
pub mod limits;
pub mod models;
pub mod output;
pub mod outputs;
pub mod progress;
pub mod redact;
pub mod report;
pub mod request;
pub mod run;
pub mod source;
pub mod state;
mod trace;
pub mod transport;
pub mod upstreams;
