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
pub(super) fn read<T: Typed>(kind: &Kind, value: &Value) -> Result<T, Fault> {
    T::read(kind, value).map_err(|reason| Fault {
        value: shown(kind, value),
        reason,
    })
}

fn wrong_sort(value: &Value) -> String {
    format!("is {}", sort(value))
}

/// The sort of a value, with its article.
pub(super) fn sort(value: &Value) -> &'static str {
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

fn boolean(_: &Kind, value: &Value) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| wrong_sort(value))
}

fn number<T: TryFrom<u64>>(kind: &Kind, value: &Value) -> Result<T, String> {
    let number = match (kind, value) {
        (Kind::Count { min, max }, Value::Number(_)) => {
            within(whole(value)?, *min, *max, u64::to_string)?
        }
        (Kind::Size { min, max }, _) => {
            within(size(value)?, *min, *max, |bytes| show_size(*bytes))?
        }
        _ => return Err(wrong_sort(value)),
    };
    T::try_from(number).map_err(|_| "is too large".to_owned())
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

fn text(kind: &Kind, value: &Value) -> Result<String, String> {
    let Value::String(text) = value else {
        return Err(wrong_sort(value));
    };
    match kind {
        Kind::Password => {}
        _ if text.is_empty() => return Err("is empty".to_owned()),
        Kind::User if text.contains(':') => {
            return Err("has a colon, at which basic authentication would end the name".to_owned());
        }
        Kind::Word(words) if !words.contains(&&**text) => {
            return Err("is none of the words that it can be".to_owned());
        }
        _ => {}
    }
    without_control(text)?;
    Ok(text.clone())
}

/// The one of `all` that a word stands for.
fn word<T: Copy>(
    kind: &Kind,
    value: &Value,
    all: &[T],
    as_str: fn(T) -> &'static str,
) -> Result<T, String> {
    let word = text(kind, value)?;
    let known = all.iter().find(|known| as_str(**known) == word);
    Ok(*known.expect("the kind takes no other words"))
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
fn names(_: &Kind, value: &Value) -> Result<Vec<String>, String> {
    let text = value.as_str().ok_or_else(|| wrong_sort(value))?;
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

fn time(kind: &Kind, value: &Value) -> Result<Duration, String> {
    let time = match (kind, value) {
        (Kind::Time { unit, .. }, Value::Number(_)) => {
            let unit_ms: u64 = match unit {
                Unit::Milliseconds => 1,
                Unit::Seconds => 1000,
            };
            let millis = whole(value)?.checked_mul(unit_ms);
            Duration::from_millis(millis.ok_or("is too large")?)
        }
        (_, Value::String(text)) => {
            parse_duration(text, None).map_err(|error| error.to_string())?
        }
        _ => return Err(wrong_sort(value)),
    };
    match kind {
        Kind::Time { min, max, .. } => within(time, *min, *max, |time| show_time(*time)),
        _ => Err(wrong_sort(value)),
    }
}

fn address(_: &Kind, value: &Value) -> Result<IpAddr, String> {
    let text = value.as_str().ok_or_else(|| wrong_sort(value))?;
    text.trim()
        .parse()
        .map_err(|_| "is no IP address".to_owned())
}

fn access(_: &Kind, value: &Value) -> Result<AccessList, String> {
    let text = value.as_str().ok_or_else(|| wrong_sort(value))?;
    text.parse()
        .map_err(|error: super::AccessError| format!("is no access list: {error}"))
}

fn outcomes(_: &Kind, value: &Value) -> Result<Vec<(String, String)>, String> {
    let entries = value.as_object().ok_or_else(|| wrong_sort(value))?;
    entries
        .iter()
        .map(|(answer, outcome)| match outcome {
            Value::String(outcome) => Ok((answer.clone(), outcome.clone())),
            other => Err(format!(
                "has {} at {answer:?}, where a string is wanted",
                sort(other)
            )),
        })
        .collect()
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
            const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word of the file.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                Self::WORDS[self as usize]
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

/// A field's type: read from the file, shown in a message.
pub(super) trait Typed: Sized {
    /// # Errors
    /// The rest of a sentence that begins with the value.
    fn read(kind: &Kind, value: &Value) -> Result<Self, String>;
    /// For a message about a change.
    fn show(&self, kind: &Kind) -> String;
}

macro_rules! typed {
    ($($type:ty: $read:expr, $show:expr;)*) => {$(
        impl Typed for $type {
            fn read(kind: &Kind, value: &Value) -> Result<Self, String> {
                $read(kind, value)
            }
            fn show(&self, kind: &Kind) -> String {
                let show: fn(&Self, &Kind) -> String = $show;
                show(self, kind)
            }
        }
    )*};
}

typed! {
    bool: boolean, |value, _| value.to_string();
    u16: number, |value, _| value.to_string();
    u32: number, |value, _| value.to_string();
    usize: number, |value, kind| show_number(kind, *value as u64);
    u64: number, |value, kind| show_number(kind, *value);
    Duration: time, |value, _| show_time(*value);
    String: text, |value, _| format!("{value:?}");
    PathBuf: |kind, value| text(kind, value).map(Self::from), |value, _| format!("{value:?}");
    Secret: |kind, value| text(kind, value).map(Self::new), |value, _| format!("{value:?}");
    Vec<String>: names, |value, _| format!("{:?}", value.join(", "));
    IpAddr: address, |value, _| value.to_string();
    AccessList: access, |value, _| format!("{:?}", value.to_string());
    Vec<(String, String)>: outcomes, |value, _| format!("{} entries", value.len());
    LogLevel: |kind, value| word(kind, value, Self::ALL, Self::as_str),
        |value, _| value.as_str().to_owned();
    LogFormat: |kind, value| word(kind, value, Self::ALL, Self::as_str),
        |value, _| value.as_str().to_owned();
    EngineName: |kind, value| word(kind, value, Self::ALL, Self::as_str),
        |value, _| value.as_str().to_owned();
    ReconcileMode: |kind, value| word(kind, value, &Self::ALL, Self::as_str),
        |value, _| value.as_str().to_owned();
}

/// What can be left out.
impl<T: Typed> Typed for Option<T> {
    fn read(kind: &Kind, value: &Value) -> Result<Self, String> {
        let kind = match kind {
            Kind::Optional(kind) => kind,
            kind => kind,
        };
        match value {
            Value::Null => Ok(None),
            _ => T::read(kind, value).map(Some),
        }
    }
    fn show(&self, kind: &Kind) -> String {
        match (self, kind) {
            (Some(value), _) => value.show(kind),
            (None, Kind::Address) => "by rule".to_owned(),
            (None, _) => "none".to_owned(),
        }
    }
}

fn show_number(kind: &Kind, value: u64) -> String {
    match kind {
        Kind::Size { .. } => show_size(value),
        _ => value.to_string(),
    }
}
