//! The requests of a comparison (docs/hustdb.md, "Lookups and copies").

use crate::binlog::request::Template;
use crate::limits::HUSTDB_READ_BYTES;
use crate::reconcile::ask::{Ask, Replacement};
use crate::reconcile::key::{KeyId, Kind};

/// Appends the whole request, body and all, by which a master is asked. False: its target is
/// longer than hustdb reads at once, so nothing was appended.
#[must_use]
pub fn compose(
    ask: Ask,
    key: &KeyId,
    copy: &Replacement,
    template: &Template,
    request: &mut Vec<u8>,
) -> bool {
    let start = request.len();
    let methods = key.kind.methods();
    let (composed, body) = match ask {
        Ask::Look | Ask::ReadDigest { .. } | Ask::ReadValue => {
            let record = key.record(methods.write, 0);
            let composed = match read_path(ask, key.kind) {
                Some(path) => template.compose_read(path, &record, request),
                None => template.compose_lookup(&record, request),
            };
            (composed, record.value)
        }
        Ask::Write => {
            let mut record = key.record(methods.write, copy.version);
            record.score = copy.score;
            if key.kind.has_value() {
                record.value = &copy.value;
            }
            (
                template.compose(&record, copy.lifetime, request),
                record.value,
            )
        }
        Ask::Remove => {
            let record = key.record(methods.remove, copy.version);
            let lifetime = crate::binlog::Lifetime::Unlimited;
            (template.compose(&record, lifetime, request), record.value)
        }
    };
    // Where a target ends in a key, hustdb may read one octet too many at exactly this length.
    let target_end_max = match ask {
        Ask::Write | Ask::Remove => HUSTDB_READ_BYTES,
        _ => HUSTDB_READ_BYTES - 1,
    };
    if composed.target_end() > target_end_max {
        request.truncate(start);
        return false;
    }
    request.extend_from_slice(&body[..composed.body_bytes]);
    true
}

/// Up to the arguments; `None` for what is looked up by its member.
fn read_path(ask: Ask, kind: Kind) -> Option<&'static [u8]> {
    match (kind, ask) {
        (Kind::Key, Ask::Look) => Some(b"GET /hustdb/exist?"),
        (Kind::Hash, Ask::Look) => Some(b"GET /hustdb/hexist?"),
        (Kind::Key, _) => Some(b"GET /hustdb/get?"),
        (Kind::Hash, _) => Some(b"GET /hustdb/hget?"),
        (Kind::Set | Kind::SortedSet, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog::Lifetime;

    fn key(kind: Kind) -> KeyId {
        let has_table = kind != Kind::Key;
        KeyId {
            kind,
            table: if has_table { *b"tb" } else { *b"  " }[..2 * usize::from(has_table)].into(),
            key: b"a%20b"[..].into(),
            body: (!kind.has_value()).then(|| b"a b"[..].into()),
        }
    }

    fn copy() -> Replacement {
        Replacement {
            version: 7,
            score: -3,
            lifetime: Lifetime::Left(9),
            value: b"value".to_vec(),
        }
    }

    fn check(ask: Ask, kind: Kind, line: &str, body: &str) {
        let mut request = Vec::new();
        let template = Template::new("h:1", None);
        assert!(compose(ask, &key(kind), &copy(), &template, &mut request));
        let length = match (body.is_empty(), line.starts_with("POST")) {
            (true, false) => String::new(),
            _ => format!("Content-Length: {}\r\n", body.len()),
        };
        let expected = format!("{line} HTTP/1.1\r\nHost: h:1\r\n{length}\r\n{body}");
        assert_eq!(String::from_utf8_lossy(&request), expected);
    }

    #[test]
    fn each_kind_has_its_requests() {
        let digest = Ask::ReadDigest { is_bounded: true };
        check(Ask::Look, Kind::Key, "GET /hustdb/exist?key=a%20b", "");
        check(
            Ask::Look,
            Kind::Hash,
            "GET /hustdb/hexist?tb=tb&key=a%20b",
            "",
        );
        check(Ask::Look, Kind::Set, "POST /hustdb/sismember?tb=tb", "a b");
        check(
            Ask::Look,
            Kind::SortedSet,
            "GET /hustdb/zscore?tb=tb",
            "a b",
        );
        check(digest, Kind::Key, "GET /hustdb/get?key=a%20b", "");
        check(
            Ask::ReadValue,
            Kind::Hash,
            "GET /hustdb/hget?tb=tb&key=a%20b",
            "",
        );
        check(
            Ask::Write,
            Kind::Key,
            "POST /hustdb/put?key=a%20b&ver=7&ttl=9&is_dup=true",
            "value",
        );
        check(
            Ask::Write,
            Kind::SortedSet,
            "GET /hustdb/zadd?ver=7&tb=tb&score=-3&opt=0&is_dup=true&ttl=9",
            "a b",
        );
        check(
            Ask::Write,
            Kind::Set,
            "POST /hustdb/sadd?ver=7&tb=tb&is_dup=true&ttl=9",
            "a b",
        );
        check(
            Ask::Remove,
            Kind::Hash,
            "GET /hustdb/hdel?key=a%20b&ver=7&tb=tb&is_dup=true",
            "",
        );
        check(
            Ask::Remove,
            Kind::Set,
            "POST /hustdb/srem?ver=7&tb=tb&is_dup=true",
            "a b",
        );
    }

    #[test]
    fn a_target_that_hustdb_would_not_read_at_once_is_not_sent() {
        let template = Template::new("h:1", None);
        let fixed = "GET /hustdb/exist?key=".len();
        for (end, is_sent) in [(HUSTDB_READ_BYTES - 1, true), (HUSTDB_READ_BYTES, false)] {
            let long = KeyId {
                key: vec![b'k'; end - fixed].into(),
                ..key(Kind::Key)
            };
            let mut request = Vec::new();
            let sent = compose(Ask::Look, &long, &copy(), &template, &mut request);
            assert_eq!((sent, request.is_empty()), (is_sent, !is_sent));
        }
    }
}
