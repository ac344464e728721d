//! What is wrong with the configuration, where, and how to mend it.
//!
//! Holds: the value of a secret is never shown, not even in the line that the caret points into.

use std::fmt;
use std::path::PathBuf;

/// Where a value was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In `config/default.toml`, inside the binary.
    Default,
    /// In the file given with `--config`.
    File(Box<Spot>),
    /// In this environment variable.
    Environment(String),
    /// With `--set`.
    Flag(String),
}

/// A piece of a line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    /// The file as it was named.
    pub file: PathBuf,
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// What of the line may be shown.
    excerpt: String,
    /// How many characters the carets cover.
    width: usize,
}

impl Place {
    /// A later layer wins over an earlier one.
    pub(super) const fn rank(&self) -> u8 {
        match self {
            Self::Default => 0,
            Self::File(_) => 1,
            Self::Environment(_) => 2,
            Self::Flag(_) => 3,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the default"),
            Self::File(spot) => write!(f, "{}:{}:{}", spot.file.display(), spot.line, spot.column),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag(key) => write!(f, "--set {key}"),
        }
    }
}

impl Spot {
    /// The place of a span of bytes in a file. Of the line only what `show` lets through is kept.
    pub(super) fn new(file: PathBuf, text: &str, span: std::ops::Range<usize>, show: impl Fn(&str) -> bool) -> Self {
        let start = (0..=span.start.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let before = &text[..start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = text[line_start..].lines().next().unwrap_or("");
        let column = text[line_start..start].chars().count();
        let covered =
            text.get(start..span.end).and_then(|covered| covered.lines().next()).map_or(1, |covered| covered.chars().count());
        let excerpt = shown(line, show);
        let length = excerpt.chars().count();
        // What was cut cannot be pointed at: point at the mark that stands for it.
        let column = column.min(if excerpt == line.trim_end() { length } else { length.saturating_sub(1) });
        let width = covered.clamp(1, length.saturating_sub(column).max(1));
        Self { file, line: before.matches('\n').count() + 1, column: column + 1, excerpt, width }
    }
}

/// The line as it may be seen: whole when its key is one whose value is no secret, up to the value otherwise.
fn shown(line: &str, show: impl Fn(&str) -> bool) -> String {
    let line = line.trim_end();
    let content = line.trim_start();
    let key_end =
        content.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '"' | '\''))).unwrap_or(content.len());
    let key = content[..key_end].trim_matches(['"', '\'']);
    if show(key) {
        return line.to_owned();
    }
    let indent = &line[..line.len() - content.len()];
    // A header that was never closed may reach into a value.
    let is_name = |text: &&str| text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ' '));
    if let Some(header) = content.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(header, _)| header).filter(is_name)
    {
        return format!("{indent}[{header}]");
    }
    match content.split_once('=') {
        Some((key, _)) => format!("{indent}{}= …", key.replace('\t', " ")),
        None => format!("{indent}…"),
    }
}

/// One thing that is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    pub(super) place: Place,
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl Error {
    pub(super) fn new(place: Place, message: impl Into<String>) -> Self {
        Self { place, message: message.into(), hint: None }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Where it was written.
    pub const fn place(&self) -> &Place {
        &self.place
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.place == Place::Default {
            f.write_str(&self.message)?;
        } else {
            write!(f, "{}: {}", self.place, self.message)?;
        }
        let Place::File(spot) = &self.place else {
            return self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "; {hint}"));
        };
        let number = spot.line.to_string();
        let margin = " ".repeat(number.len());
        // Tabs before the caret are repeated, so that it stands below what it means in any terminal.
        let indent: String = spot.excerpt.chars().take(spot.column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        write!(f, "\n {margin} |\n {number} | {}\n {margin} | {indent}{}", spot.excerpt, "^".repeat(spot.width))?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, " {hint}"))
    }
}

impl std::error::Error for Error {}
