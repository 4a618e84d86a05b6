//! Limits that are learnt while a run goes on: state in, numbers out.

mod found;

pub(crate) use found::{Found, Sent};
