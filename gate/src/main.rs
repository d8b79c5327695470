//! The command line of Copilot Gate.
//!
//! Runs the very code that runs in Envoy. Exit status: 0 good, 1 a negative finding, 2 wrong usage
//! or configuration, 3 could not decide.

mod check;
mod detectors;
mod lines;
mod masks;
mod scan;
mod stream;

use std::{io::Write, process::ExitCode};

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
    /// Lists what is masked, and what it is told by
    Detectors(detectors::Arguments),
    /// Finds secrets in files, directories and standard input
    Scan(scan::Arguments),
    /// Masks texts that arrive in pieces, as the filter does with a streamed answer
    Stream(stream::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command {
        Command::Check(arguments) => check::run(&arguments),
        Command::Detectors(arguments) => detectors::run(&arguments),
        Command::Scan(arguments) => scan::run(&arguments),
        Command::Stream(arguments) => stream::run(&arguments),
    }
}

/// Says on standard error why a command cannot do what it was asked.
fn report(command: &str, error: &anyhow::Error) -> ExitCode {
    let mut err = std::io::stderr().lock();
    let _written = writeln!(err, "{command}: {error:#}").is_ok();
    ExitCode::from(2)
}
