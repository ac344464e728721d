//! What should not happen, and does.

use farebox::source::kafka::Committed;
use tracing::info;

use super::log::Log;
use super::world::{TABLES, World};

/// Lets it happen to a partition, if it can happen now.
pub fn happen(world: &mut World, kind: &str, partition: i32) -> bool {
    let (dice, broker) = (world.dice.clone(), world.broker.clone());
    let end = world.ends().get(&partition).copied().flatten();
    let index = usize::try_from(partition).unwrap_or(0);
    match kind {
        "eat" => {
            let mut state = broker.state();
            let log = &mut state.logs[index];
            let behind = end.filter(|&end| end >= log.start && end < log.end() && dice.chance(700));
            let least = behind.unwrap_or(log.start) + 1;
            eat(log, least, dice.between(least, log.end().max(least)))
        }
        "eat window" => {
            let mut state = broker.state();
            let committed = state.committed.get(&partition).map_or(0, |committed| committed.offset);
            let log = &mut state.logs[index];
            let most = committed.min(log.end());
            eat(log, log.start + 1, dice.between(log.start + 1, most.max(log.start + 1)).min(most))
        }
        "expiry" | "expiry, zombies" => {
            if !broker.state().committed.contains_key(&partition) {
                return false;
            }
            world.empty_the_group(kind != "expiry");
            broker.state().committed.clear();
            true
        }
        "foreign" | "foreign, zombies" => {
            world.empty_the_group(kind != "foreign");
            let mut state = broker.state();
            let log = &state.logs[index];
            let anywhere = dice.between(log.start, log.end());
            let end = end.unwrap_or(log.start);
            let offset = *dice.pick(&[anywhere, end, (end - 1).max(log.start).min(end)]);
            info!(offset, "a stranger commits");
            state.committed.insert(partition, Committed { offset, metadata: Vec::new() });
            true
        }
        "recreate" => {
            broker.state().recreate();
            for _ in 0..dice.below(12) {
                let partition = usize::try_from(dice.below(broker.partitions() as u64)).unwrap_or(0);
                world.append(partition);
            }
            true
        }
        "truncate" => {
            let (cut, more) = {
                let mut state = broker.state();
                let log = &mut state.logs[index];
                if log.end() <= log.start {
                    return false;
                }
                let cut = dice.between(log.start, log.end() - 1);
                info!(cut, end = log.end(), "cut");
                log.entries.truncate(usize::try_from(cut).unwrap_or(0));
                log.epoch += 1;
                (cut, if dice.chance(500) { dice.below(7) } else { 0 })
            };
            world.cuts.push((index, cut));
            (0..more).for_each(|_| world.append(index));
            true
        }
        "restore all" | "restore empty" | "restore one" => {
            let fresh = super::tables::Server::new().snapshot();
            let copies = world.copies();
            if kind != "restore empty" && copies.is_empty() {
                return false;
            }
            let copy = if kind == "restore empty" { &fresh } else { dice.pick(copies) };
            let one = [*dice.pick(&TABLES)];
            let all: Vec<&str> = TABLES.into_iter().chain(["sources", "stops"]).collect();
            let tables: &[&str] = if kind == "restore one" { &one } else { &all };
            let parts = || tables.iter().map(|table| world.server.parts(table)).sum::<usize>();
            let (now, before) = (world.server.snapshot(), parts());
            world.server.restore(copy, tables, kind != "restore empty" && dice.chance(500));
            let after = parts();
            if before == after {
                world.server.restore(&now, &all, false);
                return false;
            }
            info!(?tables, before, after, "restored");
            true
        }
        "tokens" => {
            let all = dice.chance(500);
            world.server.forget_tokens(|_, _| !all && dice.chance(500));
            true
        }
        "rules" => {
            match dice.below(3) {
                0 => world.rules.limits.size_max = 120,
                1 => world.rules.window.window_ms /= 2,
                _ => world.rules.window.ids_max = 2,
            }
            true
        }
        other => panic!("no such fault: {other}"),
    }
}

fn eat(log: &mut Log, least: i64, to: i64) -> bool {
    let can = to >= least && to > log.start && to <= log.end();
    if can {
        log.start = to;
    }
    can
}
