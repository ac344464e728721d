//! With the protection taken out: the same faults are then found, by the comparison and by the guards. Without these tests, the silence of
//! the others would prove nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::bench::Bench;
use super::outcome::{self, Numbers};
use super::proxy::{Do, Proxy, When};
use super::quick::quick;
use super::servers::{ClickHouse, Instance, Kafka, SOON, eventually};

/// What the comparison says.
fn found(bench: &Bench, instances: &mut [Instance]) -> String {
    let compared = catch_unwind(AssertUnwindSafe(|| bench.finish(ClickHouse::shared(), instances)));
    let said = compared.expect_err("the comparison found nothing");
    said.downcast_ref::<String>().cloned().unwrap_or_default()
}

/// A new instance looks at what was written before it begins.
fn wait_for_stop(bench: &Bench, instance: &mut Instance) -> String {
    assert!(instance.stop().success(), "{}", instance.process.log());
    *instance = bench.scenario.farebox.start();
    let sql = format!("SELECT kind, reason FROM {}.stops", bench.scenario.farebox.database);
    eventually(SOON, || match ClickHouse::shared().query(&sql) {
        none if none.is_empty() => Err(format!("nothing stopped\n{}", instance.process.log())),
        stops => Ok(stops),
    })
}

/// How many events the rollups count less than were accepted, and how many the log holds more.
fn record(bench: &Bench, fault: &str) -> (u64, u64) {
    #[derive(serde::Deserialize)]
    struct Counts {
        received: u64,
        accepted: u64,
        logged: u64,
        counted: u64,
    }
    let database = &bench.scenario.farebox.database;
    let sql = format!(
        "SELECT sum(b.received) AS received, sum(b.accepted) AS accepted, (SELECT count() FROM {database}.usage_log) AS logged, \
         (SELECT sum(h.events) FROM {database}.usage_hourly AS h) AS counted FROM {database}.batches AS b"
    );
    let Counts { received, accepted, logged, counted } = ClickHouse::shared().rows(&sql).pop().unwrap();
    let (lost, doubled) = (accepted.saturating_sub(counted), logged.saturating_sub(accepted));
    let note = "found by the comparison, and by a guard at the next start".to_owned();
    outcome::record(fault, 1, &Numbers { records: received, lost, doubled, note });
    (lost, doubled)
}

#[test]
fn without_tokens_a_late_twin_doubles_rows_and_is_found() {
    let clickhouse = ClickHouse::shared();
    let mut bench = Bench::new(Kafka::shared().brokers(), clickhouse, 1);
    bench.scenario.farebox.set("clickhouse.insert_timeout", "1s");
    let mut instances = [bench.start()];
    bench.under_load(|| {
        let late = bench.proxy.on(
            When::insert("usage_log").times(1),
            // The protection that is taken out: the server knows neither the token nor the rows again.
            Do::HoldAndChange(|request| {
                request.strip("insert_deduplication_token");
                request.set("insert_deduplicate", "0");
            }),
        );
        late.wait_until_held();
        bench.scenario.wait_for_more(clickhouse, 100);
        late.let_go();
        late.wait_for_answers(1);
    });
    let said = found(&bench, &mut instances);
    assert!(said.contains("usage_log: 0 lines are missing") && said.contains("are too many"), "{said}");
    let stopped = wait_for_stop(&bench, &mut instances[0]);
    assert!(stopped.starts_with("inconsistent"), "{stopped}");
    let (lost, doubled) = record(&bench, "protection taken out: an insert without its token arrives late");
    assert!(lost == 0 && doubled > 0, "{lost} lost, {doubled} doubled");
}

#[test]
fn without_witnesses_an_insert_that_never_happened_is_believed_and_is_found() {
    const DONE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let clickhouse = ClickHouse::shared();
    let bench = Bench::new(Kafka::shared().brokers(), clickhouse, 1);
    let mut instances = [bench.start()];
    let lie = || bench.proxy.on(When::insert("usage_hourly").times(1), Do::Answer(DONE.into()));
    bench.under_load(|| {
        // With the witness in place the same lie is found out, and the rows go under the next token.
        let repaired = bench.proxy.on(When::request(|request| request.token.ends_with("/r1")), Do::Pass);
        lie().wait_for_hits(1);
        repaired.wait_for_hits(1);
        // Taken out: the witness of another table is shown in its place.
        let _ = bench.proxy.on(
            When::question("uniqExact(l.digest) AS digests"),
            Do::Change(|request| {
                let hourly = "FROM usage_hourly AS w PREWHERE batch = {witness:String} WHERE account = '' AND category = '' AND agent = '' \
                              AND model = '' AND platform = '' AND hour = toDateTime(0, 'UTC')";
                let users = "FROM session_users AS w PREWHERE batch = {witness:String} WHERE account = '' \
                             AND session_start = toDateTime(0, 'UTC') AND platform = ''";
                request.replace_in_body(hourly, users);
            }),
        );
        lie().wait_for_hits(1);
    });
    let said = found(&bench, &mut instances);
    assert!(said.contains("costs: ") && !said.contains("costs: 0 lines are missing"), "{said}");
    bench.proxy.clear();
    let stopped = wait_for_stop(&bench, &mut instances[0]);
    assert!(stopped.starts_with("inconsistent"), "{stopped}");
    let (lost, doubled) = record(&bench, "protection taken out: no witness is read, and a success was a lie");
    assert!(lost > 0 && doubled == 0, "{lost} lost, {doubled} doubled");
}

#[test]
fn where_the_profile_switches_tokens_off_nothing_is_metered() {
    let (clickhouse, proxy) = (ClickHouse::shared(), Proxy::http(ClickHouse::shared().port()));
    let farebox = quick(Kafka::shared(), clickhouse);
    farebox.run(&["migrate"]).expect_success();
    let body = "{\"value\":\"disable\"}\n";
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let _ = proxy.on(When::question("FROM system.settings"), Do::Answer(answer.into()));
    let refused = farebox.run(&["run", "--set", &format!("clickhouse.url={}", proxy.url())]);
    assert_eq!(refused.status.code(), Some(78), "{refused:?}");
    assert!(
        refused.stderr.contains("`deduplicate_insert = 'disable'`") && refused.stderr.contains("set it to `enable`"),
        "{refused:?}"
    );
}
