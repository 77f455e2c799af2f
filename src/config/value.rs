//! One JSON value to one typed value: units, ranges, and the words for what is wrong.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::access::AccessList;
use super::kind::{Kind, Unit, show_size, show_time};
use super::secret::Secret;
use crate::reconcile::settings::ReconcileMode;
use crate::text::{parse_duration, split_unit};

/// A value that its [`Kind`] takes.
pub(super) enum Read {
    Boolean(bool),
    /// A count or bytes.
    Number(u64),
    Time(Duration),
    Text(String),
    Address(Option<IpAddr>),
    Access(AccessList),
    Names(Vec<String>),
    /// Null, where something may be left out.
    Nothing,
    Outcomes(Vec<(String, String)>),
}

/// Why a value was not taken.
pub(super) struct Fault {
    /// The value as it stands in the file.
    pub(super) value: String,
    /// The rest of a sentence that begins with the value.
    pub(super) reason: String,
}

/// How much of a value is repeated in a message.
const SHOWN_CHARS_MAX: usize = 80;

/// Reads one value.
pub(super) fn read(kind: &Kind, value: &Value) -> Result<Read, Fault> {
    let taken = match (kind, value) {
        (Kind::Boolean, Value::Bool(value)) => Ok(Read::Boolean(*value)),
        (Kind::Count { min, max }, Value::Number(_)) => whole(value)
            .and_then(|count| within(count, *min, *max, u64::to_string))
            .map(Read::Number),
        (Kind::Size { min, max }, _) => size(value)
            .and_then(|bytes| within(bytes, *min, *max, |bytes| show_size(*bytes)))
            .map(Read::Number),
        (Kind::Time { unit, min, max }, _) => time(value, *unit)
            .and_then(|time| within(time, *min, *max, |time| show_time(*time)))
            .map(Read::Time),
        (Kind::User | Kind::Path | Kind::Password | Kind::Word(_), Value::String(text)) => {
            worded(kind, text).map(|()| Read::Text(text.clone()))
        }
        (Kind::Optional(_), Value::Null) => return Ok(Read::Nothing),
        (Kind::Optional(kind), _) => return read(kind, value),
        (Kind::Names, Value::String(text)) => names(text).map(Read::Names),
        (Kind::Address, Value::Null) => Ok(Read::Address(None)),
        (Kind::Address, Value::String(text)) => match text.trim().parse() {
            Ok(address) => Ok(Read::Address(Some(address))),
            Err(_) => Err("is no IP address".to_owned()),
        },
        (Kind::Access, Value::String(text)) => text
            .parse()
            .map(Read::Access)
            .map_err(|error: super::AccessError| format!("is no access list: {error}")),
        (Kind::Outcomes, Value::Object(entries)) => entries
            .iter()
            .map(|(answer, outcome)| match outcome {
                Value::String(outcome) => Ok((answer.clone(), outcome.clone())),
                other => Err(format!(
                    "has {} at {answer:?}, where a string is wanted",
                    sort(other)
                )),
            })
            .collect::<Result<_, _>>()
            .map(Read::Outcomes),
        _ => Err(wrong_sort(value)),
    };
    taken.map_err(|reason| Fault {
        value: shown(kind, value),
        reason,
    })
}

fn wrong_sort(value: &Value) -> String {
    format!("is {}", sort(value))
}

/// The sort of a value, with its article.
fn sort(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn shown(kind: &Kind, value: &Value) -> String {
    if *kind == Kind::Password {
        return "***".to_owned();
    }
    // JSON escapes some of the control characters, a line of the log can hold none.
    let text = value.to_string().replace(char::is_control, "\u{fffd}");
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn within<T: PartialOrd>(
    value: T,
    min: T,
    max: T,
    show: impl Fn(&T) -> String,
) -> Result<T, String> {
    if value < min {
        Err(format!("is too small: the least is {}", show(&min)))
    } else if value > max {
        Err(format!("is too large: the most is {}", show(&max)))
    } else {
        Ok(value)
    }
}

/// A number without fraction; 5.0 is one too.
fn whole(value: &Value) -> Result<u64, String> {
    match value.as_u64() {
        Some(number) => Ok(number),
        None if value.as_f64().is_some_and(|number| number < 0.0) => Err("is negative".to_owned()),
        // 2^53: up to there a float holds every whole number exactly.
        None => match value.as_f64() {
            Some(number) if number.fract() == 0.0 && number <= 9_007_199_254_740_992.0 => {
                Ok(number as u64)
            }
            Some(number) if number.fract() != 0.0 => Err("is no whole number".to_owned()),
            Some(_) => Err("is too large".to_owned()),
            None => Err(wrong_sort(value)),
        },
    }
}

fn worded(kind: &Kind, text: &str) -> Result<(), String> {
    match kind {
        Kind::Password => {}
        _ if text.is_empty() => return Err("is empty".to_owned()),
        Kind::User if text.contains(':') => {
            return Err("has a colon, at which basic authentication would end the name".to_owned());
        }
        Kind::Word(words) if !words.contains(&text) => {
            return Err("is none of the words that it can be".to_owned());
        }
        _ => {}
    }
    without_control(text)
}

/// # Errors
/// A control character is in it.
pub(super) fn without_control(text: &str) -> Result<(), String> {
    if text.chars().any(char::is_control) {
        Err("has a control character".to_owned())
    } else {
        Ok(())
    }
}

/// Names of hosts, separated by commas.
fn names(text: &str) -> Result<Vec<String>, String> {
    let names = text.split(',').map(str::trim);
    let names = names.filter(|name| !name.is_empty());
    names
        .map(|name| {
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            match name == "*" || name.bytes().all(is_name) {
                true => Ok(name.to_owned()),
                false => Err(format!(
                    "has {name:?}, which is no host's name; it takes names without a port"
                )),
            }
        })
        .collect()
}

fn size(value: &Value) -> Result<u64, String> {
    let text = match value {
        Value::Number(_) => return whole(value),
        Value::String(text) => text,
        other => return Err(wrong_sort(other)),
    };
    let (number, unit) = split_unit(text).map_err(|error| error.to_string())?;
    let factor: u64 = match unit {
        "B" => 1,
        "kB" | "KB" => 1000,
        "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "GiB" => 1 << 30,
        "TB" => 1_000_000_000_000,
        "TiB" => 1 << 40,
        _ => {
            return Err(
                "has no unit that is known: B, KiB, MiB, GiB, TiB, kB, MB, GB, TB".to_owned(),
            );
        }
    };
    number
        .checked_mul(factor)
        .ok_or_else(|| "is too large".to_owned())
}

fn time(value: &Value, unit: Unit) -> Result<Duration, String> {
    match value {
        Value::Number(_) => {
            let unit_ms: u64 = match unit {
                Unit::Milliseconds => 1,
                Unit::Seconds => 1000,
            };
            let millis = whole(value)?.checked_mul(unit_ms);
            millis
                .map(Duration::from_millis)
                .ok_or_else(|| "is too large".to_owned())
        }
        Value::String(text) => parse_duration(text, None).map_err(|error| error.to_string()),
        other => Err(wrong_sort(other)),
    }
}

/// Settings that are one of some words: each word is a variant.
macro_rules! words {
    ($(
        $(#[$about:meta])*
        $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)* }
    )*) => {$(
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$doc])* $variant,)*
        }

        impl $name {
            /// The words of the file, in this order.
            pub(super) const WORDS: &'static [&'static str] = &[$($word),*];

            /// The word of the file.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                Self::WORDS[self as usize]
            }
        }

        impl Typed for $name {
            fn from_read(read: Read) -> Option<Self> {
                match read {
                    Read::Text(word) => match &*word {
                        $($word => Some(Self::$variant),)*
                        _ => None,
                    },
                    _ => None,
                }
            }
            fn show(&self, _: &Kind) -> String {
                self.as_str().to_owned()
            }
        }
    )*};
}

