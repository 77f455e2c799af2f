//! What we compose from a record, read again by httparse and by the stand-in: the same method, table, key and value.
#![no_main]

use hustdbsync::binlog::request::Template;
use hustdbsync::binlog::{Method, Record};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(record) = Record::parse(bytes) else {
        return;
    };
    let mut request = Vec::new();
    let composed = Template::new("127.0.0.1:9998", Some("dTpw")).compose(&record, 1_000, &mut request);
    assert_eq!(composed.head_bytes, request.len());
    let mut headers = [httparse::EMPTY_HEADER; 8];
    let mut head = httparse::Request::new(&mut headers);
    let parsed = head.parse(&request).expect("a composed head is HTTP");
    assert_eq!(parsed, httparse::Status::Complete(request.len()));
    let target = head.path.expect("a request has a target");
    assert!(target.bytes().all(|octet| (0x21..0x7f).contains(&octet)));
    let body: &[u8] = if composed.body_bytes == 0 { b"" } else { record.value };
    assert_eq!(composed.body_bytes, body.len());

    let (path, query) = target.split_once('?').expect("a replay has arguments");
    let expected_path = match composed.method {
        Method::TbPut => "/husttb/put".to_owned(),
        Method::TbUpdate => "/husttb/update".to_owned(),
        Method::TbDelete => "/husttb/delete".to_owned(),
        method => format!("/hustdb/{}", method.name()),
    };
    assert_eq!(path, expected_path);
    let argument = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    assert_eq!(argument("ver"), Some(record.version.to_string().as_str()));
    assert_eq!(argument("is_dup"), Some("true"));
    if let Some(key) = argument("key") {
        assert_same_octets(key, record.key);
    }
    if let Some(table) = argument("tb") {
        assert_same_octets(table, record.table);
    }
});

/// `query` is `octets` with some of them escaped that were not before.
fn assert_same_octets(query: &str, octets: &[u8]) {
    let mut query = query.bytes();
    for octet in octets {
        let first = query.next().expect("the query is no shorter");
        if first == *octet && !matches!(octet, 0x00..=0x20 | 0x7f..=0xff | b'#' | b'&') {
            continue;
        }
        assert_eq!(first, b'%');
        let digits = [query.next(), query.next()].map(|digit| digit.expect("an escape has two digits"));
        let escape = std::str::from_utf8(&digits).expect("digits are ASCII");
        assert_eq!(u8::from_str_radix(escape, 16), Ok(*octet));
    }
    assert_eq!(query.next(), None);
}
