//! One number that several threads write and read.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// One number.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `amount`.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Release);
    }

    /// Takes `amount` away; below 0 it stays at 0, so that a slip in bookkeeping shows as 0 and not
    /// as 2⁶⁴.
    pub fn sub(&self, amount: u64) {
        let _ = self
            .0
            .fetch_update(Release, Relaxed, |value| Some(value.saturating_sub(amount)));
    }

    /// Makes it `value`.
    pub fn set(&self, value: u64) {
        self.0.store(value, Release);
    }

    /// What it is.
    #[must_use]
    pub fn load(&self) -> u64 {
        self.0.load(Acquire)
    }
}
