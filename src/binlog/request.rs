//! From a record to the request that replays it (docs/hustdb.md, "Requests"), byte for byte.
//!
//! The rule behind the forms is: do to this backend what HA did to the healthy one. The key and the
//! table are query text already and go octet for octet; encoding them again would write another
//! key.

use crate::binlog::method::{Key, Ttl};
use crate::binlog::query_text::{push_key, push_table};
use crate::binlog::{Lifetime, Method, Record};
use crate::limits::HUSTDB_READ_BYTES;

/// What follows every target, up to the backend's name.
const HOST: &[u8] = b" HTTP/1.1\r\nHost: ";

/// Bytes of a request line behind its target.
pub(crate) const REQUEST_LINE_END_BYTES: usize = b" HTTP/1.1\r\n".len();

/// The argument that says that a write is replayed.
const IS_DUP: &[u8] = b"&is_dup=true";

/// The lines of a request's head that are the same for every record of a backend.
#[derive(Clone, Debug)]
pub struct Template {
    tail: Vec<u8>,
}

/// What was composed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Composed {
    /// The method that is sent: an expired put's or hset's is the matching delete.
    pub method: Method,
    /// Whether the record's time is over.
    pub expired: bool,
    /// Whether the request carries a ttl other than 0.
    pub ttl: bool,
    /// Bytes of the request line.
    pub target_bytes: usize,
    /// Bytes of the whole head, which were appended.
    pub head_bytes: usize,
    /// Bytes of the body, the record's value, which is to follow; 0 where none is sent.
    pub body_bytes: usize,
}

impl Composed {
    /// Octets up to the end of the target: method, space, target.
    #[must_use]
    pub fn target_end(&self) -> usize {
        self.target_bytes - REQUEST_LINE_END_BYTES
    }
}

impl Template {
    /// For a backend of this name (the `Host`), with `Basic` credentials in base64 where there are
    /// any.
    #[must_use]
    pub fn new(backend: &str, credentials: Option<&str>) -> Self {
        let mut tail = Vec::new();
        tail.extend_from_slice(HOST);
        tail.extend_from_slice(backend.as_bytes());
        if let Some(credentials) = credentials {
            tail.extend_from_slice(b"\r\nAuthorization: Basic ");
            tail.extend_from_slice(credentials.as_bytes());
        }
        Self { tail }
    }

    /// The backend's name.
    #[must_use]
    pub fn backend(&self) -> &str {
        let name = self.tail.strip_prefix(HOST).unwrap_or_default();
        let end = memchr::memchr(b'\r', name).unwrap_or(name.len());
        std::str::from_utf8(&name[..end]).unwrap_or_default()
    }

    /// Appends the head of the request that replays `record`, which has `lifetime` left.
    ///
    /// An expired put or hset goes as the delete of that version (guarantees, G5). An expired sadd
    /// or zadd goes as it is, without a ttl: the caller has looked its member up, and says how it
    /// goes.
    pub fn compose(&self, record: &Record<'_>, lifetime: Lifetime, head: &mut Vec<u8>) -> Composed {
        self.compose_sized(record, record.value.len(), lifetime, head)
    }

    /// The same of a record whose value is elsewhere and has `value_bytes` bytes.
    pub(crate) fn compose_sized(
        &self,
        record: &Record<'_>,
        value_bytes: usize,
        lifetime: Lifetime,
        head: &mut Vec<u8>,
    ) -> Composed {
        let expired = lifetime == Lifetime::Expired;
        let method = if expired {
            expired_as(record.method)
        } else {
            record.method
        };
        let row = method.row();
        let ttl = match lifetime {
            Lifetime::Left(seconds) if row.ttl != Ttl::None => seconds,
            _ => 0,
        };
        let start = head.len();
        head.extend_from_slice(row.start);
        if row.key == Key::Query {
            head.extend_from_slice(b"key=");
            push_key(record.key, head);
            head.push(b'&');
        }
        head.extend_from_slice(b"ver=");
        push_number(record.version, head);
        if row.ttl == Ttl::OfValue {
            head.extend_from_slice(b"&ttl=");
            push_number(ttl, head);
        }
        if row.table {
            head.extend_from_slice(b"&tb=");
            push_table(record.table, head);
        }
        if row.score {
            head.extend_from_slice(b"&score=");
            push_number(record.score, head);
            head.extend_from_slice(b"&opt=");
            push_number(record.opt, head);
        }
        let is_dup_at = head.len();
        head.extend_from_slice(IS_DUP);
        if row.ttl == Ttl::OfMember && ttl != 0 {
            head.extend_from_slice(b"&ttl=");
            push_number(ttl, head);
        }
        if row.key == Key::BodyOrQuery && value_bytes == 0 {
            head.extend_from_slice(b"&key=");
            push_key(record.key, head);
        }
        if head.len() - start == HUSTDB_READ_BYTES {
            // hustdb may take one octet more for the end of the target. A key would be another one;
            // this argument is refused then (docs/hustdb.md, "What hustdb cannot take").
            head.drain(is_dup_at..is_dup_at + IS_DUP.len());
            head.extend_from_slice(IS_DUP);
        }
        let body_bytes = if row.body { value_bytes } else { 0 };
        let is_post = row.start[0] == b'P';
        let target_bytes = self.finish(start, is_post || body_bytes > 0, body_bytes, head);
        Composed {
            method,
            expired,
            ttl: ttl != 0,
            target_bytes,
            head_bytes: head.len() - start,
            body_bytes,
        }
    }

