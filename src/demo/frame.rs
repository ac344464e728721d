//! The numbers of one moment as lines for people.

use std::time::Duration;

use super::figures::{Cost, Figures, Session};
use super::screen::{INDENT, Line, Size, cut};
use crate::cli::aligned::table;

/// From this width on there are more columns.
const WIDE: usize = 110;
/// Of a name that somebody else chose.
const NAME: usize = 14;
const ACCOUNTS: usize = 7;

/// What is told beside the numbers.
#[derive(Debug)]
pub struct Setting {
    /// How the binary is called in another terminal, if it has the verb `send`.
    pub send: Option<String>,
    /// Where ClickHouse answers.
    pub url: String,
    /// Its database.
    pub database: String,
    /// The sessions when the watching began.
    pub before: Vec<Session>,
}

/// The whole picture; `live` is how long it has been watched.
pub fn lines(figures: &Figures, setting: &Setting, live: Duration, size: Size) -> Vec<Line> {
    let wide = size.columns >= WIDE;
    let mut lines = vec![line("farebox", format!("demo, live for {}, some 20 events a second; Ctrl-C ends it", clock(live)))];
    lines.push(line("", String::new()));
    lines.extend(fates(figures));
    lines.push(line("", String::new()));
    lines.extend(part("sessions", sessions(&figures.sessions, setting, wide)));
    lines.push(line("", String::new()));
    lines.extend(part("credits", costs(&figures.costs, wide)));
    lines.push(line("", String::new()));
    lines.push(line("mail", mail(figures, wide)));
    lines.push(line("", String::new()));
    // Before what is cut off first where there is little room: half a command is none.
    lines.extend(invitation(setting, size.columns.saturating_sub(INDENT)));
    lines.push(line("", String::new()));
    lines.extend(incidents(figures));
    lines
}

fn line(head: &'static str, text: String) -> Line {
    Line { head, text }
}

/// The head stands before the first line alone.
fn part(head: &'static str, texts: Vec<String>) -> Vec<Line> {
    texts.into_iter().enumerate().map(|(at, text)| line(if at == 0 { head } else { "" }, text)).collect()
}

fn clock(live: Duration) -> String {
    let seconds = live.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

fn fates(figures: &Figures) -> Vec<Line> {
    let fates = figures.fates;
    let sum = format!(
        "{} received = {} accepted + {} duplicates + {} rejected",
        fates.received, fates.accepted, fates.duplicates, fates.rejected
    );
    let law = if fates.balanced == 1 {
        "every record of the topic is in exactly one place (view conservation)"
    } else {
        "NOT BALANCED: look at the view conservation"
    };
    part("events", vec![sum, law.to_owned()])
}

/// A table without its rule and its margin.
fn bare(columns: &[&str], rows: Vec<Vec<String>>) -> Vec<String> {
    let text = table(columns, rows);
    let lines = text.lines().enumerate().filter(|(at, _)| *at != 1);
    lines.map(|(_, line)| line.strip_prefix("  ").unwrap_or(line).to_owned()).collect()
}

fn sessions(sessions: &[Session], setting: &Setting, wide: bool) -> Vec<String> {
    let rows = sessions.iter().take(ACCOUNTS).map(|session| {
        let before = setting.before.iter().find(|before| before.key() == session.key()).map_or(0, |before| before.unique_users);
        let mut row = vec![cut(&session.account, NAME), cut(&session.platform, NAME), minute(&session.session_start)];
        if wide {
            row.push(minute(&session.session_end));
        }
        row.push(session.unique_users.to_string());
        row.push(format!("(+{})", session.unique_users.saturating_sub(before)));
        row.extend([session.unit_session_cost.clone(), session.cost.clone()]);
        row
    });
    let columns: &[&str] = if wide {
        &["account", "platform", "session from (UTC)", "until", "unique users", "", "each", "cost"]
    } else {
        &["account", "platform", "session from", "unique users", "", "each", "cost"]
    };
    bare(columns, rows.collect())
}

fn minute(moment: &str) -> String {
    moment.chars().take("2026-01-31 12:00".len()).collect()
}

fn costs(costs: &[Cost], wide: bool) -> Vec<String> {
    let rows = costs.iter().take(ACCOUNTS).map(|cost| {
        let mut row = vec![cut(&cost.account, NAME), pays_for(&cost.account).to_owned()];
        if wide {
            row.extend([cost.sessions.clone(), cost.training.clone(), cost.operations.clone()]);
        }
        row.extend([cost.today.clone(), cost.total.clone()]);
        row
    });
    let columns: &[&str] = if wide {
        &["account", "pays for", "sessions", "training", "operations", "today", "in 8 days"]
    } else {
        &["account", "pays for", "today", "in 8 days"]
    };
    bare(columns, rows.collect())
}

/// The newest one, or what it waits for.
fn mail(figures: &Figures, wide: bool) -> String {
    match (&figures.mail, &figures.crawler) {
        (Some(mail), _) if wide => format!("{} to {}: {}", mail.at, mail.to, mail.subject),
        (Some(mail), _) => format!("{} {}", mail.at, mail.subject),
        (None, Some(crawler)) => {
            format!("comes when the agent web-crawler has spent half of {} credits; now {}", crawler.limit, crawler.spent)
        }
        (None, None) => "none".to_owned(),
    }
}

/// As the demo's price book says.
fn pays_for(account: &str) -> &'static str {
    match account {
        "acme" => "users in sessions",
        "globex" => "operations, by rate",
        "initech" => "operations, as reported",
        "sunrise" => "sessions and training",
        _ => "is not in the price book",
    }
}

