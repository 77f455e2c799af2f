//! Backends that are named by a host: a name that moves, and one with several addresses.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use hustdbsync::internals::engine::resolve::Resolver;
use hustdbsync::internals::fake_hustdb::{Act, FakeHustdb, On, Rule, Script};

use crate::harness::{Home, assert_in_order, assert_unharmed, eventually, fake_hustdb, value};

const BACKEND: &str = "db.test:9998";

/// A name server of the test's own.
#[derive(Clone, Default)]
struct Names(Arc<Mutex<Vec<SocketAddr>>>);

impl Names {
    fn of(fake_hustdbs: &[&FakeHustdb]) -> Self {
        let names = Self::default();
        names.tell(fake_hustdbs);
        names
    }

    fn tell(&self, fake_hustdbs: &[&FakeHustdb]) {
        let addresses = fake_hustdbs.iter().map(|fake_hustdb| fake_hustdb.addr());
        *self.0.lock().unwrap() = addresses.collect();
    }

    fn resolver(&self) -> Resolver {
        let addresses = Arc::clone(&self.0);
        Arc::new(move |host, port| {
            assert_eq!((host, port), ("db.test", 9998));
            Ok(addresses.lock().unwrap().clone())
        })
    }
}

fn home() -> Home {
    Home::new().with("sync.resolve_interval", "50ms")
}

#[test]
fn a_name_that_moves_while_its_old_address_answers_is_followed_in_order() {
    let (home, before, after) = (home(), fake_hustdb(), fake_hustdb());
    let names = Names::of(&[&before]);
    let log = home.log(BACKEND);
    for nth in 0..200 {
        log.put(&format!("old{nth}"), 1, "v");
    }
    let server = home.start_with(names.resolver());
    server.wait_settled(BACKEND, 200);
    // Some are on their way when it moves: the old address takes them and never says so.
    before
        .set_script(Script::default().rule(Rule::new(On::KeyPrefix(b"k".to_vec()), Act::Silence)))
        .unwrap();
    for version in 1..=20 {
        for nth in 0..10 {
            log.put(&format!("k{nth}"), version, &format!("v{version}"));
        }
    }
    let requests = before.counters().requests;
    eventually("some are on their way", || {
        before.counters().requests > requests
    });
    names.tell(&[&after]);
    server.wait_settled(BACKEND, 400);
    for nth in 0..10 {
        assert_eq!(value(&after, &format!("k{nth}")).as_deref(), Some("v20"));
    }
    assert_in_order(&after);
    assert_unharmed(&after);
    assert_eq!(value(&after, "old0"), None, "what was settled stays so");
    // What was on its way to it when the name moved counts once it has taken that.
    eventually("it has taken all", || before.counters().open == 0);
    let probes = before.counters().probes;
    log.put("new", 1, "v");
    server.wait_settled(BACKEND, 401);
    assert_eq!(value(&after, "new").as_deref(), Some("v"));
    assert_eq!(before.counters().probes, probes, "nobody asks it any more");
}

#[test]
fn of_several_addresses_the_one_in_use_is_kept_while_the_name_has_it() {
    let (home, used, other) = (home(), fake_hustdb(), fake_hustdb());
    let names = Names::of(&[&used]);
    let log = home.log(BACKEND);
    log.put("k0", 1, "v");
    let server = home.start_with(names.resolver());
    let flushes = server.wait_settled(BACKEND, 1).details.flushes;
    // In whatever order, it is looked up more than once with each.
    for (nth, fake_hustdbs) in [[&other, &used], [&used, &other]].iter().enumerate() {
        names.tell(fake_hustdbs);
        let probes = used.counters().probes;
        eventually("it goes on", || used.counters().probes > probes + 2);
        log.put(&format!("k{}", nth + 1), 1, "v");
        server.wait_settled(BACKEND, nth as u64 + 2);
    }
    assert_eq!(other.counters().accepted, 0);
    let backend = server.wait_settled(BACKEND, 3);
    assert_eq!(backend.details.flushes, flushes);
}
