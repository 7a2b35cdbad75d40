mod last_words;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: last_words::OrExit = last_words::OrExit;

fn main() -> ExitCode {
    last_words::advise(reflux::cli::without_memory());
    last_words::explain_bus_errors();
    reflux::cli::main()
}
