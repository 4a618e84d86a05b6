//! The OpenAI dialect, outgoing: endpoints, bodies, and what a request will cost.
