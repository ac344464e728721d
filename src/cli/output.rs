//! Results on standard output, as a table, JSON or CSV.

use std::io::{self, Write};

use serde_json::{Map, Value};

use super::args::Format;

/// Standard output does not take our results.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the result: {0}")]
pub(super) struct Failed(pub(super) io::Error);

/// One thing with named values.
pub(super) fn record(format: Format, fields: &[(&str, Value)]) -> Result<(), Failed> {
    let text = match format {
        Format::Table => {
            let width = fields.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
            fields.iter().map(|(name, value)| format!("{name:width$}  {}\n", plain(value))).collect()
        }
        Format::Json => {
            let object: Map<String, Value> = fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
            format!("{}\n", Value::Object(object))
        }
        Format::Csv => {
            let names: Vec<_> = fields.iter().map(|(name, _)| quoted(name)).collect();
            let values: Vec<_> = fields.iter().map(|(_, value)| quoted(&plain(value))).collect();
            format!("{}\r\n{}\r\n", names.join(","), values.join(","))
        }
    };
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failed)
}

/// One line of text.
pub(super) fn line(text: &str) -> Result<(), Failed> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").map_err(Failed)
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}
