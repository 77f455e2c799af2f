//! What we compose from a record, read again by httparse and by the fake HustDB: the same method,
//! table, key, value and numbers.
#![no_main]

use hustdbsync::internals::binlog::request::{Composed, Template};
use hustdbsync::internals::binlog::{Lifetime, Method, Record};
use hustdbsync::internals::fake_hustdb::connection::{After, Connection, Handler};
use hustdbsync::internals::fake_hustdb::query::{self, Call, Request, Verb};
use hustdbsync_fuzz::{as_stored, mended};
use libfuzzer_sys::fuzz_target;

const NOW_UNIX: u64 = 1_795_365_600;
const AUTHORIZATION: &str = "Basic dTpw";

fuzz_target!(|bytes: &[u8]| {
    let Some(record) = mended(bytes) else {
        return;
    };
    let template = Template::new("127.0.0.1:9998", Some("dTpw"));
    let (mut request, mut question) = (Vec::new(), Vec::new());
    let lifetime = Lifetime::of(&record, 0, NOW_UNIX);
    let composed = template.compose(&record, lifetime, &mut request);
    check_head(&record, &composed, &request);
    // Whatever has no lookup of its own is looked up as a member of a sorted set.
    let member = Record {
        method: match record.method.row().lookup {
            Some(_) => record.method,
            None => Method::Zadd,
        },
        ..record
    };
    let asked = template.compose_lookup(&member, &mut question);
    check_head(&record, &asked, &question);
    // Longer targets are rejected and not sent: hustdb would fall over them.
    if composed.target_end() > 4096 || asked.target_end() > 4096 {
        return;
    }
    request.extend_from_slice(if composed.body_bytes == 0 {
        b""
    } else {
        record.value
    });
    question.extend_from_slice(if asked.body_bytes == 0 {
        b""
    } else {
        record.value
    });
    // Both on one connection: the first ends where the second begins.
    let mut seen = Seen(Vec::new());
    let after = Connection::new(u32::MAX).handle_read(
        &[request, question].concat(),
        &mut seen,
        &mut Vec::new(),
    );
    assert_eq!(after, After::Continue);
    let [(first, target), (second, question_target)] = &seen.0[..] else {
        panic!("two requests were sent, {} came", seen.0.len());
    };
    check_replayed(&record, lifetime, &composed, first, target);
    let lookup = match member.method {
        Method::Sadd => Verb::Sismember,
        Method::Zadd | Method::Zrem => Verb::Zscore,
        other => panic!("say here how a {} is looked up", other.name()),
    };
    check_call(&member, lookup, second, question_target);
});

/// The head by httparse.
fn check_head(record: &Record<'_>, composed: &Composed, request: &[u8]) {
    assert_eq!(composed.head_bytes, request.len());
    let mut headers = [httparse::EMPTY_HEADER; 8];
    let mut head = httparse::Request::new(&mut headers);
    let parsed = head.parse(request).expect("a composed head is HTTP");
    assert_eq!(parsed, httparse::Status::Complete(request.len()));
    assert_eq!(head.version, Some(1));
    let target = head.path.expect("a request has a target");
    let method = head.method.expect("a request has a method");
    assert!(
        target
            .bytes()
            .all(|octet| (0x21..0x7f).contains(&octet) && octet != b'#')
    );
    assert_eq!(
        composed.target_bytes,
        method.len() + target.len() + " ".len() + " HTTP/1.1\r\n".len()
    );
    assert!(composed.body_bytes == 0 || composed.body_bytes == record.value.len());
    let length = head
        .headers
        .iter()
        .find(|header| header.name == "Content-Length");
    let said = length.map(|header| {
        std::str::from_utf8(header.value)
            .expect("digits")
            .to_owned()
    });
    match method {
        "POST" => assert_eq!(said, Some(composed.body_bytes.to_string())),
        "GET" => assert_eq!(
            said,
            (composed.body_bytes > 0).then(|| composed.body_bytes.to_string())
        ),
        other => panic!("no request is a {other}"),
    }
}

/// A request as the fake HustDB sees it: its method, whether it is authorized, its body; and its
/// target.
type Came = (MethodAndBody, PathAndQuery);
type MethodAndBody = (query::Method, Vec<u8>);
type PathAndQuery = (Vec<u8>, Vec<u8>);

struct Seen(Vec<Came>);

