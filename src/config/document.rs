//! The file as JSON, before its values are looked at: two sections, each a list of keys and values
//! in the order of the file.
//!
//! Read by hand rather than into a map because a map keeps silent about a key that stands there
//! twice, and takes the last where the original takes the first.

use std::fmt;
use std::path::Path;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::entries::Entries;
use super::error::{ConfigError, Warning};
use super::key::Key;
use crate::text::nearest;

/// The names that the outer object can have.
const SECTIONS: [&str; 2] = ["network", "sync"];

/// Keys that begin so are comments: JSON has none of its own, and the original passes over keys
/// that it doesn't know.
const COMMENT: &str = "//";

/// The parsed file.
pub(super) struct Document {
    sections: Vec<(String, Section)>,
}

enum Section {
    Entries(Vec<(String, Value)>),
    /// Something that is no object, in words.
    Other(&'static str),
}

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
        match self.sections.iter().find(|(section, _)| section == name) {
            None => Entries::default(),
            Some((_, Section::Entries(entries))) => Entries(entries),
            Some((_, Section::Other(what))) => {
                faults.push(ConfigError::Setting {
                    setting: name.to_owned(),
                    value: (*what).to_owned(),
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
        let sections: Vec<&str> = self
            .sections
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        check_doubles(&sections, "", &mut warnings);
        for (section, content) in &self.sections {
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
            let names: Vec<&str> = entries.iter().map(|(name, _)| name.as_str()).collect();
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

/// The warning for an unknown key, with the nearest that there is; of several, one of the same
/// section.
fn unknown(section: &str, name: &str, keys: impl Iterator<Item = &'static Key>) -> Warning {
    // In the outer object, a section's own name can be what was meant.
    let sections = SECTIONS.iter().filter(|_| section.is_empty());
    let sections = sections.map(|known| (*known, (*known).to_owned()));
    let (here, elsewhere): (Vec<&Key>, Vec<&Key>) = keys.partition(|key| key.section == section);
    let keys = here.into_iter().chain(elsewhere);
    let keys = keys.map(|key| (key.name, key.path()));
    let nearest = nearest(name, sections.chain(keys))
        .map(|(path, _)| path)
        .unwrap_or_default();
    Warning {
        setting: path_of(section, name),
        text: format!(
            "is no setting and has no effect; the nearest one is {nearest}. Rename or remove it"
        ),
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Outer;
        impl<'de> Visitor<'de> for Outer {
            type Value = Document;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with \"network\" and \"sync\"")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Document, A::Error> {
                Ok(Document {
                    sections: pairs(map)?,
                })
            }
        }
        deserializer.deserialize_map(Outer)
    }
}

fn pairs<'de, T: Deserialize<'de>, A: MapAccess<'de>>(
    mut map: A,
) -> Result<Vec<(String, T)>, A::Error> {
    let mut pairs = Vec::new();
    while let Some(pair) = map.next_entry()? {
        pairs.push(pair);
    }
    Ok(pairs)
}

impl<'de> Deserialize<'de> for Section {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Section;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Section, A::Error> {
                Ok(Section::Entries(pairs(map)?))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Section, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Section::Other("a list"))
            }
            fn visit_bool<E>(self, _: bool) -> Result<Section, E> {
                Ok(Section::Other("a boolean"))
            }
            fn visit_i64<E>(self, _: i64) -> Result<Section, E> {
                Ok(Section::Other("a number"))
            }
            fn visit_u64<E>(self, _: u64) -> Result<Section, E> {
                Ok(Section::Other("a number"))
            }
            fn visit_f64<E>(self, _: f64) -> Result<Section, E> {
                Ok(Section::Other("a number"))
            }
            fn visit_str<E>(self, _: &str) -> Result<Section, E> {
                Ok(Section::Other("a string"))
            }
            fn visit_unit<E>(self) -> Result<Section, E> {
                Ok(Section::Other("null"))
            }
        }
        deserializer.deserialize_any(Any)
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