/// One of each kind: rejected, unpriced, and what the person at the other terminal did.
fn incidents(figures: &Figures) -> Vec<Line> {
    let mut lines = Vec::new();
    if let Some(own) = &figures.own {
        let used = [&own.account, &own.agent, &own.category, &own.model].map(|name| cut(name, NAME));
        let used = used.into_iter().filter(|name| !name.is_empty()).collect::<Vec<_>>().join(" ");
        let cost = match (own.priced, own.account.as_str()) {
            (0, _) => "no price, so it costs 0".to_owned(),
            (_, "acme" | "sunrise") if own.cost == "0" => "its user counts in the session".to_owned(),
            _ => format!("{} credits", own.cost),
        };
        lines.push(line("yours", format!("{} {used}: {cost}", own.at)));
    }
    if let Some(rejected) = &figures.rejected {
        let what = format!("{} {} {}", rejected.at, cut(&rejected.account, NAME), rejected.reason);
        lines.push(line("rejected", format!("{what}: {}", rejected.detail)));
    }
    if let Some(unpriced) = &figures.unpriced {
        let (account, model) = (cut(&unpriced.account, NAME), cut(&unpriced.model, 20));
        lines.push(line("unpriced", format!("{account} used {model} {} times: no rate, so it cost 0", unpriced.events)));
    }
    lines
}

fn invitation(setting: &Setting, columns: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    if let Some(send) = &setting.send {
        lines.push("in a second terminal, an event of your own, and what becomes of it:".to_owned());
        let line = "send --account acme --platform web --user me --agent hello --category llm --model gpt-4o --follow";
        let words = [send.as_str()].into_iter().chain(line.split_inclusive(' ').map(str::trim_end));
        lines.extend(command(&pairs(words), columns));
    }
    let question =
        if lines.is_empty() { "in a second terminal, a question to ClickHouse:" } else { "there too, a question to ClickHouse:" };
    lines.push(question.to_owned());
    let url = format!("curl -s '{}/?database={}'", setting.url, setting.database);
    lines.extend(command(&[url, "-d 'SELECT * FROM daily_costs FORMAT PrettyCompact'".to_owned()], columns));
    part("try it", lines)
}

/// A flag and its value are never torn apart.
fn pairs<'a>(words: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut pairs: Vec<String> = Vec::new();
    for word in words {
        match pairs.last_mut() {
            Some(last) if last.starts_with("--") && !last.contains(' ') && !word.starts_with('-') => {
                last.push(' ');
                last.push_str(word);
            }
            _ => pairs.push(word.to_owned()),
        }
    }
    pairs
}