    /// Appends the head of the request that looks a member up: is it there, and in which version?
    /// The body, where there is one, is the record's value (docs/hustdb.md, "Time to live" and
    /// "Requests").
    ///
    /// # Panics
    /// Where the record's method has no lookup.
    pub fn compose_lookup(&self, record: &Record<'_>, head: &mut Vec<u8>) -> Composed {
        self.compose_lookup_sized(record, record.value.len(), head)
    }

    /// The same of a record whose value is elsewhere and has `body_bytes` bytes.
    ///
    /// # Panics
    /// Where the record's method has no lookup.
    pub(crate) fn compose_lookup_sized(
        &self,
        record: &Record<'_>,
        body_bytes: usize,
        head: &mut Vec<u8>,
    ) -> Composed {
        let start = head.len();
        let lookup = record.method.row().lookup;
        let lookup = lookup.expect("only what has a lookup is looked up");
        head.extend_from_slice(lookup.start);
        push_table(record.table, head);
        if body_bytes == 0 && lookup.key_argument {
            head.extend_from_slice(b"&key=");
            push_key(record.key, head);
        }
        let is_post = lookup.start[0] == b'P';
        let target_bytes = self.finish(start, is_post || body_bytes > 0, body_bytes, head);
        Composed {
            method: record.method,
            expired: false,
            ttl: false,
            target_bytes,
            head_bytes: head.len() - start,
            body_bytes,
        }
    }

    /// Appends the head of the request that reads what a key has, by `start` up to its arguments.
    pub(crate) fn compose_read(
        &self,
        start: &[u8],
        record: &Record<'_>,
        head: &mut Vec<u8>,
    ) -> Composed {
        let begin = head.len();
        head.extend_from_slice(start);
        if record.method.row().table {
            head.extend_from_slice(b"tb=");
            push_table(record.table, head);
            head.push(b'&');
        }
        head.extend_from_slice(b"key=");
        push_key(record.key, head);
        let target_bytes = self.finish(begin, false, 0, head);
        Composed {
            method: record.method,
            expired: false,
            ttl: false,
            target_bytes,
            head_bytes: head.len() - begin,
            body_bytes: 0,
        }
    }

    /// Ends the request line and adds the headers. Gives the line's length.
    fn finish(
        &self,
        start: usize,
        says_length: bool,
        body_bytes: usize,
        head: &mut Vec<u8>,
    ) -> usize {
        let target_bytes = head.len() - start + REQUEST_LINE_END_BYTES;
        head.extend_from_slice(&self.tail);
        if says_length {
            head.extend_from_slice(b"\r\nContent-Length: ");
            push_number(body_bytes, head);
        }
        head.extend_from_slice(b"\r\n\r\n");
        target_bytes
    }
}

/// What a method that writes is replayed as once its time is over. A member of a set stays as it
/// was: hustdb heeds no ttl for one that exists.
fn expired_as(method: Method) -> Method {
    let row = method.row();
    match row.ttl {
        Ttl::OfValue => row.removed_by.unwrap_or(method),
        Ttl::OfMember if failpoint!(RemoveExpired) => row.removed_by.unwrap_or(method),
        Ttl::OfMember | Ttl::None => method,
    }
}

