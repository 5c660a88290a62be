//! The `ringmain` binary.

use std::process::ExitCode;

use ringmain::{config, server};

fn main() -> ExitCode {
    let config = match config::load(std::env::args_os()) {
        Ok(config) => config,
        Err(error) => {
            error.print();
            return ExitCode::from(error.exit_code());
        }
    };
    match server::run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringmain: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
