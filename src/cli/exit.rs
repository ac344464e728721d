//! How a verb ends when it could not do what it was asked.

use std::error::Error;
use std::process::ExitCode;

use crate::{config, telemetry};

const FAILED: u8 = 1;
/// `EX_CONFIG` of sysexits: trying again is of no use before somebody edits something.
const CONFIGURATION: u8 = 78;

/// Marks an error that is mended by editing the configuration: refused credentials, a missing topic, missing tables.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Mend(pub Box<dyn Error + Send + Sync>);

/// Prints an error and says how the process ends.
pub(super) fn report(error: &anyhow::Error) -> ExitCode {
    if is_closed_pipe(error) {
        return ExitCode::SUCCESS; // whoever read our output has seen enough
    }
    eprintln!("farebox: {}", sentence(error));
    ExitCode::from(code(error))
}

fn code(error: &anyhow::Error) -> u8 {
    let mend = error.chain().any(|cause| cause.is::<Mend>() || cause.is::<config::Error>() || cause.is::<telemetry::http::Error>());
    if mend { CONFIGURATION } else { FAILED }
}

/// The error and its causes, each once: a cause that the text before already tells is left out.
fn sentence(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<super::output::Failed>().is_some_and(|failed| failed.0.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn an_error_is_one_sentence_with_its_causes_once() {
        let error = anyhow!("refused").context("cannot connect to a:1 (refused)").context("cannot read the price book");
        assert_eq!(sentence(&error), "cannot read the price book: cannot connect to a:1 (refused)");
    }

    #[test]
    fn what_is_mended_by_editing_ends_with_78() {
        let bad = config::Config::from_toml("f", "[kafka]\nx = 1").map(drop).context("outer").expect_err("refused");
        assert_eq!(code(&bad), 78);
        let mend = Err::<(), _>(Mend("no topic".into())).context("outer").expect_err("an error");
        assert_eq!((code(&mend), sentence(&mend)), (78, "outer: no topic".to_owned()));
        assert_eq!(code(&anyhow!("away")), 1);
    }
}
