//! Tables for people, and lines for spreadsheets.

/// Columns below their names; numbers to the right, their points below one another.
pub(super) fn table(columns: &[&str], mut rows: Vec<Vec<String>>) -> String {
    let is_numeric: Vec<bool> = (0..columns.len()).map(|at| align_points(&mut rows, at)).collect();
    let width = |at: usize| rows.iter().map(|row| row[at].chars().count()).chain([columns[at].len()]).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let cells = cells.iter().zip(&widths).zip(&is_numeric);
        let padded: Vec<String> = cells
            .map(|((cell, &width), &is_numeric)| if is_numeric { format!("{cell:>width$}") } else { format!("{cell:<width$}") })
            .collect();
        format!("  {}\n", padded.join("  ").trim_end())
    };
    let rule: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
    let mut text = line(columns.to_vec()) + &line(rule.iter().map(String::as_str).collect());
    text.extend(rows.iter().map(|row| line(row.iter().map(String::as_str).collect())));
    text
}

/// Whether a column holds numbers alone; their decimals are then filled up to the same length.
fn align_points(rows: &mut [Vec<String>], at: usize) -> bool {
    let is_number = |cell: &str| !cell.is_empty() && cell.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if rows.is_empty() || !rows.iter().all(|row| is_number(&row[at])) {
        return false;
    }
    let digits = |cell: &str| cell.split_once('.').map_or(0, |(_, digits)| digits.len());
    let most = rows.iter().map(|row| digits(&row[at])).max().unwrap_or(0);
    for row in rows {
        let cell = &mut row[at];
        let missing = most - digits(cell);
        if most > 0 && !cell.contains('.') {
            cell.push('.');
        }
        cell.push_str(&"0".repeat(missing));
    }
    true
}

/// Text from outside on one line, without signs that move a terminal's cursor.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|sign| if sign.is_control() { ' ' } else { sign }).collect()
}

/// One line of RFC 4180.
pub(super) fn csv(cells: &[String]) -> String {
    let quoted = |text: &String| {
        if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.clone() }
    };
    format!("{}\r\n", cells.iter().map(quoted).collect::<Vec<_>>().join(","))
}
