//! The verbs.
//!
//! Data goes to standard output, talk to standard error. Exit codes: 0 done, 1 failed, 2 not understood, 78 mended by editing
//! the configuration. Every error is printed once, with its causes, as one sentence: what, why, what to do.

mod alerts;
pub(crate) mod aligned;
mod alive;
mod apply;
mod args;
mod backdate;
mod check;
mod completions;
mod config;
mod credits;
mod doctor;
mod exit;
mod export;
mod kafka;
mod migrate;
mod output;
mod preview;
mod produce;
mod progress;
mod recover;
mod rejected;
mod rerate;
mod run;
mod send;
mod stream;
mod tail;
mod usage;
mod verify;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{CommandFactory, Parser};

pub use exit::Mend;
pub use produce::book::price_book;
pub use produce::generator::{Generator, Kind, Message, Settings};

use crate::config::{Config, Inputs, Place};
use args::{Args, Verb};

/// How long threads that wait for somebody else may take to end.
const LINGER: Duration = Duration::from_secs(1);

/// Runs the verb that the command line names.
pub fn main() -> ExitCode {
    let args = Args::parse_from(args::gathered(std::env::args_os())); // prints help and mistakes by itself: 0 and 2
    match perform(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::report(&error),
    }
}

fn perform(args: Args) -> anyhow::Result<()> {
    let format = args.common.format;
    if let Verb::EmbeddedClickhouse(options) = &args.verb {
        return embedded_clickhouse(options);
    }
    let refusal = match &args.verb {
        Verb::Completions { shell } => return completions::print(*shell),
        Verb::Man { folder } => return completions::man(folder),
        Verb::Export(options) => options.refusal(),
        Verb::Usage(options) => options.days.refusal(),
        Verb::Rerate(options) => options.refusal(),
        Verb::Verify(options) => options.days.refusal(),
        Verb::Rejected(options) => options.refusal(),
        _ => None,
    };
    if let Some(reason) = refusal {
        args::refuse(&reason);
    }
    let mut common = args.common;
    if common.config.is_none() && matches!(args.verb, Verb::Send(_) | Verb::Tail(_) | Verb::Usage(_)) {
        common.config = alive::demo_configuration();
        if let Some(file) = &common.config {
            eprintln!("farebox: a demo is alive: using its servers, as `{}` says", file.display());
        }
    }
    let mut config = configuration(&common)?;
    if matches!(args.verb, Verb::Demo(_)) && *config.place_of("log.level") == Place::Default {
        config.log.level = "error".to_owned(); // it tells its story itself
    }
    crate::telemetry::log::start(&config.log).context("cannot start the log")?;
    match args.verb {
        Verb::Run => asynchronous(run::run(config)),
        Verb::Migrate(options) => asynchronous(migrate::migrate(config, options, format)),
        Verb::Apply(options) => asynchronous(apply::apply(config, options, format)),
        Verb::Check(options) => check::check(&config, &common, &options, format),
        Verb::Config(args::ConfigVerb { verb: args::ConfigVerbs::Show }) => config::show(&config, format),
        Verb::Preview(options) => asynchronous(preview::preview(config, options, format)),
        Verb::Produce(options) => produce::produce(&config, &options, format),
        Verb::Send(options) => asynchronous(send::send(config, *options, format)),
        Verb::Tail(options) => asynchronous(tail::tail(config, options, format)),
        Verb::Demo(options) => asynchronous(crate::demo::run(&config, shown(&options))),
        Verb::Usage(options) => asynchronous(usage::usage(config, options, format)),
        Verb::Alerts(options) => asynchronous(alerts::alerts(config, options.verb, format)),
        Verb::Credits(options) => asynchronous(credits::credits(config, options.verb, format)),
        Verb::Rerate(options) => asynchronous(rerate::rerate(config, options, format)),
        Verb::Recover(options) => asynchronous(recover::recover(config, options, format)),
        Verb::Doctor => asynchronous(doctor::doctor(config, format)),
        Verb::Verify(options) => asynchronous(verify::verify(config, options, format)),
        Verb::Rejected(options) => asynchronous(rejected::rejected(config, options, format)),
        Verb::Export(options) => asynchronous(export::export(config, options, format)),
        // Above: they read no configuration.
        Verb::EmbeddedClickhouse(_) | Verb::Completions { .. } | Verb::Man { .. } => Ok(()),
    }
}

/// The configuration that the command line and the environment describe.
fn configuration(common: &args::Common) -> Result<Config, crate::config::Error> {
    let mut set = common.set.clone();
    set.extend(common.log_level.iter().map(|level| format!("log.level={level}")));
    Config::load(&Inputs { file: common.config.clone(), environment: std::env::vars_os().collect(), set })
}

/// Who asks, for the record.
fn person() -> String {
    std::env::var("USER")
        .ok()
        .filter(|user| !user.is_empty() && !user.chars().any(char::is_control))
        .unwrap_or_else(|| "unknown".into())
}

fn asynchronous(verb: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the threads")?;
    let outcome = runtime.block_on(verb);
    // A thread that waits for a name server or a broker must not keep us from ending.
    runtime.shutdown_timeout(LINGER);
    outcome
}

fn shown(options: &args::Demo) -> crate::demo::Options {
    let can_send = Args::command().find_subcommand("send").is_some();
    crate::demo::Options { once: options.once, keep: options.keep, can_send }
}

fn embedded_clickhouse(options: &args::EmbeddedClickhouse) -> anyhow::Result<()> {
    crate::demo::embedded::serve(&options.library, &options.data, options.port, options.remove.clone())
}
