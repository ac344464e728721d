use super::*;

const EXAMPLE: &str = include_str!("../../config/book.example.toml");

fn refused(text: &str) -> String {
    parse(text, "book.toml").expect_err(text).to_string()
}

fn row(text: &str) -> Row {
    parse(text, "book.toml").unwrap_or_else(|error| panic!("{error}")).entries.remove(0).row
}

#[track_caller]
fn says(text: &str, parts: &[&str]) {
    let error = refused(text);
    for part in parts {
        assert!(error.contains(part), "`{part}` is not in\n{error}");
    }
}

#[test]
fn the_example_has_every_section_and_every_key() {
    let file = parse(EXAMPLE, "book.example.toml").unwrap_or_else(|error| panic!("{error}"));
    for kind in Kind::ALL {
        assert!(file.entries.iter().any(|entry| entry.row.kind == kind), "{kind:?}");
    }
    for key in [
        "name",
        "time_zone",
        "charge",
        "operations",
        "session_anchor",
        "emails",
        "low_balance",
        "spikes",
        "valid_from",
        "retired",
        "platform",
        "unit_session_cost",
        "category",
        "model",
        "per_call",
        "per_1k_input_tokens",
        "per_1k_cached_input_tokens",
        "per_1k_output_tokens",
        "per_second",
        "per_unit",
        "period",
        "limit",
        "thresholds",
        "forecast",
        "credits",
        "price",
        "currency",
        "per_credit",
        "minimum",
        "maximum",
    ] {
        assert!(EXAMPLE.contains(&format!("\n{key} = ")), "{key}");
    }
}

#[test]
fn the_rate_card_has_rates_for_everyone_and_says_of_when_and_whence_they_are() {
    const CARD: &str = include_str!("../../config/rate-card.example.toml");
    let card = parse(CARD, "rate-card.example.toml").expect("the example is right");
    assert!(card.entries.len() > 10 && card.entries.iter().all(|entry| entry.row.kind == Kind::Rate && entry.row.account == EVERY));
    for part in ["May 2025", "openai.com/api/pricing", "anthropic.com/pricing", "not a default"] {
        assert!(CARD.contains(part), "{part}");
    }
}

#[test]
fn an_error_shows_the_line_the_place_and_what_was_meant() {
    let error = refused("[[rate]]\naccount = \"*\"\ncategory = \"llm\"\n\tper_cal = \"1\"\n");
    let expected =
        "book.toml:4:2: rate[1].per_cal: unknown key\n  |\n4 | \tper_cal = \"1\"\n  | \t^^^^^^^ did you mean `per_call`?";
    assert_eq!(error, expected);
}

#[test]
fn the_column_counts_characters_and_not_bytes() {
    let error = refused("[[account]]\nid = \"é\"\nemails = [\"ü@x\", \"nobody\"]\n");
    assert!(error.starts_with("book.toml:3:18: account[1].emails: `nobody` is not a mail address\n"), "{error}");
}

#[test]
fn what_is_not_toml_is_refused_with_its_place() {
    says("[[account]]\nid = \n", &["book.toml:2:"]);
    says("[[account]]\nid = \"a\"\nid = \"b\"\n", &["book.toml:3:1", "duplicate key"]);
}

#[test]
fn unknown_sections_and_keys_are_refused_with_a_hint() {
    says("[[accounts]]\nid = \"a\"\n", &["unknown section", "did you mean `account`?"]);
    says("[account]\nid = \"a\"\n", &["write `[[account]]`"]);
    says("account = 1\n", &["write `[[account]]`"]);
    says("[[account]]\nid = \"a\"\ntimezone = \"UTC\"\n", &["account[1].timezone: unknown key", "did you mean `time_zone`?"]);
    says("[[account]]\nid = \"a\"\ncolour = \"red\"\n", &["account[1].colour: unknown key"]);
    says("[[rate]]\naccount = \"*\"\ncategory = \"llm\"\nper_1k_tokens = \"1\"\n", &["did you mean `per_1k_input_tokens`?"]);
    says("[[rate]]\naccount = \"*\"\ncategory = \"llm\"\nper_call = \"1\"\nretired = true\n", &["a price ends when another"]);
}

#[test]
fn the_first_error_in_the_file_is_shown() {
    says("[[rate]]\ncategory = 1\n[[account]]\nid = 1\n", &["book.toml:1", "rate[1]"]);
}

