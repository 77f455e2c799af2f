//! Any bytes as a backend's answer, however cut: what a plain reading by httparse says; a whole
//! answer stays the same when more follows it, a fault stays a fault; and no answer settles a
//! record whose backend has not said so.
#![no_main]

use hustdbsync::internals::binlog::Method;
use hustdbsync::internals::http::response::{Response, parse};
use hustdbsync::internals::replay::outcome::{Outcomes, Settlement, Verdict};
use libfuzzer_sys::fuzz_target;

const ANSWER_BYTES_MAX: usize = 64 * 1024;

fuzz_target!(|bytes: &[u8]| {
    let read = parse(bytes).ok();
    match (&read, reference(bytes)) {
        (Some(Some(response)), Some(expected)) => {
            assert_eq!(*response, expected);
            check_verdicts(response);
        }
        (Some(Some(response)), None) => panic!("{response:?} is no answer by httparse"),
        (_, Some(expected)) => panic!("{expected:?} is not read: {read:?}"),
        (_, None) => {}
    }
    for cut in 0..bytes.len().min(2048) {
        match parse(&bytes[..cut]) {
            Ok(None) => {}
            Ok(Some(response)) => {
                assert!(response.bytes() <= cut);
                assert_eq!(read, Some(Some(response)));
                return;
            }
            Err(fault) => {
                assert!(read.is_none());
                assert!(!fault.to_string().contains('\n'));
                return;
            }
        }
    }
});

/// A whole answer that has its length, read plainly: first the end of the head, then each field by
/// name.
fn reference(bytes: &[u8]) -> Option<Response> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut headers);
    let head_bytes = match head.parse(bytes).ok()? {
        httparse::Status::Complete(head_bytes) => head_bytes,
        httparse::Status::Partial => return None,
    };
    let (status, minor) = (head.code?, head.version?);
    let all = |name: &str| -> Vec<&[u8]> {
        let named = head
            .headers
            .iter()
            .filter(|header| header.name.eq_ignore_ascii_case(name));
        named.map(|header| header.value.trim_ascii()).collect()
    };
    let number = |text: &[u8]| -> Option<u32> {
        let text = std::str::from_utf8(text)
            .ok()
            .filter(|text| !text.starts_with(['+', '-']))?;
        text.parse().ok()
    };
    if status < 200 || !all("Transfer-Encoding").is_empty() {
        return None;
    }
    let lengths: Vec<u32> = all("Content-Length")
        .into_iter()
        .map(number)
        .collect::<Option<_>>()?;
    if lengths.windows(2).any(|pair| pair[0] != pair[1]) {
        return None;
    }
    let body_bytes = match (status, lengths.first()) {
        (204 | 304, _) => 0,
        (_, Some(length)) => *length as usize,
        (_, None) => return None,
    };
    if head_bytes + body_bytes > ANSWER_BYTES_MAX || head_bytes + body_bytes > bytes.len() {
        return None;
    }
    Some(Response {
        status,
        version: all("Version").last().and_then(|text| number(text)),
        version_error: all("VerError").last().and_then(|text| match *text {
            b"true" => Some(true),
            b"false" => Some(false),
            _ => None,
        }),
        challenge: !all("WWW-Authenticate").is_empty(),
        close: minor == 0
            || all("Connection")
                .iter()
                .any(|text| text.eq_ignore_ascii_case(b"close")),
        head_bytes,
        body_bytes,
    })
}

fn check_verdicts(response: &Response) {
    for method in Method::ALL {
        let verdict = Outcomes::default().judge(method, response);
        if verdict == Verdict::Settle(Settlement::Applied) {
            assert_eq!(response.status, 200);
            assert_ne!(response.version_error, Some(true));
        }
        if response.status >= 500
            || response.challenge && response.status == 401 && response.version.is_none()
        {
            assert!(
                !matches!(verdict, Verdict::Settle(_)),
                "{response:?} settles: {verdict:?}"
            );
        }
    }
}
