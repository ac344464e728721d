//! Each rule with the reason it gives.

#![allow(clippy::unwrap_used)]

use std::borrow::Cow;

use super::*;
use crate::model::{Credits, Header, Quantity, Timestamp};

const LIMITS: Limits = Limits { size_max: 4_096, age_max_ms: 86_400_000, ahead_max_ms: 600_000 };
const NOON: Timestamp = Timestamp::from_millis(1_772_366_400_000); // 2026-03-01T12:00:00Z

fn record<'a>(value: &'a [u8], headers: &[(&'a str, &'a str)]) -> Record<'a> {
    let headers = headers.iter().map(|(name, value)| Header { name: name.as_bytes(), value: Some(value.as_bytes()) }).collect();
    Record { offset: 0, timestamp: NOON, leader_epoch: 0, key: None, value: Some(value), headers }
}

/// A minimal event with members added before its closing brace.
fn with(members: &str) -> String {
    format!(r#"{{"id":"e1","time":"2026-03-01T12:00:00Z","account":"acme","agent":"a","category":"llm"{members}}}"#)
}

/// A minimal event with one member replaced or added.
fn set(name: &str, value: &str) -> String {
    let members = [("id", "\"e1\""), ("time", "\"2026-03-01T12:00:00Z\""), ("account", "\"acme\""), ("agent", "\"a\"")];
    let members = members.into_iter().chain([("category", "\"llm\"")]).filter(|(known, _)| *known != name);
    let members: Vec<_> = members.chain([(name, value)]).map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", members.join(","))
}

/// `accepted`, or reason, account and detail.
fn verdict(value: &[u8], headers: &[(&str, &str)]) -> (&'static str, String, String) {
    match decode(&record(value, headers), &LIMITS) {
        Ok(_) => ("accepted", String::new(), String::new()),
        Err(reject) => (reject.reason.as_str(), reject.account, reject.detail),
    }
}

#[track_caller]
fn expect(value: &str, reason: &str, account: &str, detail: &str) {
    let (got_reason, got_account, got_detail) = verdict(value.as_bytes(), &[]);
    assert_eq!((got_reason, got_account.as_str()), (reason, account), "{value}: {got_detail}");
    assert!(got_detail.contains(detail), "{value}: {got_detail:?} lacks {detail:?}");
}

#[test]
fn every_field_is_decoded() {
    let text = with(
        r#","source":"api","platform":"web","user":"zoë","model":"m","duration_ms":0,"input_tokens":9007199254740991,
        "cached_input_tokens":3,"output_tokens":4,"quantity":"1.5","credits":"0.000000001""#,
    );
    let record = record(text.as_bytes(), &[]);
    let decoded = decode(&record, &LIMITS).unwrap();
    let expected = Event {
        id: "e1".into(),
        source: "api".into(),
        time: NOON,
        account: "acme".into(),
        platform: "web".into(),
        user: "zoë".into(),
        agent: "a".into(),
        category: "llm".into(),
        model: "m".into(),
        duration_ms: Some(0),
        input_tokens: Some(9_007_199_254_740_991),
        cached_input_tokens: Some(3),
        output_tokens: Some(4),
        quantity: Some(Quantity::from_nanos(1_500_000_000)),
        credits: Some(Credits::from_nanos(1)),
    };
    assert_eq!(decoded.event, expected);
    assert!(decoded.unknown_fields.is_empty());
    for text in [&decoded.event.id, &decoded.event.user, &decoded.event.category] {
        assert!(matches!(text, Cow::Borrowed(_)));
    }
}

#[test]
fn null_and_the_empty_text_mean_absent_in_optional_fields() {
    let names = ["source", "platform", "user", "model", "duration_ms", "input_tokens", "output_tokens", "cached_input_tokens"];
    for name in names.into_iter().chain(["quantity", "credits"]) {
        for nothing in ["null", "\"\""] {
            let text = set(name, nothing);
            let record = record(text.as_bytes(), &[]);
            assert_eq!(
                decode(&record, &LIMITS).unwrap().event,
                decode(&self::record(with("").as_bytes(), &[]), &LIMITS).unwrap().event
            );
        }
    }
}

#[test]
fn size_comes_before_everything() {
    let fits = with(&format!(",\"x\":\"{}\"", "y".repeat(LIMITS.size_max - with(",\"x\":\"\"").len())));
    assert_eq!(fits.len(), LIMITS.size_max);
    expect(&fits, "accepted", "", "");
    expect(&format!("{fits} "), "too_large", "", "value: 4097 bytes, at most 4096 are taken");
    assert_eq!(verdict(&[0xff; 4_097], &[]).0, "too_large");
}

#[test]
fn what_is_not_one_json_object_is_malformed() {
    let deep = format!("{{\"x\":{}{}}}", "[".repeat(2_000), "]".repeat(2_000));
    let cut = with("").trim_end_matches('}').to_owned();
    let trailing = format!("{}x", with(""));
    let twice = with("").repeat(2);
    let bom = format!("\u{feff}{}", with(""));
    let cases: [(&str, &str); 20] = [
        ("", "empty"),
        (" \n", "not a JSON object"),
        ("null", "not a JSON object"),
        ("[]", "not a JSON object"),
        ("\"text\"", "not a JSON object"),
        ("1", "not a JSON object"),
        (&bom, "not a JSON object"),
        (&cut, "EOF"),
        (&trailing, "trailing"),
        (&twice, "trailing"),
        ("{\"id\":\"a\",}", "trailing comma"),
        ("{'id':'a'}", "key must be a string"),
        ("{\"id\":01}", "invalid number"),
        ("{\"id\":NaN}", "expected"),
        ("{\"id\":\"a\nb\"}", "control character"),
        ("{\"id\":\"\\x\"}", "invalid escape"),
        ("{\"id\":\"\\ud800\"}", "an escape that is no character"),
        ("{\"\\udc00\":1}", "hex escape"),
        ("{\"x\":[1,2}", "expected"),
        ("{\"x\":{\"y\":tru}}", "expected"),
    ];
    for (value, detail) in cases {
        expect(value, "malformed", "", detail);
    }
    assert_eq!(verdict(&[b'{', 0xff, b'}'], &[]), ("malformed", String::new(), "value: not UTF-8 from byte 1 on".to_owned()));
    let tombstone = Record { value: None, ..record(b"", &[]) };
    assert_eq!(decode(&tombstone, &LIMITS).unwrap_err().reason, Reason::Malformed);
    expect(&deep, "missing_field", "", "id: absent");
}

#[test]
fn depth_costs_no_stack() {
    let limits = Limits { size_max: usize::MAX, ..LIMITS };
    for (open, close) in [("[", "]"), ("{\"x\":", "}")] {
        let value = with(&format!(",\"x\":{}1{}", open.repeat(1_000_000), close.repeat(1_000_000)));
        assert_eq!(decode(&record(value.as_bytes(), &[]), &limits).unwrap().unknown_fields, ["x"]);
    }
}

#[test]
fn a_repeated_name_is_malformed() {
    for members in [",\"id\":\"e1\"", ",\"\\u0069d\":null", ",\"x\":1,\"y\":2,\"x\":1", ",\"x\":1,\"\\u0078\":1"] {
        expect(&with(members), "malformed", "", "stands more than once");
    }
    // Inside a value that nobody reads, only the grammar is checked.
    expect(&with(",\"x\":{\"y\":1,\"y\":2}"), "accepted", "", "");
    expect(&with(",\"x\":\"\\ud800\""), "accepted", "", "");
}

#[test]
fn a_required_field_that_is_absent_null_or_empty_is_missing() {
    for name in ["id", "time", "account", "agent", "category"] {
        let account = if name == "account" { "" } else { "acme" };
        expect(&set(name, "null"), "missing_field", account, &format!("{name}: absent, is required"));
        expect(&set(name, "\"\""), "missing_field", account, &format!("{name}: empty, is required"));
    }
    expect("{\"account\":\"acme\"}", "missing_field", "acme", "id: absent, is required; time: absent, is required; agent");
}

#[test]
fn missing_fields_come_before_bad_values_and_these_before_time() {
    expect(r#"{"id":5,"account":"acme","source":7}"#, "missing_field", "acme", "time");
    expect(&set("time", "\"1999-01-01T00:00:00Z\"").replace("\"llm\"", "\"session\""), "bad_value", "acme", "category");
}

#[test]
fn names_are_measured_in_characters_and_hold_no_control_characters() {
    let limits = [("id", 128), ("source", 128), ("account", 64), ("platform", 64), ("user", 256), ("agent", 128), ("category", 32)];
    for (name, chars_max) in limits.into_iter().chain([("model", 128)]) {
        let account = if name == "account" { "" } else { "acme" };
        for character in ["a", "é", "😀"] {
            expect(&set(name, &format!("\"{}\"", character.repeat(chars_max))), "accepted", "", "");
            let too_long = set(name, &format!("\"{}\"", character.repeat(chars_max + 1)));
            let text = &limits_of(chars_max);
            expect(&too_long, "bad_value", account, text);
        }
        for control in ["\\u0000", "\\n", "\u{7f}", "\u{85}", "\\u009f"] {
            expect(&set(name, &format!("\"a{control}b\"")), "bad_value", account, &format!("{name}: \"a\\"));
        }
        for wrong in ["1", "true", "{\"a\":1}", "[\"a\"]"] {
            expect(&set(name, wrong), "bad_value", account, "expected a string");
        }
    }
}

fn limits_of(chars_max: usize) -> String {
    format!("has more than {chars_max} characters")
}

#[test]
fn two_values_are_reserved() {
    expect(&set("account", "\"*\""), "bad_value", "", "account: \"*\" is reserved");
    expect(&set("category", "\"session\""), "bad_value", "acme", "category: \"session\" is reserved");
    for (name, value) in [("account", "\"session\""), ("category", "\"*\""), ("category", "\"Session\""), ("account", "\"**\"")] {
        expect(&set(name, value), "accepted", "", "");
    }
}

#[test]
fn integers_are_written_as_integers_up_to_two_to_the_53rd() {
    for name in ["duration_ms", "input_tokens", "output_tokens", "cached_input_tokens"] {
        for good in ["0", "1", "9007199254740991"] {
            expect(&set(name, good), "accepted", "", "");
        }
        let long = "9".repeat(400);
        for bad in ["9007199254740992", "-1", "-0", "1.0", "1e3", "1E3", "1e999", "18446744073709551616", &long] {
            expect(&set(name, bad), "bad_value", "acme", &format!("{name}: the number {}", &bad[..bad.len().min(32)]));
        }
        for bad in ["\"1\"", "true", "[]", "{}"] {
            expect(&set(name, bad), "bad_value", "acme", "expected an integer");
        }
    }
}

#[test]
fn amounts_are_decimal_strings() {
    for name in ["quantity", "credits"] {
        for good in ["0", "1", "999999999999.999999999", "0.000000001", "007.5"] {
            expect(&set(name, &format!("\"{good}\"")), "accepted", "", "");
        }
        for bad in ["-1", "+1", "1e3", "1_000", ".5", "1.", " 1", "1000000000000", "0.0000000001", "1,5", "NaN", "١"] {
            expect(&set(name, &format!("\"{bad}\"")), "bad_value", "acme", "is not a decimal of at most 12 digits");
        }
        expect(&set(name, "1"), "bad_value", "acme", &format!("{name}: the number 1, expected a decimal string"));
        expect(&set(name, "true"), "bad_value", "acme", &format!("{name}: true, expected a decimal string"));
    }
}

#[test]
fn a_time_has_an_offset_and_is_cut_below_a_millisecond() {
    for (time, millis) in [
        ("2026-03-01T12:00:00Z", 0),
        ("2026-03-01T12:00:00.1239999Z", 123),
        ("2026-03-01t17:30:00.5+05:30", 500),
        ("2026-03-01T11:59:59.9999Z", -1),
    ] {
        let text = set("time", &format!("\"{time}\""));
        assert_eq!(decode(&record(text.as_bytes(), &[]), &LIMITS).unwrap().event.time, NOON.plus_millis(millis), "{time}");
    }
    let bad =
        ["2026-03-01", "2026-03-01T12:00:00", "yesterday", "2026-02-30T00:00:00Z", "2026-03-01T25:00:00Z", " 2026-03-01T12:00:00Z"];
    for time in
        bad.into_iter().chain(["2026-03-01T12:00:00\u{2212}01:00", "2026-03-01T12:00:00+0100", "20260301T120000Z", "1772366400"])
    {
        expect(&set("time", &format!("\"{time}\"")), "bad_value", "acme", "is not an RFC 3339 date and time");
    }
    expect(&set("time", "1772366400"), "bad_value", "acme", "time: the number 1772366400, expected an RFC 3339 string");
}

#[test]
fn the_time_range_includes_its_ends() {
    for (time, reason) in [
        ("2026-03-01T12:10:00Z", "accepted"),
        ("2026-03-01T12:10:00.001Z", "time_out_of_range"),
        ("2026-02-28T12:00:00Z", "accepted"),
        ("2026-02-28T11:59:59.999Z", "time_out_of_range"),
        ("0000-01-01T00:00:00Z", "time_out_of_range"),
        ("9999-12-31T23:59:59Z", "time_out_of_range"),
    ] {
        let account = if reason == "accepted" { "" } else { "acme" };
        expect(&set("time", &format!("\"{time}\"")), reason, account, "");
    }
}

#[test]
fn a_time_that_the_tables_cannot_hold_is_out_of_range_whatever_the_limits() {
    let limits = Limits { size_max: 4_096, age_max_ms: i64::MAX, ahead_max_ms: i64::MAX };
    for (time, is_held) in [
        ("1970-01-02T00:00:00Z", true),
        ("1970-01-01T23:59:59.999Z", false),
        ("2105-12-31T00:00:00Z", true),
        ("2105-12-31T00:00:00.001Z", false),
    ] {
        let text = set("time", &format!("\"{time}\""));
        let record = Record { timestamp: Timestamp::from_millis(0), ..record(text.as_bytes(), &[]) };
        let result = decode(&record, &limits).map(|_| ()).map_err(|reject| reject.reason);
        assert_eq!(result, if is_held { Ok(()) } else { Err(Reason::TimeOutOfRange) }, "{time}");
    }
}

#[test]
fn limits_and_timestamps_at_the_ends_of_their_range_do_no_harm() {
    let text = with("");
    for limit in [i64::MIN, 0, i64::MAX] {
        for timestamp in [i64::MIN, -1, i64::MAX].map(Timestamp::from_millis) {
            let limits = Limits { size_max: usize::MAX, age_max_ms: limit, ahead_max_ms: limit };
            let result = decode(&Record { timestamp, ..record(text.as_bytes(), &[]) }, &limits);
            let is_in_reach = limit == i64::MAX && timestamp.millis() != i64::MIN;
            assert_eq!(result.is_ok(), is_in_reach, "{limit} ms around {timestamp}");
        }
    }
}

#[test]
fn unknown_fields_are_ignored_and_named() {
    let text = with(",\"accuont\":\"x\",\"tags\":{\"a\":[1]},\"\\u0061b\":null");
    let record = record(text.as_bytes(), &[("x", "y")]);
    assert_eq!(decode(&record, &LIMITS).unwrap().unknown_fields, ["accuont", "tags", "ab"]);
}

mod cloudevents {
    use super::*;

    const STRUCTURED: [(&str, &str); 1] = [("content-type", "application/cloudevents+json")];
    const BINARY: [(&str, &str); 4] =
        [("ce_specversion", "1.0"), ("ce_id", "ce1"), ("ce_source", "//ce"), ("ce_time", "2026-03-01T12:01:00Z")];

    fn envelope(attributes: &str, data: &str) -> String {
        format!(r#"{{"specversion":"1.0","type":"agent.used",{attributes}"data":{data}}}"#)
    }

    fn identity(value: &str, headers: &[(&str, &str)]) -> (String, String, String) {
        let record = record(value.as_bytes(), headers);
        let event = decode(&record, &LIMITS).unwrap().event;
        (event.id.into_owned(), event.source.into_owned(), event.time.to_string())
    }

    fn triple(id: &str, source: &str, time: &str) -> (String, String, String) {
        (id.to_owned(), source.to_owned(), time.to_owned())
    }

    #[test]
    fn the_envelope_wins_over_the_data() {
        let wins = triple("ce1", "//ce", "2026-03-01T12:01:00Z");
        let attributes = r#""id":"ce1","source":"//ce","time":"2026-03-01T12:01:00Z","#;
        let data = with(",\"source\":\"data\"");
        assert_eq!(identity(&envelope(attributes, &data), &STRUCTURED), wins);
        assert_eq!(identity(&data, &BINARY), wins);
        assert_eq!(identity(r#"{"account":"acme","agent":"a","category":"llm"}"#, &BINARY), wins);
    }

    #[test]
    fn an_attribute_that_is_absent_leaves_the_datas_word() {
        let data = with(",\"source\":\"data\"");
        let datas = triple("e1", "data", "2026-03-01T12:00:00Z");
        for attributes in ["", r#""id":null,"source":"","time":null,"#] {
            assert_eq!(identity(&envelope(attributes, &data), &STRUCTURED), datas);
        }
        assert_eq!(identity(&data, &BINARY[..1]), datas);
        assert_eq!(identity(&data, &[BINARY[0], ("ce_id", "")]), datas);
    }

    #[test]
    fn binary_comes_before_structured_and_both_before_plain() {
        let data = with("");
        assert_eq!(identity(&data, &[STRUCTURED[0], BINARY[0], BINARY[1]]).0, "ce1");
        assert_eq!(identity(&data, &[BINARY[1]]).0, "e1", "without ce_specversion the record is plain");
        assert_eq!(verdict(envelope("", &data).as_bytes(), &[]).0, "missing_field", "an envelope is not guessed from the body");
    }

    #[test]
    fn a_content_type_may_have_parameters_and_any_case_and_the_last_counts() {
        let value = envelope("\"id\":\"ce1\",", &with(""));
        for content_type in
            ["application/cloudevents+json; charset=utf-8", "Application/CloudEvents+JSON ;x=y", " application/cloudevents+json"]
        {
            assert_eq!(identity(&value, &[("content-type", content_type)]).0, "ce1", "{content_type}");
        }
        assert_eq!(identity(&value, &[("content-type", "text/plain"), STRUCTURED[0]]).0, "ce1");
        assert_eq!(verdict(value.as_bytes(), &[("Content-Type", STRUCTURED[0].1)]).0, "missing_field", "names are as sent");
        assert_eq!(verdict(value.as_bytes(), &[("content-type", "application/json")]).0, "missing_field");
    }

    #[test]
    fn what_we_do_not_take_is_malformed() {
        let data = with("");
        let structured = |text: &str| verdict(text.as_bytes(), &STRUCTURED);
        for (text, detail) in [
            (envelope("", &data).replace("1.0", "0.3"), "specversion: the string \"0.3\""),
            (envelope("", &data).replace("\"1.0\"", "1.0"), "specversion: the number 1.0"),
            (format!("{{\"data\":{data}}}"), "specversion: nothing"),
            (envelope("\"data_base64\":\"e30=\",", &data), "data_base64"),
            (envelope("\"id\":\"a\",\"id\":\"a\",", &data), "\"id\": the name stands more than once"),
            (envelope("\"ext\":1,\"ext\":1,", &data), "\"ext\": the name stands more than once"),
            (envelope("", "{\"id\":1,\"id\":2}"), "\"id\": the name stands more than once"),
            (envelope("", "{\"x\":1,\"x\":2}"), "\"x\": the name stands more than once"),
            (envelope("", "\"{}\""), "data: the string \"{}\", expected an object"),
            (envelope("", "[]"), "data: an array"),
            ("[]".to_owned(), "not a JSON object"),
        ] {
            let (reason, account, got) = structured(&text);
            assert_eq!((reason, account.as_str()), ("malformed", ""), "{text}");
            assert!(got.contains(detail), "{text}: {got}");
        }
        let cases: [(&[(&str, &str)], &str); 4] = [
            (&[("content-type", "application/cloudevents-batch+json; charset=utf-8")], "batch"),
            (&[("ce_specversion", "0.3")], "specversion: the string \"0.3\""),
            (&[("ce_specversion", "1.0"), ("ce_specversion", "1.0")], "ce_specversion: the header stands more than once"),
            (&[("ce_specversion", "1.0"), ("ce_id", "a"), ("ce_id", "b")], "ce_id: the header stands more than once"),
        ];
        for (headers, detail) in cases {
            let (reason, _, got) = verdict(data.as_bytes(), headers);
            assert_eq!(reason, "malformed", "{headers:?}");
            assert!(got.contains(detail), "{headers:?}: {got}");
        }
        let not_utf8 = Header { name: b"ce_id", value: Some(&[0xff]) };
        let no_value = Header { name: b"ce_specversion", value: None };
        for headers in [vec![Header { name: b"ce_specversion", value: Some(b"1.0") }, not_utf8], vec![no_value]] {
            let record = Record { headers, ..record(data.as_bytes(), &[]) };
            assert_eq!(decode(&record, &LIMITS).unwrap_err().reason, Reason::Malformed);
        }
    }

    #[test]
    fn an_envelope_without_data_misses_fields() {
        let attributes = r#""id":"ce1","source":"s","time":"2026-03-01T12:01:00Z","#;
        let (reason, _, detail) = verdict(envelope(attributes, "null").as_bytes(), &STRUCTURED);
        assert_eq!(reason, "missing_field");
        assert!(detail.starts_with("account: absent"), "{detail}");
    }

    #[test]
    fn attributes_obey_the_rules_of_their_fields() {
        let data = with("");
        let long = "s".repeat(129);
        assert_eq!(verdict(data.as_bytes(), &[BINARY[0], ("ce_source", &long)]).0, "bad_value");
        assert_eq!(verdict(data.as_bytes(), &[BINARY[0], ("ce_id", "a\u{0}b")]).0, "bad_value");
        assert_eq!(verdict(data.as_bytes(), &[BINARY[0], ("ce_time", "noon")]).0, "bad_value");
        assert_eq!(verdict(envelope("\"id\":5,", &data).as_bytes(), &STRUCTURED).0, "bad_value");
        assert_eq!(verdict(data.as_bytes(), &[BINARY[0], ("ce_time", "2020-01-01T00:00:00Z")]).0, "time_out_of_range");
    }

    #[test]
    fn extensions_are_not_unknown_but_our_names_in_the_envelope_are() {
        let text = envelope("\"traceparent\":\"00\",\"subject\":\"x\",\"account\":\"other\",", &with(",\"odd\":1"));
        let record = record(text.as_bytes(), &STRUCTURED);
        let decoded = decode(&record, &LIMITS).unwrap();
        assert_eq!(decoded.event.account, "acme");
        assert_eq!(decoded.unknown_fields, ["odd", "account"]);
    }
}
