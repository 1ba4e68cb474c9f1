//! The program: parses the command line, starts logging, and hands over.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::filter::LevelFilter;
use weir::cli::{self, Cli, Command, DevArgs, RunArgs, USAGE};
use weir::config::Faults;
use weir::{exit, telemetry};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let (json_logs, level) = if let Some(Command::Run(args)) = &cli.command {
        (args.json_logs, LevelFilter::INFO)
    } else if let Some(Command::Dev(_)) = &cli.command {
        (false, LevelFilter::INFO)
    } else {
        (false, LevelFilter::WARN)
    };
    telemetry::init(json_logs, level);
    let result = match &cli.command {
        None => cli::first_steps(),
        Some(Command::Run(args)) => exit::now(run(args)),
        Some(Command::Dev(args)) => exit::now(dev(args)),
        Some(Command::Publish(args)) => cli::publish(args),
        Some(Command::Tail(args)) => cli::tail(args),
        Some(Command::Status(args)) => cli::status(args),
        Some(Command::Inspect(args)) => cli::inspect(args),
        Some(Command::Backup(args)) => cli::back_up(args),
        Some(Command::Restore(args)) => cli::restore(args),
        Some(Command::Doctor(args)) => cli::doctor(args),
        Some(Command::Undeploy(args)) => cli::undeploy(args),
        Some(Command::Pause(args)) => cli::pause(args),
        Some(Command::Resume(args)) => cli::resume(args),
        Some(Command::Breaker(args)) => cli::breaker(args),
        Some(Command::Drain(args)) => cli::drain(args),
        Some(Command::Dlq(args)) => cli::dlq(args),
        Some(Command::CompileComponent) => return weir_wasm::run_compiler(),
    };
    match result {
        Err(error) if !error.is_broken_pipe() => {
            ExitCode::from(fail(&format!("{error}"), error.exit_code()))
        }
        Ok(()) | Err(_) => ExitCode::SUCCESS,
    }
}

fn run(args: &RunArgs) -> u8 {
    let (config, data) = match args.load() {
        Ok(loaded) => loaded,
        Err(faults) => return fail_of(&faults),
    };
    ended(weir::app::run(config, data))
}

fn dev(args: &DevArgs) -> u8 {
    match args.load() {
        Ok(dev) => ended(weir::app::run_watching(dev.config, dev.data.clone())),
        Err(error) => fail(&format!("{error}"), error.exit_code()),
    }
}

fn ended(result: anyhow::Result<()>) -> u8 {
    match result {
        Ok(()) => 0,
        Err(error) => match error.downcast_ref::<Faults>() {
            Some(faults) => fail_of(faults),
            None => fail(&format!("{error:#}"), 1),
        },
    }
}

/// One fault a line, below what they keep from happening.
fn fail_of(faults: &Faults) -> u8 {
    fail(&format!("the host does not start:\n{faults}"), USAGE)
}

/// The whole chain of causes, once; standard error may be closed. Answers the code.
fn fail(message: &str, code: u8) -> u8 {
    drop(writeln!(io::stderr(), "weir: {message}"));
    code
}