#[test]
fn amounts_are_decimals_in_quotes() {
    let rate = |amount: &str| format!("[[rate]]\naccount = \"*\"\ncategory = \"llm\"\nper_call = {amount}\n");
    says(&rate("2.5"), &["rate[1].per_call", "float", "write \"2.5\""]);
    says(&rate("2"), &["in quotes", "write \"2\""]);
    for wrong in ["\"-1\"", "\"1e3\"", "\"\"", "\"1.0000000001\"", "\"1000000000000\"", "true"] {
        says(&rate(wrong), &["book.toml:4:12"]);
    }
    assert_eq!(row(&rate("\"2.500\"")).per_call.to_string(), "2.5");
}

#[test]
fn moments_carry_an_offset() {
    let price = |from: &str| format!("[[session_price]]\naccount = \"*\"\nunit_session_cost = \"1\"\nvalid_from = {from}\n");
    for wrong in [
        "2026-01-01T00:00:00",
        "2026-01-01",
        "10:00:00",
        "\"2026-01-01T00:00:00Z\"",
        "1970-01-01T00:00:00Z",
        "2106-01-01T00:00:00Z",
        "1",
    ] {
        says(&price(wrong), &["session_price[1].valid_from", "book.toml:4:14"]);
    }
    let file = parse(&price("2026-01-01T02:00:00+02:00"), "b").expect("a moment");
    assert_eq!(file.entries[0].valid_from, Timestamp::parse("2026-01-01T00:00:00Z"));
}

#[test]
fn time_zones_are_those_of_iana() {
    let account = |zone: &str| format!("[[account]]\nid = \"a\"\ntime_zone = \"{zone}\"\n");
    says(&account("Europe/Berln"), &["account[1].time_zone: unknown time zone `Europe/Berln`", "did you mean `Europe/Berlin`?"]);
    says(&account("CEST+1"), &["unknown time zone"]);
    assert_eq!(row(&account("Australia/Lord_Howe")).time_zone, "Australia/Lord_Howe");
}

#[test]
fn an_account_needs_only_an_id() {
    let row = row("[[account]]\nid = \"a\"\n");
    assert_eq!((&*row.time_zone, &*row.operations, row.charge.join(" ")), ("UTC", "rated", "operations sessions".to_owned()));
    assert!(!row.has_low_balance && !row.spikes && !row.retired && row.emails.is_empty());
    says("[[account]]\nname = \"A\"\n", &["`id` is missing"]);
    says("[[account]]\nid = \"*\"\n", &["only in prices"]);
    says("[[account]]\nid = \"\"\n", &["is empty"]);
    says("[[account]]\nid = \"a\\u0000b\"\n", &["control character"]);
    says(&format!("[[account]]\nid = \"{}\"\n", "x".repeat(65)), &["more than 64"]);
}

#[test]
fn words_are_of_a_closed_list() {
    says("[[account]]\nid = \"a\"\ncharge = [\"session\"]\n", &["account[1].charge", "did you mean `sessions`?"]);
    says("[[account]]\nid = \"a\"\ncharge = [\"sessions\", \"sessions\"]\n", &["stands twice"]);
    says("[[account]]\nid = \"a\"\ncharge = \"sessions\"\n", &["expected a list"]);
    says("[[account]]\nid = \"a\"\noperations = \"reportd\"\n", &["did you mean `reported`?"]);
    assert!(row("[[account]]\nid = \"a\"\ncharge = []\n").charge.is_empty());
    says("[[account]]\nid = \"a\"\nsession_anchor = \"25:00\"\n", &["`25:00` is not a time of day"]);
    says("[[account]]\nid = \"a\"\nsession_anchor = 18:30:00\n", &["session_anchor"]);
}

#[test]
fn mail_addresses_look_like_addresses() {
    for wrong in ["a", "@b", "a@", "a b@c", "a@b c", "<a@b>", "a@@b", "a@b..c", "a\\n@b", "a,b@c", "a@-b"] {
        says(&format!("[[account]]\nid = \"a\"\nemails = [\"{wrong}\"]\n"), &["is not a mail address"]);
    }
    says("[[account]]\nid = \"a\"\nemails = [\"a@b\", \"a@b\"]\n", &["stands twice"]);
    assert_eq!(row("[[account]]\nid = \"a\"\nemails = [\"x+y@b.example\", \"ops@localhost\"]\n").emails.len(), 2);
}

