//! Something between the server and a backend forgets idle connections and tells nobody: a burst
//! after a pause is late by one `response_timeout` at most, and the backend stays up.

use std::thread;
use std::time::{Duration, Instant};

use hustdbsync::internals::config::EngineName;
use serde_json::json;

use crate::engines::fixture::{Fixture, engines};
use crate::engines::proxy::Manner;

const FORGETS_AFTER: Duration = Duration::from_millis(1500);
const IDLE: Duration = Duration::from_millis(2500);
const TIMEOUT: Duration = Duration::from_secs(1);
/// What a busy machine may add. A backend that goes down by it shows by itself, however soon it is
/// up again.
const SPARE: Duration = Duration::from_secs(20);
const BACKENDS: usize = 2;
const BURST: u64 = 400;

#[track_caller]
fn check(engine: EngineName) {
    let manner = Manner {
        forgets_after: Some(FORGETS_AFTER),
        ..Manner::default()
    };
    let mut fixture = Fixture::new(BACKENDS, manner);
    fixture.write(0, BURST, 100);
    let settings = json!({
        "threads": 2,
        "connections_per_backend": 4,
        "response_timeout": "1s",
    });
    fixture.start(engine, settings, None);
    fixture.wait_settled(|_| {});
    // In whole seconds: each pause is longer than that.
    let up_since = |fixture: &Fixture| {
        let snapshot = fixture.engine().snapshot();
        let backends = snapshot.backends().iter();
        backends
            .map(|backend| backend.since_unix)
            .collect::<Vec<u64>>()
    };
    let before = up_since(&fixture);
    for burst in 1..=2 {
        thread::sleep(IDLE);
        let began = Instant::now();
        fixture.write(burst * BURST, BURST, 100);
        fixture.wait_settled(|fixture| {
            for backend in fixture.engine().snapshot().backends() {
                assert_eq!(backend.state, "up", "{engine:?}: {}", backend.why);
            }
        });
        let took = began.elapsed();
        assert!(
            took < TIMEOUT + SPARE,
            "{engine:?}, burst {burst}: {took:?}"
        );
    }
    assert_eq!(up_since(&fixture), before, "{engine:?}: one was down");
    for backend in &fixture.backends {
        let forgotten = backend.proxy.passed().into_iter();
        let forgotten = forgotten.filter(|one| one.is_forgotten).count();
        // Each lane has sent on one, before each burst.
        assert!(forgotten > 4, "{engine:?}: {forgotten} were forgotten");
    }
    fixture.finish();
}

#[test]
fn a_burst_on_connections_that_were_forgotten_is_delivered_soon_and_the_backend_stays_up() {
    for engine in engines() {
        check(engine);
    }
}
