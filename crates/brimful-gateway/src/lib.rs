//! HTTP servers as a library.
//!
//! [`mock`] is the shell of the fake provider: it gives `brimful_sim::Server` a socket and a clock.

pub mod mock;
