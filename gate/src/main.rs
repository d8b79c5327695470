//! The command line of Copilot Gate.
//!
//! Runs the very code that runs in Envoy. Exit status: 0 good, 1 a negative finding, 2 wrong usage
//! or configuration, 3 could not decide.

mod check;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tries, explains and proves what the gateway does.
#[derive(Debug, Parser)]
#[command(name = "gate", version, arg_required_else_help = true)]
#[command(
    after_help = "Exit status: 0 good, 1 a negative finding, 2 wrong usage or configuration, \
                        3 could not decide."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Checks a configuration as the filter would, before Envoy sees it
    Check(check::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command {
        Command::Check(arguments) => check::run(&arguments),
    }
}
