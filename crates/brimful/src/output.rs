//! Answers out: rows with their own columns, streamed or assembled.
