//! The `darkroom` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::command::main()
}
