use proptest::prelude::*;

use super::super::{Effect, parse};
use super::*;

const NONE_CLOSED: Timestamp = Timestamp::from_millis(0);

pub fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).expect("RFC 3339")
}

fn file(text: &str) -> BookFile {
    parse(text, "book.toml").unwrap_or_else(|error| panic!("{error}"))
}

fn try_apply(book: &Book, text: &str, now: &str) -> Result<(Book, Plan), Error> {
    let plan = plan(book, &file(text), at(now), "ann", NONE_CLOSED, false)?;
    let rows = [book.rows(), &plan.rows].concat();
    Ok((Book::from_rows(rows), plan))
}

#[track_caller]
pub fn apply(book: &Book, text: &str, now: &str) -> (Book, Plan) {
    try_apply(book, text, now).unwrap_or_else(|error| panic!("{error}"))
}

#[track_caller]
fn refused(book: &Book, text: &str, now: &str, part: &str) {
    let error = try_apply(book, text, now).expect_err(text).to_string();
    assert!(error.contains(part), "`{part}` is not in\n{error}");
}

fn shown(plan: &Plan) -> Vec<String> {
    plan.changes.iter().map(ToString::to_string).collect()
}

const ACME: &str = "[[account]]\nid = \"acme\"\n";
const T1: &str = "2026-01-01T00:00:00Z";
const T2: &str = "2026-02-01T00:00:00Z";
const T3: &str = "2026-03-01T00:00:00Z";

fn price(account: &str, platform: &str, cost: &str) -> String {
    format!("[[session_price]]\naccount = \"{account}\"\nplatform = \"{platform}\"\nunit_session_cost = \"{cost}\"\n")
}

fn dated(section: &str, from: &str) -> String {
    format!("{section}valid_from = {from}\n")
}

#[test]
fn first_rows_hold_for_all_time_and_changed_ones_from_the_moment_of_apply() {
    let (book, plan) = apply(&Book::empty(), &format!("{ACME}{}", price("*", "web", "0.5")), T1);
    assert_eq!((plan.version, plan.rows.len()), (1, 2));
    assert!(
        plan.rows
            .iter()
            .all(|row| row.valid_from.millis() == 0 && row.version == 1 && row.applied_by == "ann" && row.applied_at == at(T1))
    );
    let text = format!("{ACME}name = \"ACME\"\n{}", price("*", "web", "0.6"));
    let (book, plan) = apply(&book, &text, T2);
    assert_eq!(plan.version, 2);
    assert!(plan.rows.iter().all(|row| row.valid_from == at(T2)));
    assert_eq!(
        shown(&plan),
        [
            "~ account acme: name (none) -> ACME, from 2026-02-01T00:00:00Z",
            "~ session_price * web: unit_session_cost 0.5 -> 0.6, from 2026-02-01T00:00:00Z",
        ]
    );
    assert_eq!(apply(&book, &text, T3).1.rows, Vec::new());
}

#[test]
fn applying_a_file_twice_changes_nothing() {
    let example = include_str!("../../config/book.example.toml");
    let (book, plan) = apply(&Book::empty(), example, T1);
    assert_eq!(plan.rows.len(), file(example).len());
    let (again, plan) = apply(&book, example, "2101-01-01T00:00:00Z");
    assert!(plan.is_empty() && plan.absent.is_empty() && plan.changes.is_empty(), "{plan:?}");
    assert_eq!((plan.version, again), (1, book));
}

#[test]
fn what_is_absent_stays_and_is_listed() {
    let text = format!("{ACME}{}{}", price("*", "web", "1"), dated(&price("*", "web", "2"), T3));
    let (book, _) = apply(&Book::empty(), &text, T1);
    let (book, plan) = apply(&book, &price("*", "web", "1"), T2);
    assert!(plan.is_empty());
    assert_eq!(plan.absent, ["account acme", "session_price * web from 2026-03-01T00:00:00Z"]);
    let (book, plan) = apply(&book, "", "2026-04-01T00:00:00Z");
    assert_eq!(plan.absent, ["account acme", "session_price * web"]);
    assert_eq!(book.rows().len(), 3);
}

