//! `farebox check`: is this configuration, and this price book, in order? Connects to nothing.

use serde_json::Value;

use super::args::{Check, Common, Format};
use super::{apply, output};
use crate::config::Config;

pub(super) fn check(_config: &Config, common: &Common, options: &Check, format: Format) -> anyhow::Result<()> {
    // A configuration that is not in order never gets here.
    let configuration = common.config.as_ref().map_or_else(|| "the defaults".to_owned(), |file| file.display().to_string());
    let mut fields = vec![("configuration", Value::from(configuration))];
    if let Some(file) = &options.book {
        let book = apply::read(file)?;
        fields.push(("price_book", Value::from(format!("{} ({} entries)", file.display(), book.len()))));
    }
    fields.push(("result", Value::from("in order")));
    Ok(output::record(format, &fields)?)
}
