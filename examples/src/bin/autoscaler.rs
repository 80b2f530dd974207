//! KEDA and Karpenter in one process, and the embedded cluster to try them on.

use std::process::ExitCode;

fn main() -> ExitCode {
    examples::cli::main()
}
