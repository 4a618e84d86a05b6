//! The fake provider over loopback, as a client sees it. No test sleeps: what has to be waited for
//! is asked for until it is there.

#![expect(clippy::unwrap_used, reason = "in a test every failure is a panic")]

mod control;
mod dialects;
mod plain;
mod protocols;
mod rig;
mod speed;
