//! What is looked up before it is written, in which bursts, and what the answers decide.

use super::*;

const MISSING: &str = "HTTP/1.1 404 Not Found\r\nVersion: 0\r\nContent-Length: 0\r\n\r\n";
const NO_TABLE: &str =
    "HTTP/1.1 412 Precondition Failed\r\nVersion: 0\r\nContent-Length: 0\r\n\r\n";

/// The answer to a lookup that found this version.
fn version(stored: u32) -> String {
    answer("200 OK", &format!("Version: {stored}\r\n"))
}

/// The requests of a burst, as "path member" each.
fn requests(burst: &str) -> Vec<String> {
    let mut requests = vec![];
    for text in burst.split_inclusive(" HTTP/1.1\r\n") {
        let Some(start) = text.find("/hustdb/") else {
            continue;
        };
        let path = text[start + 8..].split('?').next().unwrap();
        requests.push(path.to_owned());
    }
    requests
}

impl Fixture {
    /// The last burst's requests, each by its path.
    #[track_caller]
    fn check_burst(&self, expected: &[&str]) {
        assert_eq!(requests(&self.sent.last().unwrap().1), expected);
    }

    /// The connection ends before what was sent is answered, and another one is made.
    fn lose_answer(&mut self) {
        self.sent.clear();
        self.break_connection(0);
        self.wait(1);
        self.connect();
    }

    /// Lets the window grow by answering puts.
    fn widen(&mut self) {
        self.feed(&puts(9));
        self.connect();
        for records in 1..=3 {
            self.answer(0, &APPLIED.repeat(records));
        }
        self.answer(0, &APPLIED.repeat(3));
        assert_eq!(self.told().len(), 9);
        self.sent.clear();
    }
}

