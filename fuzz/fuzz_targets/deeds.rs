//! Any bytes as what HA and an operator do to logs, against the real reader over a real folder
//! (tests/deeds).
#![no_main]

#[path = "../../tests/deeds/deeds.rs"]
mod deeds;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

/// In memory, where that can be had: each input syncs many files.
static HOME: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = Path::new("/dev/shm");
    let below = if memory.is_dir() {
        memory.to_owned()
    } else {
        std::env::temp_dir()
    };
    below.join(format!("hustdbsync-deeds-{}", std::process::id()))
});

fuzz_target!(|input: &[u8]| deeds::play(input, &HOME));
