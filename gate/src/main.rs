//! The command line of Copilot Gate.
//!
//! Runs the very code that runs in Envoy. Exit status: 0 good, 1 a negative finding, 2 wrong usage
//! or configuration, 3 could not decide.

mod access;
mod check;
mod detectors;
mod evidence;
mod lines;
mod lookup;
mod masks;
mod orders;
mod scan;
mod session;
mod sink;
mod stream;
mod verify;
mod views;

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
    /// Erases a person's recorded content by an officer's order
    Erase(Box<orders::erase::Arguments>),
    /// Writes a folder for auditors: whether the audit is complete, policies, approvals, counts
    #[command(after_help = evidence::HELP)]
    Evidence(Box<evidence::Arguments>),
    /// Keeps recorded content from being erased
    Hold(Box<orders::hold::Arguments>),
    /// Asks the audit where something came from
    Lookup(Box<lookup::Arguments>),
    /// Finds secrets in files, directories and standard input
    Scan(scan::Arguments),
    /// Shows a conversation as a timeline, as the audit has it
    Session(Box<session::Arguments>),
    /// Masks texts that arrive in pieces, as the filter does with a streamed answer
    Stream(stream::Arguments),
    /// Verifies that the audit of a time is complete and unaltered
    Verify(Box<verify::Arguments>),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command {
        Command::Check(arguments) => check::run(&arguments),
        Command::Detectors(arguments) => detectors::run(&arguments),
        Command::Erase(arguments) => orders::erase::run(&arguments),
        Command::Evidence(arguments) => evidence::run(&arguments),
        Command::Hold(arguments) => orders::hold::run(&arguments),
        Command::Lookup(arguments) => lookup::run(&arguments),
        Command::Scan(arguments) => scan::run(&arguments),
        Command::Session(arguments) => session::run(&arguments),
        Command::Stream(arguments) => stream::run(&arguments),
        Command::Verify(arguments) => verify::run(&arguments),
    }
}

/// Exit status of what could not decide.
const UNDECIDED: u8 = 3;

/// Says on standard error why a command cannot do what it was asked.
fn report(command: &str, error: &anyhow::Error) -> ExitCode {
    let mut err = std::io::stderr().lock();
    let _written = writeln!(err, "{command}: {error:#}").is_ok();
    ExitCode::from(2)
}
