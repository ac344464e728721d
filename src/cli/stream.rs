//! Rows that are printed as they come: a table whose columns have a width from the start, JSON lines, or CSV.

use std::io::{self, Write};

use serde_json::{Map, Value};

use super::args::Format;
use super::output::Failed;

/// A column: its name, and the width that a table gives it.
pub(super) type Column = (&'static str, usize);

/// Prints rows; the names of the columns stand above the first.
pub(super) struct Stream {
    format: Format,
    columns: &'static [Column],
    begun: bool,
}

impl Stream {
    pub(super) fn new(format: Format, columns: &'static [Column]) -> Self {
        Self { format, columns, begun: false }
    }

    /// Prints rows, each with a value for every column; null is nothing.
    pub(super) fn print(&mut self, rows: impl IntoIterator<Item = Vec<Value>>) -> Result<(), Failed> {
        let mut text = String::new();
        for row in rows {
            if !std::mem::replace(&mut self.begun, true) {
                text += &self.heading();
            }
            text += &self.line(&row);
        }
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failed)
    }

    fn heading(&self) -> String {
        let names = || self.columns.iter().map(|(name, _)| *name);
        match self.format {
            Format::Table => self.padded(names().map(str::to_owned)),
            Format::Json => String::new(),
            Format::Csv => format!("{}\r\n", names().collect::<Vec<_>>().join(",")),
        }
    }

    fn line(&self, row: &[Value]) -> String {
        match self.format {
            Format::Table => self.padded(row.iter().map(plain)),
            Format::Json => {
                let object: Map<_, _> =
                    self.columns.iter().zip(row).map(|((name, _), value)| ((*name).to_owned(), value.clone())).collect();
                format!("{}\n", Value::Object(object))
            }
            Format::Csv => format!("{}\r\n", row.iter().map(|value| quoted(&plain(value))).collect::<Vec<_>>().join(",")),
        }
    }

    /// What is wider than its column pushes the rest of its line.
    fn padded(&self, texts: impl Iterator<Item = String>) -> String {
        let cells: Vec<_> = texts.zip(self.columns).map(|(text, (_, width))| format!("{text:width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const COLUMNS: &[Column] = &[("account", 8), ("cost", 6), ("note", 0)];

    #[test]
    fn a_row_has_a_form_in_each_format() {
        let row = [json!("acme"), json!("0.5"), json!("a, \"b\"")];
        let line = |format| Stream::new(format, COLUMNS).line(&row);
        assert_eq!(line(Format::Table), "acme      0.5     a, \"b\"\n");
        assert_eq!(line(Format::Json), "{\"account\":\"acme\",\"cost\":\"0.5\",\"note\":\"a, \\\"b\\\"\"}\n");
        assert_eq!(line(Format::Csv), "acme,0.5,\"a, \"\"b\"\"\"\r\n");
        assert_eq!(Stream::new(Format::Table, COLUMNS).line(&[json!("acme"), Value::Null, Value::Null]), "acme\n");
        assert_eq!(Stream::new(Format::Csv, COLUMNS).line(&[json!(true), Value::Null, json!(3)]), "true,,3\r\n");
    }

    #[test]
    fn the_names_stand_above_the_first_row() {
        assert_eq!(Stream::new(Format::Table, COLUMNS).heading(), "account   cost    note\n");
        assert_eq!(Stream::new(Format::Csv, COLUMNS).heading(), "account,cost,note\r\n");
        assert_eq!(Stream::new(Format::Json, COLUMNS).heading(), "");
    }
}