#[test]
fn a_dated_row_holds_from_its_moment_and_may_be_corrected() {
    let (book, _) = apply(&Book::empty(), &price("*", "web", "1"), T1);
    let announced = format!("{}{}", price("*", "web", "1"), dated(&price("*", "web", "2"), T3));
    let (book, plan) = apply(&book, &announced, T2);
    assert_eq!(shown(&plan), ["~ session_price * web: unit_session_cost 1 -> 2, from 2026-03-01T00:00:00Z"]);
    let corrected = announced.replace("\"2\"", "\"3\"");
    let (book, plan) = apply(&book, &corrected, T2);
    assert_eq!(shown(&plan), ["~ session_price * web: unit_session_cost 2 -> 3, from 2026-03-01T00:00:00Z"]);
    assert!(apply(&book, &corrected, "2026-05-01T00:00:00Z").1.is_empty(), "the row without valid_from is the one before it");
}

#[test]
fn a_changed_row_without_valid_from_does_not_silently_replace_a_dated_one() {
    let text = format!("{}{}", price("*", "web", "1"), dated(&price("*", "web", "2"), T2));
    let (book, _) = apply(&Book::empty(), &text, T1);
    refused(&book, &text.replace("\"1\"", "\"1.5\""), T3, "in place of the row that holds from 2026-02-01T00:00:00Z");
    let before_it_holds = apply(&book, &text.replace("\"1\"", "\"1.5\""), "2026-01-15T00:00:00Z").1;
    assert_eq!(before_it_holds.rows[0].valid_from, at("2026-01-15T00:00:00Z"));
}

#[test]
fn a_row_without_valid_from_goes_on_where_dated_ones_were_and_stays_applied() {
    let dated_rows = format!("{}{}", dated(&price("*", "web", "0"), T1), dated(&price("*", "web", "2"), T3));
    let (book, _) = apply(&Book::empty(), &dated_rows, "2025-12-01T00:00:00Z");
    let (book, plan) = apply(&book, &price("*", "web", "0"), T2);
    assert_eq!(shown(&plan), ["~ session_price * web: says the same, from 2026-02-01T00:00:00Z"]);
    assert_eq!(plan.absent, ["session_price * web from 2026-01-01T00:00:00Z", "session_price * web from 2026-03-01T00:00:00Z"]);
    assert!(apply(&book, &price("*", "web", "0"), "2026-04-01T00:00:00Z").1.is_empty(), "the announced price came, as listed");
}

#[test]
fn going_back_to_an_earlier_price_is_a_change() {
    let (book, _) = apply(&Book::empty(), &price("*", "web", "1"), T1);
    let (book, _) = apply(&book, &price("*", "web", "2"), T2);
    let (book, plan) = apply(&book, &price("*", "web", "1"), T3);
    assert_eq!(plan.rows.len(), 1);
    assert!(apply(&book, &price("*", "web", "1"), T3).1.is_empty());
}

