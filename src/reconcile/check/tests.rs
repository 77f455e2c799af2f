//! One key's comparison with masters that are plain maps.

use super::*;
use crate::limits::RECONCILE_BAD_ANSWERS_FOR;
use crate::reconcile::key::Kind;
use crate::reconcile::table::NoPeer;
use crate::status::reconcile::NOT_COMPARED;

/// What a master has of the key.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    version: u32,
    score: i64,
    value: Vec<u8>,
}

fn entry(version: u32, value: &str) -> Option<Entry> {
    Some(Entry {
        version,
        score: 0,
        value: value.into(),
    })
}

/// Both masters, the backend first.
struct Pair {
    masters: [Option<Entry>; 2],
    asked: Vec<(Side, Ask)>,
    /// Which write's answer is lost, and whether the write is carried out.
    lost: Option<(usize, bool)>,
    /// How far the peer counts.
    trust: Trust,
    /// The process dies when so many writes are done and the next one is to be sent.
    ends_behind: Option<usize>,
    /// What a read of the value tells for the version, where that is not the one that is stored:
    /// what the last write was given, as hustdb has cached it.
    cached: Option<[Option<u32>; 2]>,
}

impl Pair {
    fn new(masters: [Option<Entry>; 2]) -> Self {
        Self {
            masters,
            asked: Vec::new(),
            lost: None,
            trust: Trust::Everything,
            ends_behind: None,
            cached: None,
        }
    }

    fn writes(&self) -> usize {
        let asks = self.asked.iter();
        asks.filter(|(_, ask)| is_write(*ask)).count()
    }

    /// As [`Pair::carry_out`], unless the answer is lost.
    fn answer(&mut self, side: Side, ask: Ask, key: &KeyId, copy: &Replacement) -> Answer {
        self.asked.push((side, ask));
        match self.lost {
            Some((nth, is_applied)) if is_write(ask) && self.writes() == nth => {
                if is_applied {
                    self.carry_out(side, ask, key, copy);
                }
                Answer::Lost
            }
            _ => self.carry_out(side, ask, key, copy),
        }
    }

    fn carry_out(&mut self, side: Side, ask: Ask, key: &KeyId, copy: &Replacement) -> Answer {
        let master = &mut self.masters[side.index()];
        let cached = self.cached.as_mut().map(|cached| &mut cached[side.index()]);
        let told = cached.as_deref().copied().flatten();
        match (ask, &*master) {
            (Ask::Look, None) => Answer::Seen(Seen::Absent),
            (Ask::Look, Some(entry)) => Answer::Seen(Seen::Present {
                version: entry.version,
                score: match key.kind {
                    Kind::SortedSet => entry.score,
                    _ => 0,
                },
            }),
            (Ask::ReadDigest { .. } | Ask::ReadValue, None) => Answer::Gone,
            (Ask::ReadDigest { .. }, Some(entry)) => Answer::Digest {
                version: told.unwrap_or(entry.version),
                digest: Some(xxh3_128(&entry.value)),
            },
            (Ask::ReadValue, Some(entry)) => Answer::Value {
                version: told.unwrap_or(entry.version),
                value: entry.value.clone(),
            },
            (Ask::Write, standing) => {
                if standing
                    .as_ref()
                    .is_none_or(|entry| entry.version <= copy.version)
                {
                    if let Some(cached) = cached {
                        *cached = standing.is_some().then_some(copy.version);
                    }
                    *master = Some(Entry {
                        version: version::stored(copy.version),
                        score: copy.score,
                        value: copy.value.clone(),
                    });
                }
                Answer::Done
            }
            (Ask::Remove, standing) => {
                if standing
                    .as_ref()
                    .is_some_and(|entry| entry.version <= copy.version)
                {
                    *master = None;
                }
                Answer::Done
            }
        }
    }
}

fn is_write(ask: Ask) -> bool {
    matches!(ask, Ask::Write | Ask::Remove)
}

