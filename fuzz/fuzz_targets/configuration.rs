//! Any bytes as sync_server.json: a configuration or sentences that name what is wrong.
#![no_main]

use std::path::Path;

use hustdbsync::config::Config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Err(errors) = Config::parse(bytes, Path::new("sync_server.json")) {
        assert!(!errors.to_string().is_empty());
    }
});
