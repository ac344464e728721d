//! Lays the layers over one another.
//!
//! Every value of a layer is laid over the defaults alone before it joins the rest: so a refusal always knows its place.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_spanned::Spanned;
use toml::de::DeTable;
use toml::{Table, Value};

use super::error::{Error, Place, Spot};
use super::{Config, Secret, kafka, ranges, show};

/// The defaults as they are inside the binary: also the reference for people.
pub const DEFAULTS: &str = include_str!("../../config/default.toml");

const PREFIX: &str = "FAREBOX_";
const PROPERTIES: &str = "kafka.properties";

/// What is laid over the defaults.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// `--config`
    pub file: Option<PathBuf>,
    /// The environment, whole; only names that begin with `FAREBOX_` are looked at.
    pub environment: Vec<(OsString, OsString)>,
    /// `--set key=value`, in their order.
    pub set: Vec<String>,
}

/// One value of one layer.
struct Entry {
    /// `section.key`
    path: String,
    /// librdkafka's name, for a value in `kafka.properties`.
    property: Option<String>,
    value: Value,
    place: Place,
}

pub(super) fn load(inputs: &Inputs) -> Result<Config, Error> {
    let Some(file) = &inputs.file else { return load_text(None, inputs) };
    let text = std::fs::read_to_string(file).map_err(|error| {
        Error::new(Place::Default, format!("cannot read the configuration `{}`: {error}", file.display()))
            .hint("give the path of a TOML file with --config")
    })?;
    load_text(Some((file.clone(), &text)), inputs)
}

pub(super) fn load_text(file: Option<(PathBuf, &str)>, inputs: &Inputs) -> Result<Config, Error> {
    let schema: Table = DEFAULTS.parse().map_err(|error| Error::new(Place::Default, format!("config/default.toml: {error}")))?;
    let schema = Schema(schema);
    let mut entries = Vec::new();
    let mut folder = None;
    if let Some((path, text)) = file {
        entries.extend(schema.entries_of_file(&path, text)?);
        folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).map(Path::to_owned);
    }
    entries.extend(schema.entries_of_environment(&inputs.environment)?);
    for assignment in &inputs.set {
        schema.entry_of_flag(assignment, &mut entries)?;
    }

    let mut merged = schema.0.clone();
    let mut places = BTreeMap::new();
    if let Some(folder) = &folder {
        beside(&mut merged["users"]["hash_key_file"], folder);
    }
    for mut entry in entries {
        if let (Place::File(_), Some(folder), true) = (&entry.place, &folder, is_path(&entry.path)) {
            beside(&mut entry.value, folder);
        }
        let mut alone = schema.0.clone();
        entry.lay_over(&mut alone);
        if let Err(error) = Config::deserialize(alone) {
            return Err(Error::new(entry.place.clone(), format!("`{}`: {}", entry.name(), error.message().trim_end())));
        }
        kafka::check_property(&entry.path, entry.property.as_deref(), &entry.value, &entry.place)?;
        entry.lay_over(&mut merged);
        places.insert(entry.name(), entry.place);
    }
    let mut config = Config::deserialize(merged.clone()).map_err(|error| Error::new(Place::Default, error.message().to_owned()))?;
    config.places = places;
    let Config { kafka, clickhouse, smtp, places, .. } = &mut config;
    read_secret("kafka.password", &mut kafka.password, &mut kafka.password_file, places)?;
    read_secret("clickhouse.password", &mut clickhouse.password, &mut clickhouse.password_file, places)?;
    read_secret("smtp.password", &mut smtp.password, &mut smtp.password_file, places)?;
    config.shown = show::of(&merged, |key| match key {
        "kafka.password" => !config.kafka.password.is_empty(),
        "clickhouse.password" => !config.clickhouse.password.is_empty(),
        _ => !config.smtp.password.is_empty(),
    });
    ranges::check(&config)?;
    Ok(config)
}

/// The tree of known keys: the defaults themselves.
struct Schema(Table);

