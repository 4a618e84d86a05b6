//! The binary as a user meets it: real files, a real `brimful mock` in a process of its own, and
//! scripted servers that do what no honest one does. No test sleeps for a fixed time.

#![expect(clippy::unwrap_used, reason = "in a test every failure is a panic")]

mod bad_input;
mod batches;
mod commands;
mod config;
mod connections;
mod dialects;
mod documents;
mod failures;
mod inputs;
mod learning;
mod limits;
mod mock_process;
mod mock_settings;
mod outputs;
mod probing;
mod proxies;
mod run_limits;
mod safety;
mod scripted;
mod state;
mod stopping;
mod templates;
mod tls;
mod upstreams;
mod watching;
mod workdir;
