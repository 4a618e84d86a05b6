//! The real engine against the simulated provider, in virtual time.

#![expect(clippy::unwrap_used, reason = "in a test every failure is a panic")]

mod laws;
mod learn;
mod replay;
mod windows;
mod zoo;
