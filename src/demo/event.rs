//! What the agents of the demo's four accounts publish.
//!
//! Holds: the same random numbers give the same events. Absent on purpose: ids and times, which the one who publishes adds.

use rand::Rng;
use serde_json::{Map, Value, json};

/// Where the demo's own events come from; what a person sends comes from elsewhere.
pub const SOURCE: &str = "demo";

/// A customer, one of so many, writes to a support agent on the web or on WhatsApp.
pub fn acme(rng: &mut impl Rng, customers: u32) -> Value {
    let platform = if rng.random_range(0..3) == 0 { "whatsapp" } else { "web" };
    let user = format!("customer-{}", rng.random_range(1..=customers));
    let input = rng.random_range(200..3_000);
    let output = rng.random_range(50..600);
    json!({ "account": "acme", "platform": platform, "user": user, "agent": "support-triage", "category": "llm",
        "model": "gpt-4o-mini", "duration_ms": rng.random_range(400..6_000), "input_tokens": input, "output_tokens": output })
}

/// An analyst's agent reads, queries or reasons.
pub fn globex(rng: &mut impl Rng) -> Value {
    let event = match rng.random_range(0..10) {
        0..=3 => {
            let input = rng.random_range(1_000..12_000);
            json!({ "agent": "market-researcher", "category": "llm", "model": "gpt-4o", "input_tokens": input,
                "cached_input_tokens": rng.random_range(0..=input), "output_tokens": rng.random_range(200..2_000) })
        }
        4..=5 => json!({ "agent": "meeting-notes", "category": "llm", "model": "gpt-4o-mini",
            "input_tokens": rng.random_range(2_000..15_000), "output_tokens": rng.random_range(200..1_500) }),
        6..=7 => json!({ "agent": "sql-analyst", "category": "sql" }),
        _ => json!({ "agent": "contract-reader", "category": "document", "model": "layout-reader-2",
            "quantity": rng.random_range(1..40).to_string() }),
    };
    let duration = rng.random_range(40..25_000);
    with(event, &[("account", json!("globex")), ("duration_ms", json!(duration))])
}

/// An agent reads the web without end: so many thousand tokens at 2.5 credits.
pub fn crawler(thousands: u32) -> Value {
    json!({ "account": "globex", "agent": "web-crawler", "category": "llm", "model": "gpt-4o", "input_tokens": thousands * 1_000 })
}

/// Somebody tries a model before it has a price.
pub fn unpriced(rng: &mut impl Rng) -> Value {
    json!({ "account": "globex", "agent": "market-researcher", "category": "llm", "model": "gpt-next-preview",
        "duration_ms": 9_000, "input_tokens": rng.random_range(1_000..9_000), "output_tokens": 700 })
}

/// An agent buys elsewhere and reports what it paid.
pub fn initech(rng: &mut impl Rng) -> Value {
    let (agent, category, model) = match rng.random_range(0..3) {
        0 => ("campaign-studio", "image", "flux-1.1-pro"),
        1 => ("campaign-studio", "video", "veo-3"),
        _ => ("call-summaries", "sound", "whisper-large-v3"),
    };
    let credits = format!("{}.{:04}", rng.random_range(0..3), rng.random_range(0..10_000));
    json!({ "account": "initech", "agent": agent, "category": category, "model": model,
        "duration_ms": rng.random_range(1_000..60_000), "credits": credits })
}

/// A pupil, one of so many, asks a tutor.
pub fn sunrise(rng: &mut impl Rng, pupils: u32) -> Value {
    let user = format!("pupil-{}", rng.random_range(1..=pupils));
    json!({ "account": "sunrise", "platform": "web", "user": user, "agent": "tutor", "category": "llm",
        "model": "gpt-4o-mini", "duration_ms": rng.random_range(300..4_000), "input_tokens": 900, "output_tokens": 300 })
}

/// The event with these fields over its own.
pub fn with(event: Value, fields: &[(&str, Value)]) -> Value {
    let mut all: Map<String, Value> = match event {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    all.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    Value::Object(all)
}
