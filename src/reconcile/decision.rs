//! What two lookups say of a key, and what is to be done about it: [`judge`] is the first table of
//! "What is decided" in docs/reconcile.md, [`judge_values`] the second one.

use std::cmp::Ordering;

use crate::binlog::version::{self, Origin};
use crate::http::response::Response;
use crate::reconcile::key::{Kind, Logged};

/// What a lookup has found on a master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// No such key, or no such table.
    Absent,
    Present {
        version: u32,
        /// Its score, of a sorted set's member.
        score: i64,
    },
}

impl Seen {
    /// The version; 0 where there is none.
    #[must_use]
    pub fn version(self) -> u32 {
        match self {
            Self::Absent => 0,
            Self::Present { version, .. } => version,
        }
    }

    /// The score, of what is there.
    #[must_use]
    pub fn score(self) -> i64 {
        match self {
            Self::Absent => 0,
            Self::Present { score, .. } => score,
        }
    }
}

/// An answer to a request that is about one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The master did, or has, what it was asked for.
    Good,
    /// There is no such key or table; to a write, the table has another type.
    Missing,
    /// The master does not take this request. Another time it would not either.
    Declined,
    /// It says nothing about the key: the master is not well, or does not know our password.
    Trouble,
}

/// What an answer means, whatever the request was.
#[must_use]
pub fn meaning(response: &Response) -> Meaning {
    match (response.status, response.version) {
        (200, Some(_)) => Meaning::Good,
        (404 | 412, Some(_)) => Meaning::Missing,
        (400 | 401 | 405, Some(_)) => Meaning::Declined,
        _ => Meaning::Trouble,
    }
}

/// What the answer to a lookup has found. `None`: it is none of a lookup.
#[must_use]
pub fn seen(kind: Kind, response: &Response, body: &[u8]) -> Option<Seen> {
    match (meaning(response), response.version) {
        (Meaning::Missing, _) => Some(Seen::Absent),
        (Meaning::Good, Some(version)) => {
            let score = match kind {
                Kind::SortedSet => str::from_utf8(body).ok()?.trim().parse().ok()?,
                Kind::Key | Kind::Hash | Kind::Set => 0,
            };
            Some(Seen::Present { version, score })
        }
        _ => None,
    }
}

/// How far the peer is taken for the truth about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trust {
    /// Not at all: nothing is mended.
    Nothing,
    /// Not where both have one version: the peer has missed writes, too, and a record of its own
    /// log may have replaced the newer write that had this version.
    OtherVersions,
    /// As the peer has missed nothing.
    Everything,
}

/// How a key stands on both masters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The same on both.
    Equal,
    /// What the peer has is to stand on the backend.
    PeerCounts,
    /// The backend has the later version: the values decide.
    BackendNewer,
    /// Only the backend has it.
    PeerLacks,
}

/// Compares what was found.
#[must_use]
pub fn judge(kind: Kind, backend: Seen, peer: Seen) -> Verdict {
    match (backend, peer) {
        (Seen::Absent, Seen::Absent) => Verdict::Equal,
        (Seen::Absent, Seen::Present { .. }) => Verdict::PeerCounts,
        (Seen::Present { .. }, Seen::Absent) => Verdict::PeerLacks,
        (Seen::Present { .. }, Seen::Present { .. }) if kind == Kind::Set => Verdict::Equal,
        _ if backend == peer => Verdict::Equal,
        _ => match version::order_of_stored(backend.version(), peer.version()) {
            Ordering::Greater => Verdict::BackendNewer,
            Ordering::Less | Ordering::Equal => Verdict::PeerCounts,
        },
    }
}

/// What the values decide where the backend has the later version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByValue {
    /// They are equal: the peer's version is raised, so that the next writes number equally.
    RaisePeer,
    /// The log's last record removes the key, or the log has a record of a later version than the
    /// peer's, or of the same with another value. So the peer's key was made anew since: its value
    /// counts, on both with the later version.
    PeerMadeAnew,
    /// Either may be the one that was meant.
    Unclear,
}

