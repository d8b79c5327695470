//! `gate lookup`: questions to the audit.

mod code;
mod secret;

use std::process::ExitCode;

use clap::Subcommand;

/// What to look up.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Names the recorded suggestions that code may come from
    Code(code::Arguments),
    /// Names the persons and exchanges in which a secret was found
    Secret(secret::Arguments),
}

pub(crate) fn run(arguments: &Arguments) -> ExitCode {
    match &arguments.what {
        What::Code(arguments) => code::run(arguments),
        What::Secret(arguments) => secret::run(arguments),
    }
}
