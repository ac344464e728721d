//! Why a price book was refused: the place in its file, what is wrong there, and what to write instead.

use std::fmt;
use std::ops::Range;

/// A price book that was refused. Shows like a compiler's message, over several lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(Box<Refusal>);

/// Where and why a price book was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The file's name, as it was given.
    pub file: String,
    /// Where in the file, from 1.
    pub line: usize,
    /// Where in the line, in characters from 1.
    pub column: usize,
    /// The place by names, such as `rate[2].per_call`; empty when the file is not even TOML.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it; may be empty.
    pub hint: String,
    /// The line itself, and how many characters of it are meant.
    excerpt: String,
    width: usize,
}

impl std::error::Error for Error {}

impl Error {
    /// Place, message and hint, each for itself.
    pub fn refusal(&self) -> &Refusal {
        &self.0
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.line, self.column)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        // Tabs stay tabs, so that the caret stands below what it means however wide they are.
        let indent: String = self.excerpt.chars().take(self.column - 1).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        writeln!(f, "{}", self.message)?;
        writeln!(f, "{margin} |")?;
        writeln!(f, "{number} | {}", self.excerpt)?;
        write!(f, "{margin} | {indent}{}", "^".repeat(self.width))?;
        if self.hint.is_empty() { Ok(()) } else { write!(f, " {}", self.hint) }
    }
}

/// A text that errors point into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    pub file: String,
    pub text: String,
}

impl Source {
    /// An error at a range of bytes; only its first line is shown.
    pub fn error(&self, span: &Range<usize>, path: &str, message: impl Into<String>, hint: impl Into<String>) -> Error {
        let mut start = span.start.min(self.text.len());
        while !self.text.is_char_boundary(start) {
            start -= 1;
        }
        let line_start = self.text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let excerpt = self.text[line_start..].lines().next().unwrap_or_default();
        let column = self.text[line_start..start].chars().count() + 1;
        let meant = self.text.get(start..span.end).unwrap_or_default().lines().next().unwrap_or_default().chars().count();
        Error(Box::new(Refusal {
            file: self.file.clone(),
            line: self.text[..start].matches('\n').count() + 1,
            column,
            path: path.to_owned(),
            message: message.into(),
            hint: hint.into(),
            excerpt: excerpt.to_owned(),
            width: meant.max(1),
        }))
    }
}

/// Of the names that would be right, the one that was most likely meant, as a hint; empty when none is near.
pub(super) fn did_you_mean<'a>(written: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let written = written.to_lowercase();
    let distance = |name: &str| strsim::damerau_levenshtein(&written, &name.to_lowercase());
    let nearest = names.into_iter().map(|name| (distance(name), name)).min();
    match nearest {
        Some((distance, name)) if distance <= written.len().max(name.len()) / 3 => format!("did you mean `{name}`?"),
        _ => String::new(),
    }
}
