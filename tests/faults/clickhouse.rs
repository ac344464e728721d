//! ClickHouse answers wrongly, late, not at all, or no: nothing is lost, nothing is there twice.

use super::bench::{Bench, TABLES, counted};
use super::outcome;
use super::proxy::{Do, Rule, When, exception, exception_in_body};
use super::servers::{ClickHouse, Instance, Kafka, SOON, eventually};

/// Applies `what` to the next insert into each table, staggered so that other batches meet it, and waits until all met it.
fn meet(bench: &Bench, times: u64, what: &Do) -> u64 {
    let rules: Vec<Rule> =
        (0..).zip(TABLES).map(|(n, table)| bench.proxy.on(When::insert(table).skip(n % 2).times(times), what.clone())).collect();
    rules.iter().for_each(|rule| rule.wait_for_hits(times));
    let hits = rules.iter().map(Rule::hits).sum();
    rules.iter().for_each(Rule::remove);
    hits
}

#[test]
fn lost_replies_and_cut_requests_lose_and_double_nothing() {
    let clickhouse = ClickHouse::shared();
    let bench = Bench::new(Kafka::shared().brokers(), clickhouse, 2);
    let mut instances = [bench.start()];
    let mut met: Vec<(&str, u64)> = Vec::new();
    bench.under_load(|| {
        let faults: [(&str, &[Do]); 4] = [
            ("reply lost after the insert", &[Do::CutAnswer(0), Do::CutAnswer(20)]),
            ("request cut in the body", &[Do::CutRequest(0), Do::CutRequest(300), Do::CutRequest(999)]),
            ("200 with an exception in its body", &[Do::Answer(exception_in_body(241)), Do::Replace(exception_in_body(241))]),
            ("error although inserted", &[Do::Replace(exception(500, 241, "MEMORY_LIMIT_EXCEEDED"))]),
        ];
        for (name, kinds) in faults {
            met.push((name, kinds.iter().map(|what| meet(&bench, 1, what)).sum()));
        }
        // Questions meet the same; all of them are asked again.
        let questions = ["uniqExact(l.digest)", "argMax(b.digest", "ORDER BY source_epoch DESC"];
        let rules = questions.map(|words| bench.proxy.on(When::question(words).times(2), Do::CutAnswer(30)));
        rules.iter().for_each(|rule| rule.wait_for_hits(2));
        met.push(("answer to a question cut", 6));
    });
    let totals = bench.finish(clickhouse, &mut instances);
    let doubts = counted(&instances, "farebox_inserts_total", &["outcome=\"doubt\""]);
    assert!(doubts >= 8 * 5, "{doubts} inserts were in doubt\n{}", instances[0].process.log());
    outcome::record_shared(&met, &totals);
}

#[test]
fn a_server_that_stalls_for_ever_and_wakes_later_changes_nothing() {
    let clickhouse = ClickHouse::shared();
    let mut bench = Bench::new(Kafka::shared().brokers(), clickhouse, 2);
    bench.scenario.farebox.set("clickhouse.insert_timeout", "1s").set("clickhouse.query_timeout", "1s");
    let mut instances = [bench.start()];
    let mut stalls = 0;
    bench.under_load(|| {
        for what in [Do::HoldRequest, Do::HoldAnswer] {
            // One insert after the other: each is given up after its timeout and sent again while the first still hangs.
            let rules: Vec<Rule> = TABLES.iter().map(|table| bench.proxy.on(When::insert(table).times(1), what.clone())).collect();
            rules.iter().for_each(|rule| rule.wait_for_hits(1));
            bench.scenario.wait_for_more(clickhouse, 300);
            // Late twins: what hung reaches the server now, long after the batch was written by a later try.
            rules.iter().for_each(Rule::let_go);
            stalls += rules.iter().map(Rule::hits).sum::<u64>();
        }
        let question = bench.proxy.on(When::question("uniqExact(l.digest)").times(2), Do::HoldRequest);
        question.wait_for_hits(2);
        bench.scenario.wait_for_more(clickhouse, 100);
        question.cut();
    });
    let totals = bench.finish(clickhouse, &mut instances);
    outcome::record("insert stalled for ever, then arriving late", stalls, &totals);
}

#[test]
fn a_server_that_says_no_for_a_while_is_asked_again() {
    let clickhouse = ClickHouse::shared();
    let bench = Bench::new(Kafka::shared().brokers(), clickhouse, 2);
    let mut instances = [bench.start()];
    let refusals = [
        (500, 241, "MEMORY_LIMIT_EXCEEDED"),
        (500, 252, "TOO_MANY_PARTS"),
        (500, 159, "TIMEOUT_EXCEEDED"),
        (500, 202, "TOO_MANY_SIMULTANEOUS_QUERIES"),
        (500, 164, "READONLY"),
        (500, 242, "TABLE_IS_READ_ONLY"),
        (503, 0, "NO_SERVER"),
    ];
    let mut met: Vec<(String, u64)> = Vec::new();
    bench.under_load(|| {
        for (n, (status, code, name)) in refusals.into_iter().enumerate() {
            // Some tables refuse and others do not; at last everything does, questions too.
            let answer = Do::Answer(exception(status, code, name));
            let refusing = [n % 5, (n + 2) % 5].map(|table| bench.proxy.on(When::insert(TABLES[table]).times(2), answer.clone()));
            refusing.iter().for_each(|rule| rule.wait_for_hits(2));
            let everything = bench.proxy.on(When::request(|_| true).times(4), answer);
            everything.wait_for_hits(4);
            met.push((format!("answers {code} ({name}) for a while"), 8));
        }
        // One that the server makes itself.
        let table = format!("ALTER TABLE {}.usage_hourly", bench.scenario.farebox.database);
        clickhouse.query(&format!("{table} MODIFY SETTING parts_to_throw_insert = 1"));
        let said = |instance: &Instance| counted(std::slice::from_ref(instance), "farebox_inserts_total", &["outcome=\"doubt\""]);
        let before = said(&instances[0]);
        eventually(SOON, || if said(&instances[0]) > before + 2 { Ok(()) } else { Err("no insert was refused") });
        clickhouse.query(&format!("{table} RESET SETTING parts_to_throw_insert"));
        bench.scenario.wait_for_more(clickhouse, 100);
        met.push(("too many parts, really".to_owned(), 3));
    });
    let totals = bench.finish(clickhouse, &mut instances);
    let log = instances[0].process.log();
    assert!(log.contains("Code: 252") || log.contains("error 252"), "{log}");
    outcome::record_shared(&met, &totals);
}
