//! What backends had come to that are forgotten: HA's totals must not fall with them.
//!
//! The file also names those whose state is being removed. A process that dies in between has
//! counted them already; the next one first removes what is left of them, so nothing is counted
//! twice.

use xxhash_rust::xxh3::xxh3_64;

/// Sums over all backends that were ever forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ForgottenTotals {
    /// Records read from their logs.
    pub processed: u64,
    /// Records of these that were settled.
    pub settled: u64,
}

impl ForgottenTotals {
    /// With those of one more.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self {
            processed: self.processed.wrapping_add(other.processed),
            settled: self.settled.wrapping_add(other.settled),
        }
    }

    /// Without those of one that is among them.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self {
            processed: self.processed.wrapping_sub(other.processed),
            settled: self.settled.wrapping_sub(other.settled),
        }
    }
}

/// What the file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// The sums.
    pub totals: ForgottenTotals,
    /// Backends that are counted and whose state is being removed.
    pub removing: Vec<String>,
}

const HEAD: &str = "hustdbsync forgotten 1\n";

impl Forgotten {
    /// As it stands in the file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let ForgottenTotals { processed, settled } = self.totals;
        let mut text = format!("{HEAD}{processed} {settled}\n");
        for name in &self.removing {
            text.push_str(name);
            text.push('\n');
        }
        let sum = xxh3_64(text.as_bytes());
        text.push_str(&format!("{sum:016x}\n"));
        text.into_bytes()
    }

    /// What [`Forgotten::encode`] has written; none where it is not whole.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (lines, sum) = text.strip_suffix('\n')?.rsplit_once('\n')?;
        let summed = &text[..lines.len() + 1];
        if format!("{:016x}", xxh3_64(summed.as_bytes())) != sum {
            return None;
        }
        let mut lines = summed.strip_prefix(HEAD)?.lines();
        let (processed, settled) = lines.next()?.split_once(' ')?;
        Some(Self {
            totals: ForgottenTotals {
                processed: processed.parse().ok()?,
                settled: settled.parse().ok()?,
            },
            removing: lines.map(str::to_owned).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_no_part_or_other_byte_of_it() {
        let forgotten = Forgotten {
            totals: ForgottenTotals {
                processed: u64::MAX,
                settled: 7,
            },
            removing: vec!["10.0.0.1:8085".to_owned(), "db.example:1".to_owned()],
        };
        let bytes = forgotten.encode();
        assert_eq!(Forgotten::decode(&bytes), Some(forgotten));
        for cut in 0..bytes.len() {
            assert_eq!(Forgotten::decode(&bytes[..cut]), None, "{cut}");
            let mut other = bytes.clone();
            other[cut] ^= 1;
            assert_eq!(Forgotten::decode(&other), None, "{cut}");
        }
        let nothing = Forgotten::default();
        assert_eq!(Forgotten::decode(&nothing.encode()), Some(nothing));
    }
}
