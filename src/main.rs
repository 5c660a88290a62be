//! The `ringmain` binary: the server, and what looks at a running one (`latency`), fills it (`import`),
//! empties it into a file (`export`), works on what one has left behind (`log`,
//! `reshard`), and starts and shows clusters (`cluster`).

use std::process::ExitCode;

use ringmain::config::{self, ConfigError};
use ringmain::{cluster_cli, latency_cli, log_cli, reshard, server, transfer};

fn main() -> ExitCode {
    let command_line = config::command_line()
        .subcommand(latency_cli::command())
        .subcommand(transfer::import_command())
        .subcommand(transfer::export_command())
        .subcommand(log_cli::command())
        .subcommand(reshard::command())
        .subcommand(cluster_cli::command())
        .args_conflicts_with_subcommands(true)
        .disable_help_subcommand(true);
    let matches = match command_line.try_get_matches() {
        Ok(matches) => matches,
        Err(error) => return refuse(&error.into()),
    };
    match matches.subcommand() {
        Some(("latency", flags)) => {
            return outcome(latency_cli::run(flags), latency_cli::Failure::exit_code);
        }
        Some(("import", flags)) => {
            return outcome(transfer::run_import(flags), transfer::Failure::exit_code);
        }
        Some(("export", flags)) => {
            return outcome(transfer::run_export(flags), transfer::Failure::exit_code);
        }
        Some(("log", flags)) => return outcome(log_cli::run(flags), log_cli::Failure::exit_code),
        Some(("reshard", flags)) => {
            return outcome(reshard::run(flags), reshard::Failure::exit_code);
        }
        Some(("cluster", flags)) => {
            return outcome(cluster_cli::run(flags), cluster_cli::Failure::exit_code);
        }
        Some(_) | None => {}
    }
    match config::read(&matches) {
        Ok(config) => outcome(server::run(config), server::StartError::exit_code),
        Err(error) => refuse(&error),
    }
}

fn refuse(error: &ConfigError) -> ExitCode {
    error.print();
    ExitCode::from(error.exit_code())
}

fn outcome<E: std::fmt::Display>(result: Result<(), E>, code: fn(&E) -> u8) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringmain: {error}");
            ExitCode::from(code(&error))
        }
    }
}
