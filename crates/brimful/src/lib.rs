//! The asynchronous library around the engine: driver, HTTP transport, sources, journal, outputs.

pub mod fingerprint;
pub mod journal;
pub mod output;
pub mod redact;
pub mod request;
pub mod source;
pub mod transport;
