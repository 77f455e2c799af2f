//! From a request to a call: path, arguments, decoding, and the refusals that come before any data
//! is looked at.
//!
//! The order of the checks is hustdb's, and it shows in the answers: path (404), password (401,
//! checked by the caller between [`Verb::of_path`] and [`Call::parse`]), method (405), missing
//! parameter or value (404), and then, in the handler and so with a `Version`, the table's name,
//! the version and the key (400).
//!
//! Two things are easily got wrong, and are as hustdb's source has them (`c_unescape_uri_internal`,
//! which is nginx's decoder):
//! - `+` is a plus, and a `?`, raw or as `%3F`, **ends the key**: `a%3Fb` and `a%3Fc` are the same
//!   key, `a?`.
//! - a `%` that no hex digits follow is dropped, and so is a lone digit behind it: `%zz` is `zz`,
//!   `%4` at the end is nothing.

use super::answer::Answer;

/// The methods that hustdb tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET, with or without a body.
    Get,
    Post,
    /// Any other: every handler answers 405.
    Other,
}

/// One request, as far as hustdb looks at it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub method: Method,
    /// The target up to the `?`.
    pub path: &'a [u8],
    /// The target after the `?`, escapes and all.
    pub query: &'a [u8],
    /// The `Authorization` header, if there is one.
    pub authorization: Option<&'a [u8]>,
    pub body: &'a [u8],
}

impl<'a> Request<'a> {
    /// A request for `target` (path and query), without a password.
    #[must_use]
    pub fn new(method: Method, target: &'a [u8], body: &'a [u8]) -> Self {
        let (path, query) = match memchr::memchr(b'?', target) {
            Some(at) => (&target[..at], &target[at + 1..]),
            None => (target, &[][..]),
        };
        Self {
            method,
            path,
            query,
            authorization: None,
            body,
        }
    }

    /// Octets up to the end of the target: method, space, target.
    #[must_use]
    pub fn target_end(&self) -> usize {
        let method = match self.method {
            Method::Get => "GET ".len(),
            Method::Post | Method::Other => "POST ".len(),
        };
        let query = match self.query {
            [] => 0,
            query => 1 + query.len(),
        };
        method + self.path.len() + query
    }
}

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Verb {
    /// `/hustdb/exist`
    Exist,
    /// `/hustdb/get`
    Get,
    /// `/hustdb/put`
    Put,
    /// `/hustdb/del`
    Del,
    /// `/hustdb/hexist`
    Hexist,
    /// `/hustdb/hget`
    Hget,
    /// `/hustdb/hset`
    Hset,
    /// `/hustdb/hdel`
    Hdel,
    /// `/hustdb/sismember`
    Sismember,
    /// `/hustdb/sadd`
    Sadd,
    /// `/hustdb/srem`
    Srem,
    /// `/hustdb/zismember`
    Zismember,
    /// `/hustdb/zscore`
    Zscore,
    /// `/hustdb/zadd`
    Zadd,
    /// `/hustdb/zrem`
    Zrem,
}

/// The four spaces of keys. Those with tables share one namespace of tables: a table has one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Space {
    /// Keys without a table.
    Kv,
    /// Hash tables.
    Hash,
    Set,
    SortedSet,
}

/// What a verb does to what is stored.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Add,
    Remove,
}

/// Where a verb's key comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum KeySource {
    /// `key=`, decoded.
    Query,
    /// The body or else `key=`, as it stands.
    BodyRaw,
    /// The body or else `key=`, decoded unless the method is POST.
    BodyDecoded,
}

impl Verb {
    /// The verb that `path` names, if any.
    #[must_use]
    pub fn of_path(path: &[u8]) -> Option<Self> {
        Some(match path.strip_prefix(b"/hustdb/")? {
            b"put" => Self::Put,
            b"del" => Self::Del,
            b"hset" => Self::Hset,
            b"hdel" => Self::Hdel,
            b"sadd" => Self::Sadd,
            b"srem" => Self::Srem,
            b"zadd" => Self::Zadd,
            b"zrem" => Self::Zrem,
            b"get" => Self::Get,
            b"exist" => Self::Exist,
            b"hget" => Self::Hget,
            b"hexist" => Self::Hexist,
            b"sismember" => Self::Sismember,
            b"zismember" => Self::Zismember,
            b"zscore" => Self::Zscore,
            _ => return None,
        })
    }

    /// The space that this verb works on.
    #[must_use]
    pub fn space(self) -> Space {
        match self {
            Self::Exist | Self::Get | Self::Put | Self::Del => Space::Kv,
            Self::Hexist | Self::Hget | Self::Hset | Self::Hdel => Space::Hash,
            Self::Sismember | Self::Sadd | Self::Srem => Space::Set,
            Self::Zismember | Self::Zscore | Self::Zadd | Self::Zrem => Space::SortedSet,
        }
    }

    /// Whether this verb changes anything.
    #[must_use]
    pub fn is_mutation(self) -> bool {
        self.access() != Access::Read
    }

