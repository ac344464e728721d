//! How far a long verb is: one line on standard error, on a terminal only.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

const FIRST_AFTER: Duration = Duration::from_secs(1);
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// A line that is written over and over, and taken away at the end.
pub(super) struct Progress {
    started: Instant,
    shown: Option<Instant>,
    is_terminal: bool,
}

impl Progress {
    const BAR: usize = 30;

    /// Shows nothing before a second has passed.
    pub(super) fn new() -> Self {
        Self { started: Instant::now(), shown: None, is_terminal: std::io::stderr().is_terminal() }
    }

    /// Shows how far it is, when it is time to.
    pub(super) fn show(&mut self, text: impl FnOnce() -> String) {
        let due = if self.shown.is_some() { AGAIN_AFTER } else { FIRST_AFTER };
        if self.is_terminal && self.shown.unwrap_or(self.started).elapsed() >= due {
            self.shown = Some(Instant::now());
            eprint!("\r\x1b[K{}", text());
        }
    }

    /// Takes the line away.
    pub(super) fn end(&self) {
        if self.shown.is_some() {
            eprint!("\r\x1b[K");
        }
    }

    /// A bar with its percentage, of work whose size is known.
    pub(super) fn bar(done: u64, total: u64) -> String {
        let (done, total) = (u128::from(done.min(total)), u128::from(total.max(1)));
        let filled = usize::try_from(done * Self::BAR as u128 / total).unwrap_or(Self::BAR);
        format!("{}{} {:>3} %", "━".repeat(filled), "─".repeat(Self::BAR - filled), done * 100 / total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_at_its_end_as_at_its_beginning() {
        for (done, total, percent) in [(0, 10, "  0 %"), (5, 10, " 50 %"), (10, 10, "100 %"), (11, 10, "100 %"), (0, 0, "  0 %")] {
            let bar = Progress::bar(done, total);
            assert!(bar.ends_with(percent), "{bar}");
            assert_eq!(bar.chars().filter(|sign| ['━', '─'].contains(sign)).count(), Progress::BAR);
        }
    }
}
