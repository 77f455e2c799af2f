//! How long what a record writes has to live (docs/hustdb.md, "Time to live").
//!
//! HA logs the second in which it writes the line plus the client's ttl, in 32 bits. So the ttl is
//! the expiry minus the time in the line's prefix, in 32-bit arithmetic; -1 and 4294967295 are one.
//! zlog writes the prefix after HA has computed the expiry, at most a second later: the difference
//! is the ttl or one less.
//!
//! | difference | the client's ttl | what hustdb did |
//! |---|---|---|
//! | 0 to 2,592,000 | 1 to 2,592,000 | stored it for so long |
//! | above, up to 2^32 - 1 | more, or below 0 | stored it for ever |
//!
//! A ttl of 0 is logged as 0. The difference 2,592,000 could be a ttl of one second more; a client
//! that asks for 30 days is the likelier one.

use crate::binlog::Record;
use crate::limits::HUSTDB_TTL_SECONDS_MAX;

/// How long a record's value lives from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// For ever, also where HA logged an expiry.
    Unlimited,
    /// So many seconds, at least one and at most [`HUSTDB_TTL_SECONDS_MAX`].
    Left(u32),
    /// Its time is over.
    Expired,
}

impl Lifetime {
    /// At `now_unix`, of a record whose line was written at `written_unix`; 0 where that cannot be
    /// read. Then the expiry is taken as it is.
    #[must_use]
    pub fn of(record: &Record<'_>, written_unix: u32, now_unix: u64) -> Self {
        if !record.has_ttl() {
            return Self::Unlimited;
        }
        let ttl = record.expires_unix.wrapping_sub(written_unix);
        if written_unix != 0 && ttl > HUSTDB_TTL_SECONDS_MAX && !failpoint!(TrustLongTtl) {
            return Self::Unlimited;
        }
        let now = i64::try_from(now_unix).unwrap_or(i64::MAX);
        let left = i64::from(record.expires_unix).saturating_sub(now);
        match u32::try_from(left) {
            Ok(left @ 1..=HUSTDB_TTL_SECONDS_MAX) => Self::Left(left),
            Err(_) | Ok(0) => Self::Expired,
            // What is left only gets less: the client's ttl was longer than hustdb heeds.
            Ok(_) if written_unix == 0 => Self::Unlimited,
            // Our clock went back. hustdb would take more for no limit.
            Ok(_) => Self::Left(HUSTDB_TTL_SECONDS_MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog::Method;

    const WRITTEN: u32 = 1_800_000_000;
    const MONTH: u32 = HUSTDB_TTL_SECONDS_MAX;

    fn put(expires_unix: u32) -> Record<'static> {
        Record {
            expires_unix,
            ..Record::new(Method::Put, b"k", b"v")
        }
    }

    /// A client's ttl as HA logs it, and what is left of it `after` seconds.
    fn check(ttl: u32, late: u32, after: u32, expected: Lifetime) {
        let expires_unix = match ttl {
            0 => 0,
            ttl => WRITTEN.wrapping_add(ttl),
        };
        let now = u64::from(WRITTEN + after);
        let found = Lifetime::of(&put(expires_unix), WRITTEN + late, now);
        assert_eq!(found, expected, "ttl {ttl}, {late} s late, {after} s after");
    }

    #[test]
    fn a_ttl_counts_from_the_line_and_only_one_to_thirty_days_limits() {
        use Lifetime::{Expired, Left, Unlimited};
        for late in [0, 1] {
            check(0, late, 9, Unlimited);
            check(1, late, 0, Left(1));
            check(1, late, 1, Expired);
            check(60, late, 20, Left(40));
            check(60, late, 60, Expired);
            check(MONTH, late, 0, Left(MONTH));
            check(MONTH, late, MONTH + 5, Expired);
            for never in [MONTH + 2, 1 << 31, (1 << 31) + 1, u32::MAX - 1, u32::MAX] {
                for after in [0, 1, MONTH, 3 * MONTH] {
                    check(never, late, after, Unlimited);
                }
            }
        }
        check(MONTH + 1, 0, 9, Unlimited);
    }

    #[test]
    fn a_clock_that_went_back_makes_no_ttl_longer_than_hustdb_heeds() {
        let now = u64::from(WRITTEN) - 1_000;
        let found = Lifetime::of(&put(WRITTEN + MONTH), WRITTEN, now);
        assert_eq!(found, Lifetime::Left(MONTH));
    }

    #[test]
    fn without_the_lines_time_the_expiry_is_taken_as_it_is() {
        let now = u64::from(WRITTEN);
        for (expires, expected) in [
            (0, Lifetime::Unlimited),
            (1, Lifetime::Expired),
            (WRITTEN - 1, Lifetime::Expired),
            (WRITTEN, Lifetime::Expired),
            (WRITTEN + 1, Lifetime::Left(1)),
            (WRITTEN + MONTH, Lifetime::Left(MONTH)),
            (WRITTEN + MONTH + 1, Lifetime::Unlimited),
            (u32::MAX, Lifetime::Unlimited),
        ] {
            assert_eq!(Lifetime::of(&put(expires), 0, now), expected, "{expires}");
        }
    }

    #[test]
    fn methods_that_heed_no_ttl_have_none() {
        let del = Record {
            method: Method::Del,
            ..put(1)
        };
        assert_eq!(Lifetime::of(&del, 1, 99), Lifetime::Unlimited);
    }

    proptest::proptest! {
        #[test]
        fn any_numbers_have_a_lifetime_within_hustdbs_bound(expires: u32, written: u32, now: u64) {
            if let Lifetime::Left(left) = Lifetime::of(&put(expires), written, now) {
                assert!((1..=MONTH).contains(&left));
            }
        }
    }
}
