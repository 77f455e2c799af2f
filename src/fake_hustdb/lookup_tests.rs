//! Lookups, and copies of what the other master has, against docs/hustdb.md ("Lookups and copies"),
//! one request at a time.

use super::answer::{Answer, Body};
use super::query::{Method, Request};
use super::store::Store;

/// A store, and the time on its clock.
struct Hustdb {
    store: Store,
    now_unix: u64,
}

impl Hustdb {
    fn new() -> Self {
        // Just after a sweep.
        Self {
            store: Store::default(),
            now_unix: 3001,
        }
    }

    fn send(&mut self, line: &str, body: impl AsRef<[u8]>) -> Answer {
        let (method, target) = line.split_once(' ').expect("a method and a target");
        let method = match method {
            "GET" => Method::Get,
            _ => Method::Post,
        };
        let target = format!("/hustdb/{target}");
        let request = Request::new(method, target.as_bytes(), body.as_ref());
        self.store.apply(&request, self.now_unix)
    }

    /// Status, `Version` and body of a lookup.
    #[track_caller]
    fn look(&mut self, line: &str, body: impl AsRef<[u8]>, expected: (u16, u32, &[u8])) {
        let found = self.send(line, body);
        let (status, version, body) = expected;
        let body = match (body, line.contains("zscore")) {
            ([], _) => Body::Empty,
            (score, true) => Body::Score(std::str::from_utf8(score).unwrap().parse().unwrap()),
            (value, false) => Body::Bytes(value.into()),
        };
        assert_eq!(found, Answer::read(status, version, body), "{line}");
    }

    /// Status, `Version` and `VerError` of a write; its body is not looked at.
    #[track_caller]
    fn write(&mut self, line: &str, body: impl AsRef<[u8]>, expected: (u16, u32, bool)) {
        let mut found = self.send(line, body);
        found.body = Body::Empty;
        let (status, version, version_error) = expected;
        assert_eq!(
            found,
            Answer::write(status, version, version_error),
            "{line}"
        );
    }
}

/// One kind of key: how it is written, removed and looked up.
struct Kind {
    /// Line and body that write `key` in a table.
    add: fn(&str) -> (String, String),
    remove: fn(&str) -> (String, String),
    look: fn(&str) -> (String, String),
    has_table: bool,
    /// What a lookup of what `add` wrote has as its body.
    body: &'static [u8],
}

const KINDS: [Kind; 4] = [
    Kind {
        add: |key| (format!("POST put?key={key}"), "value".to_owned()),
        remove: |key| (format!("GET del?key={key}"), String::new()),
        look: |key| (format!("GET exist?key={key}"), String::new()),
        has_table: false,
        body: b"",
    },
    Kind {
        add: |key| (format!("POST hset?tb=t&key={key}"), "value".to_owned()),
        remove: |key| (format!("GET hdel?tb=t&key={key}"), String::new()),
        look: |key| (format!("GET hexist?tb=t&key={key}"), String::new()),
        has_table: true,
        body: b"",
    },
    Kind {
        add: |key| ("POST sadd?tb=t".to_owned(), key.to_owned()),
        remove: |key| ("POST srem?tb=t".to_owned(), key.to_owned()),
        look: |key| ("POST sismember?tb=t".to_owned(), key.to_owned()),
        has_table: true,
        body: b"",
    },
    Kind {
        add: |key| ("GET zadd?tb=t&score=-7&opt=0".to_owned(), key.to_owned()),
        remove: |key| ("GET zrem?tb=t".to_owned(), key.to_owned()),
        look: |key| ("GET zscore?tb=t".to_owned(), key.to_owned()),
        has_table: true,
        body: b"-7",
    },
];

#[test]
fn a_lookup_tells_the_version_of_what_is_there() {
    for kind in &KINDS {
        let mut hustdb = Hustdb::new();
        let (look, key) = (kind.look)("k");
        let missing = if kind.has_table { 412 } else { 404 };
        hustdb.look(&look, &key, (missing, 0, b""));
        let (add, value) = (kind.add)("k");
        hustdb.write(&add, &value, (200, 1, false));
        hustdb.look(&look, &key, (200, 1, kind.body));
        let (other, other_key) = (kind.look)("other");
        hustdb.look(&other, &other_key, (404, 0, b""));
    }
}

