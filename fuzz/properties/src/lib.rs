//! What must hold for any input, one module for each thing that reads what others wrote.
//!
//! Each `hold` takes bytes and panics when a property does not hold. `cargo fuzz` calls it with
//! bytes that it invents, the test in `tests/corpus` with those that are kept in `fuzz/corpus`.

pub mod headers;
pub mod journal;
mod message;
pub mod observe;
pub mod replies;
pub mod rows;
mod scratch;
pub mod streams;
pub mod templates;

/// Whether a text may stand on a terminal: one line that says something.
fn is_one_line(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_control())
}
