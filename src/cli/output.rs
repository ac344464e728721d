//! Results on standard output, as a table, JSON or CSV.

use std::io::{self, BufWriter, Write};

use serde_json::{Map, Value};

use super::args::Format;
use crate::model::Credits;

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

/// Many things with the same named values: an aligned table, one JSON object a line, or CSV. JSON and CSV are written as they come; a table
/// is held until its widths are known.
pub(super) fn rows(format: Format, columns: &[&str], rows: impl Iterator<Item = Vec<Value>>) -> Result<(), Failed> {
    let mut out = BufWriter::new(io::stdout().lock());
    let write = || {
        match format {
            Format::Table => out.write_all(table(columns, &rows.collect::<Vec<_>>(), None).as_bytes())?,
            Format::Json => {
                for row in rows {
                    // Not an object of serde_json: it would sort the columns.
                    let fields = columns.iter().zip(&row).map(|(name, value)| format!("{}:{value}", Value::from(*name)));
                    writeln!(out, "{{{}}}", fields.collect::<Vec<_>>().join(","))?;
                }
            }
            Format::Csv => {
                let line = |cells: Vec<String>| format!("{}\r\n", cells.join(","));
                out.write_all(line(columns.iter().map(|name| quoted(name)).collect()).as_bytes())?;
                for row in rows {
                    out.write_all(line(row.iter().map(|value| quoted(&plain(value))).collect()).as_bytes())?;
                }
            }
        }
        out.flush()
    };
    write().map_err(Failed)
}

/// Columns below their names, numbers to the right with their points below one another, a rule between names and rows, and another one before
/// the last row when there is one.
pub(super) fn table(columns: &[&str], rows: &[Vec<Value>], last: Option<&[Value]>) -> String {
    let all = || rows.iter().map(Vec::as_slice).chain(last);
    let cell = |row: &[Value], at: usize| row.get(at).map(visible).unwrap_or_default();
    let columns: Vec<Column> =
        columns.iter().enumerate().map(|(at, name)| Column::new(name, all().map(|row| cell(row, at)).collect())).collect();
    let line = |cells: Vec<String>| format!("{}\n", cells.join("  ").trim_end());
    let rule = || line(columns.iter().map(|column| "─".repeat(column.width)).collect());
    let mut text = line(columns.iter().map(|column| column.padded(&column.name)).collect()) + &rule();
    for at in 0..all().count() {
        if at == rows.len() {
            text += &rule();
        }
        text += &line(columns.iter().map(|column| column.padded(&column.cells[at])).collect());
    }
    text
}

struct Column {
    name: String,
    cells: Vec<String>,
    width: usize,
    is_numeric: bool,
}

impl Column {
    fn new(name: &str, mut cells: Vec<String>) -> Self {
        let is_numeric = cells.iter().any(|cell| !cell.is_empty()) && cells.iter().all(|cell| cell.is_empty() || is_number(cell));
        if is_numeric {
            align_points(&mut cells);
        }
        let width = cells.iter().map(|cell| cell.chars().count()).chain([name.chars().count()]).max().unwrap_or(0);
        Self { name: name.to_owned(), cells, width, is_numeric }
    }

    fn padded(&self, text: &str) -> String {
        let width = self.width;
        if self.is_numeric { format!("{text:>width$}") } else { format!("{text:<width$}") }
    }
}

/// An amount of credits as ClickHouse writes it: exact for programs; for people rounded once, half to even, to two digits.
pub(super) fn amount(format: Format, exact: &str) -> Value {
    let rounded = || Credits::parse_sum(exact).map(|credits| cents(credits.nanos()));
    Value::from(if format == Format::Table { rounded().unwrap_or_else(|| exact.to_owned()) } else { exact.to_owned() })
}

fn cents(nanos: i128) -> String {
    const NANOS_PER_CENT: u128 = 10_000_000;
    let size = nanos.unsigned_abs();
    let (cents, rest) = (size / NANOS_PER_CENT, size % NANOS_PER_CENT);
    let is_more = rest * 2 > NANOS_PER_CENT || (rest * 2 == NANOS_PER_CENT && cents % 2 == 1);
    let cents = cents + u128::from(is_more);
    let sign = if nanos < 0 && cents > 0 { "-" } else { "" };
    format!("{sign}{}.{:02}", cents / 100, cents % 100)
}

/// What a value looks like in a table: on one line, whatever it holds.
fn visible(value: &Value) -> String {
    plain(value).chars().map(|sign| if sign.is_control() { ' ' } else { sign }).collect()
}

fn is_number(cell: &str) -> bool {
    let digits = cell.strip_prefix('-').unwrap_or(cell);
    let points = digits.bytes().filter(|byte| *byte == b'.').count();
    points <= 1
        && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
        && digits.as_bytes().first().is_some_and(u8::is_ascii_digit)
}

fn align_points(cells: &mut [String]) {
    let digits = |cell: &str| cell.split_once('.').map_or(0, |(_, digits)| digits.len());
    let most = cells.iter().map(|cell| digits(cell)).max().unwrap_or(0);
    for cell in cells.iter_mut().filter(|cell| !cell.is_empty() && most > 0) {
        let missing = most - digits(cell);
        if !cell.contains('.') {
            cell.push('.');
        }
        cell.push_str(&"0".repeat(missing));
    }
}

/// Text of several lines.
pub(super) fn text(text: &str) -> Result<(), Failed> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failed)
}

/// One line of text.
pub(super) fn line(text: &str) -> Result<(), Failed> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").map_err(Failed)
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
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

    #[test]
    fn a_table_has_its_points_below_one_another_and_its_last_row_under_a_rule() {
        let rows = [vec![json!("a"), json!(7), json!("0.25")], vec![json!("b\nc"), Value::Null, json!("-12")]];
        let last = [json!("total"), json!(7), json!("-11.75")];
        let expected = "name   events    cost\n─────  ──────  ──────\na           7    0.25\nb c            -12.00\n─────  ──────  ──────\ntotal       7  -11.75\n";
        assert_eq!(table(&["name", "events", "cost"], &rows, Some(&last)), expected);
    }

    #[test]
    fn what_only_looks_like_a_number_stays_on_the_left() {
        let rows = [vec![json!("2026-01-02"), json!("1.2.3"), json!("")]];
        assert_eq!(
            table(&["day", "version", "empty"], &rows, None),
            "day         version  empty\n──────────  ───────  ─────\n2026-01-02  1.2.3\n"
        );
        assert_eq!(table(&["day"], &[], None), "day\n───\n");
    }

    #[test]
    fn an_amount_is_exact_for_programs_and_rounded_half_to_even_for_people() {
        for (exact, rounded) in [
            ("0", "0.00"),
            ("0.005", "0.00"),
            ("0.015", "0.02"),
            ("0.005000001", "0.01"),
            ("-0.015", "-0.02"),
            ("-0.001", "0.00"),
            ("12.5", "12.50"),
            ("99999999999999999999999999999.999999999", "100000000000000000000000000000.00"),
        ] {
            assert_eq!(amount(Format::Table, exact), rounded, "{exact}");
            assert_eq!(amount(Format::Csv, exact), exact);
        }
    }
}
