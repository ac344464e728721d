//! `farebox preview FILE`: what a file of events would cost, without publishing it.
//!
//! Holds: every line goes through the engine that `run` uses. Memory does not grow with the file. Nothing is written anywhere.
//! All lines count as published now, in this order and into one partition: what repeats an id among the last `dedupe.max_ids` of
//! them is a duplicate or a conflict. A file is history, so `events.max_age` is left out unless it is asked for.

mod lines;
mod show;
mod text;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use anyhow::{Context, bail};

use super::apply;
use super::args::{self, Format};
use super::exit::Mend;
use super::progress::Progress;
use super::run::marked;
use crate::book::{self, Book};
use crate::config::Config;
use crate::dedupe::HashKey;
use crate::engine::preview::{Preview, Report};
use crate::model::Timestamp;
use crate::price::Prices;
use crate::runtime::{self, clock};
use crate::source::read_lines;
use crate::store::Store;
use lines::Lines;

/// Lines are kept in memory so many at a time.
const LINES_AT_ONCE: usize = 64;

/// How far it is, for whoever stops it.
#[derive(Default)]
struct State {
    stop: AtomicBool,
    lines: AtomicI64,
}

pub(super) async fn preview(config: Config, options: args::Preview, format: Format) -> anyhow::Result<()> {
    let input = lines::open(&options.file)?; // before the database is asked: a typo is the likelier mistake
    let now = clock::now();
    let (book, source) = match &options.book {
        Some(file) => (book_of_file(file, now)?, file.display().to_string()),
        None => {
            let book = book_of_database(&config).await?;
            let source = format!("version {} of the price book in the database", book.version());
            (book, source)
        }
    };
    let mut rules = runtime::rules(&config, HashKey::new([0; 16]), false);
    if !options.check_age {
        rules.limits.age_max_ms = i64::MAX;
    }
    let preview = Preview::new(rules, Arc::new(Prices::new(&book)));

    let name = options.file.display().to_string();
    let state = Arc::new(State::default());
    let work = tokio::task::spawn_blocking({
        let (state, name) = (Arc::clone(&state), name.clone());
        move || read(preview, input, &name, now, &state)
    });
    let report = tokio::select! {
        report = work => report.context("the preview broke off")??,
        _ = tokio::signal::ctrl_c() => {
            state.stop.store(true, Ordering::Relaxed);
            let lines = state.lines.load(Ordering::Relaxed);
            bail!("stopped after {lines} lines of `{name}`; nothing was published or written");
        }
    };
    Ok(show::show(format, &show::Shown { file: &name, price_book: &source, report: &report })?)
}

fn read(mut preview: Preview, mut input: Lines, name: &str, now: Timestamp, state: &State) -> anyhow::Result<Report> {
    let mut progress = Progress::new();
    let mut line = 1;
    while !state.stop.load(Ordering::Relaxed) {
        let chunk = read_lines(&mut input, line, LINES_AT_ONCE, now)
            .with_context(|| format!("cannot read the events in `{name}` from line {line} on"))?;
        if chunk.is_empty() {
            break;
        }
        for record in chunk.iter() {
            preview.apply(&record);
            line += 1;
        }
        state.lines.store(line - 1, Ordering::Relaxed);
        progress.show(|| how_far(&input, line - 1));
    }
    progress.end();
    Ok(preview.finish())
}

/// The book as it would be if this file were the first one applied.
fn book_of_file(file: &Path, now: Timestamp) -> anyhow::Result<Book> {
    let parsed = apply::read(file)?;
    let plan = book::plan(&Book::empty(), &parsed, now, "preview", Timestamp::default(), true);
    Ok(Book::from_rows(plan.map_err(|error| Mend(Box::new(error)))?.rows))
}

async fn book_of_database(config: &Config) -> anyhow::Result<Book> {
    const REMEDY: &str = "without --book FILE the price book is read from the database, and that failed";
    let failed = |error| marked(runtime::Error::from(error));
    let store = Store::new(&runtime::settings_of_store(config)).map_err(failed).context(REMEDY)?;
    let book = store.book().await.map_err(failed).context(REMEDY)?;
    runtime::refuse_problems(&book).map_err(marked)?;
    Ok(book)
}

fn how_far(input: &Lines, lines: i64) -> String {
    let bar = input.total.filter(|total| *total > 0).map(|total| format!("{}, ", Progress::bar(input.done, total)));
    format!("{}{lines} lines read", bar.unwrap_or_default())
}
