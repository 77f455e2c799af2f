//! Who a backend is, and how often its pipeline was flushed, in all that threads say.

use crate::limits::BACKENDS_MAX;

/// A backend: its place in every table, and how many had that place before it.
///
/// A place is used again once everybody has forgotten who had it, so tables are no longer than
/// there are backends at a time; the whole number is not, so nobody takes one for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendId(pub u32);

/// Bits of a place.
const PLACE_BITS: u32 = 12;

const _: () = assert!(BACKENDS_MAX <= 1 << PLACE_BITS);

impl BackendId {
    /// Its place.
    #[must_use]
    pub fn index(self) -> usize {
        (self.0 & ((1 << PLACE_BITS) - 1)) as usize
    }

    /// The first backend at this place.
    ///
    /// # Panics
    /// Where there is no such place.
    #[must_use]
    pub fn from_index(index: usize) -> Self {
        assert!(index < 1 << PLACE_BITS, "a place has {PLACE_BITS} bits");
        Self(u32::try_from(index).expect("a place fits"))
    }

    /// The next one at the same place.
    #[must_use]
    pub fn next_at_place(self) -> Self {
        Self(self.0.wrapping_add(1 << PLACE_BITS))
    }
}

/// How often a backend's pipeline has been flushed.
pub type Epoch = u32;