impl Schema {
    fn default_of(&self, path: &str) -> Option<&Value> {
        let (section, key) = path.split_once('.')?;
        self.0.get(section)?.as_table()?.get(key)
    }

    fn keys(&self) -> impl Iterator<Item = String> {
        self.0.iter().flat_map(|(section, keys)| {
            let keys = keys.as_table().into_iter().flat_map(Table::keys);
            keys.map(move |key| format!("{section}.{key}"))
        })
    }

    /// Whether the value after this key, on its line, may be shown.
    fn may_show(&self, section: Option<&str>, key: &str) -> bool {
        if key.contains("password") || key.contains("secret") {
            return key.ends_with("_file");
        }
        let last = key.rsplit('.').next().unwrap_or(key);
        match section {
            Some(_) if matches!(last, "properties" | "url") => false,
            Some(section) => {
                let key = key.strip_prefix(section).and_then(|rest| rest.strip_prefix('.')).unwrap_or(key);
                self.default_of(&format!("{section}.{key}")).is_some()
            }
            None => self.keys().any(|known| known.rsplit('.').next() == Some(last)) && last != "properties" && last != "url",
        }
    }

    fn entries_of_file(&self, file: &Path, text: &str) -> Result<Vec<Entry>, Error> {
        let spot = |span: Range<usize>, section: Option<&str>| {
            Place::File(Box::new(Spot::new(file.to_owned(), text, span, |key| self.may_show(section, key))))
        };
        let broken = |error: toml::de::Error| {
            Error::new(
                spot(error.span().unwrap_or(0..0), None),
                format!("not TOML: {}", error.message().trim_end().replace('\n', ", ")),
            )
        };
        let values: Table = text.parse().map_err(broken)?;
        let document = DeTable::parse(text).map_err(broken)?.into_inner();
        let mut entries = Vec::new();
        for (section_key, section_value) in &document {
            let section: &str = section_key.get_ref();
            let place = |span| spot(span, Some(section));
            let Some(known) = self.0.get(section).and_then(Value::as_table) else {
                return Err(self.unknown_section(spot(section_key.span(), Some("")), section));
            };
            let Some(keys) = section_value.get_ref().as_table() else {
                return Err(Error::new(place(section_key.span()), format!("`{section}` is a section"))
                    .hint(format!("write [{section}] and its keys below")));
            };
            for (key, value) in keys {
                let name: &str = key.get_ref();
                let path = format!("{section}.{name}");
                if !known.contains_key(name) {
                    return Err(self.unknown_key(place(key.span()), &path));
                }
                let whole = &values[section][name];
                if path == PROPERTIES {
                    let Some(table) = value.get_ref().as_table() else {
                        return Err(Error::new(place(value.span()), format!("`{path}` takes a table"))
                            .hint("write { \"name\" = \"value\" }"));
                    };
                    flatten_properties("", table, whole, &place, &mut entries);
                } else {
                    self.check_kind(&path, whole, &place(value.span()))?;
                    entries.push(Entry { path, property: None, value: whole.clone(), place: place(value.span()) });
                }
            }
        }
        Ok(entries)
    }

    fn entries_of_environment(&self, environment: &[(OsString, OsString)]) -> Result<Vec<Entry>, Error> {
        let mut entries = Vec::new();
        let mut ours: Vec<_> = environment
            .iter()
            .filter_map(|(name, value)| Some((name.to_str().filter(|name| name.starts_with(PREFIX))?, value)))
            .collect();
        ours.sort_unstable(); // the order of an environment means nothing: the same one always gives the same first error
        for (name, value) in ours {
            let place = Place::Environment(name.to_owned());
            let path = name[PREFIX.len()..].replacen("__", ".", 1).to_lowercase();
            if self.default_of(&path).is_none() || variable(&path) != name {
                let names = self.keys().map(|key| variable(&key));
                let error = Error::new(place, "sets nothing that farebox knows");
                return Err(match closest(name, names) {
                    Some(near) => error.hint(format!("did you mean {near}?")),
                    None => error.hint("the name is FAREBOX_SECTION__KEY, like FAREBOX_KAFKA__BROKERS; names that begin with FAREBOX_ are kept for that"),
                });
            }
            let value = value.to_str().ok_or_else(|| Error::new(place.clone(), "is not UTF-8"))?;
            self.push_text(&path, value, place, &mut entries)?;
        }
        Ok(entries)
    }

