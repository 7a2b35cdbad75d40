use std::process::ExitCode;

fn main() -> ExitCode {
    reflux::cli::main()
}
