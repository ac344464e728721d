//! Alerts reach people once, whoever dies between which two steps, and whatever happens to servers in between.

use std::collections::BTreeMap;

use farebox::runtime::clock;
use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64;

use super::desk::{BOOK, Desk, MINUTE, at, decoded, installed, thresholds, used};
use super::outcome::{self, Numbers};
use super::proxy::{Do, Proxy, When};
use super::scenario::seed;
use super::servers::{Arrived, ClickHouse, Instance, Kafka, Mails, SOON, eventually};

/// More requests than looking or sending takes.
const REQUESTS_MAX: u64 = 60;

fn any() -> When {
    When::request(|_| true)
}

/// How often each Message-ID arrived.
fn arrivals(arrived: &[Arrived]) -> BTreeMap<String, usize> {
    arrived.iter().fold(BTreeMap::new(), |mut counts, mail| {
        *counts.entry(mail.header("Message-ID")).or_default() += 1;
        counts
    })
}

/// An installation of many accounts whose way to ClickHouse can be cut.
fn desk_behind_a_proxy(mails: &Mails) -> (Desk, Proxy) {
    let accounts = 4 * REQUESTS_MAX;
    let book: String = (0..accounts).map(|number| BOOK.replace("acme", &format!("a{number}"))).collect();
    let mut farebox = installed(&book, mails);
    let proxy = Proxy::http(ClickHouse::shared().port());
    farebox.set("clickhouse.url", proxy.url());
    (Desk::of(farebox), proxy)
}

#[test]
fn a_death_between_any_two_requests_of_whoever_looks_or_sends_tells_once() {
    let mails = Mails::start(&[]);
    let (desk, proxy) = desk_behind_a_proxy(&mails);
    let begin = at("2026-03-10T12:00:00Z");
    let mut accounts = Vec::new();
    // The request never reaches the server; or it does, and nobody hears the answer. After that, nothing of this process does.
    for lost in [Do::CutRequest(0), Do::CutAnswer(0)] {
        for is_sending in [false, true] {
            for requests in 0..REQUESTS_MAX {
                let account = format!("a{}", accounts.len());
                desk.spend_of(&account, "2026-03-10", "500");
                let look = || desk.runtime.block_on(desk.alerts.look(&[&account], begin));
                let send = |minutes: i64| {
                    let now = begin.plus_millis(minutes * MINUTE);
                    desk.runtime.block_on(desk.mailer.turn(move || now))
                };
                if is_sending {
                    look().unwrap();
                }
                let dead = proxy.on(any().skip(requests), lost.clone());
                let ended = if is_sending { send(0).map(drop) } else { look() };
                let hits = dead.hits();
                proxy.clear();
                assert_eq!(ended.is_ok(), hits == 0, "{ended:?} after {hits} of {requests}");
                // Somebody else takes over: at once, when the sender is given up, and when it is tried once more.
                look().unwrap();
                for minutes in [1, 10, 20] {
                    send(minutes).unwrap();
                }
                accounts.push(account);
                if hits == 0 {
                    assert!(requests > 5, "so few requests cannot be all of it");
                    break;
                }
            }
        }
    }
    assert_eq!(thresholds(&desk.farebox), [("threshold".to_owned(), 50, accounts.len() as u64)]);
    let states = desk.states();
    assert!(states.len() == accounts.len() && states.iter().all(|(_, state)| state == "sent"), "{states:?}");
    let counts = arrivals(&mails.arrived());
    // Twice is what a sender that died after the server took the mail cannot avoid.
    assert!(counts.len() == accounts.len() && counts.values().all(|count| *count <= 2), "{counts:?}");
    let deaths = accounts.len() as u64;
    let doubled = counts.values().filter(|count| **count > 1).count();
    let note = format!("{deaths} alerts told, each once; {doubled} mails came twice, under one Message-ID");
    outcome::record("whoever tells or mails an alert dies between two requests", deaths, &Numbers { note, ..Numbers::default() });
}

const FAULTS: usize = 100;

struct World {
    random: Pcg64,
    proxy: Proxy,
    clickhouse: ClickHouse,
    mails: Mails,
    instances: Vec<Instance>,
}