const REPAIR: ReconcileSettings = ReconcileSettings {
    delay: Duration::ZERO,
    mode: ReconcileMode::Repair,
    values: true,
    value_bytes_max: 1 << 20,
    rate: 0,
    deletes: Deletes::Never,
    attempts: 5,
    timeout: Duration::from_secs(900),
};

const LAST: Logged = Logged {
    version: 5,
    version_max: 5,
    expires_unix: 0,
    written_unix: 0,
    had_ttl: false,
    is_removed: false,
    content: None,
};

fn key(kind: Kind) -> KeyId {
    KeyId {
        kind,
        table: b"t"[..].into(),
        key: b"k"[..].into(),
        body: None,
    }
}

/// Compares until there is an outcome. `meanwhile` is called before each answer with the number of
/// answers so far.
fn compare(
    pair: &mut Pair,
    kind: Kind,
    logged: Logged,
    settings: &ReconcileSettings,
    meanwhile: impl FnMut(usize, &mut [Option<Entry>; 2]),
) -> Outcome {
    compare_until_end(pair, kind, logged, settings, meanwhile).expect("it does not die")
}

/// As [`compare`]; `None` where the process dies.
fn compare_until_end(
    pair: &mut Pair,
    kind: Kind,
    logged: Logged,
    settings: &ReconcileSettings,
    mut meanwhile: impl FnMut(usize, &mut [Option<Entry>; 2]),
) -> Option<Outcome> {
    let mut check = Check::new(key(kind), logged, pair.trust);
    let mut step = check.resume();
    let mut answers = 0;
    loop {
        let asks = match step {
            Step::Done(outcome) => return Some(outcome),
            Step::Wait(_) => {
                step = check.resume();
                continue;
            }
            Step::Pending => panic!("nothing is outstanding"),
            Step::Ask(asks) => asks,
        };
        step = Step::Pending;
        for (side, ask) in [Side::Backend, Side::Peer].into_iter().zip(asks) {
            let Some(ask) = ask else {
                continue;
            };
            if is_write(ask) && pair.ends_behind == Some(pair.writes()) {
                return None;
            }
            assert_eq!(step, Step::Pending);
            meanwhile(answers, &mut pair.masters);
            let answer = pair.answer(side, ask, &key(kind), check.replacement());
            answers += 1;
            assert!(answers < 200, "it never ends: {:?}", pair.asked);
            step = check.handle_answer(side, answer, settings, Now::default());
        }
    }
}

#[track_caller]
fn check(
    kind: Kind,
    before: [Option<Entry>; 2],
    settings: &ReconcileSettings,
    outcome: Outcome,
    after: [Option<Entry>; 2],
) {
    let mut pair = Pair::new(before);
    let found = compare(&mut pair, kind, LAST, settings, |_, _| {});
    assert_eq!(
        (found, &pair.masters),
        (outcome, &after),
        "{:?}",
        pair.asked
    );
}

#[test]
fn what_is_equal_is_only_read() {
    for kind in [Kind::Key, Kind::Hash, Kind::Set, Kind::SortedSet] {
        for both in [None, entry(7, "x")] {
            let both = [both.clone(), both];
            check(kind, both.clone(), &REPAIR, Outcome::Equal, both);
        }
    }
}

#[test]
fn what_the_peer_has_newer_is_copied() {
    for kind in [Kind::Key, Kind::Hash] {
        for backend in [None, entry(3, "old")] {
            let copied = Outcome::Mended(Mend::Copied);
            let after = [entry(9, "new"), entry(9, "new")];
            check(kind, [backend, entry(9, "new")], &REPAIR, copied, after);
        }
    }
}

#[test]
fn a_score_is_copied_absolutely_and_a_member_with_its_version() {
    for kind in [Kind::Set, Kind::SortedSet] {
        let scored = Entry {
            version: 9,
            score: 3,
            value: Vec::new(),
        };
        let mut pair = Pair::new([None, Some(scored)]);
        let outcome = compare(&mut pair, kind, LAST, &REPAIR, |_, _| {});
        assert_eq!(outcome, Outcome::Mended(Mend::Copied));
        let backend = pair.masters[0].clone().unwrap();
        assert_eq!(backend.version, 9);
        assert_eq!(backend.score, if kind == Kind::SortedSet { 3 } else { 0 });
    }
}

