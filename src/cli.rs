//! The command line: parses, prints, decides nothing.

mod arguments;
mod callback_url;
mod certificate;
mod demo;
mod doctor;
mod exchange;
mod health;
mod init;
mod manual;
mod operators;
mod sandbox;
mod screen;
mod sign;
mod table;
mod when;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

use self::arguments::{Arguments, Command, Schema};
use crate::app::{Certificates, SOON_DAYS};
use crate::config::{self, Loaded, Source};
use crate::telemetry::{self, Format};
use crate::{admin, app};

/// What was asked for is wrong: bad arguments, or a bad file.
const USAGE: u8 = 2;

/// How a command ended, when it did not end well.
enum Failed {
    /// What was asked for can't be done as it stands.
    Usage(String),
    /// It went wrong on the way.
    Error(anyhow::Error),
    /// All has been said already.
    Told,
}

impl From<anyhow::Error> for Failed {
    fn from(error: anyhow::Error) -> Self {
        Self::Error(error)
    }
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    // On a usage error clap prints it and exits with 2.
    match dispatch(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed::Usage(message)) => {
            eprintln!("{message}");
            ExitCode::from(USAGE)
        }
        Err(Failed::Error(error)) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
        Err(Failed::Told) => ExitCode::FAILURE,
    }
}

fn dispatch(arguments: Arguments) -> Result<(), Failed> {
    let file = arguments.config.as_path();
    match arguments.command.unwrap_or(Command::Run) {
        Command::Run => run(file),
        Command::Init(asked) => init::init(asked, file),
        Command::Check => check(file),
        Command::CallbackUrl(asked) => callback_url::callback_url(&asked, &load(file)?.config),
        Command::Sign(asked) => sign::sign(&asked, &load(file)?.config),
        Command::Doctor => block_on(doctor::doctor(load(file)?.config)),
        Command::Health => block_on(health::health(load(file)?.config.admin)),
        Command::Schema(Schema { log: false }) => print_json(&config::schema()),
        Command::Schema(Schema { log: true }) => print(telemetry::log::SCHEMA),
        Command::Openapi => print_json(&admin::openapi::document()),
        Command::Completions(asked) => manual::completions(&asked),
        Command::Man(asked) => manual::man(asked),
        Command::Sandbox(asked) => block_on(sandbox::sandbox(asked)),
        Command::Status(reach) => block_on(operators::status(reach, file)),
        Command::Reload(reach) => block_on(operators::reload(reach, file)),
        Command::Events(asked) => block_on(operators::events(asked, file)),
        Command::DeadLetters(asked) => block_on(operators::dead_letters(asked, file)),
        Command::Replay(asked) => block_on(operators::replay(asked, file)),
        Command::Batches(asked) => block_on(operators::batches(asked, file)),
        Command::Requests(asked) => block_on(operators::requests(asked, file)),
        Command::Demo(asked) => block_on(demo::demo(asked)),
    }
}

fn run(file: &Path) -> Result<(), Failed> {
    let source = Source::new(file, config::Process);
    let Loaded { config, warnings } = source.load().map_err(|faults| Failed::Usage(faults.to_string()))?;
    telemetry::log::start(config.log);
    for warning in &warnings {
        tracing::warn!("{}", warning.message());
    }
    let format = config.log.format;
    block_on(async { app::run(config, source).await.map_err(|error| ended(format, error)) })
}

/// Why the gateway did not start, said as its log says things.
fn ended(format: Format, error: anyhow::Error) -> Failed {
    match format {
        Format::Text => error.into(),
        Format::Json => {
            tracing::error!(error = format!("{error:#}"), "the gateway cannot run");
            Failed::Told
        }
    }
}

fn check(file: &Path) -> Result<(), Failed> {
    let Loaded { config, warnings } = load(file)?;
    for warning in &warnings {
        eprintln!("{warning}");
    }
    let certificates = Certificates::load(&config);
    let certificates =
        certificates.map_err(|error| Failed::Usage(format!("{}: {error:#}", file.display())))?;
    for (listener, days) in certificates.days_left().filter(|(_, days)| *days < SOON_DAYS) {
        eprintln!("warning: listen.{listener}_tls: {}", certificate::left(days));
    }
    print(&format!("{} is valid\n", file.display()))
}

fn load(file: &Path) -> Result<Loaded, Failed> {
    config::load(file, &config::Process).map_err(|faults| Failed::Usage(faults.to_string()))
}

/// Runs `task` on the thread's own runtime: what needs more threads starts them.
fn block_on(task: impl Future<Output = Result<(), Failed>>) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("cannot start the runtime")?.block_on(task)
}

fn print_json(value: &serde_json::Value) -> Result<(), Failed> {
    print(&format!("{value:#}\n"))
}

/// Prints to standard output; that nobody reads it any more (`| head`) is no failure.
fn print(text: &str) -> Result<(), Failed> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(anyhow::Error::from(error).into())
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
