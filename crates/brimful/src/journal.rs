//! The journal: every answer once, whatever kills the run.