#[test]
fn other_values_of_one_version_are_the_peers_where_values_are_compared() {
    let before = [entry(9, "ours"), entry(9, "theirs")];
    let after = [entry(9, "theirs"), entry(9, "theirs")];
    let copied = Outcome::Mended(Mend::Copied);
    check(Kind::Key, before.clone(), &REPAIR, copied, after);
    let by_version = ReconcileSettings {
        values: false,
        ..REPAIR
    };
    check(
        Kind::Key,
        before.clone(),
        &by_version,
        Outcome::Equal,
        before,
    );
}

#[test]
fn where_the_backend_is_newer_the_value_decides() {
    let raised = Outcome::Mended(Mend::Raised);
    let same = [entry(9, "v"), entry(9, "v")];
    check(
        Kind::Hash,
        [entry(9, "v"), entry(7, "v")],
        &REPAIR,
        raised,
        same,
    );
    // The peer's version is below the log's last: its key was made anew.
    let made_anew = Outcome::Mended(Mend::MadeAnew);
    let anew = [entry(9, "anew"), entry(9, "anew")];
    let before = [entry(9, "old"), entry(2, "anew")];
    check(Kind::Key, before, &REPAIR, made_anew, anew);
    let unclear = [entry(9, "one"), entry(6, "other")];
    let left = Outcome::Reported(WhyLeft::BackendNewer);
    check(Kind::Key, unclear.clone(), &REPAIR, left, unclear);
}

/// With a cache (`l2_cache`), `exist` tells what is stored and `get` what was given: 98 for 114, 81
/// for 97. On a real pair such keys stayed different for ever.
#[test]
fn what_a_cache_tells_for_the_version_is_no_other_version() {
    for kind in [Kind::Key, Kind::Hash] {
        for (versions, cached, values, mend) in [
            ([115, 114], [99, 98], ["live", "live"], Mend::Raised),
            ([97, 114], [81, 98], ["old", "new"], Mend::Copied),
            ([114, 114], [98, 98], ["old", "new"], Mend::MadeAnew),
        ] {
            let [backend, peer] = [0, 1].map(|at| entry(versions[at], values[at]));
            let mut pair = Pair::new([backend, peer]);
            pair.cached = Some(cached.map(Some));
            let found = compare(&mut pair, kind, LAST, &REPAIR, |_, _| {});
            assert_eq!(found, Outcome::Mended(mend), "{:?}", pair.asked);
            let [backend, peer] = pair.masters;
            assert_eq!(backend, peer, "{versions:?}");
            assert_eq!(peer.unwrap().value, values[1].as_bytes());
        }
        let mut pair = Pair::new([entry(114, "same"), entry(114, "same")]);
        pair.cached = Some([None, Some(98)]);
        let found = compare(&mut pair, kind, LAST, &REPAIR, |_, _| {});
        assert_eq!(found, Outcome::Equal, "{:?}", pair.asked);
    }
}

/// From 64 on hustdb stores another version than it is given; 65,643 is stored as 123.
#[test]
fn versions_that_are_stored_otherwise_are_equal_behind_a_mend() {
    let check = |[backend, peer]: [(u32, &str); 2], logged, mend, (version, value)| {
        let logged = Logged {
            version: logged,
            version_max: logged,
            ..LAST
        };
        for kind in [Kind::Key, Kind::Hash] {
            let mut pair = Pair::new([entry(backend.0, backend.1), entry(peer.0, peer.1)]);
            let found = compare(&mut pair, kind, logged, &REPAIR, |_, _| {});
            let both = [entry(version, value), entry(version, value)];
            assert_eq!((found, &pair.masters), (Outcome::Mended(mend), &both));
        }
    };
    check([(63, "old"), (114, "new")], 5, Mend::Copied, (114, "new"));
    check(
        [(65_642, "old"), (123, "new")],
        5,
        Mend::Copied,
        (123, "new"),
    );
    check(
        [(114, "same"), (80, "same")],
        5,
        Mend::Raised,
        (114, "same"),
    );
    check(
        [(123, "same"), (65_642, "same")],
        5,
        Mend::Raised,
        (123, "same"),
    );
    check(
        [(114, "old"), (2, "anew")],
        98,
        Mend::MadeAnew,
        (131, "anew"),
    );
    check(
        [(80, "ours"), (80, "peer's")],
        5,
        Mend::MadeAnew,
        (97, "peer's"),
    );
    // As an earlier hustdbsync has left it.
    check([(80, "same"), (96, "same")], 5, Mend::Copied, (96, "same"));
}

