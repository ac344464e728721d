//! What is set, for people to read: every key in the order of the defaults, its value, where it was set.
//!
//! Holds: a secret is a row of stars. Secrets have keys of their own; addresses and properties that hold one were refused before.

use toml::{Table, Value};

use super::layers::DEFAULTS;
use super::{Config, Place};

/// A key as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown<'a> {
    /// `section.key`, or `kafka.properties.` and librdkafka's name.
    pub key: &'a str,
    /// Text as it is, anything else as TOML writes it; `***` for a secret.
    pub value: &'a str,
    /// Where it was set.
    pub place: &'a Place,
}

impl Config {
    /// Every key.
    pub fn shown(&self) -> impl Iterator<Item = Shown<'_>> {
        self.shown.iter().map(|(key, value)| {
            let is_from_file = key.ends_with(".password") && !value.is_empty() && *self.place_of(key) == Place::Default;
            let file = if is_from_file { format!("{key}_file") } else { String::new() };
            Shown { key, value, place: self.place_of(if is_from_file { &file } else { key }) }
        })
    }
}

/// The values as they may be shown. `is_secret_set`: whether there is a secret, wherever it came from.
pub(super) fn of(values: &Table, is_secret_set: impl Fn(&str) -> bool) -> Vec<(String, String)> {
    let mut shown = Vec::new();
    let mut section = "";
    for line in DEFAULTS.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name;
            continue;
        }
        let Some((name, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) else { continue };
        let Some(value) = values.get(section).and_then(|keys| keys.get(name)) else { continue };
        let key = format!("{section}.{name}");
        if key.ends_with(".password") {
            let stars = if is_secret_set(&key) { "***" } else { "" };
            shown.push((key, stars.to_owned()));
        } else if let Some(properties) = value.as_table().filter(|properties| !properties.is_empty()) {
            shown.extend(properties.iter().map(|(property, value)| (format!("{key}.{property}"), text(value))));
        } else {
            shown.push((key, text(value)));
        }
    }
    shown
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
