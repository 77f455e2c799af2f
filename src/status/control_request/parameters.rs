//! A query's parameters: each known, each once, each with a value.

use super::refusal::Refusal;
use crate::http::request::Request;

/// A number of nothing but digits.
pub(super) fn digits(text: &str) -> Option<u64> {
    let are_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| are_digits)
}

/// A query's parameters, decoded.
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Whether there is none.
    pub(super) fn are_none(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them; each known, each once, each with a value.
    pub(super) fn of(request: &Request<'_>, known: &[&str]) -> Result<Self, Refusal> {
        let mut found: Vec<(String, String)> = Vec::new();
        let query = request.query.unwrap_or_default();
        for pair in query
            .split(|byte| *byte == b'&')
            .filter(|pair| !pair.is_empty())
        {
            let end = memchr::memchr(b'=', pair).unwrap_or(pair.len());
            let value = pair.get(end + 1..).unwrap_or_default();
            let (Some(name), Some(value)) = (decoded(&pair[..end]), decoded(value)) else {
                return Err(Refusal::bad("a parameter is not text in percent-encoding"));
            };
            let why = if !known.contains(&name.as_str()) {
                format!("there is no parameter {name:?} here")
            } else if value.is_empty() {
                format!("{name} has no value")
            } else if found.iter().any(|(before, _)| *before == name) {
                format!("{name} is there twice")
            } else {
                found.push((name, value));
                continue;
            };
            return Err(Refusal::bad(why));
        }
        Ok(Self(found))
    }

    pub(super) fn find(&self, name: &str) -> Option<&str> {
        let mut all = self.0.iter();
        all.find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }

    pub(super) fn need(&self, name: &str, what: &str) -> Result<String, Refusal> {
        let found = self.find(name).map(str::to_owned);
        found.ok_or_else(|| Refusal::bad(format!("{name} is missing: {what}")))
    }
}

/// Percent-encoding undone; none where what comes out is no text, or what stands behind a `%` no
/// octet.
fn decoded(bytes: &[u8]) -> Option<String> {
    let mut octets = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            octets.push(byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digit = |byte: u8| char::from(byte).to_digit(16);
        octets.push(u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).ok()?);
        rest = after;
    }
    String::from_utf8(octets).ok()
}