/// A record of the peer's own log can have replaced the last write of all, at its very version.
#[test]
fn a_peer_that_has_missed_writes_too_does_not_count_at_an_equal_version() {
    for (backend, outcome) in [
        (entry(1, "last"), Outcome::Reported(WhyLeft::PeerUnsettled)),
        (None, Outcome::Mended(Mend::Copied)),
    ] {
        let mut pair = Pair::new([backend, entry(1, "older")]);
        pair.trust = Trust::OtherVersions;
        let found = compare(&mut pair, Kind::Key, LAST, &REPAIR, |_, _| {});
        assert_eq!(found, outcome);
    }
}

/// R4. Whoever compares again knows nothing of the first comparison, and values may not be looked
/// at: then a version that both have says that they are equal.
#[test]
fn a_mend_that_ends_behind_any_of_its_writes_is_completed_by_the_next_comparison() {
    let settings = ReconcileSettings {
        values: false,
        ..REPAIR
    };
    let mut writes = 0;
    loop {
        let mut pair = Pair::new([entry(5, "replayed"), entry(2, "made anew")]);
        pair.ends_behind = Some(writes);
        if compare_until_end(&mut pair, Kind::Key, LAST, &settings, |_, _| {}).is_some() {
            break;
        }
        pair.ends_behind = None;
        compare(&mut pair, Kind::Key, LAST, &settings, |_, _| {});
        assert_eq!(pair.masters, [entry(5, "made anew"), entry(5, "made anew")]);
        writes += 1;
    }
    assert_eq!(writes, 2);
}

#[test]
fn only_what_may_be_deleted_is_deleted() {
    let before = [entry(9, "v"), None];
    let left = Outcome::Reported(WhyLeft::PeerLacks);
    check(Kind::Set, before.clone(), &REPAIR, left, before.clone());
    let deletes = ReconcileSettings {
        deletes: Deletes::Bounded,
        ..REPAIR
    };
    let deleted = Outcome::Mended(Mend::Deleted);
    check(Kind::Key, before, &deletes, deleted, [None, None]);
}

#[test]
fn a_report_writes_nothing() {
    let report = ReconcileSettings {
        mode: ReconcileMode::Report,
        deletes: Deletes::Bounded,
        ..REPAIR
    };
    let left = Outcome::Reported(WhyLeft::ReportOnly);
    for before in [
        [None, entry(1, "v")],
        [entry(9, "v"), entry(7, "v")],
        [entry(9, "v"), None],
    ] {
        check(Kind::Key, before.clone(), &report, left, before);
    }
}

#[test]
fn a_write_that_is_under_way_is_no_difference() {
    let mut pair = Pair::new([entry(3, "v"), entry(3, "v")]);
    // The peer gets it between the lookups, the backend only after both.
    let outcome = compare(
        &mut pair,
        Kind::Key,
        LAST,
        &REPAIR,
        |answers, masters| match answers {
            1 => masters[1] = entry(4, "w"),
            2 => masters[0] = entry(4, "w"),
            _ => {}
        },
    );
    assert_eq!(outcome, Outcome::Equal);
    assert!(pair.asked.iter().all(|(_, ask)| *ask != Ask::Write));
}

