//! Asynchronous library around the engine: driver, HTTP transport, sources, journal, outputs.