    fn entry_of_flag(&self, assignment: &str, entries: &mut Vec<Entry>) -> Result<(), Error> {
        let (path, value) = assignment.split_once('=').ok_or_else(|| {
            Error::new(Place::Flag("…".to_owned()), "needs a key and a value").hint("write --set section.key=value")
        })?;
        let path = path.trim();
        let place = Place::Flag(path.to_owned());
        if let Some(property) = path.strip_prefix(PROPERTIES).and_then(|rest| rest.strip_prefix('.')) {
            let value = Value::String(value.to_owned());
            entries.push(Entry { path: PROPERTIES.to_owned(), property: Some(property.to_owned()), value, place });
            return Ok(());
        }
        if self.default_of(path).is_none() {
            return Err(self.unknown_key(place, path));
        }
        self.push_text(path, value, place, entries)
    }

    /// A value that came as text: taken as it is where text is expected, read as TOML elsewhere.
    fn push_text(&self, path: &str, text: &str, place: Place, entries: &mut Vec<Entry>) -> Result<(), Error> {
        let value = if self.default_of(path).is_some_and(Value::is_str) {
            Value::String(text.to_owned())
        } else {
            // The parser's own message may repeat the text.
            text.parse().map_err(|_| Error::new(place.clone(), format!("`{path}` takes {}", self.expected(path))))?
        };
        self.check_kind(path, &value, &place)?;
        match value {
            Value::Table(properties) if path == PROPERTIES => {
                for (name, value) in properties {
                    entries.push(Entry { path: path.to_owned(), property: Some(name), value, place: place.clone() });
                }
            }
            value => entries.push(Entry { path: path.to_owned(), property: None, value, place }),
        }
        Ok(())
    }

    fn check_kind(&self, path: &str, value: &Value, place: &Place) -> Result<(), Error> {
        match self.default_of(path) {
            Some(default) if !default.same_type(value) => {
                Err(Error::new(place.clone(), format!("`{path}` takes {}, not {}", self.expected(path), kind(value))))
            }
            _ => Ok(()),
        }
    }

    fn expected(&self, path: &str) -> String {
        match self.default_of(path) {
            Some(Value::String(default)) if !default.is_empty() => format!("text in quotes, like \"{default}\""),
            Some(Value::Integer(default)) => format!("a whole number, like {default}"),
            Some(value) => kind(value).to_owned(),
            None => "nothing".to_owned(),
        }
    }

    fn unknown_section(&self, place: Place, section: &str) -> Error {
        let error = Error::new(place, format!("unknown section `{section}`"));
        if let Some(home) = self.keys().find(|key| key.split_once('.').is_some_and(|(_, key)| key == section)) {
            return error.hint(format!("did you mean `{home}`? It belongs under [{}]", home.split('.').next().unwrap_or_default()));
        }
        match closest(section, self.0.keys().cloned()) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => error.hint(format!("known are {}", self.0.keys().map(String::as_str).collect::<Vec<_>>().join(", "))),
        }
    }

    fn unknown_key(&self, place: Place, path: &str) -> Error {
        let (section, key) = path.split_once('.').unwrap_or(("", path));
        let error = Error::new(place, format!("unknown key `{path}`"));
        let siblings = self.0.get(section).and_then(Value::as_table);
        if let Some(near) = closest(key, siblings.into_iter().flat_map(|keys| keys.keys().cloned())) {
            return error.hint(format!("did you mean `{section}.{near}`?"));
        }
        let elsewhere = self.keys().find(|known| known.split_once('.').is_some_and(|(_, known)| known == key));
        match elsewhere.or_else(|| closest(path, self.keys())) {
            Some(near) => error.hint(format!("did you mean `{near}`?")),
            None => match siblings {
                Some(keys) => {
                    error.hint(format!("[{section}] has {}", keys.keys().map(String::as_str).collect::<Vec<_>>().join(", ")))
                }
                None => error.hint("a key is written section.key"),
            },
        }
    }
}

