//! Which records are shown: by method, key, table and backend.
//!
//! A key is compared as it stands in the log and as hustdb decodes it: both `a%20b` and `a b` find
//! it.

use std::path::Path;

use crate::binlog::key::fold;
use crate::binlog::{Method, Record};
use crate::cli::pattern::Pattern;

/// A method by its name, as `inspect` prints it.
pub(super) fn parse_method(name: &str) -> Result<Method, String> {
    Method::from_name(name).ok_or_else(|| {
        let names: Vec<&str> = Method::ALL.iter().map(|method| method.name()).collect();
        format!("it is one of {}", names.join(", "))
    })
}

/// What has to hold of a record. None: nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    pub(super) methods: Vec<Method>,
    pub(super) key: Option<Pattern>,
    pub(super) table: Option<Pattern>,
    pub(super) backend: Option<Pattern>,
}

impl Filter {
    /// Whether it asks for something that only a record has.
    pub(super) fn is_about_records(&self) -> bool {
        !self.methods.is_empty() || self.key.is_some() || self.table.is_some()
    }

    /// Whether the record is shown. `scratch` is for decoding.
    pub(super) fn admits(&self, record: &Record<'_>, scratch: &mut Vec<u8>) -> bool {
        (self.methods.is_empty() || self.methods.contains(&record.method))
            && self.admits_names(record.table, record.key, scratch)
    }

    /// Whether what has these names is shown, as far as they say. `scratch` is for decoding.
    pub(super) fn admits_names(&self, table: &[u8], key: &[u8], scratch: &mut Vec<u8>) -> bool {
        let has_key = |pattern: &Pattern| {
            pattern.matches(key) || {
                scratch.clear();
                fold(key, scratch);
                pattern.matches(scratch)
            }
        };
        self.table
            .as_ref()
            .is_none_or(|pattern| pattern.matches(table))
            && self.key.as_ref().is_none_or(has_key)
    }

    /// Whether a backend's logs are read.
    pub(super) fn admits_backend(&self, name: &[u8]) -> bool {
        self.backend
            .as_ref()
            .is_none_or(|backend| backend.matches(name))
    }
}

/// The backend that a file belongs to: the name of its folder.
pub(super) fn backend_of(path: &Path) -> &[u8] {
    use std::os::unix::ffi::OsStrExt;
    path.parent()
        .and_then(Path::file_name)
        .map_or(b"", OsStrExt::as_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_by_each_of_its_spellings_and_all_conditions_must_hold() {
        let record = Record {
            table: b"t1",
            ..Record::new(Method::Hset, b"a%20b", b"")
        };
        let admits = |methods: &[&str], key: Option<&str>, table: Option<&str>| {
            let filter = Filter {
                methods: methods
                    .iter()
                    .map(|name| parse_method(name).unwrap())
                    .collect(),
                key: key.map(|key| key.parse().unwrap()),
                table: table.map(|table| table.parse().unwrap()),
                backend: None,
            };
            filter.admits(&record, &mut Vec::new())
        };
        assert!(admits(&[], None, None));
        assert!(admits(&["put", "hset"], Some("a b"), Some("t?")));
        assert!(admits(&[], Some("a%20b"), None));
        assert!(!admits(&["put"], Some("a b"), None));
        assert!(!admits(&[], Some("a"), None));
        assert!(!admits(&[], None, Some("t")));
        let why = parse_method("frob").unwrap_err();
        assert!(why.starts_with("it is one of put, del"), "{why}");
    }

    #[test]
    fn a_files_backend_is_its_folder() {
        assert_eq!(backend_of(Path::new("/x/h:1/a.log")), b"h:1");
        assert_eq!(backend_of(Path::new("a.log")), b"");
        assert_eq!(backend_of(Path::new("-")), b"");
    }
}
