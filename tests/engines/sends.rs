//! Sends that are short, whole or refused, in every mix: a ring takes no longer for them than
//! epoll.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hustdbsync::internals::config::EngineName;
use hustdbsync::internals::engine::os::ring::SendMode;
use hustdbsync::internals::engine::os::ring::fault_injector::{
    FaultInjector, InjectedResult, Operation,
};
use serde_json::json;

use crate::engines::fixture::{Fixture, Tampering, engines};
use crate::engines::proxy::Manner;

/// What a busy machine may add. A ring that stalls does so until something is late.
const SPARE: Duration = Duration::from_secs(45);
/// So much later, at each send that stalls.
const LATE_S: u64 = 60;

/// What is sent, and over what.
#[derive(Clone, Copy)]
struct Case {
    backends: usize,
    small: u64,
    large: u64,
    large_bytes: usize,
    send_buffer_bytes: Option<usize>,
    manner: Manner,
}

impl Case {
    const PLAIN: Self = Self {
        backends: 1,
        small: 500,
        large: 100,
        large_bytes: 40_000,
        send_buffer_bytes: None,
        manner: Manner {
            receive_buffer_bytes: None,
            slowly: None,
            forgets_after: None,
        },
    };

    fn run(self, engine: EngineName, tampering: Option<Tampering>) -> Duration {
        let mut fixture = Fixture::new(self.backends, self.manner);
        fixture.write(0, self.small, 100);
        let settings = json!({
            "threads": 2,
            "connections_per_backend": 4,
            "response_timeout": format!("{LATE_S}s"),
        });
        let began = Instant::now();
        fixture.start(engine, settings, tampering);
        let shrink = |fixture: &Fixture| {
            if let Some(bytes) = self.send_buffer_bytes {
                fixture.shrink_send_buffers(bytes);
            }
        };
        fixture.wait_settled(shrink);
        // Small ones once more, so that some of both are under way at one time.
        fixture.write(self.small, self.large, self.large_bytes);
        fixture.write(self.small + self.large, self.small, 100);
        fixture.wait_settled(shrink);
        let took = began.elapsed();
        fixture.finish();
        took
    }

    /// The ring's sends fare as `tampering` says; mio's as they do.
    #[track_caller]
    fn check(self, name: &str, tampering: Option<Tampering>) {
        let mut mio = None;
        for engine in engines() {
            match engine {
                EngineName::Mio => mio = Some(self.run(engine, None)),
                _ => {
                    let mio = mio.expect("it goes first");
                    let ring = self.run(engine, tampering.clone());
                    eprintln!("{name}: mio {mio:?}, io_uring {ring:?}");
                    assert!(ring <= mio * 3 / 2 + SPARE, "{name}: {ring:?}, mio {mio:?}");
                }
            }
        }
    }
}

/// First tries of sends fare as these, at random; whatever waits for room goes.
struct Mix {
    injected_results: Vec<InjectedResult>,
    random: fastrand::Rng,
}

impl FaultInjector for Mix {
    fn send_injected(&mut self, patience: SendMode) -> InjectedResult {
        match patience {
            SendMode::Any => InjectedResult::Goes,
            SendMode::None => {
                self.injected_results[self.random.usize(..self.injected_results.len())]
            }
        }
    }

    fn injected(&mut self, _: Operation) -> InjectedResult {
        InjectedResult::Goes
    }
}

fn mix(injected_results: &[InjectedResult]) -> Option<Tampering> {
    let injected_results = injected_results.to_vec();
    Some(Arc::new(move || {
        Box::new(Mix {
            injected_results: injected_results.clone(),
            random: fastrand::Rng::with_seed(7),
        })
    }))
}

const REFUSED: InjectedResult = InjectedResult::Fails(libc::EAGAIN);

#[test]
fn records_that_no_socket_takes_at_once_take_no_longer_on_a_ring() {
    Case {
        backends: 2,
        small: 1000,
        large: 3,
        large_bytes: 12 << 20,
        ..Case::PLAIN
    }
    .check("12 MiB", None);
}

#[test]
fn small_send_buffers_and_slow_readers_take_no_longer_on_a_ring() {
    let small_buffers = Case {
        large: 30,
        large_bytes: 200_000,
        send_buffer_bytes: Some(4096),
        ..Case::PLAIN
    };
    small_buffers.check("small send buffers", None);
    let slow = Manner {
        receive_buffer_bytes: Some(8 * 1024),
        slowly: Some((16 * 1024, Duration::from_millis(1))),
        forgets_after: None,
    };
    Case {
        manner: slow,
        ..small_buffers
    }
    .check("small send buffers, slow readers", None);
    Case {
        backends: 2,
        large: 2,
        large_bytes: 4 << 20,
        manner: slow,
        ..Case::PLAIN
    }
    .check("slow readers", None);
}

#[test]
fn every_mix_of_short_whole_and_refused_sends_takes_no_longer_on_a_ring() {
    let mixes = [
        ("refused", vec![REFUSED]),
        ("refused, whole", vec![REFUSED, InjectedResult::Goes]),
    ];
    for (name, injected_results) in mixes {
        Case::PLAIN.check(name, mix(&injected_results));
    }
    // A small request that is cut in its target closes its connection, as it must. So only large
    // ones are cut.
    let large = Case {
        small: 0,
        ..Case::PLAIN
    };
    let mixes = [
        ("short", vec![InjectedResult::Part]),
        (
            "short, whole",
            vec![InjectedResult::Part, InjectedResult::Goes],
        ),
        ("short, refused", vec![InjectedResult::Part, REFUSED]),
        (
            "short, whole, refused",
            vec![InjectedResult::Part, InjectedResult::Goes, REFUSED],
        ),
    ];
    for (name, injected_results) in mixes {
        large.check(name, mix(&injected_results));
    }
}