impl World {
    fn fault(&mut self, start: impl Fn() -> Instance) {
        let victim = self.random.random_range(0..self.instances.len());
        match self.random.random_range(0..9) {
            0 | 1 => {
                self.instances[victim].process.kill9();
                self.instances[victim] = start();
            }
            2 => self.instances[victim].process.sigstop(),
            3 => self.mails.kill9(),
            4 => {
                let mode = ["451", "drop", "stall_banner", "stall_data"][self.random.random_range(0..4)];
                self.mails.launch(&[mode]);
            }
            5 => self.mails.launch(&[]),
            6 => self.proxy.cut(),
            7 => {
                let table = ["alerts", "mail_outbox"][self.random.random_range(0..2)];
                let what = if self.random.random() { Do::CutRequest(self.random.random_range(0..1000)) } else { Do::CutAnswer(0) };
                self.proxy.on(When::insert(table).times(1), what);
            }
            _ => {
                self.clickhouse.kill9();
                self.clickhouse.restart();
            }
        }
    }

    /// Everything runs again: what waits for a fact must be able to see it.
    fn heal(&mut self) {
        self.instances.iter_mut().for_each(|instance| instance.process.sigcont());
        self.proxy.clear();
    }
}

/// Waits until so many records are in `batches`, whoever puts them there.
fn wait_for_received(clickhouse: &ClickHouse, database: &str, records: u64) {
    eventually(SOON, || match clickhouse.try_query(&format!("SELECT sum(received) FROM {database}.batches")) {
        Ok(text) if text.trim() == records.to_string() => Ok(()),
        other => Err(format!("{other:?} of {records}")),
    });
}

#[test]
fn a_hundred_random_faults_change_nothing_about_three_mails() {
    let clickhouse = ClickHouse::start();
    let mails = Mails::start(&[]);
    let proxy = Proxy::http(clickhouse.port());
    let mut farebox = super::desk::installed_on(BOOK, &mails, &clickhouse);
    farebox.set("clickhouse.url", proxy.url()).set("leader.interval", "1s");
    let start = || farebox.start();
    let instances = vec![start(), start()];
    let mut world = World { random: Pcg64::seed_from_u64(seed()), proxy, clickhouse, mails, instances };
    let kafka = &Kafka::shared().client;
    let database = farebox.database.clone();
    let rows = |clickhouse: &ClickHouse| {
        let sql = format!("SELECT toString(threshold) FROM {database}.alerts ORDER BY threshold, created_at");
        clickhouse.try_query(&sql).map(|text| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    };
    for number in 0..FAULTS {
        // 12 credits each: 50, 80 and 100 % of 1 000 are reached with the 42nd, the 67th and the 84th event.
        kafka.produce(&farebox.topic, &[used(&number.to_string(), "12")]);
        world.fault(start);
        let spent = 12 * (number + 1);
        let expected: Vec<&str> =
            [(50, "50"), (80, "80"), (100, "100")].iter().filter(|(at, _)| spent >= at * 10).map(|(_, text)| *text).collect();
        if [42, 67, 84].contains(&(number + 1)) {
            // Each is told before the next is reached: a jump over several would send one mail.
            world.heal();
            eventually(SOON, || match rows(&world.clickhouse) {
                Ok(told) if told == expected => Ok(()),
                other => Err(format!("{other:?}\n{}\n{}", world.instances[0].process.log(), world.instances[1].process.log())),
            });
        }
    }
    world.heal();
    wait_for_received(&world.clickhouse, &database, FAULTS as u64);
    for instance in &mut world.instances {
        instance.process.kill9();
    }
    world.mails.launch(&[]);
    // What is left to do waits for its time, which is given here.
    let desk = Desk::of(farebox);
    for minutes in 0..90 {
        desk.send(clock::now().plus_millis(minutes * MINUTE));
    }
    assert_eq!(rows(&world.clickhouse).unwrap(), ["50", "80", "100"]);
    let arrived = world.mails.arrived();
    let counts = arrivals(&arrived);
    assert!(counts.len() == 3 && counts.values().all(|count| *count <= 2), "{counts:?}");
    for percent in ["50", "80", "100"] {
        let subject = format!("ACME GmbH: {percent} % of 1 000 credits used for ");
        assert!(arrived.iter().any(|mail| decoded(&mail.header("Subject")).starts_with(&subject)), "{subject}");
    }
    let note = format!("three alerts and three mails, of which {} came twice", counts.values().filter(|count| **count > 1).count());
    let numbers = Numbers { records: FAULTS as u64, note, ..Numbers::default() };
    outcome::record("random faults while a budget is used up", FAULTS as u64, &numbers);
}
