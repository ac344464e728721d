//! Records as no generator makes them.

use super::oracle::views;
use super::scenario::now_ms;
use super::servers::Message;

/// Records as nobody's generator makes them: each reason to reject, each way to be unpriced or unattributed, every envelope.
pub fn odd_records() -> Vec<Message> {
    let now = views::moment(now_ms());
    let event = |id: &str, rest: &str| {
        format!(
            r#"{{"id":"{id}","time":"{now}","account":"load-1","agent":"odd","category":"llm","platform":"web","user":"u"{rest}}}"#
        )
    };
    let with = |id: &str, field: &str, value: &str| {
        let mut object: serde_json::Value = serde_json::from_str(&event(id, "")).unwrap();
        object[field] = serde_json::from_str(value).unwrap();
        object.to_string()
    };
    let values = vec![
        // Accepted by rule.
        event("o1", r#","input_tokens":1000"#),
        with("o2", "account", r#""stranger""#),
        with("o3", "user", "null"),
        with("o4", "platform", r#""""#),
        with("o5", "category", r#""haptic""#),
        with("o6", "account", r#""load-5""#),
        with("o7", "agent", r#""Ünïcødé \"🙂\" \\ \u2028""#),
        with("o8", "category", r#""training""#),
        with("o9", "unknown_field", r#"{"deep":[1,2,{"x":null}]}"#),
        event("o10", r#","input_tokens":100,"cached_input_tokens":400,"output_tokens":9007199254740991"#),
        event("o11", r#","cached_input_tokens":400,"quantity":"999999999999.999999999""#),
        with("o12", "time", &format!("\"{}\"", now.replace("+00:00", "Z"))),
        // Repeated and changed.
        event("o1", r#","input_tokens":1000"#),
        event("o1", r#" , "input_tokens" : 1000 , "model" : """#),
        event("o1", r#","input_tokens":1001"#),
        event("o1", r#","input_tokens":1000"#),
        // Rejected.
        event("r1", r#","credits":1.5"#),
        event("r2", r#","credits":"1e3""#),
        event("r3", r#","credits":"-1""#),
        event("r4", r#","input_tokens":1.0"#),
        event("r5", r#","input_tokens":9007199254740992"#),
        event("r6", r#","user":"v""#),
        with("r7", "account", r#""*""#),
        with("r8", "category", r#""session""#),
        with("r9", "account", r#""""#),
        with("r10", "agent", r#""a\u0000b""#),
        with("r11", "time", r#""yesterday""#),
        with("r12", "time", &format!("\"{}\"", views::moment(now_ms() + 3_600_000))),
        with("r13", "time", &format!("\"{}\"", views::moment(now_ms() - 36 * 86_400_000))),
        with("r14", "user", &format!("\"{}\"", "x".repeat(257))),
        event("r15", &format!(r#","model":"{}""#, "x".repeat(300_000))),
        "[]".to_owned(),
        "{}".to_owned(),
        "null".to_owned(),
        "{\"id\":".to_owned() + &"[".repeat(100_000),
    ];
    let mut records: Vec<Message> = (0..).zip(values).map(|(n, value)| Message::to(0, format!("key-{n}"), value)).collect();
    let own = |name: &str, value: &[u8]| (name.to_owned(), Some(value.to_vec()));
    let envelope = |id: &str, version: &str| {
        format!(r#"{{"specversion":"{version}","type":"t","id":"{id}","source":"s","time":"{now}","data":{}}}"#, event("inner", ""))
    };
    let structured = |id: &str, version: &str| Message {
        headers: vec![own("content-type", b"application/cloudevents+json")],
        ..Message::to(1, "ce", envelope(id, version))
    };
    let binary = |id: &str, version: &str| Message {
        headers: vec![own("ce_specversion", version.as_bytes()), own("ce_id", id.as_bytes()), own("ce_source", b"s")],
        ..Message::to(2, "ce", event("inner", ""))
    };
    records.extend([
        structured("c1", "1.0"),
        structured("c1", "1.0"),
        structured("c2", "0.3"),
        binary("c3", "1.0"),
        binary("c4", "2.0"),
    ]);
    // Any bytes, everywhere; headers are kept with the reject.
    records.extend([
        Message { partition: Some(3), ..Message::default() },
        Message::to(4, [0xff, 0, 1], [0xff, 0xfe, 0]),
        Message {
            headers: vec![own("trace", &[0, 255]), ("empty".to_owned(), None), own("trace", b"")],
            ..Message::to(5, "", "{")
        },
    ]);
    records
}
