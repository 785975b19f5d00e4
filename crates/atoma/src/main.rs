//! Entry of the `atoma` binary; see the library beside it.

/// Faster than the system's where many threads make and drop small things, and it gives memory back.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    atoma::main()
}