    /// Whether this verb stores something, and so makes its table.
    #[must_use]
    pub fn adds(self) -> bool {
        self.access() == Access::Add
    }

    /// Whether this verb removes something.
    #[must_use]
    pub fn removes(self) -> bool {
        self.access() == Access::Remove
    }

    fn access(self) -> Access {
        match self {
            Self::Exist | Self::Get | Self::Hexist | Self::Hget => Access::Read,
            Self::Sismember | Self::Zismember | Self::Zscore => Access::Read,
            Self::Put | Self::Hset | Self::Sadd | Self::Zadd => Access::Add,
            Self::Del | Self::Hdel | Self::Srem | Self::Zrem => Access::Remove,
        }
    }

    fn accepts_post(self) -> bool {
        match self {
            Self::Exist | Self::Get | Self::Del => false,
            Self::Hexist | Self::Hget | Self::Hdel => false,
            Self::Put | Self::Hset => true,
            Self::Sismember | Self::Sadd | Self::Srem => true,
            Self::Zismember | Self::Zscore | Self::Zadd | Self::Zrem => true,
        }
    }

    fn key_source(self) -> KeySource {
        match self.space() {
            Space::Kv | Space::Hash => KeySource::Query,
            Space::Set => KeySource::BodyRaw,
            Space::SortedSet => KeySource::BodyDecoded,
        }
    }
}

/// A request that has everything its verb needs.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// What is asked for.
    pub verb: Verb,
    /// The table; empty for [`Space::Kv`].
    pub table: &'a [u8],
    /// The key or member, decoded: as it is stored.
    pub key: &'a [u8],
    /// The value of a put or hset.
    pub value: &'a [u8],
    /// The version asked for; 0 where there was none.
    pub ver: u32,
    /// Whether this is a replayed mutation.
    pub is_dup: bool,
    /// Seconds to live; 0 where there was none.
    pub ttl: u32,
    /// zadd's score.
    pub score: i64,
    /// zadd's opt: below 0 subtracts, 0 sets, above 0 adds.
    pub opt: i32,
}

/// Table names have at most this many bytes.
const TABLE_BYTES_MAX: usize = 64;

impl<'a> Call<'a> {
    /// Reads the arguments of `request`, which asks for `verb`. A key with escapes is decoded into
    /// `scratch`.
    ///
    /// # Errors
    /// The answer to give where hustdb refuses before it looks at any data.
    pub fn parse(
        verb: Verb,
        request: &Request<'a>,
        scratch: &'a mut Vec<u8>,
    ) -> Result<Self, Answer> {
        let post = match request.method {
            Method::Get => false,
            Method::Post if verb.accepts_post() => true,
            Method::Post | Method::Other => return Err(Answer::bare(405)),
        };
        let arguments = Arguments::of(request.query);
        if post && request.body.is_empty() {
            return Err(Answer::bare(404));
        }

        let source = verb.key_source();
        let raw_key = match source {
            KeySource::Query => arguments.key,
            KeySource::BodyRaw | KeySource::BodyDecoded if request.body.is_empty() => arguments.key,
            KeySource::BodyRaw | KeySource::BodyDecoded => request.body,
        };
        let value = match verb {
            Verb::Put | Verb::Hset if request.body.is_empty() => arguments.val,
            Verb::Put | Verb::Hset => request.body,
            _ => &[],
        };
        let value_is_missing = matches!(verb, Verb::Put | Verb::Hset) && value.is_empty();
        let table_is_missing = verb.space() != Space::Kv && arguments.tb.is_empty();
        let score_is_missing = verb == Verb::Zadd && arguments.score.is_none();
        if raw_key.is_empty() || value_is_missing || table_is_missing || score_is_missing {
            return Err(Answer::bare(404));
        }

        let decoded = match source {
            KeySource::Query => true,
            KeySource::BodyRaw => false,
            KeySource::BodyDecoded => !post,
        };
        let key = if decoded {
            decode(raw_key, scratch)
        } else {
            raw_key
        };
        let call = Self {
            verb,
            table: if verb.space() == Space::Kv {
                &[]
            } else {
                arguments.tb
            },
            key,
            value,
            ver: arguments.ver,
            is_dup: arguments.is_dup,
            ttl: arguments.ttl,
            score: arguments.score.unwrap_or(0),
            opt: arguments.opt,
        };
        let table_is_bad = verb.space() != Space::Kv && !is_table_name(call.table);
        let version_is_bad = verb.is_mutation() && call.ver == u32::MAX;
        if table_is_bad || version_is_bad || key.is_empty() {
            return Err(call.refusal(400));
        }
        Ok(call)
    }

    /// What hustdb says where it refuses this call without having looked at the key: the version is
    /// the caller's own.
    #[must_use]
    pub fn refusal(&self, status: u16) -> Answer {
        if self.verb.is_mutation() {
            Answer::write(status, self.ver, false)
        } else {
            Answer::read(status, 0, super::answer::Body::Empty)
        }
    }
}