impl Entry {
    fn name(&self) -> String {
        match &self.property {
            Some(property) => format!("{}.{property}", self.path),
            None => self.path.clone(),
        }
    }

    fn lay_over(&self, table: &mut Table) {
        let Some((section, key)) = self.path.split_once('.') else { return };
        let slot = &mut table[section][key];
        match (&self.property, slot) {
            (Some(property), Value::Table(properties)) => {
                properties.insert(property.clone(), self.value.clone());
            }
            (_, slot) => *slot = self.value.clone(),
        }
    }
}

/// `a.b.c = 1` without quotes is a nest of tables in TOML; librdkafka's names have dots, so we put them together again.
fn flatten_properties(
    prefix: &str,
    table: &DeTable<'_>,
    values: &Value,
    place: &impl Fn(Range<usize>) -> Place,
    into: &mut Vec<Entry>,
) {
    for (key, value) in table {
        let name = if prefix.is_empty() { key.get_ref().to_string() } else { format!("{prefix}.{}", key.get_ref()) };
        let whole = &values[key.get_ref().as_ref()];
        match value.get_ref().as_table() {
            Some(nested) => flatten_properties(&name, nested, whole, place, into),
            None => into.push(Entry {
                path: PROPERTIES.to_owned(),
                property: Some(name),
                value: whole.clone(),
                place: place(Spanned::span(key)),
            }),
        }
    }
}

/// One secret, from its key or from the file beside it: the later layer wins; both in one layer is a mistake.
fn read_secret(key: &str, secret: &mut Secret, file: &mut Option<PathBuf>, places: &BTreeMap<String, Place>) -> Result<(), Error> {
    let file_key = format!("{key}_file");
    let place_of = |key: &str| places.get(key).cloned().unwrap_or(Place::Default);
    let (secret_place, file_place) = (place_of(key), place_of(&file_key));
    let Some(path) = file.clone() else { return Ok(()) };
    if !secret.is_empty() {
        if secret_place.rank() == file_place.rank() {
            return Err(Error::new(file_place, format!("both `{key}` and `{file_key}` are set")).hint("keep one of them"));
        }
        if secret_place.rank() > file_place.rank() {
            *file = None;
            return Ok(());
        }
    }
    let text = std::fs::read_to_string(&path)
        .map_err(|error| Error::new(file_place.clone(), format!("`{file_key}`: cannot read `{}`: {error}", path.display())))?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(Error::new(file_place, format!("`{file_key}`: `{}` is empty", path.display())));
    }
    *secret = Secret::new(text);
    Ok(())
}

fn is_path(key: &str) -> bool {
    key.ends_with("_file") || key == "embedded.library"
}

fn beside(value: &mut Value, folder: &Path) {
    if let Value::String(path) = value
        && !path.is_empty()
    {
        *path = folder.join(&*path).to_string_lossy().into_owned();
    }
}

fn variable(path: &str) -> String {
    format!("{PREFIX}{}", path.replacen('.', "__", 1).to_uppercase())
}

const fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "text in quotes",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number with a fraction",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list, like [\"a@b.example\"]",
        Value::Table(_) => "a table, like { \"name\" = \"value\" }",
    }
}

/// The known name that was probably meant.
fn closest(name: &str, known: impl Iterator<Item = String>) -> Option<String> {
    let nearest = known.map(|known| (strsim::damerau_levenshtein(name, &known), known)).min()?;
    (nearest.0 <= (name.chars().count() / 3).max(1)).then_some(nearest.1)
}
