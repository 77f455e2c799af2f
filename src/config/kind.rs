//! What values a setting takes, and how they are written for people.

use std::fmt;
use std::time::Duration;

/// What values a setting takes. Bounds are inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Boolean,
    /// A whole number.
    Count {
        /// Least.
        min: u64,
        /// Most.
        max: u64,
    },
    /// Bytes, as a number or as a string with a unit.
    Size {
        /// Least.
        min: u64,
        /// Most.
        max: u64,
    },
    /// Time, as a number in `unit` or as a string with a unit.
    Time {
        /// The unit of a plain number.
        unit: Unit,
        /// Least.
        min: Duration,
        /// Most.
        max: Duration,
    },
    /// A user's name: one character at least, no control characters, and no colon, at which basic
    /// authentication would end it.
    User,
    /// A password; can be empty, and is never shown.
    Password,
    /// A path; not empty.
    Path,
    /// One of these words.
    Word(&'static [&'static str]),
    /// An IP address, or null.
    Address,
    /// An access list.
    Access,
    /// Names of hosts.
    Names,
    /// Such a value, or null.
    Optional(&'static Kind),
    /// An object from strings to strings.
    Outcomes,
}

/// The unit of a plain number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// ms
    Milliseconds,
    /// s
    Seconds,
}

/// What to write, for the end of an error's sentence.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean => f.write_str("true or false"),
            Self::Count { min, max } => write!(f, "a whole number from {min} to {max}"),
            Self::Size { min, max } => {
                write!(
                    f,
                    "bytes, or a string such as \"64MiB\", from {} to {}",
                    show_size(*min),
                    show_size(*max)
                )
            }
            Self::Time { unit, min, max } => {
                write!(
                    f,
                    "{unit}, or a string such as \"5s\" or \"500ms\", from {} to {}",
                    show_time(*min),
                    show_time(*max)
                )
            }
            Self::User => f.write_str("a string without a colon"),
            Self::Password => f.write_str("a string"),
            Self::Path => f.write_str("a path as a string"),
            Self::Word(words) => write!(f, "one of \"{}\"", words.join("\", \"")),
            Self::Address => f.write_str("an IP address as a string"),
            Self::Access => f.write_str(
                "addresses, a-b ranges and networks as one string, \
                separated by commas; an empty one admits everyone",
            ),
            Self::Names => {
                f.write_str("names of hosts as one string, separated by commas; * stands for any")
            }
            Self::Optional(kind) => kind.fmt(f),
            Self::Outcomes => f.write_str("an object of strings"),
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Milliseconds => "milliseconds",
            Self::Seconds => "seconds",
        })
    }
}

/// Bytes in the largest binary unit that divides them, as a file can have them: `64MiB`.
pub(super) fn show_size(bytes: u64) -> String {
    for (unit, shift) in [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        if bytes != 0 && bytes.is_multiple_of(1 << shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    format!("{bytes}B")
}

/// Time in the largest unit that divides it, as a file can have it: `500ms`.
pub(super) fn show_time(time: Duration) -> String {
    let milliseconds = time.as_millis();
    for (unit, factor) in [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("min", 60_000),
        ("s", 1000),
    ] {
        if milliseconds != 0 && milliseconds.is_multiple_of(factor) {
            return format!("{}{unit}", milliseconds / factor);
        }
    }
    format!("{milliseconds}ms")
}
