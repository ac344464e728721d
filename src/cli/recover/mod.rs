//! `farebox recover`: the partitions that stand still, why, and what can be done about it.
//!
//! Holds: it shows before it does; it commits into a group only while that has no members; every step may be done twice, and the stop is taken
//! back last, so that a run that was cut off is finished by the next one. No guard is turned off: the next start decides anew by the same
//! table, and stops again where the evidence still stands.

mod act;
mod remedy;
mod scene;

use std::io::{IsTerminal, Write};

use anyhow::bail;
use serde_json::json;

use super::args::Format;
use super::output;
use crate::config::Config;
use crate::engine::assignment::{Decision, Facts, StopKind, decide};
use crate::runtime::Gathered;
use crate::store::Stop;
use remedy::{Remedy, remedy};
use scene::Scene;

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Only this partition; repeatable
    #[arg(long, value_name = "N")]
    partition: Vec<i32>,
    /// Does what is shown; without it, and without a terminal to ask on, nothing is done
    #[arg(long)]
    yes: bool,
    /// The topic was created again, or lost records: begins a new life of it
    #[arg(long)]
    new_epoch: bool,
}

/// A stop, and what is to be done about it.
struct Case {
    stop: Stop,
    /// `None`: it belongs to a life of the topic that has ended.
    seen: Option<Gathered>,
    /// What would be decided now, in words.
    now: String,
    remedy: Remedy,
}

impl Case {
    fn does(&self) -> String {
        match &self.seen {
            Some(seen) => self.remedy.sentence(&seen.facts),
            None => "takes the stop back".to_owned(),
        }
    }
}

pub(super) async fn recover(config: Config, options: Options, format: Format) -> anyhow::Result<()> {
    let scene = Scene::open(&config).await?;
    let cases = cases(&scene, &options).await?;
    if cases.is_empty() {
        if format == Format::Table {
            output::line("no partition stands still; there is nothing to do")?;
        }
        return Ok(());
    }
    show(&cases, format)?;
    let doable = cases.iter().filter(|case| case.remedy.mends()).count();
    if doable == 0 {
        bail!("{} can go on by itself: mend what is said above, then run this again (docs/recovery.md)", nobody(cases.len()));
    }
    if !options.yes && !asked(doable)? {
        bail!("nothing was done; `farebox recover --yes` does what is said above");
    }
    act::perform(&scene, &cases).await?;
    match cases.len() - doable {
        0 => eprintln!("farebox: done; start `farebox run` again, or restart it where it runs: it decides anew"),
        rest => bail!("{rest} of {} partitions still stand: mend what is said above, then run this again", cases.len()),
    }
    Ok(())
}

fn nobody(cases: usize) -> String {
    if cases == 1 { "the partition cannot be helped: it".to_owned() } else { format!("none of the {cases} partitions") }
}

async fn cases(scene: &Scene, options: &Options) -> anyhow::Result<Vec<Case>> {
    let mut cases = Vec::new();
    for stop in scene.stops().await? {
        // A new epoch lets all of them go on, so all are shown.
        if !options.new_epoch && !options.partition.is_empty() && !options.partition.contains(&stop.partition) {
            continue;
        }
        if stop.source_epoch != scene.source.source_epoch {
            let remedy = Remedy::Clear("the life of the topic that it belongs to has ended".to_owned());
            cases.push(Case { stop, seen: None, now: "another life of the topic has begun".to_owned(), remedy });
            continue;
        }
        let seen = scene.look(stop.partition).await?;
        let kind = StopKind::named(&stop.kind);
        let decision = decide(&seen.facts);
        let remedy = match scene.key_is_missing(&decision) {
            Some(what) => Remedy::Mend(what),
            None => remedy(kind, &seen.facts, &decision, options.new_epoch),
        };
        let now = match &decision {
            Decision::Stop(stop) => format!("{}: {}", stop.kind.as_str(), stop.reason),
            _ => "nothing that would stop it".to_owned(),
        };
        cases.push(Case { stop, seen: Some(seen), now, remedy });
    }
    Ok(cases)
}

fn show(cases: &[Case], format: Format) -> Result<(), output::Failed> {
    if format != Format::Table {
        let columns =
            ["partition", "kind", "since", "reason", "seen_now", "committed", "batches_end", "log_start", "log_end", "recover"];
        let number = |number: Option<i64>| number.map_or(serde_json::Value::Null, |number| json!(number));
        let row = |case: &Case| {
            let of = |of: fn(&Facts) -> Option<i64>| number(case.seen.as_ref().and_then(|seen| of(&seen.facts)));
            vec![
                json!(case.stop.partition),
                json!(case.stop.kind),
                json!(case.stop.at.to_string()),
                json!(case.stop.reason),
                json!(case.now),
                of(|facts| facts.committed),
                of(|facts| facts.end),
                of(|facts| Some(facts.log_start)),
                of(|facts| Some(facts.log_end)),
                json!(case.does()),
            ]
        };
        return output::rows(format, &columns, cases.iter().map(row));
    }
    for case in cases {
        let Stop { partition, kind, at, reason, .. } = &case.stop;
        output::line(&format!("partition {partition} stands still since {at}: {kind}"))?;
        output::line(&format!("  then      {reason}"))?;
        output::line(&format!("  now       {}", case.now))?;
        if let Some(Gathered { facts, .. }) = &case.seen {
            output::line(&format!("  known     {}", known(facts)))?;
        }
        output::line(&format!("  recover   {}", case.does()))?;
    }
    Ok(())
}

fn known(facts: &Facts) -> String {
    let offset = |offset: Option<i64>| offset.map_or_else(|| "nothing".to_owned(), |offset| offset.to_string());
    let intent = match &facts.intent {
        Ok(Some(intent)) => format!(", a promise up to {}", intent.to),
        Ok(None) => String::new(),
        Err(_) => ", with metadata of somebody else".to_owned(),
    };
    format!(
        "Kafka has {} to {}; the group committed {}{intent}; `batches` ends at {}",
        facts.log_start,
        facts.log_end,
        offset(facts.committed),
        offset(facts.end)
    )
}

/// Whether the person at the terminal agrees; `false` where there is none.
fn asked(partitions: usize) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Ok(false);
    }
    eprint!("farebox: do this for {partitions} of them? Write yes: ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}
