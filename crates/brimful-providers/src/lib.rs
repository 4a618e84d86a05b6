//! What LLM providers say and mean: dialects, usage, headers, error classes, token estimates. Bytes in, values out.