words! {
    /// How much is said in the log.
    LogLevel {
        /// What needs somebody.
        Error = "error",
        /// What may need somebody.
        Warn = "warn",
        /// What happens, at a pace that people can read.
        Info = "info",
        /// More, for finding a fault.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }

    /// What a line of the log looks like.
    LogFormat {
        /// For people; under systemd, entries of the journal.
        Text = "text",
        /// An object a line.
        Json = "json",
    }

    /// What the workers wait for their connections with.
    EngineName {
        /// The ring where it can be had and is the faster one.
        Auto = "auto",
        /// epoll.
        Mio = "mio",
        /// The ring, or nothing.
        IoUring = "io_uring",
    }
}

/// A field's type: made from what was read, shown in a message.
pub(super) trait Typed: Sized {
    /// None where the table gives the field the wrong kind.
    fn from_read(read: Read) -> Option<Self>;
    /// For a message about a change.
    fn show(&self, kind: &Kind) -> String;
}

macro_rules! typed {
    ($($type:ty: $pattern:pat => $value:expr, $self:ident, $kind:pat => $show:expr;)*) => {$(
        impl Typed for $type {
            fn from_read(read: Read) -> Option<Self> {
                match read {
                    $pattern => $value,
                    _ => None,
                }
            }
            fn show(&$self, kind: &Kind) -> String {
                let $kind = kind;
                $show
            }
        }
    )*};
}

typed! {
    bool: Read::Boolean(value) => Some(value), self, _ => self.to_string();
    u16: Read::Number(value) => value.try_into().ok(), self, _ => self.to_string();
    u32: Read::Number(value) => value.try_into().ok(), self, _ => self.to_string();
    usize: Read::Number(value) => value.try_into().ok(), self, kind => number(kind, *self as u64);
    u64: Read::Number(value) => Some(value), self, kind => number(kind, *self);
    Duration: Read::Time(value) => Some(value), self, _ => show_time(*self);
    String: Read::Text(value) => Some(value), self, _ => format!("{self:?}");
    PathBuf: Read::Text(value) => Some(value.into()), self, _ => format!("{self:?}");
    Secret: Read::Text(value) => Some(Self::new(value)), self, _ => format!("{self:?}");
    Vec<String>: Read::Names(value) => Some(value), self, _ => format!("{:?}", self.join(", "));
    ReconcileMode: Read::Text(value) => Self::ALL.into_iter().find(|mode| mode.as_str() == value),
        self, _ => self.as_str().to_owned();
    Option<IpAddr>: Read::Address(value) => Some(value),
        self, _ => self.map_or_else(|| "by rule".to_owned(), |address| address.to_string());
    AccessList: Read::Access(value) => Some(value), self, _ => format!("{:?}", self.to_string());
    Vec<(String, String)>: Read::Outcomes(value) => Some(value),
        self, _ => format!("{} entries", self.len());
}

/// Texts that can be left out.
macro_rules! optional {
    ($($type:ty),*) => {$(
        impl Typed for Option<$type> {
            fn from_read(read: Read) -> Option<Self> {
                match read {
                    Read::Nothing => Some(None),
                    Read::Text(value) => Some(Some(value.into())),
                    _ => None,
                }
            }
            fn show(&self, _: &Kind) -> String {
                match self {
                    Some(value) => format!("{value:?}"),
                    None => "none".to_owned(),
                }
            }
        }
    )*};
}

optional!(String, PathBuf);

fn number(kind: &Kind, value: u64) -> String {
    match kind {
        Kind::Size { .. } => show_size(value),
        _ => value.to_string(),
    }
}