/// A command in as many lines as it needs, joined as a shell joins them.
fn command(words: &[String], columns: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in words {
        match lines.last_mut() {
            // Room for the blank before and " \" behind.
            Some(last) if last.chars().count() + word.chars().count() + 3 <= columns => {
                last.push(' ');
                last.push_str(word);
            }
            Some(last) => {
                last.push_str(" \\");
                lines.push(format!("  {word}"));
            }
            None => lines.push(word.clone()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::figures::{Crawler, Fates, Mail, Own, Rejected, Unpriced};

    fn figures() -> Figures {
        let session = |account: &str, platform: &str, users, each: &str, cost: &str| Session {
            account: account.into(),
            platform: platform.into(),
            session_start: "2026-11-25 00:00:00".into(),
            session_end: "2026-11-26 00:00:00".into(),
            unique_users: users,
            unit_session_cost: each.into(),
            cost: cost.into(),
        };
        let cost = |account: &str, today: &str, total: &str| Cost {
            account: account.into(),
            today: today.into(),
            total: total.into(),
            sessions: "1.5".into(),
            training: "0".into(),
            operations: "2.25".into(),
        };
        Figures {
            fates: Fates { received: 9_214, accepted: 9_101, duplicates: 61, rejected: 52, balanced: 1 },
            sessions: vec![session("acme", "web", 131, "0.2", "26.2"), session("acme", "whatsapp", 71, "0.45", "31.95")],
            costs: vec![cost("acme", "58.15", "338.12"), cost("globex", "4078.549", "21000"), cost("umbrella", "0", "0")],
            rejected: Some(Rejected {
                at: "10:09:00".into(),
                account: "globex".into(),
                reason: "missing_field".into(),
                detail: "agent: absent, is required".into(),
            }),
            unpriced: Some(Unpriced { account: "globex".into(), model: "gpt-next-preview".into(), events: 42 }),
            crawler: Some(Crawler { spent: "45".into(), limit: "100".into() }),
            mail: None,
            own: Some(Own {
                at: "10:10:00".into(),
                account: "globex".into(),
                agent: "hello".into(),
                category: "llm".into(),
                model: "gpt-4o".into(),
                cost: "6".into(),
                priced: 1,
            }),
        }
    }

    fn drawn(columns: usize) -> String {
        let setting = Setting {
            send: Some("target/release/farebox".into()),
            url: "http://127.0.0.1:37105".into(),
            database: "farebox".into(),
            before: vec![Session { unique_users: 119, ..figures().sessions.remove(0) }],
        };
        let lines = lines(&figures(), &setting, Duration::from_secs(83), Size { columns, rows: 50 });
        lines.iter().map(|line| format!("{}\n", format!("{:<INDENT$}{}", line.head, line.text).trim_end())).collect()
    }

    #[test]
    fn the_numbers_and_the_invitation_fit_into_80_columns() {
        let expected = r"farebox   demo, live for 1 min 23 s, some 20 events a second; Ctrl-C ends it

events    9214 received = 9101 accepted + 61 duplicates + 52 rejected
          every record of the topic is in exactly one place (view conservation)

sessions  account  platform  session from      unique users         each   cost
          acme     web       2026-11-25 00:00           131  (+12)  0.20  26.20
          acme     whatsapp  2026-11-25 00:00            71  (+71)  0.45  31.95

credits   account   pays for                     today  in 8 days
          acme      users in sessions           58.150     338.12
          globex    operations, by rate       4078.549   21000.00
          umbrella  is not in the price book     0.000       0.00

mail      comes when the agent web-crawler has spent half of 100 credits; now 45

try it    in a second terminal, an event of your own, and what becomes of it:
          target/release/farebox send --account acme --platform web --user me \
            --agent hello --category llm --model gpt-4o --follow
          there too, a question to ClickHouse:
          curl -s 'http://127.0.0.1:37105/?database=farebox' \
            -d 'SELECT * FROM daily_costs FORMAT PrettyCompact'

yours     10:10:00 globex hello llm gpt-4o: 6 credits
rejected  10:09:00 globex missing_field: agent: absent, is required
unpriced  globex used gpt-next-preview 42 times: no rate, so it cost 0
";
        assert_eq!(drawn(80), expected);
        assert!(drawn(80).lines().all(|line| line.chars().count() <= 80));
    }

    #[test]
    fn in_120_columns_there_is_more_of_the_same() {
        let text = drawn(120);
        for said in [
            "account   pays for                  sessions  training  operations     today  in 8 days\n",
            "session from (UTC)  until             unique users",
            "rejected  10:09:00 globex missing_field: agent: absent, is required\n",
            "curl -s 'http://127.0.0.1:37105/?database=farebox' -d 'SELECT * FROM daily_costs FORMAT PrettyCompact'\n",
        ] {
            assert!(text.contains(said), "{said}\n{text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= 120));
    }

    #[test]
    fn the_newest_mail_is_told_in_a_line() {
        let subject = "Globex Research: 105 % of 100 credits used for 25 November".to_owned();
        let sent = Mail { at: "10:10:09".into(), to: "finance@globex.example".into(), subject };
        let figures = Figures { mail: Some(sent), ..figures() };
        assert_eq!(mail(&figures, false), "10:10:09 Globex Research: 105 % of 100 credits used for 25 November");
        assert!(mail(&figures, false).chars().count() <= 80 - INDENT);
        assert!(mail(&figures, true).starts_with("10:10:09 to finance@globex.example: Globex"));
    }

    #[test]
    fn a_command_is_broken_between_its_words_as_a_shell_reads_it() {
        let words = ["send", "--a 1", "--b 2"].map(str::to_owned);
        assert_eq!(command(&words, 16), ["send --a 1 \\", "  --b 2"]);
        assert_eq!(command(&words, 30), ["send --a 1 --b 2"]);
    }
}
