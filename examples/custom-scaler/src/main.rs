//! `autoscaler` with one more trigger type: every command of it knows `forecast`.

mod forecast;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut registry = examples::trigger_types::registry();
    registry.register::<forecast::ForecastTrigger>();
    examples::cli::main_with(registry)
}
