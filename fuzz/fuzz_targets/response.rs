//! Any bytes as a backend's answer, however cut: a whole answer stays the same when more follows it.
#![no_main]

use hustdbsync::http::response::{Parsed, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for cut in 0..=bytes.len().min(2048) {
        match parse(&bytes[..cut]) {
            Ok(Parsed::Partial) => {}
            Ok(Parsed::Complete(response)) => {
                assert!(response.bytes() <= cut);
                assert_eq!(parse(bytes), Ok(Parsed::Complete(response)));
                return;
            }
            Err(_) => return,
        }
    }
});