fn expired(method: Method, key: &'static str) -> Record<'static> {
    Record {
        method,
        version: 5,
        expires_unix: 999_000,
        table: b"t",
        value: key.as_bytes(),
        ..put(key)
    }
}

fn member(key: &'static str) -> Record<'static> {
    Record {
        value: key.as_bytes(),
        key: key.as_bytes(),
        ..zadd(b"")
    }
}

#[test]
fn a_zadd_that_adds_is_looked_up_before_it_is_sent_again() {
    for (stored, settlement, added) in [
        (4, "Applied", true),
        (5, "AppliedBefore", false),
        (6, "AppliedBefore", false),
    ] {
        let mut fixture = Fixture::fed(settings(), &[zadd(b"m"), put("a")]);
        assert!(fixture.sent[0].1.starts_with("GET /hustdb/zadd?ver=5"));
        fixture.lose_answer();
        assert!(fixture.sent[0].1.starts_with("GET /hustdb/zscore?tb=z "));
        assert_eq!(fixture.sent.len(), 1);
        fixture.answer(0, &version(stored));
        assert_eq!(
            fixture.sent[1].1.starts_with("GET /hustdb/zadd?ver=5"),
            added
        );
        if added {
            fixture.answer(0, APPLIED);
        }
        assert_eq!(fixture.told(), [format!("1.0={settlement}")]);
        assert_eq!(fixture.counters.asked.load(), 1);
    }
}

/// A backend with a cache tells what the last write before the fall was given: 65,643, of a record
/// of 124. On a real stack such increments were taken for applied, and were lost.
#[test]
fn a_higher_version_that_was_there_before_it_fell_is_no_later_one() {
    for opt in [0, 1] {
        let record = Record {
            version: 124,
            opt,
            ..zadd(b"m")
        };
        let mut fixture = Fixture::fed(settings(), &[record]);
        fixture.lose_answer();
        fixture.answer(0, &version(65_643));
        fixture.answer(0, APPLIED);
        assert_eq!(fixture.told(), ["1.0=Applied"], "{opt}");
    }
}

/// Where a member was written so often that its version falls, what comes later is a lower number.
#[test]
fn a_lower_version_that_later_writes_leave_is_no_older_one() {
    let add = Record {
        version: 65_646,
        ..zadd(b"m")
    };
    let set = Record { opt: 0, ..add };
    for (record, stored, settlement) in [
        (add, 65_645, "Applied"),
        (add, 40, "Applied"),
        (add, 126, "AppliedBefore"),
        (add, 143, "AppliedBefore"),
        // What the next write was given, as a cache tells it.
        (add, 127, "AppliedBefore"),
        (set, 65_645, "Applied"),
        (set, 40, "Applied"),
        (set, 126, "Applied"),
        (set, 143, "Superseded"),
        // It may have set the score that was there, and so tell the version that was stored.
        (set, 127, "Superseded"),
    ] {
        let mut fixture = Fixture::fed(settings(), &[record]);
        fixture.lose_answer();
        fixture.answer(0, &version(stored));
        if settlement == "Applied" {
            fixture.answer(0, APPLIED);
        }
        assert_eq!(fixture.told(), [format!("1.0={settlement}")], "{stored}");
    }
}

/// hustdb would leave its score as it is, and find the member elsewhere by score.
#[test]
fn a_write_of_a_sorted_set_is_not_sent_again_behind_a_later_one() {
    let set = Record {
        opt: 0,
        ..zadd(b"m")
    };
    let removal = Record {
        method: Method::Zrem,
        ..set
    };
    for (record, stored, settlement) in [
        (set, 4, "Applied"),
        (set, 5, "Applied"),
        (set, 6, "Superseded"),
        (removal, 4, "Applied"),
        (removal, 5, "Applied"),
        (removal, 6, "Superseded"),
    ] {
        let mut fixture = Fixture::fed(settings(), &[record]);
        let name = format!("/hustdb/{}?", record.method.name());
        assert!(fixture.sent[0].1.contains(&name), "the first time at once");
        fixture.lose_answer();
        assert!(fixture.sent[0].1.starts_with("GET /hustdb/zscore?tb=z "));
        fixture.answer(0, &version(stored));
        let is_sent = fixture.sent[1..]
            .iter()
            .any(|(_, request)| request.contains(&name));
        assert_eq!(is_sent, settlement == "Applied");
        if is_sent {
            fixture.answer(0, APPLIED);
        }
        assert_eq!(fixture.told(), [format!("1.0={settlement}")]);
    }
}

/// An earlier connection's request may still wait in the backend: a lookup that overtakes it would
/// find the score as it was (G4).
#[test]
fn lookups_wait_a_while_after_the_backend_came_up_and_writes_before_them_do_not() {
    for (records, sent_at_once) in [
        (vec![zadd(b"m"), put("a")], &[][..]),
        (vec![put("a"), zadd(b"m")], &["put"][..]),
    ] {
        let mut fixture = Fixture::new(LaneSettings {
            lookup_hold: Duration::from_millis(1_500),
            ..settings()
        });
        fixture.feed_as(&records, true);
        fixture.connect();
        let sent: Vec<String> = fixture
            .sent
            .iter()
            .flat_map(|(_, one)| requests(one))
            .collect();
        assert_eq!(sent, sent_at_once);
        if !sent.is_empty() {
            fixture.answer(0, APPLIED);
        }
        fixture.wait(1);
        assert_eq!(fixture.sent.len(), sent_at_once.len(), "it is too early");
        fixture.wait(1);
        fixture.connect();
        fixture.check_burst(&["zscore"]);
    }
}

/// Whoever closed the connection: the backend may have read the request before, and another of its
/// threads answers the lookup.
#[test]
fn lookups_wait_a_while_after_a_connection_ended_with_requests_out() {
    let times_out = |fixture: &mut Fixture| fixture.wait(5);
    let breaks = |fixture: &mut Fixture| fixture.break_connection(0);
    let is_answered_badly =
        |fixture: &mut Fixture| fixture.answer(0, &answer("500 Internal Server Error", ""));
    for end in [times_out, breaks, is_answered_badly] {
        let mut fixture = Fixture::new(LaneSettings {
            lookup_hold: Duration::from_millis(1_500),
            ..settings()
        });
        fixture.wait(2);
        fixture.feed(&[zadd(b"m")]);
        fixture.connect();
        fixture.check_burst(&["zadd"]);
        end(&mut fixture);
        fixture.sent.clear();
        fixture.wait(1);
        fixture.connect();
        assert_eq!(fixture.sent, [], "it is too early");
        fixture.wait(1);
        fixture.connect();
        fixture.check_burst(&["zscore"]);
    }
}

#[test]
fn what_was_found_counts_for_one_connection_only() {
    let mut fixture = Fixture::new(settings());
    fixture.feed_as(&[zadd(b"m")], true);
    fixture.connect();
    fixture.check_burst(&["zscore"]);
    fixture.answer(0, NO_TABLE);
    fixture.check_burst(&["zadd"]);
    fixture.break_connection(0);
    fixture.wait(1);
    fixture.connect();
    fixture.check_burst(&["zscore"]);
    fixture.answer(0, MISSING);
    fixture.check_burst(&["zadd"]);
}

#[test]
fn an_answer_that_is_not_hustdbs_own_is_asked_for_again() {
    for unrecognized in [
        answer("404 Not Found", ""),
        answer("412 Precondition Failed", ""),
        answer("200 OK", ""),
        answer("503 Service Unavailable", "Version: 9\r\n"),
        "HTTP/1.1 200 OK\r\n\r\n".into(),
    ] {
        let mut fixture = Fixture::new(settings());
        fixture.feed_as(&[zadd(b"m")], true);
        fixture.connect();
        fixture.answer(0, &unrecognized);
        assert_eq!(fixture.told(), [""; 0], "{unrecognized}");
        fixture.wait(1);
        fixture.connect();
        assert_eq!(fixture.sent.len(), 2, "{unrecognized}");
        fixture.check_burst(&["zscore"]);
    }
}

#[test]
fn a_record_is_looked_up_after_the_write_before_it_of_its_key() {
    let mut fixture = Fixture::new(settings());
    fixture.widen();
    fixture.feed_as(&[zadd(b"m"), zadd(b"n")], true);
    fixture.check_burst(&["zscore"]);
    fixture.answer(0, MISSING);
    // Both of one key: the second is looked up behind the first's write.
    fixture.check_burst(&["zadd", "zscore"]);
    fixture.answer(0, &[APPLIED, MISSING].concat());
    fixture.check_burst(&["zadd"]);
    fixture.answer(0, APPLIED);
    assert_eq!(fixture.told(), ["2.0=Applied", "2.1=Applied"]);
    assert_eq!(fixture.counters.asked.load(), 2);
}

#[test]
fn records_of_several_keys_are_looked_up_in_one_burst_past_others() {
    let mut fixture = Fixture::new(settings());
    fixture.widen();
    let records = [member("a"), put("x"), member("b"), member("a"), member("c")];
    fixture.feed_as(&records, true);
    fixture.check_burst(&["zscore"; 3]);
    fixture.answer(0, &[&*version(4), &*version(5), MISSING].concat());
    // b's is done; it is completed in its turn. The second of a is looked up behind the first.
    fixture.check_burst(&["zadd", "put", "zscore"]);
    fixture.answer(0, &[APPLIED, APPLIED, &version(6)].concat());
    fixture.check_burst(&["zadd"]);
    fixture.answer(0, APPLIED);
    let told = [
        "2.0=Applied",
        "2.1=Applied",
        "2.2=AppliedBefore",
        "2.3=AppliedBefore",
        "2.4=Applied",
    ];
    assert_eq!(fixture.told(), told);
    assert_eq!(fixture.counters.asked.load(), 4);
}

#[test]
fn a_member_whose_time_is_over_is_written_where_it_exists_as_it_ended_on_the_healthy_master() {
    const SADD: &str = "POST /hustdb/sadd?ver=5&tb=t&is_dup=true ";
    const ZADD: &str = "GET /hustdb/zadd?ver=5&tb=t&score=0&opt=0&is_dup=true&ttl=1 ";
    let lapsed = MISSING.replace("Version: 0", "Version: 4");
    let (sismember, zscore) = ("POST /hustdb/sismember?tb=t ", "GET /hustdb/zscore?tb=t ");
    for (method, lookup, found, write) in [
        (Method::Sadd, sismember, &version(1), SADD),
        (Method::Zadd, zscore, &version(4), ZADD),
        (Method::Zadd, zscore, &lapsed, ZADD),
    ] {
        let mut fixture = Fixture::fed(settings(), &[expired(method, "m")]);
        assert!(
            fixture.sent[0].1.starts_with(lookup),
            "{}",
            fixture.sent[0].1
        );
        assert!(
            fixture.sent[0].1.ends_with("\r\n\r\nm"),
            "{}",
            fixture.sent[0].1
        );
        fixture.answer(0, found);
        assert!(
            fixture.sent[1].1.starts_with(write),
            "{}",
            fixture.sent[1].1
        );
        fixture.answer(0, APPLIED);
        assert_eq!(fixture.told(), ["1.0=Applied"]);
        assert_eq!(fixture.counters.expired.load(), 1);
    }
}

#[test]
fn a_member_whose_time_is_over_is_not_written_again_where_its_version_is_there() {
    let methods = [Method::Sadd, Method::Zadd];
    for (method, stored) in methods.into_iter().flat_map(|it| [(it, 5), (it, 9)]) {
        let mut fixture = Fixture::fed(settings(), &[expired(method, "m"), put("a")]);
        fixture.answer(0, &version(stored));
        fixture.check_burst(&["put"]);
        assert_eq!(fixture.told(), ["1.0=AppliedBefore"]);
    }
}

#[test]
fn a_score_that_is_to_end_waits_for_the_backends_clock() {
    let mut fixture = Fixture::new(settings());
    fixture.set_ttl_ready(false);
    fixture.feed(&[expired(Method::Zadd, "m")]);
    fixture.connect();
    fixture.answer(0, &version(4));
    assert_eq!(fixture.sent.len(), 1, "only the lookup");
    fixture.set_ttl_ready(true);
    fixture.check_burst(&["zadd"]);
}

#[test]
fn a_member_whose_time_is_over_is_left_alone_where_it_does_not_exist() {
    for method in [Method::Sadd, Method::Zadd] {
        for found in [MISSING, NO_TABLE] {
            let mut fixture = Fixture::fed(settings(), &[expired(method, "m"), put("a")]);
            fixture.answer(0, found);
            fixture.check_burst(&["put"]);
            assert_eq!(fixture.told(), ["1.0=Absent"]);
            assert_eq!(fixture.counters.expired.load(), 1);
        }
    }
}

#[test]
fn one_lookup_decides_for_an_increment_whose_time_is_over() {
    for (found, sends, settlement) in [
        (MISSING.to_owned(), false, "Absent"),
        (version(4), true, "Applied"),
        (version(5), false, "AppliedBefore"),
    ] {
        let mut fixture = Fixture::new(settings());
        let increment = Record {
            opt: -3,
            ..expired(Method::Zadd, "m")
        };
        fixture.feed_as(&[increment], true);
        fixture.connect();
        fixture.answer(0, &found);
        if sends {
            let write = "GET /hustdb/zadd?ver=5&tb=t&score=0&opt=-3&is_dup=true&ttl=1 ";
            assert!(
                fixture.sent[1].1.starts_with(write),
                "{}",
                fixture.sent[1].1
            );
            fixture.answer(0, APPLIED);
        }
        assert_eq!(fixture.told(), [format!("1.0={settlement}")]);
        assert_eq!(fixture.counters.asked.load(), 1);
    }
}

#[test]
fn a_time_that_ends_between_lookup_and_write_is_over() {
    let mut fixture = Fixture::new(settings());
    fixture.set_ttl_ready(false);
    let increment = Record {
        expires_unix: 1_000_005,
        ..zadd(b"m")
    };
    fixture.feed_as(&[increment], true);
    fixture.connect();
    fixture.answer(0, MISSING);
    assert_eq!(fixture.sent.len(), 1, "it waits for the backend's clock");
    fixture.now.unix += 5;
    fixture.set_ttl_ready(true);
    assert_eq!(fixture.told(), ["1.0=Absent"]);
    assert_eq!(fixture.sent.len(), 1, "nothing is written");
}

#[test]
fn what_was_looked_up_is_written_on_the_same_connection_however_few_its_requests() {
    for requests_per_connection in 1..=5 {
        let mut fixture = Fixture::new(LaneSettings {
            requests_per_connection,
            ..settings()
        });
        fixture.feed_as(&["a", "b", "c", "d", "e", "f"].map(member), true);
        fixture.connect();
        for _ in 0..40 {
            if let Some((_, burst)) = fixture.sent.pop() {
                let answers: Vec<_> = requests(&burst)
                    .iter()
                    .map(|path| if path == "zscore" { MISSING } else { APPLIED })
                    .collect();
                fixture.answer(0, &answers.concat());
            }
            fixture.connect();
        }
        assert_eq!(fixture.told().len(), 6, "{requests_per_connection}");
        assert_eq!(
            fixture.counters.asked.load(),
            6,
            "{requests_per_connection}"
        );
    }
}

#[test]
fn a_lookup_ahead_of_its_turn_that_fails_blames_nobody_else() {
    let mut fixture = Fixture::new(settings());
    fixture.widen();
    fixture.feed_as(&["a", "b", "c"].map(member), true);
    fixture.check_burst(&["zscore"; 3]);
    fixture.answer(
        0,
        &[MISSING, &answer("500 Internal Server Error", "")].concat(),
    );
    let failures = fixture.failures();
    let record = failures[0].1.as_ref().unwrap();
    assert_eq!(record.line, 102, "b's line");
    fixture.wait(5);
    fixture.connect();
    // Now one at a time: whoever fails is at the front.
    fixture.check_burst(&["zscore"]);
    fixture.answer(0, MISSING);
    fixture.check_burst(&["zadd", "zscore"]);
    fixture.answer(0, &[APPLIED, MISSING].concat());
    assert_eq!(fixture.told(), ["2.0=Applied"]);
}

proptest! {
    /// The naive model: one record after the other, each looked up where it must be and then
    /// written. Whatever bursts and breaks there are, the backend ends with the same scores, and no
    /// record is completed twice or out of the order of its key (G2, G4).
    #[test]
    fn bursts_end_as_one_request_after_the_other_does(
        records in proptest::collection::vec((0..3_usize, -1..=1_i8, any::<bool>()), 1..14),
        applied_before in 0..14_usize,
        breaks in proptest::collection::vec(0..6_usize, 0..12),
    ) {
        let mut model = Scores::default();
        let all: Vec<Record<'static>> = (1..)
            .zip(&records)
            .map(|(version, &(key, opt, removes))| {
                let method = if removes { Method::Zrem } else { Method::Zadd };
                Record {
                    method,
                    version,
                    opt,
                    score: 7,
                    ..member(["a", "b", "c"][key])
                }
            })
            .collect();
        for record in &all {
            model.write(record);
        }
        // HA lost the answers to some of the first: they are applied and logged all the same.
        let mut backend = Scores::default();
        for record in all.iter().take(applied_before) {
            backend.write(record);
        }
        let mut fixture = Fixture::new(LaneSettings {
            attempts_max: u32::MAX,
            ..settings()
        });
        fixture.feed_as(&all, true);
        let mut breaks = breaks.into_iter();
        let mut told = vec![];
        for _ in 0..400 {
            fixture.connect();
            if let Some((_, burst)) = fixture.sent.pop() {
                // After so many of its requests the connection breaks, their answers lost or not.
                let cut = breaks.next().unwrap_or(usize::MAX);
                let answers: Vec<String> = backend.serve(&burst, &all, cut);
                let breaks = answers.len() == cut;
                if !answers.is_empty() && (cut % 2 == 0 || !breaks) {
                    fixture.answer(0, &answers.concat());
                }
                if breaks {
                    fixture.break_connection(0);
                    fixture.sent.clear();
                }
            }
            told.extend(fixture.told());
            fixture.wait(3);
        }
        prop_assert_eq!(told.len(), all.len());
        for key in ["a", "b", "c"] {
            let lines = told
                .iter()
                .map(|told| told[2..told.find('=').unwrap()].parse().unwrap());
            let lines: Vec<usize> = lines
                .filter(|&line: &usize| all[line].key == key.as_bytes())
                .collect();
            prop_assert!(lines.is_sorted());
        }
        prop_assert_eq!(&backend.0, &model.0);
    }
}

/// A backend's sorted set: version and score by member.
#[derive(Default)]
struct Scores(std::collections::BTreeMap<Vec<u8>, (u32, i64)>);

impl Scores {
    /// Its answer.
    fn write(&mut self, record: &Record<'_>) -> String {
        let stored = self.0.get(record.key).copied();
        match (record.method, stored) {
            (Method::Zrem, None) => return MISSING.into(),
            (_, Some((version, _))) if version > record.version => {
                return APPLIED.replace("VerError: false", "VerError: true");
            }
            (Method::Zrem, _) => drop(self.0.remove(record.key)),
            (_, stored) => {
                let before = stored.map_or(0, |(_, score)| score);
                let score = match record.opt.signum() {
                    0 => record.score,
                    sign => before + i64::from(sign) * record.score,
                };
                self.0.insert(record.key.to_vec(), (record.version, score));
            }
        }
        APPLIED.into()
    }

    /// Serves at most `cut` requests of a burst.
    fn serve(&mut self, burst: &str, all: &[Record<'_>], cut: usize) -> Vec<String> {
        let mut answers = vec![];
        for text in burst.split("GET /hustdb/").skip(1).take(cut) {
            let key = text.as_bytes().last().copied().unwrap();
            if text.starts_with("zscore") {
                let stored = self.0.get(&[key][..]);
                answers.push(stored.map_or(MISSING.into(), |(stored, _)| version(*stored)));
                continue;
            }
            let number = text[text.find("ver=").unwrap() + 4..].split('&').next();
            let number: usize = number.unwrap().parse().unwrap();
            answers.push(self.write(&all[number - 1]));
        }
        answers
    }
}