fn push_number(number: impl itoa::Integer, head: &mut Vec<u8>) {
    head.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_000;

    fn record(method: Method) -> Record<'static> {
        Record {
            method,
            version: 5,
            key: b"k",
            expires_unix: 0,
            table: b"tb",
            score: -12,
            opt: 1,
            value: b"v",
        }
    }

    /// The request line that a record becomes, and whether the value follows as a body.
    fn check(record: &Record<'_>, line: &str, body: bool) {
        let template = Template::new("127.0.0.1:9998", Some("dTpw"));
        let mut head = Vec::new();
        let lifetime = Lifetime::of(record, 0, NOW);
        let composed = template.compose(record, lifetime, &mut head);
        let length = match (body, line.starts_with("POST")) {
            (true, _) => format!("Content-Length: {}\r\n", record.value.len()),
            (false, true) => "Content-Length: 0\r\n".into(),
            (false, false) => String::new(),
        };
        let expected = format!(
            "{line} HTTP/1.1\r\nHost: 127.0.0.1:9998\r\nAuthorization: Basic dTpw\r\n{length}\r\n"
        );
        assert_eq!(String::from_utf8_lossy(&head), expected);
        assert_eq!(composed.head_bytes, head.len());
        assert_eq!(composed.target_bytes, line.len() + " HTTP/1.1\r\n".len());
        assert_eq!(
            composed.body_bytes,
            if body { record.value.len() } else { 0 }
        );
    }

    #[test]
    fn each_method_has_its_form() {
        check(
            &record(Method::Put),
            "POST /hustdb/put?key=k&ver=5&ttl=0&is_dup=true",
            true,
        );
        check(
            &record(Method::Hset),
            "POST /hustdb/hset?key=k&ver=5&ttl=0&tb=tb&is_dup=true",
            true,
        );
        check(
            &record(Method::Del),
            "GET /hustdb/del?key=k&ver=5&is_dup=true",
            false,
        );
        check(
            &record(Method::Hdel),
            "GET /hustdb/hdel?key=k&ver=5&tb=tb&is_dup=true",
            false,
        );
        check(
            &record(Method::Sadd),
            "POST /hustdb/sadd?ver=5&tb=tb&is_dup=true",
            true,
        );
        check(
            &record(Method::Srem),
            "POST /hustdb/srem?ver=5&tb=tb&is_dup=true",
            true,
        );
        check(
            &record(Method::Zadd),
            "GET /hustdb/zadd?ver=5&tb=tb&score=-12&opt=1&is_dup=true",
            true,
        );
        check(
            &record(Method::Zrem),
            "GET /hustdb/zrem?ver=5&tb=tb&is_dup=true",
            true,
        );
        check(
            &record(Method::TbPut),
            "POST /husttb/put?key=k&ver=5&tb=tb&is_dup=true",
            true,
        );
        check(
            &record(Method::TbUpdate),
            "POST /husttb/update?key=k&ver=5&tb=tb&is_dup=true",
            true,
        );
        check(
            &record(Method::TbDelete),
            "GET /husttb/delete?key=k&ver=5&tb=tb&is_dup=true",
            false,
        );
    }

    #[test]
    fn an_empty_value_moves_a_sorted_sets_member_into_the_query() {
        let empty = |method| Record {
            value: b"",
            ..record(method)
        };
        check(
            &empty(Method::Zadd),
            "GET /hustdb/zadd?ver=5&tb=tb&score=-12&opt=1&is_dup=true&key=k",
            false,
        );
        check(
            &empty(Method::Zrem),
            "GET /hustdb/zrem?ver=5&tb=tb&is_dup=true&key=k",
            false,
        );
        check(
            &empty(Method::Put),
            "POST /hustdb/put?key=k&ver=5&ttl=0&is_dup=true",
            false,
        );
    }

    #[test]
    fn a_ttl_is_what_is_left_of_it() {
        let ttl = |method| Record {
            expires_unix: 1_030,
            ..record(method)
        };
        check(
            &ttl(Method::Put),
            "POST /hustdb/put?key=k&ver=5&ttl=30&is_dup=true",
            true,
        );
        check(
            &ttl(Method::Hset),
            "POST /hustdb/hset?key=k&ver=5&ttl=30&tb=tb&is_dup=true",
            true,
        );
        check(
            &ttl(Method::Sadd),
            "POST /hustdb/sadd?ver=5&tb=tb&is_dup=true&ttl=30",
            true,
        );
        check(
            &ttl(Method::Zadd),
            "GET /hustdb/zadd?ver=5&tb=tb&score=-12&opt=1&is_dup=true&ttl=30",
            true,
        );
        check(
            &Record {
                value: b"",
                ..ttl(Method::Zadd)
            },
            "GET /hustdb/zadd?ver=5&tb=tb&score=-12&opt=1&is_dup=true&ttl=30&key=k",
            false,
        );
        check(
            &ttl(Method::Del),
            "GET /hustdb/del?key=k&ver=5&is_dup=true",
            false,
        );
    }

    #[test]
    fn a_value_that_expired_is_deleted_and_a_member_is_written_without_ttl() {
        for expires_unix in [1, 999, 1_000] {
            let expired = |method| Record {
                expires_unix,
                ..record(method)
            };
            check(
                &expired(Method::Put),
                "GET /hustdb/del?key=k&ver=5&is_dup=true",
                false,
            );
            check(
                &expired(Method::Hset),
                "GET /hustdb/hdel?key=k&ver=5&tb=tb&is_dup=true",
                false,
            );
            check(
                &expired(Method::Sadd),
                "POST /hustdb/sadd?ver=5&tb=tb&is_dup=true",
                true,
            );
            check(
                &expired(Method::Zadd),
                "GET /hustdb/zadd?ver=5&tb=tb&score=-12&opt=1&is_dup=true",
                true,
            );
            check(
                &Record {
                    value: b"",
                    ..expired(Method::Zadd)
                },
                "GET /hustdb/zadd?ver=5&tb=tb&score=-12&opt=1&is_dup=true&key=k",
                false,
            );
        }
    }

    /// A target of so many octets, whose key is the last argument elsewhere.
    #[test]
    fn a_target_that_fills_hustdbs_read_does_not_end_in_a_key() {
        let fixed = "GET /hustdb/zrem?ver=5&tb=tb&is_dup=true&key=".len();
        for (end, expected) in [
            (HUSTDB_READ_BYTES - 1, "&is_dup=true&key=kk"),
            (HUSTDB_READ_BYTES, "k&is_dup=true"),
        ] {
            let key = vec![b'k'; end - fixed];
            let zrem = Record {
                key: &key,
                value: b"",
                ..record(Method::Zrem)
            };
            let mut head = Vec::new();
            let composed =
                Template::new("h:1", None).compose(&zrem, Lifetime::Unlimited, &mut head);
            assert_eq!(composed.target_end(), end);
            let target = String::from_utf8_lossy(&head[..end]);
            assert_eq!(target.matches("is_dup").count(), 1);
            match end {
                HUSTDB_READ_BYTES => assert!(target.ends_with(expected), "{target}"),
                _ => assert!(target.contains(expected), "{target}"),
            }
        }
    }

    #[test]
    fn opt_is_sent_as_it_is() {
        for opt in [i8::MIN, -2, 0, 2, i8::MAX] {
            let zadd = Record {
                opt,
                ..record(Method::Zadd)
            };
            let line = format!("GET /hustdb/zadd?ver=5&tb=tb&score=-12&opt={opt}&is_dup=true");
            check(&zadd, &line, true);
        }
    }

    #[test]
    fn a_key_goes_octet_for_octet_and_only_what_no_target_can_hold_is_escaped() {
        let key = |key| Record {
            key,
            ..record(Method::Del)
        };
        check(
            &key(b"a%20b%25+=/:;~*'()?"),
            "GET /hustdb/del?key=a%20b%25+=/:;~*'()?&ver=5&is_dup=true",
            false,
        );
        check(
            &key(b"a b#c&d\x7f\xc3\xa4\n"),
            "GET /hustdb/del?key=a%20b%23c%26d%7F%C3%A4%0A&ver=5&is_dup=true",
            false,
        );
        check(&key(b""), "GET /hustdb/del?key=&ver=5&is_dup=true", false);
    }

    fn check_lookup(record: &Record<'_>, expected: &str) {
        let mut head = Vec::new();
        let composed = Template::new("h:1", None).compose_lookup(record, &mut head);
        assert_eq!(String::from_utf8_lossy(&head), expected);
        assert_eq!(composed.head_bytes, head.len());
    }

    #[test]
    fn a_lookup_names_the_member_as_the_write_does() {
        check_lookup(
            &record(Method::Zadd),
            "GET /hustdb/zscore?tb=tb HTTP/1.1\r\nHost: h:1\r\nContent-Length: 1\r\n\r\n",
        );
        check_lookup(
            &Record {
                value: b"",
                ..record(Method::Zadd)
            },
            "GET /hustdb/zscore?tb=tb&key=k HTTP/1.1\r\nHost: h:1\r\n\r\n",
        );
        check_lookup(
            &record(Method::Sadd),
            "POST /hustdb/sismember?tb=tb HTTP/1.1\r\nHost: h:1\r\nContent-Length: 1\r\n\r\n",
        );
    }

    #[test]
    fn a_template_knows_its_backend() {
        for credentials in [None, Some("dTpw")] {
            assert_eq!(Template::new("h:1", credentials).backend(), "h:1");
        }
    }
}
