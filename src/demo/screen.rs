//! Lines on a terminal, drawn again in their place.
//!
//! Holds: nothing that was on the terminal before is overwritten, it scrolls up; no line is longer than the terminal is wide; when it
//! ends, what was drawn stays and the next line goes below. Absent on purpose: any change of the terminal's mode, which a killed
//! process could not undo.

use std::io::{self, IsTerminal, Write};
use std::{env, fmt::Write as _};

/// Every so many drawings all lines are drawn, whoever wrote over them meanwhile.
const ALL_EVERY: u32 = 5;

/// Of the terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub columns: usize,
    pub rows: usize,
}

/// A line: the name of its part, if it is the first of one, and the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub head: &'static str,
    pub text: String,
}

/// The column at which texts begin.
pub const INDENT: usize = 10;

/// Whether there is a terminal on which lines can be drawn again.
pub fn is_possible() -> bool {
    let term = env::var_os("TERM").unwrap_or_default();
    io::stdout().is_terminal() && io::stderr().is_terminal() && !term.is_empty() && term != "dumb"
}

/// The terminal of standard output.
#[derive(Debug)]
pub struct Screen {
    colour: bool,
    size: Size,
    shown: Vec<String>,
    drawings: u32,
}

impl Screen {
    /// Scrolls up what the terminal shows.
    pub fn open() -> io::Result<Self> {
        let size = size();
        write(&"\n".repeat(size.rows))?;
        let colour = env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Ok(Self { colour, size, shown: Vec::new(), drawings: 0 })
    }

    /// Draws what the function makes for the terminal's present size.
    pub fn draw(&mut self, lines: impl FnOnce(Size) -> Vec<Line>) -> io::Result<()> {
        let size = size();
        let lines: Vec<String> = fitted(lines(size), size).iter().map(|line| self.drawn(line)).collect();
        let mut text = String::new();
        let all = size != self.size || self.drawings.is_multiple_of(ALL_EVERY);
        if size != self.size {
            text.push_str("\x1b[H\x1b[2J"); // the terminal has broken the old lines anew
        }
        for (at, line) in lines.iter().enumerate() {
            if all || self.shown.get(at) != Some(line) {
                // Writing into a String never fails.
                let _ = write!(text, "\x1b[{};1H{line}\x1b[K", at + 1);
            }
        }
        let _ = write!(text, "\x1b[{};1H\x1b[J", lines.len() + 1);
        (self.size, self.shown, self.drawings) = (size, lines, self.drawings.wrapping_add(1));
        write(&text)
    }

    fn drawn(&self, line: &Line) -> String {
        if self.colour && !line.head.is_empty() {
            let head = format!("{:<INDENT$}", line.head);
            return format!("\x1b[1m{head}\x1b[0m{}", line.text);
        }
        format!("{:<INDENT$}{}", line.head, line.text).trim_end().to_owned()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Away with the ^C of the keyboard. A terminal that is gone needs no cleaning.
        let _ = write("\r\x1b[J");
    }
}

fn size() -> Size {
    let (columns, rows) = terminal_size::terminal_size_of(io::stdout()).map_or((0, 0), |(columns, rows)| (columns.0, rows.0));
    let or = |value: u16, usual: usize| if value == 0 { usual } else { usize::from(value) };
    Size { columns: or(columns, 80), rows: or(rows, 24) }
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush())
}

/// Without its empty lines where there is little room, and without its last ones where there is even less.
fn fitted(mut lines: Vec<Line>, size: Size) -> Vec<Line> {
    let room = size.rows.saturating_sub(2); // the cursor's line, and one for whoever presses Enter
    if lines.len() > room {
        lines.retain(|line| !line.head.is_empty() || !line.text.is_empty());
        lines.truncate(room);
    }
    for line in &mut lines {
        line.text = cut(&line.text, size.columns.saturating_sub(INDENT));
    }
    lines
}

/// At most so many characters, each as wide as one; an ellipsis where something is missing.
pub fn cut(text: &str, columns: usize) -> String {
    let narrow =
        |sign: char| matches!(sign, ' '..='~' | '\u{a1}'..='\u{2ff}' | '\u{370}'..='\u{482}' | '\u{48a}'..='\u{58f}' | '–' | '…');
    let signs: Vec<char> = text.chars().map(|sign| if narrow(sign) && sign != '\u{ad}' { sign } else { '·' }).collect();
    if signs.len() <= columns {
        return signs.into_iter().collect();
    }
    signs.into_iter().take(columns.saturating_sub(1)).chain(['…']).take(columns).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_as_wide_as_it_has_characters_and_never_wider_than_allowed() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "ab…");
        assert_eq!(cut("a\x1b[2J漢\u{202e}é", 20), "a·[2J··é");
        assert_eq!(cut("abc", 0), "");
    }

    #[test]
    fn where_there_is_little_room_the_empty_lines_go_first() {
        let line = |text: &str| Line { head: "", text: text.to_owned() };
        let lines = vec![line("a"), line(""), line("b"), line(""), line("c")];
        let texts = |rows| fitted(lines.clone(), Size { columns: 80, rows }).into_iter().map(|line| line.text).collect::<Vec<_>>();
        assert_eq!(texts(7), ["a", "", "b", "", "c"]);
        assert_eq!(texts(6), ["a", "b", "c"]);
        assert_eq!(texts(4), ["a", "b"]);
    }
}
