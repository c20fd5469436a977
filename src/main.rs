//! The `tableferry` command: see `tableferry --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    tableferry::main()
}