#[test]
fn a_live_write_that_a_mend_overwrites_is_found_and_copied() {
    let mut pair = Pair::new([entry(3, "v"), entry(7, "w")]);
    // A live write, numbered by each master's own counter, comes once the peer's value was read.
    let outcome = compare(&mut pair, Kind::Key, LAST, &REPAIR, |answers, masters| {
        if answers == 5 {
            *masters = [entry(4, "live"), entry(8, "live")];
        }
    });
    assert_eq!(outcome, Outcome::Mended(Mend::Copied));
    assert_eq!(pair.masters, [entry(8, "live"), entry(8, "live")]);
}

/// The simulation of comparing found it: a peer that answered, went down and missed a write had
/// that write deleted on the backend.
#[test]
fn what_was_seen_long_apart_decides_nothing() {
    let settings = ReconcileSettings {
        deletes: Deletes::Bounded,
        ..REPAIR
    };
    let mut check = Check::new(key(Kind::Key), LAST, Trust::Everything);
    let absent = Answer::Seen(Seen::Absent);
    let present = Answer::Seen(Seen::Present {
        version: 2,
        score: 0,
    });
    for (apart_ms, expected) in [
        (10, None),
        (8000, None),
        (10, Some(Step::Ask([Some(Ask::Remove), None]))),
    ] {
        check.resume();
        check.handle_answer(Side::Peer, absent.clone(), &settings, Now::at_ms(0));
        let now = Now::at_ms(apart_ms);
        let step = check.handle_answer(Side::Backend, present.clone(), &settings, now);
        match expected {
            None => assert!(matches!(step, Step::Wait(_)), "{step:?}"),
            Some(expected) => assert_eq!(step, expected),
        }
    }
}

/// The peer tells an earlier version than the backend has then.
#[test]
fn what_the_peer_made_anew_between_the_look_and_the_read_is_not_stored_over_a_later_version() {
    let mut pair = Pair::new([entry(3, "old"), entry(7, "w")]);
    let mut lowest = u32::MAX;
    compare(&mut pair, Kind::Key, LAST, &REPAIR, |answers, masters| {
        if answers == 4 {
            masters[1] = entry(1, "anew");
        }
        lowest = lowest.min(masters[0].as_ref().unwrap().version);
    });
    assert_eq!(lowest, 3);

    let mut pair = Pair::new([entry(3, "old"), entry(7, "w")]);
    let no_log = Logged::default();
    compare(
        &mut pair,
        Kind::Key,
        no_log,
        &REPAIR,
        |answers, masters| match answers {
            4 => masters[1] = entry(1, "anew"),
            // The peer misses it.
            5 => masters[0] = entry(2, "last"),
            _ => {}
        },
    );
    assert_eq!(pair.masters[0], entry(2, "last"), "{:?}", pair.masters);
}

#[test]
fn a_live_write_that_a_raise_overwrites_is_given_back_though_that_is_lost_once() {
    for (backend, peer) in [(9, 2), (114, 2)] {
        let mut pair = Pair::new([entry(backend, "x"), entry(peer, "x")]);
        pair.lost = Some((2, false));
        let removed = Logged {
            is_removed: true,
            ..LAST
        };
        let mut is_done = false;
        compare(
            &mut pair,
            Kind::Key,
            removed,
            &REPAIR,
            |answers, masters| {
                // Once both values are read, before the peer's version is raised.
                if answers == 6 && !is_done {
                    is_done = true;
                    *masters =
                        [backend, peer].map(|version| entry(version::stored(version + 1), "live"));
                }
            },
        );
        let value_of = |master: &Option<Entry>| master.clone().unwrap().value;
        assert!(
            pair.masters
                .iter()
                .all(|master| value_of(master) == b"live")
        );
    }
}

