//! The command `brimful`.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::SUCCESS
}
