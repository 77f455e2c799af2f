//! An answer that does not come is late after `response_timeout`, and not after twice that.

use std::time::{Duration, Instant};

use hustdbsync::internals::config::EngineName;
use hustdbsync::internals::fake_hustdb::{Act, On, Rule, Script};
use serde_json::json;

use crate::engines::fixture::{Fixture, engines};
use crate::engines::proxy::Manner;

const TIMEOUT: Duration = Duration::from_secs(1);
/// Connections that are given up, one after the other.
const GIVEN_UP: usize = 3;

#[track_caller]
fn check(engine: EngineName, value_bytes: usize) {
    let mut fixture = Fixture::new(1, Manner::default());
    let silence = Rule::new(On::Mutations, Act::Silence);
    let fake_hustdb = &fixture.backends[0].fake_hustdb;
    fake_hustdb
        .set_script(Script::default().rule(silence))
        .unwrap();
    fixture.write(0, 1, value_bytes);
    let settings = json!({
        "threads": 1,
        "connections_per_backend": 1,
        "response_timeout": "1s",
    });
    let begun = Instant::now();
    fixture.start(engine, settings, None);
    let given_up = || {
        let passed = fixture.backends[0].proxy.passed().into_iter();
        let times = passed.filter_map(|one| Some(one.ended? - one.began?));
        times.collect::<Vec<_>>()
    };
    // Whatever the proxy sees has happened a little earlier: all together have taken their time,
    // whenever it saw the first bytes of each.
    fixture.wait("connections are given up", || given_up().len() >= GIVEN_UP);
    let (all, least) = (begun.elapsed(), TIMEOUT * u32::try_from(GIVEN_UP).unwrap());
    assert!(all >= least, "{engine:?}, {value_bytes} B: in {all:?}");
    let latest = TIMEOUT * 3 / 2;
    fixture.wait("one is given up when it is late", || {
        given_up().iter().any(|after| *after < latest)
    });
    let fake_hustdb = &fixture.backends[0].fake_hustdb;
    fake_hustdb.set_script(Script::default()).unwrap();
    fixture.wait_settled(|_| {});
    fixture.finish();
}

#[test]
fn an_answer_is_late_after_response_timeout_whatever_engine_waits_for_it() {
    for engine in engines() {
        // One that a socket takes at once, and one of which it takes a part.
        check(engine, 100);
        check(engine, 8 << 20);
    }
}