/// A master that always takes long must not keep a log for ever.
#[test]
fn what_is_always_seen_far_apart_is_confirmed_or_reported() {
    let present = Answer::Seen(Seen::Present {
        version: 2,
        score: 0,
    });
    let settings = ReconcileSettings {
        values: false,
        ..REPAIR
    };
    for (on_backend, expected) in [
        (present.clone(), Outcome::Equal),
        (
            Answer::Seen(Seen::Absent),
            Outcome::Reported(WhyLeft::StillDiffers),
        ),
    ] {
        let mut check = Check::new(key(Kind::Key), LAST, Trust::Everything);
        let (mut step, mut now) = (check.resume(), Now::default());
        for _ in 0..20 {
            step = match step {
                Step::Wait(until) => {
                    now.monotonic = until;
                    check.resume()
                }
                Step::Ask(asks) => {
                    assert_eq!(asks, [Some(Ask::Look); 2]);
                    check.handle_answer(Side::Backend, on_backend.clone(), &settings, now);
                    now.monotonic += 2 * RECONCILE_SEND_WITHIN;
                    check.handle_answer(Side::Peer, present.clone(), &settings, now)
                }
                done => done,
            };
        }
        assert_eq!(step, Step::Done(expected));
    }
}

/// Of a key that was made anew it is the value that counts: the versions are equal before the
/// backend has it.
#[test]
fn an_answer_to_a_mend_that_is_lost_changes_nothing_of_how_it_ends() {
    let settings = ReconcileSettings {
        values: false,
        deletes: Deletes::Bounded,
        ..REPAIR
    };
    for (before, after) in [
        ([entry(3, "old"), entry(7, "new")], entry(7, "new")),
        ([entry(9, "same"), entry(7, "same")], entry(9, "same")),
        ([entry(9, "old"), entry(2, "anew")], entry(9, "anew")),
        ([entry(9, "old"), None], None),
    ] {
        for lost in [(1, false), (1, true), (2, false), (2, true)] {
            let mut pair = Pair::new(before.clone());
            pair.lost = Some(lost);
            let outcome = compare(&mut pair, Kind::Key, LAST, &settings, |_, _| {});
            let asked = &pair.asked;
            assert!(
                matches!(outcome, Outcome::Mended(_) | Outcome::Equal),
                "{lost:?}: {outcome:?}, {asked:?}"
            );
            let expected = [after.clone(), after.clone()];
            assert_eq!(pair.masters, expected, "{lost:?}: {asked:?}");
        }
    }
}

/// The simulation of comparing found it: the delete that makes up for the raise was lost, and the
/// key that nobody has any more was copied back.
#[test]
fn a_live_delete_that_a_raise_undoes_is_done_again_though_its_answer_is_lost() {
    let settings = ReconcileSettings {
        deletes: Deletes::Bounded,
        ..REPAIR
    };
    for is_applied in [false, true] {
        let mut pair = Pair::new([entry(9, "v"), entry(7, "v")]);
        pair.lost = Some((2, is_applied));
        let mut is_deleted = false;
        compare(&mut pair, Kind::Key, LAST, &settings, |answers, masters| {
            // Once both values are read, before the peer's version is raised.
            if answers == 6 && !is_deleted {
                *masters = [None, None];
                is_deleted = true;
            }
        });
        assert_eq!(pair.masters, [None, None], "{:?}", pair.asked);
    }
}

/// The backend's version is lower then than what the peer was given, which shows it. The simulation
/// of comparing found this.
#[test]
fn a_live_write_behind_a_delete_that_a_raise_overwrites_is_given_to_the_peer() {
    let mut pair = Pair::new([entry(5, "x"), entry(2, "x")]);
    let mut is_made = false;
    let outcome = compare(&mut pair, Kind::Key, LAST, &REPAIR, |_, masters| {
        // The raise has just arrived, over what was deleted and made on both.
        if !is_made && masters[1] == entry(5, "x") {
            is_made = true;
            masters[0] = entry(1, "anew");
        }
    });
    let both = [entry(5, "anew"), entry(5, "anew")];
    assert_eq!(
        (outcome, pair.masters),
        (Outcome::Mended(Mend::Copied), both)
    );
}

#[test]
fn what_never_comes_to_rest_is_left_after_some_mends() {
    let mut pair = Pair::new([entry(1, "v"), entry(2, "v")]);
    let mut version = 2;
    let outcome = compare(&mut pair, Kind::Key, LAST, &REPAIR, |_, masters| {
        version += 1;
        masters[1] = entry(version, "hot");
    });
    assert_eq!(outcome, Outcome::Reported(WhyLeft::StillDiffers));
    let writes = pair.asked.iter().filter(|(_, ask)| *ask == Ask::Write);
    assert_eq!(writes.count(), 5);
}

