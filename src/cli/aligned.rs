//! Tables of ready-made cells for people: what the demo and `preview` print.

/// Columns below their names; numbers to the right, their points below one another.
pub(crate) fn table(columns: &[&str], mut rows: Vec<Vec<String>>) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_to_the_right_with_their_points_below_one_another() {
        let rows = [["a", "7", "0.25"], ["bcd", "12", "3"], ["e", "0", "10.5"]].map(|row| row.map(str::to_owned).to_vec());
        let expected =
            "  name  events   cost\n  ────  ──────  ─────\n  a          7   0.25\n  bcd       12   3.00\n  e          0  10.50\n";
        assert_eq!(table(&["name", "events", "cost"], rows.to_vec()), expected);
    }
}