#[test]
fn values_come_with_their_version() {
    let mut hustdb = Hustdb::new();
    hustdb.write("POST put?key=k&ver=4&is_dup=true", "value", (200, 4, false));
    hustdb.look("GET get?key=k", "", (200, 4, b"value"));
    hustdb.look("GET get?key=other", "", (404, 0, b""));
    hustdb.look("GET hget?tb=t&key=k", "", (412, 0, b""));
    hustdb.write(
        "POST hset?tb=t&key=k&ver=5&is_dup=true",
        "field",
        (200, 5, false),
    );
    hustdb.look("GET hget?tb=t&key=k", "", (200, 5, b"field"));
    hustdb.look("GET hget?tb=t&key=other", "", (404, 0, b""));
}

#[test]
fn a_lookup_without_what_it_needs_is_refused_and_get_is_no_post() {
    let mut hustdb = Hustdb::new();
    for line in [
        "exist",
        "get",
        "hexist?tb=t",
        "hexist?key=k",
        "zscore?tb=t",
        "sismember?tb=t",
    ] {
        assert_eq!(
            hustdb.send(&format!("GET {line}"), ""),
            Answer::bare(404),
            "{line}"
        );
    }
    assert_eq!(hustdb.send("POST exist?key=k", "x"), Answer::bare(405));
    hustdb.look("GET hexist?tb=a%20b&key=k", "", (400, 0, b""));
    hustdb.look("GET hget?tb=a/b&key=k", "", (400, 0, b""));
}

#[test]
fn a_copy_is_taken_from_the_stored_version_on() {
    for kind in &KINDS {
        for (version, expected, left) in [
            (4, (200, 5, true), 5),
            (5, (200, 5, false), 5),
            (6, (200, 6, false), 6),
        ] {
            let mut hustdb = Hustdb::new();
            let (add, value) = (kind.add)("k");
            hustdb.write(&format!("{add}&ver=5&is_dup=true"), &value, (200, 5, false));
            let (line, value) = match kind.body {
                // The same score at a lower version is taken for one that is there already.
                b"-7" => ("GET zadd?tb=t&score=8&opt=0".to_owned(), value),
                _ => (add, value),
            };
            hustdb.write(
                &format!("{line}&ver={version}&is_dup=true"),
                &value,
                expected,
            );
            let (look, key) = (kind.look)("k");
            let body: &[u8] = match (kind.body, version) {
                (b"", _) => b"",
                (score, 4) => score,
                _ => b"8",
            };
            hustdb.look(&look, &key, (200, left, body));
        }
    }
}

#[test]
fn a_removal_is_taken_from_the_stored_version_on_and_zrem_does_not_tell() {
    for kind in &KINDS {
        for version in [0, 4, 5, 6] {
            let mut hustdb = Hustdb::new();
            for key in ["k", "kept"] {
                let (add, value) = (kind.add)(key);
                hustdb.write(&format!("{add}&ver=5&is_dup=true"), &value, (200, 5, false));
            }
            let (remove, body) = (kind.remove)("k");
            let is_told = version == 4 && !remove.contains("zrem");
            let line = match remove.contains('?') {
                true => format!("{remove}&ver={version}&is_dup=true"),
                false => format!("{remove}?ver={version}&is_dup=true"),
            };
            hustdb.write(&line, &body, (200, 5, is_told));
            let (look, key) = (kind.look)("k");
            let expected = if version == 4 {
                (200, 5, kind.body)
            } else {
                (404, 0, &b""[..])
            };
            hustdb.look(&look, &key, expected);
        }
    }
}

