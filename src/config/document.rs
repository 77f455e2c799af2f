//! The file as JSON, before its values are looked at: two sections, each a list of keys and values
//! in the order of the file.
//!
//! Read by hand rather than into a map because a map keeps silent about a key that stands there
//! twice, and takes the last where the original takes the first.

use std::fmt;
use std::marker::PhantomData;
use std::path::Path;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::entries::Entries;
use super::error::{ConfigError, Warning};
use super::key::Key;
use super::value::sort;
use crate::text::nearest;

/// The names that the outer object can have.
const SECTIONS: [&str; 2] = ["network", "sync"];

/// Keys that begin so are comments: JSON has none of its own, and the original passes over keys
/// that it doesn't know.
const COMMENT: &str = "//";

/// Characters of an unknown key for each slip that it may have: one with more was not meant.
const CHARACTERS_A_SLIP: usize = 4;

/// The parsed file.
#[derive(Deserialize)]
pub(super) struct Document(Pairs<Section>);

#[derive(Deserialize)]
#[serde(untagged)]
enum Section {
    Entries(Pairs<Value>),
    /// Something that is no object.
    Other(Value),
}

/// An object's keys and values, in their order.
struct Pairs<T>(Vec<(String, T)>);

impl Document {
    /// # Errors
    /// The text is no JSON object, with line and column.
    pub(super) fn parse(text: &[u8]) -> Result<Self, ConfigError> {
        // Editors on other systems put a byte order mark first; JSON doesn't know it.
        let text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
        if text.trim_ascii().is_empty() {
            return Err(ConfigError::Syntax {
                line: 1,
                column: 0,
                reason: "the file is empty: it takes {} at least".to_owned(),
            });
        }
        serde_json::from_slice(text).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            let reason = error.to_string();
            let reason = reason
                .strip_suffix(&format!(" at line {line} column {column}"))
                .unwrap_or(&reason)
                .to_owned();
            ConfigError::Syntax {
                line,
                column,
                reason,
            }
        })
    }

    /// The entries of a section, none where it is missing. What is no object is a fault.
    pub(super) fn section(&self, name: &str, faults: &mut Vec<ConfigError>) -> Entries<'_> {
        match self.0.0.iter().find(|(section, _)| section == name) {
            None => Entries::default(),
            Some((_, Section::Entries(entries))) => Entries(&entries.0),
            Some((_, Section::Other(what))) => {
                faults.push(ConfigError::Setting {
                    setting: name.to_owned(),
                    value: sort(what).to_owned(),
                    reason: "is no object".to_owned(),
                    advice: format!("write \"{name}\": {{ … }}, or leave it out for the defaults"),
                });
                Entries::default()
            }
        }
    }

    /// Finds keys that nobody knows and keys that stand there twice: a warning each.
    pub(super) fn check_keys(
        &self,
        known: impl Iterator<Item = &'static Key> + Clone,
    ) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let sections: Vec<&str> = self.0.0.iter().map(|(name, _)| name.as_str()).collect();
        check_doubles(&sections, "", &mut warnings);
        for (section, content) in &self.0.0 {
            if section.starts_with(COMMENT) {
                continue;
            }
            if !SECTIONS.contains(&section.as_str()) {
                warnings.push(unknown("", section, known.clone()));
                continue;
            }
            let Section::Entries(entries) = content else {
                continue;
            };
            let names: Vec<&str> = entries.0.iter().map(|(name, _)| name.as_str()).collect();
            check_doubles(&names, section, &mut warnings);
            let is_known = |name: &str| {
                known
                    .clone()
                    .any(|key| key.section == section && key.name == name)
            };
            warnings.extend(
                names
                    .iter()
                    .filter(|name| !name.starts_with(COMMENT) && !is_known(name))
                    .map(|name| unknown(section, name, known.clone())),
            );
        }
        warnings
    }
}

/// The key's path for people: what a log's line can't hold is escaped.
fn path_of(section: &str, name: &str) -> String {
    let name = name.escape_debug();
    if section.is_empty() {
        name.to_string()
    } else {
        format!("{section}.{name}")
    }
}

/// The first counts, as in the original; an error would stop a deployed file.
fn check_doubles(names: &[&str], section: &str, warnings: &mut Vec<Warning>) {
    for (place, name) in names.iter().enumerate() {
        // Told at the second of them only, however many there are.
        if !name.starts_with(COMMENT)
            && names[..place]
                .iter()
                .filter(|earlier| *earlier == name)
                .count()
                == 1
        {
            let text =
                "stands there more than once, and the first counts. Remove the others".to_owned();
            warnings.push(Warning {
                setting: path_of(section, name),
                text,
            });
        }
    }
}

/// The warning for an unknown key, with what was probably meant. Of several that are equally near
/// it names one of the same section.
fn unknown(section: &str, name: &str, keys: impl Iterator<Item = &'static Key>) -> Warning {
    // In the outer object, a section's own name can be what was meant.
    let sections = SECTIONS.iter().filter(|_| section.is_empty());
    let sections = sections.map(|known| (*known, (*known).to_owned()));
    let (here, elsewhere): (Vec<&Key>, Vec<&Key>) = keys.partition(|key| key.section == section);
    let keys = here.into_iter().chain(elsewhere);
    let keys = keys.map(|key| (key.name, key.path()));
    let all: Vec<(&str, String)> = sections.chain(keys).collect();
    let text = match meant(name, &all) {
        Some(meant) => {
            format!(
                "is no setting and has no effect; the nearest one is {meant}. Rename or remove it"
            )
        }
        None => "is no setting and has no effect. Remove it".to_owned(),
    };
    Warning {
        setting: path_of(section, name),
        text,
    }
}

/// The path of the one of these keys, by their names, that was probably meant by `name`: it has few
/// slips, or it alone has all words of `name`, as `max_rate_per_backend` has those of `max_rate`,
/// or all of its words are in `name`.
fn meant<'a>(name: &str, all: &'a [(&str, String)]) -> Option<&'a str> {
    let slips_max = (name.chars().count() / CHARACTERS_A_SLIP).max(1);
    let near = nearest(
        name,
        all.iter().map(|(known, path)| (*known, path.as_str())),
    );
    if let Some((path, slips)) = near
        && slips <= slips_max
    {
        return Some(path);
    }
    let has_all = |name: &str, of: &str| {
        of.split('_')
            .all(|word| name.split('_').any(|it| it == word))
    };
    let mut alike = all
        .iter()
        .filter(|(known, _)| has_all(known, name) || has_all(name, known));
    let (_, path) = alike.next()?;
    alike.next().is_none().then_some(path)
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Pairs<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
            type Value = Pairs<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with \"network\" and \"sync\"")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<T>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Object(PhantomData))
    }
}

/// A file above this many bytes is not a configuration, and isn't read.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The bytes of a file of sensible size.
pub(super) fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::{Error, ErrorKind, Read};
    use std::os::unix::fs::OpenOptionsExt;
    // Without O_NONBLOCK, opening a pipe would wait for its writer.
    let file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)?;
    let kind = file.metadata()?.file_type();
    if !kind.is_file() && !kind.is_dir() {
        let why = "it is not a regular file, and a configuration has to be one";
        return Err(Error::new(ErrorKind::InvalidInput, why));
    }
    let mut text = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(Error::new(
            ErrorKind::FileTooLarge,
            "it has more than 1 MiB and so can't be a configuration",
        ));
    }
    Ok(text)
}
