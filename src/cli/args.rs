//! What may be written on the command line.

use std::ffi::OsString;
use std::path::PathBuf;

use chrono::{Datelike, NaiveDate};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};

use crate::config::Duration;
use crate::model::{Credits, Timestamp};
use crate::runtime::leader::EXPIRY_PREFIX;

/// Meters AI agents: usage events from Kafka become 24-hour sessions and costs in ClickHouse, exactly once.
#[derive(Debug, Parser)]
#[command(
    name = "farebox",
    version,
    disable_help_subcommand = true,
    after_help = "Example:\n  farebox check --config farebox.toml && farebox migrate --config farebox.toml && farebox run --config farebox.toml\n\n\
                  Exit codes: 0 done, 1 failed, 2 not understood, 78 mended by editing the configuration."
)]
pub(super) struct Args {
    #[command(flatten)]
    pub(super) common: Common,
    #[command(subcommand)]
    pub(super) verb: Verb,
}

/// Taken before and after the verb.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Everywhere")]
pub(super) struct Common {
    /// The configuration: a TOML file that names what differs from the defaults
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Sets one value over file and environment: --set kafka.brokers=broker:9092; repeatable
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,
    /// How results are printed
    #[arg(long, global = true, value_enum, default_value_t = Format::Table)]
    pub(super) format: Format,
    /// How much is said on standard error: error, warn, info, debug, trace
    #[arg(long, global = true, value_name = "LEVEL")]
    pub(super) log_level: Option<String>,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    Table,
    /// For programs
    Json,
    /// For spreadsheets
    Csv,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Shows what was told about budgets and balances and why, and sends a mail to try it
    #[command(
        after_help = "Example:\n  farebox alerts list --account acme\n  farebox alerts why acme-monthly\n  farebox alerts preview threshold --to mail.html\n\n\
                            docs/alerts.md tells when which alert is told."
    )]
    Alerts(AlertsVerb),
    /// Reads events from Kafka and writes what they cost into ClickHouse, until it is stopped
    #[command(
        after_help = "Example:\n  farebox run --config farebox.toml\n\nCtrl-C or SIGTERM: it finishes what it holds, within shutdown.drain."
    )]
    Run,
    /// Makes or updates tables, topics and the users key
    #[command(after_help = "Example:\n  farebox migrate --dry-run\n  farebox migrate --config farebox.toml")]
    Migrate(Migrate),
    /// Applies a price book: accounts, prices, budgets, packages
    #[command(
        after_help = "Example:\n  farebox apply book.toml --dry-run\n  farebox apply book.toml\n  farebox apply --export > book.toml\n\nIt adds and changes, it never removes: what the file lacks stays and is listed."
    )]
    Apply(Apply),
    /// Checks the configuration, and a price book, without connecting to anything
    #[command(after_help = "Example:\n  farebox check --config farebox.toml --book book.toml")]
    Check(Check),
    /// Shows the configuration as it stands
    #[command(after_help = "Example:\n  farebox config show --config farebox.toml")]
    Config(ConfigVerb),
    /// Prints the completions of a shell
    #[command(after_help = "Example:\n  farebox completions bash > ~/.local/share/bash-completion/completions/farebox")]
    Completions {
        /// Whose
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Gives credits, puts right, pays back; shows the ledger and the balances
    #[command(
        after_help = "Example:\n  farebox credits grant acme 500 --key welcome-acme --expires 2026-12-31 --note 'first year'\n  \
                      farebox credits balance acme\n  farebox credits history acme --format csv > ledger.csv\n\n\
                      The same --key with the same content answers the entry that is there; with other content it is refused. \
                      An entry is never changed: put it right with another one."
    )]
    Credits(CreditsVerb),
    /// Connects to everything and says what is not in order, and what to do
    #[command(
        after_help = "Example:\n  farebox doctor --config farebox.toml\n  farebox doctor --format json | jq -r 'select(.state != \"ok\")'\n\n\
                      It changes nothing. Exit code 1 when a check fails; warnings are none."
    )]
    Doctor,
    /// Writes single events, sessions or costs to standard output, however many there are
    #[command(after_help = "Example:\n  farebox export usage-log --account acme --from 2026-03-01 --to 2026-03-31 > march.csv\n  \
                      farebox export costs --category llm --format json | jq -r .cost\n\n\
                      --format json gives a JSON object a line, anything else CSV. Amounts are exact, moments RFC 3339 in UTC, days the account's own.")]
    Export(Export),
    /// Writes the manual pages into a folder
    #[command(after_help = "Example:\n  farebox man ~/.local/share/man/man1")]
    Man {
        /// Where to; made when it is not there
        folder: PathBuf,
    },
    /// Says what a file of events would cost and what would be rejected, without publishing it
    #[command(
        after_help = "Example:\n  farebox preview events.jsonl --book book.toml\n  farebox preview events.jsonl --book book.toml --format json\n  gzip -dc events.jsonl.gz | farebox preview /dev/stdin --book book.toml\n\n\
                      With --book it needs no server. The keys of the JSON and the columns of the CSV are stable: docs/preview.md."
    )]
    Preview(Preview),
    /// Makes load: publishes invented events to the topic, and waits until Kafka has them all
    #[command(
        after_help = "Example:\n  farebox produce --book load.toml --events 0 && farebox apply load.toml\n  farebox produce --events 100000 --accounts 20 --users 500 --duplicates 0.01 --malformed 0.001 --seed 7"
    )]
    Produce(Produce),
    /// Rates operations once more by the price book as it stands, and shows or posts what is different
    #[command(after_help = "Example:\n  farebox rerate --account acme --from 2026-03-01 --to 2026-03-31\n  \
                      farebox rerate --all --from 2026-03-01 --to 2026-03-31 --post --format csv > repaired.csv\n\n\
                      Compared with what is charged now, adjustments posted before included. --post adds signed adjustments, once, however \
                      often it is run; what was stored stays. Sessions are priced when they are read: there is nothing to post for them.")]
    Rerate(Rerate),
    /// Shows the partitions that stand still, why, and what can be done about it
    #[command(after_help = "Example:\n  farebox recover\n  farebox recover --partition 3 --yes\n\n\
                      It turns no guard off: the next start decides anew, and stops again where the evidence still stands. \
                      Exit code 0 when nothing stands still, or nothing does any more. docs/recovery.md tells of each kind.")]
    Recover(super::recover::Options),
    /// Publishes events of one's own, from flags or a file, and waits until Kafka has them
    #[command(
        arg_required_else_help = true,
        after_help = "Example:\n  farebox send --account acme --agent support-triage --category llm --model gpt-4o-mini --input-tokens 900 --output-tokens 150 --follow\n  \
                      echo '{\"account\": \"acme\", \"agent\": \"support-triage\", \"category\": \"sql\"}' | farebox send -\n\n\
                      An id and a time are made where there are none. Beside a demo that runs, its servers are used."
    )]
    Send(Box<super::send::Options>),
    /// Shows accepted and rejected events as they arrive, with cost or reason, until it is stopped
    #[command(
        after_help = "Example:\n  farebox tail --account acme\n  farebox tail --rejected --since 1h --format json\n\nBeside a demo that runs, its servers are used."
    )]
    Tail(super::tail::Options),
    /// Runs the whole product on this machine, without servers
    #[command(
        after_help = "Example:\n  farebox demo\n  farebox demo --once | less\n\nOn a terminal it runs until Ctrl-C; elsewhere it tells of one day and ends. It leaves nothing behind."
    )]
    Demo(Demo),
    /// Shows what an account used and pays, day by day
    #[command(
        after_help = "Example:\n  farebox usage acme\n  farebox usage acme --from 2026-03-01 --to 2026-03-31 --format csv > march.csv\n\n\
                      Days are the account's own. Amounts are credits: exact with --format json and csv, two digits in the table. \
                      A day without usage has no row."
    )]
    Usage(Usage),
    /// Lists and shows rejected events, and sends them again once their cause is mended
    #[command(
        arg_required_else_help = true,
        after_help = "Example:\n  farebox rejected list --reason time_out_of_range --since 1d\n  farebox rejected show 3/1017\n  \
                      farebox rejected replay --reason time_out_of_range --since 1d --yes"
    )]
    Rejected(super::rejected::Options),
    /// Holds what is promised against what the tables and Kafka have
    #[command(
        after_help = "Example:\n  farebox verify\n  farebox verify --from 2026-03-01 --to 2026-03-31 --format json | jq -r 'select(.verdict != \"ok\")'\n\n\
                      Days are the accounts' own; without them, every day that usage_log still proves. It changes nothing and may run while \
                      instances do. Exit code 1 when a check fails. docs/guarantees.md says what each check means."
    )]
    Verify(super::verify::Options),
    /// Serves ClickHouse's HTTP interface from its library; the demo starts this in a process of its own
    #[command(
        hide = true,
        after_help = "Example:\n  farebox embedded-clickhouse --library libchdb.so --data /tmp/data --port 8123"
    )]
    EmbeddedClickhouse(EmbeddedClickhouse),
}