#[test]
fn a_more_specific_price_does_not_reach_into_the_past_of_a_general_one() {
    for (general, specific) in [
        (price("*", "web", "1"), price("acme", "web", "2")),
        (price("*", "*", "1"), price("acme", "web", "2")),
        (price("*", "web", "1"), price("acme", "*", "2")),
        (price("acme", "*", "1"), price("acme", "web", "2")),
        (price("*", "*", "1"), price("*", "web", "2")),
        (rate("*", "llm", "", "1"), rate("acme", "llm", "gpt", "2")),
        (rate("*", "llm", "gpt", "1"), rate("acme", "llm", "", "2")),
        (rate("*", "llm", "", "1"), rate("*", "llm", "gpt", "2")),
    ] {
        let (book, _) = apply(&Book::empty(), &format!("{ACME}{general}"), T1);
        let (_, plan) = apply(&book, &specific, T2);
        assert_eq!(plan.rows[0].valid_from, at(T2), "{specific}");
        let (_, plan) = apply(&Book::empty(), &format!("{ACME}{general}{specific}"), T1);
        assert!(plan.rows.iter().all(|row| row.valid_from.millis() == 0), "together they are both new");
    }
    for (other, new) in [
        (price("acme", "web", "1"), price("*", "web", "2")),
        (price("*", "web", "1"), price("acme", "sms", "2")),
        (rate("*", "llm", "gpt", "1"), rate("acme", "llm", "claude", "2")),
        (rate("*", "sql", "", "1"), rate("acme", "llm", "", "2")),
    ] {
        let (book, _) = apply(&Book::empty(), &format!("{ACME}{other}"), T1);
        assert_eq!(apply(&book, &new, T2).1.rows[0].valid_from.millis(), 0, "{new}");
    }
}

fn rate(account: &str, category: &str, model: &str, per_call: &str) -> String {
    let model = if model.is_empty() { String::new() } else { format!("model = \"{model}\"\n") };
    format!("[[rate]]\naccount = \"{account}\"\ncategory = \"{category}\"\n{model}per_call = \"{per_call}\"\n")
}

#[test]
fn a_price_for_closed_sessions_needs_backdate() {
    let book = apply(&Book::empty(), &price("*", "web", "1"), T1).0;
    let text = file(&dated(&price("*", "web", "2"), T2));
    let closed_to = at("2026-02-01T00:00:00.001Z");
    let error = plan(&book, &text, at(T3), "ann", closed_to, false).expect_err("closed").to_string();
    assert!(
        error.contains("book.toml:5:14") && error.contains("--backdate") && error.contains("session_price[1].valid_from"),
        "{error}"
    );
    let allowed = plan(&book, &text, at(T3), "ann", closed_to, true).expect("backdated");
    assert_eq!(allowed.backdated_to, Some(at(T2)));
    let at_the_end = plan(&book, &text, at(T3), "ann", at(T2), false).expect("not before it");
    assert_eq!(at_the_end.backdated_to, None);
    let book = Book::from_rows([book.rows(), &allowed.rows].concat());
    assert!(plan(&book, &text, at(T3), "ann", closed_to, false).expect("it is there").is_empty());
}

#[test]
fn the_session_anchor_never_changes() {
    let anchored = |anchor: &str| format!("{ACME}session_anchor = \"{anchor}\"\n");
    let (book, plan) = apply(&Book::empty(), &anchored("18:30"), T1);
    assert_eq!(plan.rows[0].session_anchor, 66_600);
    refused(&book, &anchored("00:00"), T2, "the session anchor of `acme` is 18:30 and cannot become 00:00");
    assert!(apply(&book, ACME, T2).1.is_empty(), "left out, it is what it was");
    let renamed = apply(&book, &format!("{ACME}name = \"A\"\n"), T2).1;
    assert_eq!(renamed.rows[0].session_anchor, 66_600);
    refused(&Book::empty(), &format!("{}{}", anchored("18:30"), dated(&anchored("06:00"), T3)), T1, "cannot become 06:00");
    let (_, plan) = apply(&Book::empty(), &format!("{}{}", anchored("18:30"), dated(&format!("{ACME}name = \"A\"\n"), T3)), T1);
    assert!(plan.rows.iter().all(|row| row.session_anchor == 66_600));
}

