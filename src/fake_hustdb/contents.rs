//! Everything that a store holds, in order, to be compared.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::query::Space;

/// Where something is stored.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Item {
    pub space: Space,
    /// The table; empty for [`Space::Kv`].
    pub table: Vec<u8>,
    /// The key or member, decoded.
    pub key: Vec<u8>,
}

/// What is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// The value of a key.
    Bytes(Vec<u8>),
    /// Being a member of a set is all there is to it.
    Member,
    /// The score of a sorted set's member.
    Score(i64),
}

/// What is stored, with what hustdb knows about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub version: u32,
    /// When it ends, in Unix seconds; 0 for never.
    pub expires_unix: u64,
    pub value: Value,
}

/// A snapshot of a store. Two of them that are `==` hold the same, versions and expiry included.
pub type Contents = BTreeMap<Item, Stored>;

/// Says how `found` differs from `expected`, one line a difference, at most `lines_max` of them and
/// then how many more there are. `None` where they are equal. Expiries that are at most
/// `tolerance_s` seconds apart count as equal, since a ttl is relative when it is sent.
#[must_use]
pub fn differences(
    expected: &Contents,
    found: &Contents,
    tolerance_s: u64,
    lines_max: usize,
) -> Option<String> {
    let missing = expected
        .iter()
        .filter(|(item, _)| !found.contains_key(*item))
        .map(|(item, stored)| format!("missing: {}, {}", name(item), describe(stored)));
    let extra = found
        .iter()
        .filter(|(item, _)| !expected.contains_key(*item))
        .map(|(item, stored)| format!("not expected: {}, {}", name(item), describe(stored)));
    let changed = expected.iter().filter_map(|(item, wanted)| {
        let stored = found.get(item)?;
        (!alike(wanted, stored, tolerance_s)).then(|| {
            format!(
                "different: {}, expected {}, found {}",
                name(item),
                describe(wanted),
                describe(stored)
            )
        })
    });

    let mut text = String::new();
    let mut count = 0usize;
    for line in missing.chain(extra).chain(changed) {
        count += 1;
        if count <= lines_max {
            text.push_str(&line);
            text.push('\n');
        }
    }
    if count > lines_max {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "and {} more", count - lines_max);
    }
    (count > 0).then_some(text)
}

fn alike(wanted: &Stored, stored: &Stored, tolerance_s: u64) -> bool {
    let never_differs = (wanted.expires_unix == 0) == (stored.expires_unix == 0);
    wanted.version == stored.version
        && wanted.value == stored.value
        && never_differs
        && wanted.expires_unix.abs_diff(stored.expires_unix) <= tolerance_s
}

fn name(item: &Item) -> String {
    let key = shorten(&item.key);
    let table = shorten(&item.table);
    match item.space {
        Space::Kv => format!("key {key}"),
        Space::Hash => format!("hash {table} key {key}"),
        Space::Set => format!("set {table} member {key}"),
        Space::SortedSet => format!("sorted set {table} member {key}"),
    }
}

fn describe(stored: &Stored) -> String {
    let mut text = match &stored.value {
        Value::Bytes(bytes) => format!("{} B {}", bytes.len(), shorten(bytes)),
        Value::Member => "a member".to_owned(),
        Value::Score(score) => format!("score {score}"),
    };
    let _ = write!(text, " version {}", stored.version);
    if stored.expires_unix != 0 {
        let _ = write!(text, " until {}", stored.expires_unix);
    }
    text
}

/// The first octets of `bytes`, readable.
fn shorten(bytes: &[u8]) -> String {
    const SHOWN: usize = 40;
    let shown = &bytes[..bytes.len().min(SHOWN)];
    let ellipsis = if bytes.len() > SHOWN { "…" } else { "" };
    format!("\"{}\"{ellipsis}", shown.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(key: &str, version: u32, expires_unix: u64, value: &str) -> (Item, Stored) {
        let item = Item {
            space: Space::Kv,
            table: Vec::new(),
            key: key.into(),
        };
        let stored = Stored {
            version,
            expires_unix,
            value: Value::Bytes(value.into()),
        };
        (item, stored)
    }

    #[track_caller]
    fn check(expected: &[(Item, Stored)], found: &[(Item, Stored)], said: Option<&str>) {
        let expected = expected.iter().cloned().collect();
        let found = found.iter().cloned().collect();
        assert_eq!(differences(&expected, &found, 2, 2).as_deref(), said);
    }

    #[test]
    fn equal_contents_have_no_differences() {
        check(&[one("a", 1, 0, "x")], &[one("a", 1, 0, "x")], None);
    }

    #[test]
    fn expiries_within_the_tolerance_are_equal_and_others_are_not() {
        check(&[one("a", 1, 100, "x")], &[one("a", 1, 102, "x")], None);
        check(
            &[one("a", 1, 100, "x")],
            &[one("a", 1, 103, "x")],
            Some(
                "different: key \"a\", expected 1 B \"x\" version 1 until 100, found 1 B \"x\" \
                 version 1 until 103\n",
            ),
        );
        check(
            &[one("a", 1, 1, "x")],
            &[one("a", 1, 0, "x")],
            Some(
                "different: key \"a\", expected 1 B \"x\" version 1 until 1, found 1 B \"x\" \
                 version 1\n",
            ),
        );
    }

    #[test]
    fn differences_are_counted_beyond_the_lines_shown() {
        check(
            &[
                one("a", 1, 0, "x"),
                one("b", 1, 0, "x"),
                one("d", 1, 0, "x"),
            ],
            &[one("c", 1, 0, "x"), one("d", 2, 0, "x")],
            Some(
                "missing: key \"a\", 1 B \"x\" version 1\nmissing: key \"b\", 1 B \"x\" version \
                 1\nand 2 more\n",
            ),
        );
    }
}