/// Compares by value. `peer_version` is that which the peer tells, `peer_content` its value's hash
/// ([`content_hash`](crate::reconcile::key::content_hash)).
#[must_use]
pub fn judge_values(
    are_equal: bool,
    peer_version: u32,
    peer_content: u64,
    logged: &Logged,
) -> ByValue {
    if are_equal {
        return ByValue::RaisePeer;
    }
    // At the last record's version the peer would have what that record left.
    let is_another = logged.is_last(peer_version)
        && logged
            .content
            .is_some_and(|content| content != peer_content);
    let by_max = version::compare(peer_version, logged.version_max, Origin::GivenOrStored);
    // A higher number may as well be far ahead.
    let is_before = by_max == Ordering::Less && peer_version < logged.version_max;
    if logged.is_removed || is_before || is_another {
        return ByValue::PeerMadeAnew;
    }
    ByValue::Unclear
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABSENT: Seen = Seen::Absent;

    fn there(version: u32, score: i64) -> Seen {
        Seen::Present { version, score }
    }

    #[test]
    fn every_pair_has_its_verdict() {
        use Verdict::{BackendNewer, Equal, PeerCounts, PeerLacks};
        let cases = [
            (ABSENT, ABSENT, [Equal; 3]),
            (ABSENT, there(1, 0), [PeerCounts; 3]),
            (there(1, 0), ABSENT, [PeerLacks; 3]),
            (there(4, 0), there(4, 0), [Equal; 3]),
            (there(3, 0), there(4, 0), [PeerCounts, Equal, PeerCounts]),
            (
                there(4, 0),
                there(3, 0),
                [BackendNewer, Equal, BackendNewer],
            ),
        ];
        for (backend, peer, expected) in cases {
            let kinds = [Kind::Key, Kind::Set, Kind::SortedSet];
            let found = kinds.map(|kind| judge(kind, backend, peer));
            assert_eq!(found, expected, "{backend:?} {peer:?}");
            assert_eq!(judge(Kind::Hash, backend, peer), expected[0]);
        }
        // 65,643 is stored as 123.
        for (backend, peer, expected) in [(65_642, 123, PeerCounts), (123, 65_642, BackendNewer)] {
            let found = judge(Kind::Key, there(backend, 0), there(peer, 0));
            assert_eq!(found, expected);
        }
        let other_score = judge(Kind::SortedSet, there(4, 1), there(4, 2));
        assert_eq!(other_score, PeerCounts);
    }

    #[test]
    fn a_value_counts_where_it_was_made_after_the_log() {
        let logged = Logged {
            version: 1,
            version_max: 5,
            ..Logged::default()
        };
        let check = |are_equal, version, content, logged: &Logged, expected| {
            let found = judge_values(are_equal, version, content, logged);
            assert_eq!(found, expected, "{version} {content} {logged:?}");
        };
        check(true, 2, 7, &logged, ByValue::RaisePeer);
        check(true, 9, 7, &logged, ByValue::RaisePeer);
        check(false, 2, 7, &logged, ByValue::PeerMadeAnew);
        check(false, 5, 7, &logged, ByValue::Unclear);
        check(false, 9, 7, &logged, ByValue::Unclear);
        let removed = Logged {
            is_removed: true,
            ..logged
        };
        check(false, 9, 7, &removed, ByValue::PeerMadeAnew);
        let told = Logged {
            version: 5,
            content: Some(7),
            ..logged
        };
        check(false, 5, 7, &told, ByValue::Unclear);
        check(false, 5, 8, &told, ByValue::PeerMadeAnew);
        check(false, 6, 8, &told, ByValue::Unclear);
        // 98 is stored as 114, and 65,643 as 123.
        let log_of = |version| Logged {
            version,
            version_max: version,
            content: Some(7),
            ..Logged::default()
        };
        check(false, 114, 7, &log_of(98), ByValue::Unclear);
        check(false, 114, 8, &log_of(98), ByValue::PeerMadeAnew);
        check(false, 97, 8, &log_of(98), ByValue::PeerMadeAnew);
        check(false, 123, 7, &log_of(65_643), ByValue::Unclear);
        check(false, 140, 8, &log_of(65_643), ByValue::Unclear);
    }

    #[test]
    fn answers_that_are_not_hustdbs_say_nothing_of_a_key() {
        let response = |status, version| Response {
            status,
            version,
            version_error: None,
            challenge: false,
            close: false,
            head_bytes: 0,
            body_bytes: 0,
        };
        let score = |body| seen(Kind::SortedSet, &response(200, Some(3)), body);
        assert_eq!(score(b"-12"), Some(there(3, -12)));
        assert_eq!(score(b""), None);
        let key = |status, version| seen(Kind::Key, &response(status, version), b"");
        assert_eq!(key(200, Some(3)), Some(there(3, 0)));
        assert_eq!(key(404, Some(0)), Some(ABSENT));
        assert_eq!(key(404, Some(7)), Some(ABSENT));
        assert_eq!(key(412, Some(0)), Some(ABSENT));
        for (status, version) in [(200, None), (404, None), (500, Some(1)), (403, Some(1))] {
            assert_eq!(meaning(&response(status, version)), Meaning::Trouble);
            assert_eq!(key(status, version), None);
        }
        assert_eq!(meaning(&response(401, Some(0))), Meaning::Declined);
        assert_eq!(meaning(&response(401, None)), Meaning::Trouble);
    }
}
