//! The OpenAI dialect, incoming: one reply, parsed and classified, body before status.
