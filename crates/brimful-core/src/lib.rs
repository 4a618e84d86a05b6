//! The sans-IO engine of Brimful: limits, budgets, queue, retry.
//!
//! Nothing here reads a clock, opens a socket or draws a random number that was not seeded by the
//! caller. Time is a [`Timestamp`] passed in as `now`; what the engine wants done is polled out of
//! it. Therefore the same code runs against a real provider and in virtual time.
//!
//! What is deliberately not here: bytes, HTTP, JSON, providers' dialects, files.

mod outcome;
mod time;

pub use outcome::{Class, Failure, Scope, Usage};
pub use time::Timestamp;