#[test]
fn a_removal_of_what_is_not_there_is_404_or_412() {
    for kind in &KINDS {
        let mut hustdb = Hustdb::new();
        let (remove, body) = (kind.remove)("k");
        let line = format!("{remove}&ver=5&is_dup=true");
        if kind.has_table {
            hustdb.write(&line, &body, (412, 5, false));
            let (add, value) = (kind.add)("kept");
            hustdb.write(&add, &value, (200, 1, false));
        }
        hustdb.write(&line, &body, (404, 0, false));
    }
}

#[test]
fn a_table_goes_with_its_last_member_and_can_be_of_another_type() {
    for kind in KINDS.iter().filter(|kind| kind.has_table) {
        let mut hustdb = Hustdb::new();
        for key in ["k", "l"] {
            let (add, value) = (kind.add)(key);
            hustdb.write(&add, &value, (200, 1, false));
        }
        for (key, then) in [("k", 404), ("l", 412)] {
            let (remove, body) = (kind.remove)(key);
            hustdb.write(&remove, &body, (200, 1, false));
            let (look, looked) = (kind.look)("k");
            hustdb.look(&look, &looked, (then, 0, b""));
        }
        for other in KINDS.iter().filter(|other| other.has_table) {
            let (add, value) = (other.add)("k");
            hustdb.write(&add, &value, (200, 1, false));
            let (remove, body) = (other.remove)("k");
            hustdb.write(&remove, &body, (200, 1, false));
        }
    }
}

#[test]
fn a_refused_addition_makes_its_table() {
    let mut hustdb = Hustdb::new();
    hustdb.write("POST hset?tb=h&key=k&ver=7", "v", (401, 0, false));
    hustdb.look("GET hexist?tb=h&key=k", "", (404, 0, b""));
    hustdb.write("POST sadd?tb=s&ver=0&is_dup=true", "m", (401, 0, false));
    hustdb.look("POST sismember?tb=s", "m", (404, 0, b""));
    hustdb.write(
        "GET zadd?tb=z&score=1&ver=0&is_dup=true",
        "m",
        (401, 0, true),
    );
    hustdb.look("GET zscore?tb=z", "m", (404, 0, b""));
    hustdb.write("POST sadd?tb=z", "m", (412, 0, false));
}

#[test]
fn a_table_of_another_type_has_no_such_key() {
    for made in KINDS.iter().filter(|kind| kind.has_table) {
        let mut hustdb = Hustdb::new();
        let (add, value) = (made.add)("k");
        hustdb.write(&add, &value, (200, 1, false));
        let others = KINDS
            .iter()
            .filter(|kind| kind.has_table && (kind.look)("k").0 != (made.look)("k").0);
        for other in others {
            let (look, key) = (other.look)("k");
            hustdb.look(&look, &key, (412, 0, b""));
            for (line, body) in [(other.add)("k"), (other.remove)("k")] {
                hustdb.write(&format!("{line}&ver=9&is_dup=true"), &body, (412, 9, false));
            }
        }
    }
}

#[test]
fn what_has_expired_is_there_until_it_is_read_or_swept() {
    let mut hustdb = Hustdb::new();
    for (line, body) in [
        ("POST put?key=k", "v"),
        ("POST hset?tb=h&key=k", "v"),
        ("POST sadd?tb=s", "k"),
        ("GET zadd?tb=z&score=4&opt=0", "k"),
    ] {
        hustdb.write(
            &format!("{line}&ver=3&ttl=2&is_dup=true"),
            body,
            (200, 3, false),
        );
    }
    hustdb.write("POST hset?tb=h&key=kept", "v", (200, 1, false));
    hustdb.now_unix += 3;
    // These don't look at the time to live; these do.
    hustdb.look("GET exist?key=k", "", (200, 3, b""));
    hustdb.look("GET get?key=k", "", (404, 3, b""));
    hustdb.look("GET hexist?tb=h&key=k", "", (200, 3, b""));
    hustdb.look("GET hget?tb=h&key=k", "", (404, 3, b""));
    // What was read is gone then; a score is not.
    hustdb.look("GET exist?key=k", "", (404, 0, b""));
    hustdb.look("GET hexist?tb=h&key=k", "", (404, 0, b""));
    hustdb.look("POST sismember?tb=s", "k", (200, 3, b""));
    for _ in 0..2 {
        hustdb.look("GET zscore?tb=z", "k", (404, 3, b""));
    }
    // Raising the version makes the score readable again; the same version does nothing.
    hustdb.write(
        "GET zadd?tb=z&score=4&opt=0&ver=3&is_dup=true",
        "k",
        (200, 3, false),
    );
    hustdb.look("GET zscore?tb=z", "k", (404, 3, b""));
    hustdb.write(
        "GET zadd?tb=z&score=4&opt=0&ver=4&is_dup=true",
        "k",
        (200, 4, false),
    );
    hustdb.look("GET zscore?tb=z", "k", (200, 4, b"4"));
    // After the sweep, tables that lost their last member are gone, whichever key is asked for.
    hustdb.now_unix += 40;
    hustdb.look("POST sismember?tb=s", "other", (412, 0, b""));
    hustdb.look("GET zscore?tb=z", "other", (412, 0, b""));
    hustdb.look("GET hexist?tb=h&key=k", "", (404, 0, b""));
    hustdb.write("POST hset?tb=s&key=k", "v", (200, 1, false));
}

