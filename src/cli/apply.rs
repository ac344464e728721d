//! `farebox apply FILE`: a new version of the price book.

use super::args::{Apply, Format};
use crate::config::Config;

pub(super) async fn apply(_config: Config, _options: Apply, _format: Format) -> anyhow::Result<()> {
    anyhow::bail!("`apply` is not wired")
}