#[test]
fn a_rate_for_nothing_is_refused_and_a_price_of_zero_is_not() {
    says("[[rate]]\naccount = \"*\"\ncategory = \"llm\"\n", &["a rate for nothing", "per_call"]);
    assert_eq!(row("[[rate]]\naccount = \"*\"\ncategory = \"llm\"\nper_call = \"0\"\n").per_call, Credits::ZERO);
    assert!(row("[[rate]]\naccount = \"*\"\ncategory = \"llm\"\nper_1k_cached_input_tokens = \"0\"\n").has_cached_price);
}

#[test]
fn reserved_names_are_refused() {
    says("[[rate]]\naccount = \"*\"\ncategory = \"session\"\nper_call = \"1\"\n", &["reserved"]);
    says("[[rate]]\naccount = \"*\"\ncategory = \"*\"\nper_call = \"1\"\n", &["no category"]);
    says("[[rate]]\naccount = \"*\"\ncategory = \"llm\"\nmodel = \"*\"\nper_call = \"1\"\n", &["leave it out"]);
    says("[[rate]]\ncategory = \"llm\"\nper_call = \"1\"\n", &["`account` is missing", "everyone"]);
    says("[[budget]]\nid = \"b\"\naccount = \"*\"\nperiod = \"day\"\nlimit = \"1\"\n", &["only in prices"]);
    says("[[budget]]\nid = \"b\"\naccount = \"a\"\nplatform = \"*\"\nperiod = \"day\"\nlimit = \"1\"\n", &["leave it out"]);
    assert_eq!(row("[[session_price]]\naccount = \"*\"\nunit_session_cost = \"1\"\n").platform, "*");
}

#[test]
fn a_budgets_thresholds_are_percents() {
    let budget = |more: &str| format!("[[budget]]\nid = \"b\"\naccount = \"a\"\nperiod = \"month\"\nlimit = \"10\"\n{more}\n");
    assert_eq!(row(&budget("thresholds = [100, 1, 1000]")).thresholds, [1, 100, 1000]);
    assert_eq!(row(&budget("")).thresholds, [50, 80, 100]);
    for wrong in ["[0]", "[1001]", "[-1]", "[50.0]", "[\"50\"]", "[50, 50]", "50", "[0x32]"] {
        says(&budget(&format!("thresholds = {wrong}")), &["budget[1].thresholds", "book.toml:6:"]);
    }
    says(&budget("").replace("\"10\"", "\"0\""), &["budget[1].limit: is 0"]);
    says(&budget("").replace("month", "year"), &["`year` is none of day, week, month"]);
    says(&budget("forecast = 1"), &["expected true or false, found a whole number"]);
}

#[test]
fn credits_are_sold_in_a_currency() {
    let price = |more: &str| format!("[[credit_price]]\nper_credit = \"0.01\"\n{more}\n");
    says(&price("currency = \"usd\"\nminimum = \"1\"\nmaximum = \"2\""), &["not a currency code"]);
    says(&price("currency = \"USD\"\nminimum = \"3\"\nmaximum = \"2\""), &["less than the minimum of 3"]);
    says(&price("currency = \"USD\"\nmaximum = \"2\""), &["`minimum` is missing"]);
    says("[[package]]\nid = \"p\"\ncredits = \"0\"\nprice = \"1\"\ncurrency = \"USD\"\n", &["package[1].credits: is 0"]);
}

#[test]
fn the_same_thing_twice_for_the_same_time_is_refused() {
    let price = "[[session_price]]\naccount = \"*\"\nplatform = \"web\"\nunit_session_cost = \"1\"\n";
    says(&price.repeat(2), &["session_price * web without `valid_from` stands twice", "session_price[1]", "book.toml:5:"]);
    let dated = format!("{price}valid_from = 2026-01-01T00:00:00Z\n");
    let again = format!("{price}valid_from = 2026-01-01T01:00:00+01:00\n");
    says(&format!("{dated}{again}"), &["from 2026-01-01T00:00:00Z stands twice"]);
    assert_eq!(parse(&format!("{price}{dated}"), "b").expect("two times").len(), 2);
    let budget = "[[budget]]\nid = \"b\"\naccount = \"a\"\nperiod = \"day\"\nlimit = \"1\"\n";
    says(&format!("{budget}{}", budget.replace("\"a\"", "\"c\"")), &["budget b"]);
}

#[test]
fn an_empty_file_is_a_book_of_nothing() {
    assert!(parse("# nothing yet\n", "b").expect("an empty file").is_empty());
}
