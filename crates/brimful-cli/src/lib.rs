//! The command brimful: one file per subcommand.
