//! What LLM providers say and mean: bytes in, values out.
//!
//! No sockets and no clock: where a header holds an absolute instant, the caller passes the wall
//! clock's reading.

pub mod count;
pub mod dialect;
pub mod duration;
pub mod observe;
pub mod profile;
pub mod reply;
pub mod stream;
pub mod text;