impl Handler for Seen {
    fn handle_request(&mut self, request: &Request<'_>, close: bool, _out: &mut Vec<u8>) -> After {
        assert!(!close);
        assert_eq!(request.authorization, Some(AUTHORIZATION.as_bytes()));
        self.0.push((
            (request.method, request.body.to_vec()),
            (request.path.to_vec(), request.query.to_vec()),
        ));
        After::Continue
    }
}

fn check_replayed(
    record: &Record<'_>,
    lifetime: Lifetime,
    composed: &Composed,
    came: &MethodAndBody,
    target: &PathAndQuery,
) {
    let expired = lifetime == Lifetime::Expired;
    assert_eq!(composed.expired, expired);
    let verb = match (record.method, expired) {
        (Method::Put, false) => Verb::Put,
        (Method::Hset, false) => Verb::Hset,
        (Method::Sadd, _) => Verb::Sadd,
        (Method::Zadd, _) => Verb::Zadd,
        (Method::Put, true) | (Method::Del, _) => Verb::Del,
        (Method::Hset, true) | (Method::Hdel, _) => Verb::Hdel,
        (Method::Srem, _) => Verb::Srem,
        (Method::Zrem, _) => Verb::Zrem,
        (Method::TbPut, _) => return assert_eq!(target.0, b"/husttb/put"),
        (Method::TbUpdate, _) => return assert_eq!(target.0, b"/husttb/update"),
        (Method::TbDelete, _) => return assert_eq!(target.0, b"/husttb/delete"),
    };
    let Some(call) = check_call(record, verb, came, target) else {
        return;
    };
    let seconds = match lifetime {
        Lifetime::Left(seconds) => seconds,
        Lifetime::Unlimited | Lifetime::Expired => 0,
    };
    assert_eq!(call.ttl, seconds);
    assert_eq!(composed.ttl, call.ttl != 0);
    assert_eq!((call.ver, call.is_dup), (record.version, true));
    if verb == Verb::Zadd {
        assert_eq!(
            (call.score, call.opt),
            (record.score, i32::from(record.opt))
        );
    }
}

/// The numbers of a call.
struct Numbers {
    ttl: u32,
    ver: u32,
    is_dup: bool,
    score: i64,
    opt: i32,
}

/// Table, key and value as the fake HustDB takes them from a request; none where it refuses, as it
/// must then.
fn check_call(
    record: &Record<'_>,
    verb: Verb,
    came: &MethodAndBody,
    target: &PathAndQuery,
) -> Option<Numbers> {
    let (method, body) = came;
    assert_eq!(Verb::of_path(&target.0), Some(verb));
    let request = Request {
        method: *method,
        path: &target.0,
        query: &target.1,
        authorization: None,
        body,
    };
    let by_table = !matches!(verb, Verb::Put | Verb::Del);
    let in_query = matches!(verb, Verb::Put | Verb::Del | Verb::Hset | Verb::Hdel);
    let sends_body = !matches!(verb, Verb::Del | Verb::Hdel);
    assert_eq!(body, if sends_body { record.value } else { b"" });
    // What hustdb takes for the key: octets of the query, of the body decoded, or of the body as
    // they are.
    let key = match (in_query, method) {
        (true, _) => as_stored(record.key),
        (false, query::Method::Post) => body.clone(),
        (false, _) if body.is_empty() => as_stored(record.key),
        (false, _) => as_stored(body),
    };
    let mut scratch = Vec::new();
    match Call::parse(verb, &request, &mut scratch) {
        Ok(call) => {
            assert_eq!(call.key, key);
            assert_eq!(call.table, if by_table { record.table } else { b"" });
            let has_value = matches!(verb, Verb::Put | Verb::Hset);
            assert_eq!(call.value, if has_value { record.value } else { b"" });
            Some(Numbers {
                ttl: call.ttl,
                ver: call.ver,
                is_dup: call.is_dup,
                score: call.score,
                opt: call.opt,
            })
        }
        Err(_) => {
            let plain = |octet: &u8| octet.is_ascii_alphanumeric() || b"_:.".contains(octet);
            let bad_table = by_table
                && (!(1..=64).contains(&record.table.len()) || !record.table.iter().all(plain));
            let no_body = *method == query::Method::Post && body.is_empty();
            let is_lookup = matches!(verb, Verb::Zscore | Verb::Sismember);
            let bad_version = record.version == u32::MAX && !is_lookup;
            assert!(
                key.is_empty() || bad_table || no_body || bad_version,
                "a good {verb:?} is refused"
            );
            None
        }
    }
}
