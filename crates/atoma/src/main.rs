//! Entry of the `atoma` binary; see the library beside it.

fn main() -> std::process::ExitCode {
    atoma::main()
}