#[derive(Debug, clap::Args)]
pub(super) struct Migrate {
    /// Says what would be done, and does nothing
    #[arg(long, conflicts_with = "status")]
    pub(super) dry_run: bool,
    /// Says what has been done and what has not
    #[arg(long)]
    pub(super) status: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Apply {
    /// The price book, a TOML file
    #[arg(required_unless_present_any = ["export", "history"])]
    pub(super) file: Option<PathBuf>,
    /// Prints what would change, and changes nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Allows prices that begin in time already closed
    #[arg(long)]
    pub(super) backdate: bool,
    /// Writes the book of the database as a file to standard output: applying that changes nothing
    #[arg(long, conflicts_with_all = ["file", "history", "dry_run", "backdate"])]
    pub(super) export: bool,
    /// Shows every version: when, by whom, what it changed
    #[arg(long, conflicts_with_all = ["file", "dry_run", "backdate"])]
    pub(super) history: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Check {
    /// A price book to check as well
    #[arg(long, value_name = "FILE")]
    pub(super) book: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct ConfigVerb {
    #[command(subcommand)]
    pub(super) verb: ConfigVerbs,
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub(super) enum ConfigVerbs {
    /// Every key, its value and where it was set; secrets are not shown
    #[command(after_help = "Example:\n  farebox config show --config farebox.toml\n  farebox config show --format json")]
    Show,
}

#[derive(Debug, clap::Args)]
pub(super) struct Preview {
    /// Events, one JSON document a line
    pub(super) file: PathBuf,
    /// Prices by this price book; left out: by the one in the database
    #[arg(long, value_name = "FILE")]
    pub(super) book: Option<PathBuf>,
    /// Rejects events that are older than events.max_age, as if the file were published now
    #[arg(long)]
    pub(super) check_age: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Produce {
    /// How many records, duplicates and malformed ones included
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    pub(super) events: u64,
    /// Records per second; 0: as fast as Kafka takes them
    #[arg(long, default_value_t = 0, value_name = "R")]
    pub(super) rate: u64,
    /// Accounts load-1 … load-A
    #[arg(long, default_value_t = 10, value_name = "A", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) accounts: u32,
    /// Users per account
    #[arg(long, default_value_t = 1_000, value_name = "U", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) users: u32,
    /// Share of records that repeat an earlier one
    #[arg(long, default_value = "0", value_name = "SHARE", value_parser = parts_per_million)]
    pub(super) duplicates: u32,
    /// Share of records that repeat an id with other content
    #[arg(long, default_value = "0", value_name = "SHARE", value_parser = parts_per_million)]
    pub(super) conflicts: u32,
    /// Share of records that no rule accepts
    #[arg(long, default_value = "0", value_name = "SHARE", value_parser = parts_per_million)]
    pub(super) malformed: u32,
    /// The same seed makes the same events, ids included; left out: a new one, which is printed
    #[arg(long, value_name = "S")]
    pub(super) seed: Option<u64>,
    /// The first event's time (RFC 3339); left out: each event happens when it is sent
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(super) start: Option<Timestamp>,
    /// Spreads the events' times evenly over so long, from --start on
    #[arg(long, value_name = "DURATION", requires = "start", value_parser = Duration::parse)]
    pub(super) spread: Option<Duration>,
    /// Writes a price book for these accounts into a new file
    #[arg(long, value_name = "FILE")]
    pub(super) book: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Export {
    /// What
    #[arg(value_enum)]
    pub(super) what: Exported,
    /// Only this account
    #[arg(long)]
    pub(super) account: Option<String>,
    #[command(flatten)]
    pub(super) days: Days,
    /// Only this agent; not of sessions
    #[arg(long)]
    pub(super) agent: Option<String>,
    /// Only this category; not of sessions
    #[arg(long)]
    pub(super) category: Option<String>,
    /// Only this model; not of sessions
    #[arg(long)]
    pub(super) model: Option<String>,
}

/// What can be exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Exported {
    /// Every accepted event, from usage_log
    UsageLog,
    /// Every session with its unique users and cost, from session_costs
    Sessions,
    /// Every credit once, by day, kind, platform, agent, category and model, from costs
    Costs,
}

impl Export {
    /// What cannot be asked: why, for a person.
    pub(super) fn refusal(&self) -> Option<String> {
        let names_operation = self.agent.is_some() || self.category.is_some() || self.model.is_some();
        if self.what == Exported::Sessions && names_operation {
            return Some("a session has no agent, category or model: leave these out, or export costs".to_owned());
        }
        self.days.refusal()
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct Demo {
    /// Tells of one day and ends, on a terminal too
    #[arg(long)]
    pub(super) once: bool,
    /// Keeps the data, and says where
    #[arg(long)]
    pub(super) keep: bool,
}

#[derive(Debug, clap::Args)]
pub(super) struct Usage {
    /// The account, as its events name it
    pub(super) account: String,
    #[command(flatten)]
    pub(super) days: Days,
}

#[derive(Debug, clap::Args)]
pub(super) struct Rerate {
    /// The account, as its events name it
    #[arg(long, value_name = "ACCOUNT", required_unless_present = "all", conflicts_with = "all")]
    pub(super) account: Option<String>,
    /// Every account
    #[arg(long)]
    pub(super) all: bool,
    /// The first day, of each account's own calendar
    #[arg(long, value_name = "DATE", value_parser = date)]
    pub(super) from: NaiveDate,
    /// The last day
    #[arg(long, value_name = "DATE", value_parser = date)]
    pub(super) to: NaiveDate,
    /// Charges what is different, as adjustments beside what was stored
    #[arg(long)]
    pub(super) post: bool,
}

impl Rerate {
    /// What cannot be asked: why, for a person.
    pub(super) fn refusal(&self) -> Option<String> {
        Days { from: Some(self.from), to: Some(self.to) }.refusal()
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct AlertsVerb {
    #[command(subcommand)]
    pub(super) verb: AlertsVerbs,
}

#[derive(Debug, Subcommand)]
pub(super) enum AlertsVerbs {
    /// The newest hundred, the newest first
    List {
        /// Of one account alone
        #[arg(long)]
        account: Option<String>,
    },
    /// What was said, and what became of each mail
    Show {
        /// As `list` prints it
        id: String,
    },
    /// How a budget stands, and why each of its thresholds was told or not
    Why {
        /// Its id
        budget: String,
        /// Whose; without it, of every account that has one of that id
        #[arg(long)]
        account: Option<String>,
    },
    /// Sends one mail now, to see that it arrives
    Test {
        /// One address
        #[arg(long, value_name = "ADDRESS")]
        to: String,
    },
    /// Holds mails about an account, or one of its budgets, for a while
    Mute {
        /// Whose
        account: String,
        /// This budget alone
        #[arg(long)]
        budget: Option<String>,
        /// For how long: 7d, 12h; 0s ends it
        #[arg(long = "for", value_name = "DURATION", default_value = "7d", value_parser = Duration::parse)]
        lasts: Duration,
    },
    /// Writes what a mail looks like, with invented figures
    Preview {
        /// threshold, forecast, low_balance, exhausted, spike, rejected, unpriced, guard, canary, test
        kind: String,
        /// A file: .html shows in a browser, anything else is a whole message
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
pub(super) struct CreditsVerb {
    #[command(subcommand)]
    pub(super) verb: CreditsVerbs,
}

#[derive(Debug, Subcommand)]
pub(super) enum CreditsVerbs {
    /// Gives credits
    Grant {
        #[command(flatten)]
        entry: NewEntry,
        /// The last day, of the account, on which they can be used; without it they stay
        #[arg(long, value_name = "DATE", value_parser = date)]
        expires: Option<NaiveDate>,
    },
    /// Puts a balance right
    Adjust {
        #[command(flatten)]
        entry: NewEntry,
        /// Takes the amount instead of adding it
        #[arg(long)]
        take: bool,
    },
    /// Takes credits that are paid back
    Refund {
        #[command(flatten)]
        entry: NewEntry,
    },
    /// Shows an account's entries, the oldest first
    History {
        /// The account, as its events name it
        account: String,
    },
    /// Shows what an account has left, or all accounts
    Balance {
        /// The account, as its events name it; without it: all
        account: Option<String>,
    },
}

/// An entry of the ledger, as a person writes it.
#[derive(Debug, clap::Args)]
pub(super) struct NewEntry {
    /// The account, as its events name it
    pub(super) account: String,
    /// Credits: digits, optionally a point and at most nine more
    #[arg(value_parser = credits, allow_negative_numbers = true)]
    pub(super) amount: Credits,
    /// A name for this entry that no other entry of the account has; made before the first try, kept in retries
    #[arg(long, value_parser = key)]
    pub(super) key: String,
    /// For whoever reads the ledger
    #[arg(long, value_name = "TEXT", default_value = "", value_parser = note)]
    pub(super) note: String,
}

/// Days, the first and the last included.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct Days {
    /// The first day
    #[arg(long, value_name = "DATE", value_parser = date)]
    pub(super) from: Option<NaiveDate>,
    /// The last day
    #[arg(long, value_name = "DATE", value_parser = date)]
    pub(super) to: Option<NaiveDate>,
}

impl Days {
    /// Whether the last day lies before the first one: why, for a person.
    pub(super) fn refusal(self) -> Option<String> {
        let (from, to) = (self.from?, self.to?);
        (from > to).then(|| format!("--from {from} lies after --to {to}: write them the other way round"))
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct EmbeddedClickhouse {
    /// Where libchdb lies
    #[arg(long, value_name = "FILE")]
    pub(super) library: PathBuf,
    /// Where the tables are kept
    #[arg(long, value_name = "FOLDER")]
    pub(super) data: PathBuf,
    /// Of the HTTP interface, on 127.0.0.1
    #[arg(long)]
    pub(super) port: u16,
    /// Removed when standard input closes
    #[arg(long, value_name = "FOLDER")]
    pub(super) remove: Option<PathBuf>,
}

/// Puts every `--set` behind the verb: the parser forgets those before it when one follows it.
pub(super) fn gathered(line: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let (mut rest, mut set) = (Vec::new(), Vec::new());
    let mut line = line.into_iter();
    while let Some(word) = line.next() {
        if word == "--" {
            rest.extend(std::mem::take(&mut set));
            rest.push(word);
            rest.extend(line);
            return rest;
        }
        if word == "--set" {
            set.push(word);
            set.extend(line.next());
        } else if word.to_str().is_some_and(|word| word.starts_with("--set=")) {
            set.push(word);
        } else {
            rest.push(word);
        }
    }
    rest.extend(set);
    rest
}

/// Ends the process as the parser does with what it does not understand.
pub(super) fn refuse(reason: &str) -> ! {
    Args::command().error(ErrorKind::ValueValidation, reason).exit()
}

/// A share between 0 and 1, without passing through a float.
fn parts_per_million(text: &str) -> Result<u32, String> {
    let wrong = || format!("`{text}` is no share: write a number between 0 and 1, like 0.01");
    let share: rust_decimal::Decimal = text.parse().map_err(|_| wrong())?;
    let parts = share.checked_mul(rust_decimal::Decimal::from(1_000_000)).ok_or_else(wrong)?;
    u32::try_from(parts.trunc()).ok().filter(|parts| *parts <= 1_000_000 && !share.is_sign_negative()).ok_or_else(wrong)
}

/// An amount that an entry can have.
fn credits(text: &str) -> Result<Credits, String> {
    let amount: Credits = text.parse().map_err(|_| {
        format!("`{text}` is no amount of credits: write at most 12 digits, optionally a point and at most 9 more, like 12.5")
    })?;
    if amount == Credits::ZERO { Err("an entry of 0 credits says nothing".to_owned()) } else { Ok(amount) }
}

fn key(text: &str) -> Result<String, String> {
    if text.starts_with(EXPIRY_PREFIX) {
        return Err(format!("keys that begin with `{EXPIRY_PREFIX}` are those of credits that expired"));
    }
    short(text, 128)
        .filter(|text| !text.is_empty())
        .ok_or_else(|| "a key has 1 to 128 characters, none of them a control character".to_owned())
}

fn note(text: &str) -> Result<String, String> {
    short(text, 1024).ok_or_else(|| "a note has at most 1024 characters on one line".to_owned())
}

fn short(text: &str, characters_max: usize) -> Option<String> {
    (text.chars().count() <= characters_max && !text.chars().any(char::is_control)).then(|| text.to_owned())
}

/// A date of the calendar that the tables can hold.
fn date(text: &str) -> Result<NaiveDate, String> {
    let is_shaped = text.len() == 10
        && text.bytes().enumerate().all(|(at, byte)| if matches!(at, 4 | 7) { byte == b'-' } else { byte.is_ascii_digit() });
    if !is_shaped {
        return Err(format!("`{text}` is no date: write it like 2026-01-31"));
    }
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").map_err(|_| format!("{text} does not exist"))?;
    if (1970..2149).contains(&date.year()) {
        Ok(date)
    } else {
        Err(format!("{text} is no day that can be stored: those of 1970 to 2148 can"))
    }
}

fn time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).ok_or_else(|| format!("`{text}` is no time: write it like 2026-01-31T12:00:00Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_holds_together() {
        Args::command().debug_assert();
    }

    #[test]
    fn every_verb_shows_an_example_of_itself() {
        for verb in Args::command().get_subcommands() {
            let help = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(
                help.contains("Example:") && help.contains(&format!("farebox {}", verb.get_name())),
                "{}: {help}",
                verb.get_name()
            );
        }
    }

    #[test]
    fn common_flags_are_taken_before_and_after_the_verb() {
        for line in [["--config", "f.toml", "run", "--format", "json"], ["run", "--config", "f.toml", "--format", "json"]] {
            let args = Args::try_parse_from(["farebox"].iter().chain(&line)).expect("parses");
            assert_eq!((args.common.config, args.common.format), (Some("f.toml".into()), Format::Json));
        }
    }

    #[test]
    fn set_can_be_repeated_before_and_after_the_verb() {
        for line in [
            "run --set a.b=1 --set c.d=2",
            "--set a.b=1 run --set=c.d=2",
            "--set=a.b=1 --set c.d=2 run",
            "run --set a.b=1 --set c.d=2 --",
        ] {
            let words = ["farebox"].into_iter().chain(line.split(' ')).map(OsString::from);
            let args = Args::try_parse_from(gathered(words)).expect(line);
            assert_eq!(args.common.set, ["a.b=1", "c.d=2"], "{line}");
        }
        assert!(Args::try_parse_from(gathered(["farebox", "run", "--set"].map(OsString::from))).is_err());
    }

    #[test]
    fn a_share_lies_between_0_and_1() {
        assert_eq!(parts_per_million("0.001"), Ok(1_000));
        assert_eq!(parts_per_million("1"), Ok(1_000_000));
        for text in ["-0.1", "1.1", "x", "", "1e3", "79228162514264337593543950335"] {
            assert!(parts_per_million(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_date_exists() {
        assert_eq!(date("2024-02-29").map(|date| date.to_string()), Ok("2024-02-29".to_owned()));
        for text in ["2026-02-29", "2026-2-3", "2026-13-01", "1969-12-31", "2149-01-01", "today", "", "+2026-01-1", "20260101"] {
            assert!(date(text).is_err(), "{text}");
        }
    }
}
