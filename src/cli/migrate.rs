//! `farebox migrate`: tables, topics, and the users key.

use super::args::{Format, Migrate};
use crate::config::Config;

pub(super) async fn migrate(_config: Config, _options: Migrate, _format: Format) -> anyhow::Result<()> {
    anyhow::bail!("`migrate` is not wired")
}
