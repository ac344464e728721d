//! `farebox run`: opens what the runtime needs and hands it over.

use crate::config::Config;

pub(super) async fn run(_config: Config) -> anyhow::Result<()> {
    anyhow::bail!("`run` is not wired")
}