/// The arguments of a query that any verb knows. Of two with the same name the last counts; one
/// without a value doesn't.
#[derive(Default)]
struct Arguments<'a> {
    key: &'a [u8],
    tb: &'a [u8],
    val: &'a [u8],
    ver: u32,
    ttl: u32,
    is_dup: bool,
    score: Option<i64>,
    opt: i32,
}

impl<'a> Arguments<'a> {
    fn of(query: &'a [u8]) -> Self {
        let mut arguments = Self::default();
        // A `#` ends a target: libevhtp takes what follows for the fragment.
        let query = memchr::memchr(b'#', query).map_or(query, |at| &query[..at]);
        let mut rest = query;
        loop {
            let end = memchr::memchr(b'&', rest).unwrap_or(rest.len());
            let pair = &rest[..end];
            if let Some(at) = memchr::memchr(b'=', pair)
                && at + 1 < pair.len()
            {
                let value = until_nul(&pair[at + 1..]);
                match until_nul(&pair[..at]) {
                    _ if value.is_empty() => {}
                    b"key" => arguments.key = value,
                    b"tb" => arguments.tb = value,
                    b"val" => arguments.val = value,
                    b"ver" => arguments.ver = unsigned(value),
                    b"ttl" => arguments.ttl = unsigned(value),
                    b"is_dup" => arguments.is_dup = value == b"true" || value == b"1",
                    b"score" => arguments.score = Some(signed(value)),
                    b"opt" => {
                        let opt = i32::try_from(signed(value)).unwrap_or(0);
                        arguments.opt = opt.clamp(-1, 1);
                    }
                    _ => {}
                }
            }
            if end == rest.len() {
                return arguments;
            }
            rest = &rest[end + 1..];
        }
    }
}

/// Names and values are strings of C: a NUL, as it stands, ends them. One that is escaped does not.
fn until_nul(text: &[u8]) -> &[u8] {
    memchr::memchr(0, text).map_or(text, |at| &text[..at])
}

/// A 32-bit number as C++'s streams read it into an unsigned one: a negative one is taken from
/// 2^32.
fn unsigned(text: &[u8]) -> u32 {
    let (is_negative, magnitude) = number(text);
    let magnitude = u32::try_from(magnitude).unwrap_or(0);
    match is_negative {
        true => magnitude.wrapping_neg(),
        false => magnitude,
    }
}

/// A signed one of 64 bits, likewise.
fn signed(text: &[u8]) -> i64 {
    let (is_negative, magnitude) = number(text);
    match is_negative {
        true => 0_i64.checked_sub_unsigned(magnitude).unwrap_or(0),
        false => i64::try_from(magnitude).unwrap_or(0),
    }
}

/// Whether a number is negative, and how large it is. White space and a sign may be in front, and
/// what is behind the digits doesn't count. No digits are 0, and so is what is too large.
fn number(text: &[u8]) -> (bool, u64) {
    let is_space = |byte: &u8| matches!(byte, b'\t'..=b'\r' | b' ');
    let text = &text[text.iter().take_while(|byte| is_space(byte)).count()..];
    let (is_negative, digits) = match text.first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let digits = digits.iter().take_while(|byte| byte.is_ascii_digit());
    let magnitude = digits.map(|digit| u64::from(digit - b'0'));
    let magnitude = magnitude.into_iter().try_fold(0_u64, |number, digit| {
        number.checked_mul(10)?.checked_add(digit)
    });
    (is_negative, magnitude.unwrap_or(0))
}

fn is_table_name(name: &[u8]) -> bool {
    name.len() <= TABLE_BYTES_MAX
        && name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':' | b'.'))
}

/// The key that `raw` stands for, decoded once. It is borrowed where there is nothing to decode.
#[must_use]
pub fn decode<'a>(raw: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
    if memchr::memchr2(b'%', b'?', raw).is_none() {
        return raw;
    }
    scratch.clear();
    decode_into(raw, scratch);
    scratch
}

fn decode_into(raw: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    while let Some(&byte) = raw.get(at) {
        at += 1;
        if byte != b'%' {
            out.push(byte);
            if byte == b'?' {
                return;
            }
            continue;
        }
        let Some(&first) = raw.get(at) else { return };
        at += 1;
        let Some(high) = char::from(first).to_digit(16) else {
            // The `%` is dropped and the octet after it stands for itself, even if it is another
            // `%` or a `?`.
            out.push(first);
            continue;
        };
        let Some(&second) = raw.get(at) else { return };
        at += 1;
        // Where the second digit is none, all three octets are dropped.
        if let Some(low) = char::from(second).to_digit(16) {
            // Two digits are an octet.
            let decoded = (high << 4 | low) as u8;
            out.push(decoded);
            if decoded == b'?' {
                return;
            }
        }
    }
}

#[cfg(test)]
#[path = "query_tests.rs"]
mod tests;
