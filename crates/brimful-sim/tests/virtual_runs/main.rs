//! The real engine against the simulated provider, in virtual time.

mod zoo;
