//! Sans-IO fake provider: limits, latency and faults, all seeded.
