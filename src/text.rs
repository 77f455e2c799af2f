//! What people write: times with a unit, and names with slips; and what is shown to them.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::borrow::Cow;
use std::time::Duration;

/// Why a text is not a time. Each is the rest of a sentence that begins with the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// There are no digits in front.
    #[error("doesn't begin with a whole number")]
    NoNumber,
    /// What follows the digits is not a unit.
    #[error("has no unit that is known: ms, s, min, h, d")]
    NoUnit,
    /// It does not fit.
    #[error("is too large")]
    TooLarge,
}

/// Parses a time: a whole number and `ms`, `s`, `m` or `min`, `h`, `d`, as in `30s`. A number
/// without a unit is so many times `bare`, and an error where that is `None`.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn parse_duration(
    text: &str,
    bare: Option<Duration>,
) -> Result<Duration, DurationError> {
    let (number, unit) = split_unit(text)?;
    let unit = match (unit, bare) {
        ("", Some(bare)) => bare,
        ("ms", _) => Duration::from_millis(1),
        ("s", _) => Duration::from_secs(1),
        ("m" | "min", _) => Duration::from_secs(60),
        ("h", _) => Duration::from_secs(3600),
        ("d", _) => Duration::from_secs(86_400),
        _ => return Err(DurationError::NoUnit),
    };
    // Units are whole milliseconds, and a count of those has 64 bits: no clock goes further.
    u64::try_from(unit.as_millis())
        .ok()
        .and_then(|millis| number.checked_mul(millis))
        .map(Duration::from_millis)
        .ok_or(DurationError::TooLarge)
}

/// Splits a text into a whole number and its unit.
///
/// # Errors
/// When there is no such number.
pub(crate) fn split_unit(text: &str) -> Result<(u64, &str), DurationError> {
    let text = text.trim();
    let digits_end = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits_end);
    match digits.parse() {
        Ok(number) => Ok((number, unit.trim())),
        Err(_) if digits.is_empty() => Err(DurationError::NoNumber),
        Err(_) => Err(DurationError::TooLarge),
    }
}

/// Returns what was probably meant by `name`: of the named candidates the one with the fewest
/// slips, of several such the first, and how many slips those are. Upper and lower case are the
/// same.
#[must_use]
pub(crate) fn nearest<'a, T>(
    name: &str,
    candidates: impl IntoIterator<Item = (&'a str, T)>,
) -> Option<(T, usize)> {
    let name = name.to_lowercase();
    candidates
        .into_iter()
        .map(|(known, candidate)| {
            let slips = strsim::damerau_levenshtein(&known.to_lowercase(), &name);
            (candidate, slips)
        })
        .min_by_key(|(_, slips)| *slips)
}

/// A text without control characters: each is written as in a literal of Rust. Names of files and
/// the like could otherwise begin lines of their own, and tell a terminal what to do.
pub(crate) fn without_controls(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character.is_control() {
            true => shown.extend(character.escape_default()),
            false => shown.push(character),
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, bare: Option<u64>, expected: Result<u64, DurationError>) {
        let found = parse_duration(text, bare.map(Duration::from_secs));
        assert_eq!(found, expected.map(Duration::from_millis), "{text:?}");
    }

    #[test]
    fn a_time_is_a_number_and_a_unit() {
        use DurationError::{NoNumber, NoUnit, TooLarge};
        for bare in [None, Some(1)] {
            check("250ms", bare, Ok(250));
            check("30s", bare, Ok(30_000));
            check(" 5 m ", bare, Ok(300_000));
            check("5min", bare, Ok(300_000));
            check("2h", bare, Ok(7_200_000));
            check("3d", bare, Ok(259_200_000));
            check("0d", bare, Ok(0));
            for text in ["", "s", "-1s", "+1s", "one s"] {
                check(text, bare, Err(NoNumber));
            }
            for text in ["1.5s", "1w", "1S", "1 s s"] {
                check(text, bare, Err(NoUnit));
            }
            for text in ["99999999999999999999s", "9999999999999999d"] {
                check(text, bare, Err(TooLarge));
            }
        }
        check("7", None, Err(NoUnit));
        check("7", Some(1), Ok(7000));
        check("7", Some(0), Ok(0));
    }

    #[test]
    fn the_nearest_name_is_the_first_with_the_fewest_slips() {
        let names = ["checkdb_interval", "checklog_interval", "port"];
        for (name, expected) in [
            ("Checkdb_Interval", (0, 0)),
            ("chekclog_interval", (1, 1)),
            ("prot", (2, 1)),
            ("check_interval", (0, 2)),
        ] {
            let candidates = names.into_iter().zip(0..);
            assert_eq!(nearest(name, candidates), Some(expected), "{name}");
        }
        assert_eq!(nearest::<()>("x", []), None);
    }
}
