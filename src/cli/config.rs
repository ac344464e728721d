//! `farebox config show`: every key as it stands, and where it was set. Connects to nothing.

use serde_json::json;

use super::args::Format;
use super::output;
use crate::config::Config;

pub(super) fn show(config: &Config, format: Format) -> anyhow::Result<()> {
    let rows = config.shown().map(|shown| vec![json!(shown.key), json!(shown.value), json!(shown.place.to_string())]);
    Ok(output::rows(format, &["key", "value", "set_by"], rows)?)
}
