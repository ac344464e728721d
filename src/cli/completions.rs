//! `farebox completions` and `farebox man`: what shells and readers want to know of the verbs, made from their definition.

use std::path::Path;

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;

use super::args::Args;
use super::output;

pub(super) fn print(shell: Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "farebox", &mut script);
    Ok(output::text(&String::from_utf8_lossy(&script))?)
}

pub(super) fn man(folder: &Path) -> anyhow::Result<()> {
    let failed = || format!("cannot write manual pages into {}", folder.display());
    std::fs::create_dir_all(folder).with_context(failed)?;
    clap_mangen::generate_to(Args::command(), folder).with_context(failed)?;
    eprintln!("farebox: the manual pages are in {}; read `man {}`", folder.display(), folder.join("farebox.1").display());
    Ok(())
}
