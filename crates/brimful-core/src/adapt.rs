//! What a server says of its limits, turned into limits: state in, numbers out.
//!
//! A reply names levels as they were when its request was admitted; by the time it is read many
//! more requests were sent. So nothing is ever overwritten: [`mirror`] keeps a level of its own for
//! each limit that is named and moves it only when a reply proves it wrong. [`charge`] finds out
//! what the server takes for a request where that differs from what was declared. [`told`] wires
//! them to the engine. What a server does not say, [`found`] finds out by what it refuses. The
//! algorithms and their constants are in `docs/design/learning.md`.
//!
//! Levels are integers. Estimates of rates are floats, made of the four operations and square
//! roots alone, which are exact everywhere.

mod charge;
mod found;
mod level;
mod mirror;
mod named;
mod own;
mod reading;
mod slope;
mod told;
mod window;

pub(crate) use found::{FoundByLane, Sent};
pub(crate) use own::Mark;
pub(crate) use told::Told;
