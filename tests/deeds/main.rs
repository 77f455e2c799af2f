//! What operators do to logs: each seed of the fuzz target `deeds`, and some hundred inputs at
//! random.
//!
//! `DEEDS=100000` is as many of those; one that fails is written as hexadecimal digits, for
//! `DEEDS_INPUT=…`.

mod deeds;

use std::env;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Inputs at random, unless more are asked for.
const INPUTS: u64 = 300;
const INPUT_BYTES_MAX: usize = 120;

fn home() -> tempfile::TempDir {
    // In memory, where that can be had: each input syncs many files.
    let memory = Path::new("/dev/shm");
    let made = tempfile::tempdir_in(memory);
    made.or_else(|_| tempfile::tempdir()).unwrap()
}

#[test]
fn each_seed_of_the_fuzz_target_holds() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/deeds");
    let mut played = 0;
    for seed in fs::read_dir(seeds).unwrap() {
        let seed = seed.unwrap().path();
        let input = fs::read(&seed).unwrap();
        let held = catch_unwind(AssertUnwindSafe(|| deeds::play(&input, home().path())));
        assert!(held.is_ok(), "{}", seed.display());
        played += 1;
    }
    assert!(played > 0);
}

#[test]
fn whatever_is_done_to_logs_nothing_is_lost_or_comes_twice_as_new() {
    let home = home();
    let hex = |digits: &str| -> Vec<u8> {
        let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
        (0..digits.len() / 2).map(|nth| byte(2 * nth)).collect()
    };
    if let Ok(digits) = env::var("DEEDS_INPUT") {
        return deeds::play(&hex(&digits), home.path());
    }
    let inputs = env::var("DEEDS").map_or(INPUTS, |inputs| inputs.parse().unwrap());
    for seed in 0..inputs {
        let mut random = fastrand::Rng::with_seed(seed);
        let bytes = random.usize(1..INPUT_BYTES_MAX);
        let input: Vec<u8> = (0..bytes).map(|_| random.u8(..)).collect();
        let held = catch_unwind(AssertUnwindSafe(|| deeds::play(&input, home.path())));
        let digits: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(held.is_ok(), "DEEDS_INPUT={digits}");
    }
}