#[test]
fn a_zone_changes_for_later_moments_only() {
    let zoned = |zone: &str| format!("{ACME}time_zone = \"{zone}\"\n");
    let (book, _) = apply(&Book::empty(), &zoned("Europe/Berlin"), T1);
    assert_eq!(apply(&book, &zoned("Asia/Kolkata"), T2).1.rows[0].valid_from, at(T2));
    assert_eq!(apply(&book, &format!("{}{}", zoned("Europe/Berlin"), dated(&zoned("Asia/Kolkata"), T3)), T2).1.rows.len(), 1);
    let late = format!("{}{}", zoned("Europe/Berlin"), dated(&zoned("Asia/Kolkata"), T2));
    refused(
        &book,
        &late,
        T3,
        "the zone of `acme` is Europe/Berlin from 2026-02-01T00:00:00Z on and cannot become Asia/Kolkata in the past",
    );
    let backdated = plan(&book, &file(&late), at(T3), "ann", NONE_CLOSED, true).expect_err("not even with --backdate");
    assert!(backdated.to_string().contains("account[2]"), "{backdated}");
    let renamed = format!("{}{}", zoned("Europe/Berlin"), dated(&format!("{}name = \"A\"\n", zoned("Europe/Berlin")), T2));
    assert_eq!(apply(&book, &renamed, T3).1.rows.len(), 1, "the same zone is no change of zone");
}

#[test]
fn an_account_that_becomes_known_in_the_past_with_another_grid_is_named() {
    let kolkata = format!("{ACME}time_zone = \"Asia/Kolkata\"\n");
    assert_eq!(apply(&Book::empty(), &kolkata, T1).1.regridded, ["acme"]);
    assert_eq!(apply(&Book::empty(), &format!("{ACME}session_anchor = \"06:00\"\n"), T1).1.regridded, ["acme"]);
    assert_eq!(apply(&Book::empty(), &dated(&kolkata, T1), T2).1.regridded, ["acme"]);
    assert_eq!(apply(&Book::empty(), ACME, T1).1.regridded, Vec::<String>::new());
    let (book, plan) = apply(&Book::empty(), &dated(&kolkata, T2), T2);
    assert_eq!(plan.regridded, Vec::<String>::new(), "from now on there is nothing yet");
    assert_eq!(apply(&book, &format!("{}name = \"A\"\n", kolkata), T3).1.regridded, Vec::<String>::new());
}

#[test]
fn retiring_ends_and_can_be_taken_back() {
    let (book, _) = apply(&Book::empty(), ACME, T1);
    let ended = format!("{ACME}retired = true\n");
    let (book, plan) = apply(&book, &ended, T2);
    assert_eq!(shown(&plan), ["- account acme: retired, from 2026-02-01T00:00:00Z"]);
    assert!(apply(&book, &ended, T3).1.is_empty());
    assert_eq!(apply(&book, "", T3).1.absent, Vec::<String>::new(), "what is retired is not missed");
    let (_, plan) = apply(&book, ACME, T3);
    assert_eq!((plan.changes[0].effect, plan.rows[0].valid_from), (Effect::Adds, at(T3)));
}

#[test]
fn prices_and_budgets_belong_to_accounts_that_somebody_named() {
    refused(&Book::empty(), &format!("{ACME}{}", price("acmee", "web", "1")), T1, "did you mean `acme`?");
    refused(&Book::empty(), &price("other", "web", "1"), T1, "add `[[account]]` with `id = \"other\"`");
    let (book, _) = apply(&Book::empty(), ACME, T1);
    assert_eq!(apply(&book, &price("acme", "web", "1"), T2).1.rows.len(), 1, "an account of the book need not be in the file");
}

#[test]
fn a_budget_stays_with_its_account() {
    let budget = |account: &str, limit: &str| {
        format!(
            "{ACME}[[account]]\nid = \"b\"\n[[budget]]\nid = \"m\"\naccount = \"{account}\"\nperiod = \"month\"\nlimit = \"{limit}\"\n"
        )
    };
    let (book, _) = apply(&Book::empty(), &budget("acme", "10"), T1);
    assert_eq!(shown(&apply(&book, &budget("acme", "20"), T2).1), ["~ budget m: limit 10 -> 20, from 2026-02-01T00:00:00Z"]);
    refused(&book, &budget("b", "10"), T2, "belongs to account `acme`");
}