#[test]
fn what_had_a_ttl_is_copied_only_with_the_last_records() {
    let with_ttl = |version, expires_unix| Logged {
        version,
        version_max: version,
        expires_unix,
        written_unix: 0,
        had_ttl: true,
        is_removed: false,
        content: None,
    };
    for (logged, outcome) in [
        (with_ttl(7, 60), Outcome::Mended(Mend::Copied)),
        (with_ttl(6, 60), Outcome::Reported(WhyLeft::TtlUnknown)),
        (with_ttl(7, 0), Outcome::Reported(WhyLeft::TtlUnknown)),
    ] {
        let mut pair = Pair::new([None, entry(7, "v")]);
        let found = compare(&mut pair, Kind::Key, logged, &REPAIR, |_, _| {});
        assert_eq!(found, outcome, "{logged:?}");
    }
}

#[test]
fn a_master_that_declines_is_not_asked_for_ever() {
    let mut check = Check::new(key(Kind::Hash), LAST, Trust::Everything);
    assert!(matches!(check.resume(), Step::Ask(_)));
    let now = Now::default();
    let step = check.handle_answer(Side::Peer, Answer::Declined(400), &REPAIR, now);
    assert_eq!(step, Step::Pending);
    let seen = Answer::Seen(Seen::Absent);
    assert_eq!(
        check.handle_answer(Side::Backend, seen, &REPAIR, now),
        Step::Done(Outcome::Skipped(Skipped::Declined(400)))
    );
}

/// A master that takes no write, though it answers lookups, must not keep a log for ever.
#[test]
fn a_mend_that_is_answered_wrongly_for_long_is_reported() {
    let mut pair = Pair::new([entry(1, "old"), entry(2, "new")]);
    let mut check = Check::new(key(Kind::Key), LAST, Trust::Everything);
    let (mut step, mut now) = (check.resume(), Now::default());
    loop {
        step = match step {
            Step::Done(outcome) => {
                assert_eq!(outcome, Outcome::Reported(WhyLeft::Declined));
                break;
            }
            Step::Wait(until) => {
                now.monotonic = until;
                check.resume()
            }
            Step::Pending => panic!("somebody answers"),
            Step::Ask(asks) => {
                check.handle_asked(now.monotonic);
                let asked = [Side::Backend, Side::Peer].into_iter().zip(asks);
                let answers: Vec<_> = asked
                    .filter_map(|(side, ask)| {
                        let (key, copy) = (check.key.clone(), check.replacement().clone());
                        Some(match ask? {
                            Ask::Write => (side, Answer::Bad),
                            ask => (side, pair.answer(side, ask, &key, &copy)),
                        })
                    })
                    .collect();
                let mut next = Step::Pending;
                for (side, answer) in answers {
                    next = check.handle_answer(side, answer, &REPAIR, now);
                }
                next
            }
        };
        assert!(now.monotonic < 2 * RECONCILE_BAD_ANSWERS_FOR);
    }
    assert!(now.monotonic > RECONCILE_BAD_ANSWERS_FOR);
}

#[test]
fn every_reason_not_to_compare_has_a_sample_in_the_metrics() {
    let slot = 7;
    let mut codes = [
        Skipped::Declined(405),
        Skipped::PeerUnavailable,
        Skipped::NoTable,
        Skipped::NoLookup,
        Skipped::LogGone,
        Skipped::NoPeer(NoPeer::NoRow { slot }),
        Skipped::NoPeer(NoPeer::NotInTable),
        Skipped::NoPeer(NoPeer::OtherMasters { slot }),
        Skipped::NoPeer(NoPeer::Alone { slot }),
    ]
    .map(Skipped::code);
    codes.sort_unstable();
    assert_eq!(codes, NOT_COMPARED);
}
