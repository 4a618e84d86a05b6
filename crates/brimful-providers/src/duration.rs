//! Durations and instants as providers write them in headers and messages.