#[test]
fn a_clock_that_was_set_back_does_not_hide_a_change() {
    let (book, _) = apply(&Book::empty(), &price("*", "web", "1"), T1);
    let (book, _) = apply(&book, &price("*", "web", "2"), T3);
    let (book, plan) = apply(&book, &price("*", "web", "3"), T2);
    assert_eq!(plan.rows[0].valid_from, at(T3));
    assert!(apply(&book, &price("*", "web", "3"), T2).1.is_empty());
}

#[test]
fn a_new_thing_shows_what_it_says() {
    let text = format!("{ACME}low_balance = \"5\"\n{}", rate("*", "llm", "gpt", "0"));
    assert_eq!(
        shown(&apply(&Book::empty(), &text, T1).1),
        [
            "+ account acme: time_zone UTC, charge operations sessions, operations rated, session_anchor 00:00, low_balance 5, for all time",
            "+ rate * llm gpt: per_call 0, for all time",
        ]
    );
}

/// Files that may follow one another: few accounts, platforms, prices and moments, so that they meet.
pub fn files() -> impl Strategy<Value = Vec<String>> {
    let section = (0_usize..4, 0_usize..3, 0_usize..3, 0_usize..3).prop_map(|(kind, which, cost, from)| {
        let section = match kind {
            0 => format!("[[account]]\nid = \"a{which}\"\nname = \"n{cost}\"\n"),
            1 => price(["*", "a0", "a1"][which], ["*", "web", "sms"][cost % 2], &format!("{cost}")),
            2 => rate(["*", "a0", "a1"][which], "llm", ["", "gpt"][cost % 2], &format!("{cost}")),
            _ => format!(
                "[[package]]\nid = \"p{which}\"\ncredits = \"1\"\nprice = \"{cost}\"\ncurrency = \"USD\"\nretired = {}\n",
                cost == 2
            ),
        };
        match (kind, from) {
            (3, _) | (_, 0) => section,
            (_, from) => dated(&section, ["", "2026-01-20T00:00:00Z", "2026-03-20T00:00:00Z"][from]),
        }
    });
    let accounts = "[[account]]\nid = \"a0\"\n[[account]]\nid = \"a1\"\n[[account]]\nid = \"a2\"\n";
    let file = prop::collection::vec(section, 0..6).prop_map(move |sections| {
        let mut text = accounts.to_owned();
        for section in sections {
            if parse(&format!("{text}{section}"), "b").is_ok() {
                text.push_str(&section);
            }
        }
        text
    });
    prop::collection::vec(file, 1..5)
}

proptest! {
    #[test]
    fn applying_any_file_twice_changes_nothing_whenever_that_is(files in files(), later in 0_i64..200) {
        let mut book = Book::empty();
        for (month, text) in files.iter().enumerate() {
            let now = at(["2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z"][month]);
            let Ok(first) = plan(&book, &file(text), now, "ann", NONE_CLOSED, true) else { continue };
            book = Book::from_rows([book.rows(), &first.rows].concat());
            let again = plan(&book, &file(text), now.plus_millis(later * 86_400_000), "bob", NONE_CLOSED, false);
            prop_assert_eq!(again.map(|plan| plan.rows), Ok(Vec::new()), "{}", text);
        }
    }

    #[test]
    fn parsing_never_panics(text in "\\PC{0,60}", key in "(id|account|valid_from|per_call|limit|thresholds|emails)", value in "\\PC{0,30}") {
        let _ = parse(&text, "b").map_err(|error| error.to_string());
        for section in ["account", "rate", "budget"] {
            let _ = parse(&format!("[[{section}]]\n{key} = {value}\n{text}"), "b").map_err(|error| error.to_string());
        }
    }
}
