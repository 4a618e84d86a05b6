//! The command `brimful`.

fn main() -> std::process::ExitCode {
    brimful_cli::main()
}
