//! The command `brimful`.

/// A request and its answer are some forty allocations, and the buffers of answers are larger than
/// what the system's allocator keeps at hand: a tenth of the client's time (see
/// `docs/design/performance.md`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    brimful_cli::main()
}
