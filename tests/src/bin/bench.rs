//! `bench`: what the gateway costs, against bare Envoy in the same run.
#![allow(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "a program for people, at a terminal"
)]

use std::{env, fs, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};
use e2e::{
    bench::{self, Settings, upstream},
    sink,
};

/// Measures the gateway against bare Envoy and writes target/bench/report.json.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Fewer and shorter runs
    #[arg(long)]
    quick: bool,
    /// Only whether it works
    #[arg(long, conflicts_with = "quick")]
    smoke: bool,
    /// Only the scenario of this name, of those with requests; writes no report
    #[arg(long, value_name = "SCENARIO")]
    only: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// Serves the upstream; started by the benchmark itself
    #[command(hide = true)]
    Upstream,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.command {
        Some(Command::Upstream) => upstream::serve().await,
        None => measure(&arguments).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(arguments: &Arguments) -> Result<()> {
    let program = env::current_exe()?;
    let settings = match (arguments.quick, arguments.smoke) {
        (true, _) => Settings::quick(program),
        (_, true) => Settings::smoke(program),
        (false, false) => Settings::full(program),
    };
    let settings = Settings {
        only: arguments.only.clone(),
        ..settings
    };
    let report = bench::run(&settings, |what| eprintln!("{what}")).await?;
    if settings.only.is_some() {
        print!("{}", bench::table(&report));
        return Ok(());
    }
    let folder = sink::target().join("bench");
    fs::create_dir_all(&folder)?;
    let file = folder.join("report.json");
    fs::write(&file, format!("{report:#}\n"))?;
    print!("{}", bench::table(&report));
    println!("{}", file.display());
    Ok(())
}