#[test]
fn reading_the_last_member_that_has_expired_takes_its_table_along() {
    let mut hustdb = Hustdb::new();
    hustdb.write("POST hset?tb=h&key=k&ttl=2", "v", (200, 1, false));
    hustdb.now_unix += 3;
    hustdb.look("GET hget?tb=h&key=k", "", (404, 1, b""));
    hustdb.look("GET hexist?tb=h&key=k", "", (412, 0, b""));
    hustdb.write("POST sadd?tb=h", "k", (200, 1, false));
}

#[test]
fn a_score_is_set_again_without_harm_and_its_version_raised_by_the_same_score() {
    let mut hustdb = Hustdb::new();
    let zadd = |score: &str, version: u32| {
        format!("GET zadd?tb=z&score={score}&opt=0&ver={version}&is_dup=true")
    };
    assert_eq!(hustdb.send(&zadd("60", 5), "m").body, Body::Score(60));
    // What is there already is answered without a body.
    assert_eq!(
        hustdb.send(&zadd("60", 5), "m"),
        Answer::write(200, 5, false)
    );
    // A lower version is not told where the score is the same.
    hustdb.write(&zadd("60", 4), "m", (200, 5, false));
    hustdb.look("GET zscore?tb=z", "m", (200, 5, b"60"));
    hustdb.write(&zadd("60", 6), "m", (200, 6, false));
    hustdb.look("GET zscore?tb=z", "m", (200, 6, b"60"));
    hustdb.write(&zadd("-1", 6), "m", (200, 6, false));
    hustdb.look("GET zscore?tb=z", "m", (200, 6, b"-1"));
    for score in [i64::MIN, i64::MAX, 0] {
        hustdb.write(&zadd(&score.to_string(), 7), "m", (200, 7, false));
        hustdb.look(
            "GET zscore?tb=z",
            "m",
            (200, 7, score.to_string().as_bytes()),
        );
    }
}

#[test]
fn a_sets_member_is_any_octets_where_it_is_the_body() {
    let mut hustdb = Hustdb::new();
    hustdb.write(
        "POST sadd?tb=s&ver=3&is_dup=true",
        b"a\0b\r\nc",
        (200, 3, false),
    );
    hustdb.look("POST sismember?tb=s", b"a\0b\r\nc", (200, 3, b""));
    for other in [&b"a\0c\r\nc"[..], b"a", b"a\0b"] {
        hustdb.look("POST sismember?tb=s", other, (404, 0, b""));
    }
    hustdb.write(
        "POST srem?tb=s&ver=3&is_dup=true",
        b"a\0b\r\nc",
        (200, 3, false),
    );
    hustdb.look("POST sismember?tb=s", b"a\0b\r\nc", (412, 0, b""));
}

#[test]
fn a_value_of_32_mib_comes_back_whole() {
    let value = vec![0xfa; crate::limits::VALUE_BYTES_MAX];
    let mut hustdb = Hustdb::new();
    hustdb.write("POST put?key=k&ver=2&is_dup=true", &value, (200, 2, false));
    hustdb.look("GET get?key=k", "", (200, 2, &value));
    hustdb.write(
        "POST hset?tb=h&key=k&ver=2&is_dup=true",
        &value,
        (200, 2, false),
    );
    hustdb.look("GET hget?tb=h&key=k", "", (200, 2, &value));
}

/// hustdb looks at the score before it looks at the version any further.
#[test]
fn a_zadd_of_the_score_that_is_there_is_answered_200_whatever_lower_version_it_has() {
    let mut hustdb = Hustdb::new();
    let zadd = "GET zadd?tb=t&key=m&score=1&opt=0";
    hustdb.write(&format!("{zadd}&ver=5&is_dup=true"), "", (200, 5, false));
    for version in ["&is_dup=true", "&ver=3&is_dup=true", "&ver=3", "&ver=5", ""] {
        hustdb.write(&format!("{zadd}{version}"), "", (200, 5, false));
    }
    hustdb.write(&format!("{zadd}&ver=9"), "", (401, 5, true));
    let above = format!("{zadd}&ver=4194304&is_dup=true");
    hustdb.write(&above, "", (401, 0, true));
}

/// As a running hustdb 1.9 with `l2_cache = 64` answered: 64 is stored as 80, 70,000 as 4,544.
#[test]
fn with_a_cache_reads_of_values_tell_the_versions_that_writes_were_given() {
    let mut hustdb = Hustdb::new();
    hustdb.store = Store::default().with_l2_cache();
    for (given, stored) in [(63, 63), (64, 80), (70_000, 4_544)] {
        let key = format!("k{given}");
        for (ver, value) in [(1, "a"), (given, "b")] {
            let put = format!("POST put?key={key}&ver={ver}&is_dup=true");
            hustdb.write(&put, value, (200, ver, false));
            let hset = format!("POST hset?tb=h&key={key}&ver={ver}&is_dup=true");
            hustdb.write(&hset, value, (200, ver, false));
            let zadd = format!("GET zadd?tb=z&key={key}&ver={ver}&is_dup=true&score={ver}&opt=0");
            hustdb.write(&zadd, "", (200, ver, false));
        }
        let score = given.to_string();
        for read in 0..3 {
            // Not any more once the cache is lost.
            let told = if read < 2 { given } else { stored };
            hustdb.look(&format!("GET get?key={key}"), "", (200, told, b"b"));
            hustdb.look(&format!("GET exist?key={key}"), "", (200, stored, b""));
            hustdb.look(&format!("GET hget?tb=h&key={key}"), "", (200, told, b"b"));
            hustdb.look(
                &format!("GET hexist?tb=h&key={key}"),
                "",
                (200, stored, b""),
            );
            let zscore = format!("GET zscore?tb=z&key={key}");
            hustdb.look(&zscore, "", (200, told, score.as_bytes()));
            hustdb.look(
                &format!("GET zismember?tb=z&key={key}"),
                "",
                (200, stored, b""),
            );
            if read == 1 {
                hustdb.store.drop_l2_cache();
            }
        }
    }
}

#[test]
fn what_makes_a_key_with_another_version_than_it_is_given_is_not_cached() {
    let mut hustdb = Hustdb::new();
    hustdb.store = Store::default().with_l2_cache();
    hustdb.write("POST put?key=k&ver=64&is_dup=true", "a", (200, 80, false));
    hustdb.look("GET get?key=k", "", (200, 80, b"a"));
    hustdb.write("POST put?key=k", "b", (200, 81, false));
    hustdb.look("GET get?key=k", "", (200, 81, b"b"));
    hustdb.look("GET exist?key=k", "", (200, 97, b""));
    // The score that is there is told, too.
    hustdb.write(
        "GET zadd?tb=z&key=m&score=7&ver=5&is_dup=true",
        "",
        (200, 5, false),
    );
    let again = hustdb.send("GET zadd?tb=z&key=m&score=7&ver=5&is_dup=true", "");
    assert_eq!(again.body, Body::Score(7));
}
