//! What is asked for at the HTTP server, followed; the checkpointer and the workers played by the
//! test.

use std::sync::atomic::Ordering;

use super::*;
use crate::limits::SYNC_POINT_WAITERS_MAX;
use crate::replay::messages::{RejectedVerb, Requeued};
use crate::status::sync_point::{Listing, PointBackend, PointBoard, PointReport};

const LOGIN: &str = "Authorization: Basic c3luYzpzeW5j\r\n";

/// Asks on a thread of its own; gives the whole answer when there is one.
fn begin(address: SocketAddr, request: &str, fields: &'static str) -> JoinHandle<String> {
    let request = format!("{request} HTTP/1.1\r\nHost: x\r\n{fields}Connection: close\r\n\r\n");
    thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    })
}

/// Status code and body.
fn end_of(pending: JoinHandle<String>) -> (String, String) {
    let answer = pending.join().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].to_owned(), body.to_owned())
}

impl Bench {
    fn outbox(&self, path: &str) -> (String, String) {
        end_of(begin(self.address, &format!("POST {path}"), LOGIN))
    }

    /// Takes a point of one backend that has a log; gives its id and board.
    fn take_point(&self, name: &str) -> (String, Arc<PointBoard>) {
        let pending = begin(self.address, "POST /sync_point", LOGIN);
        let id = eventually("SyncPoint", || {
            match self.links.replay.mailboxes.reader.receive() {
                Some(ReaderMessage::SyncPoint { id, is_backend }) => {
                    assert!(is_backend(name) && !is_backend("strange"));
                    Some(id)
                }
                _ => None,
            }
        });
        assert!(
            self.links
                .replay
                .dirty_flags
                .take()
                .is_some_and(|hinted| hinted.all),
            "the reader looks at everything anew"
        );
        let listing = Listing {
            logs: 1,
            bytes: 100,
            hidden: None,
        };
        let board = Arc::new(PointBoard {
            taken_unix: 9,
            backends: vec![PointBackend::new(name.into(), listing)],
        });
        self.tell(ControlMessage::SyncPointTaken {
            id,
            taken: Ok(Arc::clone(&board)),
        });
        let (code, body) = end_of(pending);
        let report: PointReport = serde_json::from_str(&body).unwrap();
        assert_eq!((code.as_str(), report.settled), ("200", false));
        assert_eq!(report.backends[0].missing_bytes, 100);
        (report.id, board)
    }

    fn ask_point(&self, id: &str, more: &str) -> JoinHandle<String> {
        begin(
            self.address,
            &format!("GET /sync_point?id={id}{more}"),
            LOGIN,
        )
    }
}

fn settle(bench: &Bench, board: &PointBoard) {
    board.backends[0].missing_bytes.set(0);
    board.backends[0].settled.store(true, Ordering::Release);
    bench.tell(ControlMessage::SyncPointMoved);
}

#[test]
fn one_is_forgotten_when_its_folder_is_gone_and_what_is_left_does_not_matter() {
    let bench = Bench::start();
    bench.find_and_meet(NOBODY);
    let ask = |more: &str| {
        let path = format!("POST /v1/control/forget?backend={NOBODY}{more}");
        begin(bench.address, &path, LOGIN)
    };
    let (code, said) = end_of(ask("&yes=true"));
    assert!(
        code == "409" && said.contains("its folder is there"),
        "{said}"
    );
    bench.tell(ControlMessage::FolderGone(NOBODY.to_owned()));
    let left = || Ok(Some("nine lines".to_owned()));
    let pending = ask("");
    bench.expect_asked(FIRST);
    bench.left(left());
    let (code, said) = end_of(pending);
    assert_eq!(
        (&*code, &*said),
        (
            "409",
            "127.0.0.1:1: it still has nine lines; --yes (yes=true) throws that away\n"
        )
    );
    let pending = ask("&yes=true");
    bench.expect_asked(FIRST);
    bench.left(left());
    bench.expect_forget();
    let (code, said) = end_of(ask("&yes=true"));
    assert!(code == "409" && said.contains("already"), "{said}");
    bench.forgotten();
    assert_eq!(
        end_of(pending),
        ("200".to_owned(), format!("{NOBODY}: forgotten\n"))
    );
    bench.stop();
}

#[test]
fn a_pause_flushes_as_a_death_does_and_a_resume_opens_again() {
    let backend = fake_hustdb(None);
    let name = backend.name();
    let bench = Bench::start();
    bench.find_and_meet(&name);
    bench.expect_open(0, backend.addr());
    let (code, said) = bench.outbox(&format!("/v1/control/pause?backend={name}"));
    assert_eq!((code.as_str(), said), ("200", format!("{name}: paused\n")));
    assert!(!bench.expect_flush(1), "what is in flight is forgotten");
    assert!(
        bench
            .ask("/v1/status")
            .contains("\"state\":\"paused\",\"why\":\"an operator")
    );
    for (verb, expected) in [("pause", "200"), ("probe", "409")] {
        let (code, said) = bench.outbox(&format!("/v1/control/{verb}?backend={name}"));
        assert!(code == expected && said.contains("it is paused"), "{said}");
    }
    let probes = backend.counters().probes;
    bench.links.shared.reload();
    assert!(matches!(
        next(&bench.links.replay.mailboxes.checkpointer),
        CheckpointerMessage::Settings(_)
    ));
    bench.flushed(1);
    assert!(bench.ask("/v1/status").contains("\"state\":\"paused\""));
    assert_eq!(backend.counters().probes, probes, "it is left alone");
    let (code, _) = bench.outbox(&format!("/v1/control/resume?backend={name}"));
    assert_eq!(code, "200");
    eventually("Open", || {
        match bench.links.replay.mailboxes.workers[0].receive() {
            Some(WorkerMessage::Open { epoch: 1, .. }) => Some(()),
            _ => None,
        }
    });
    let (code, said) = bench.outbox(&format!("/v1/control/resume?backend={name}"));
    assert!(code == "200" && said.contains("it is not paused"), "{said}");
    let (code, _) = bench.outbox(&format!("/v1/control/probe?backend={name}"));
    assert_eq!(code, "200");
    bench.stop();
}

#[test]
fn a_rate_holds_over_a_reload_until_the_configuration_s_is_asked_for() {
    let backend = fake_hustdb(None);
    let name = backend.name();
    let bench = Bench::start();
    bench.find_and_meet(&name);
    bench.expect_open(0, backend.addr());
    let settings = || {
        let WorkerMessage::Settings { settings, .. } =
            next_but_ttl(&bench.links.replay.mailboxes.workers[0])
        else {
            panic!("workers are told");
        };
        settings.records_per_second_max
    };
    let (code, said) = bench.outbox(&format!("/v1/control/rate?backend={name}&rate=250"));
    assert_eq!(
        (code.as_str(), said),
        ("200", format!("{name}: at most 250 records/s now\n"))
    );
    assert_eq!(settings(), 250);
    assert!(bench.ask("/v1/status").contains("\"rate_max\":250"));
    bench.links.shared.reload();
    assert_eq!(settings(), 250);
    let (_, said) = bench.outbox(&format!("/v1/control/rate?backend={name}&rate=default"));
    assert!(said.contains("no bound"), "{said}");
    assert_eq!(settings(), 0);
    bench.stop();
}

#[test]
fn wrong_use_is_one_line_and_nobody_gets_in_without_credentials() {
    let bench = Bench::start();
    bench.find_and_meet("127.0.0.1:19998");
    for (request, code, why) in [
        (
            "POST /v1/control/pause?backend=127.0.0.1:19989",
            "404",
            "did you mean 127.0.0.1:19998?",
        ),
        (
            "POST /v1/control/pause?backend=x",
            "404",
            "there is 127.0.0.1:19998",
        ),
        ("GET /v1/control/pause?backend=x", "405", ""),
        (
            "POST /v1/control/rate?backend=127.0.0.1:19998&rate=x",
            "400",
            "rate is",
        ),
        (
            "POST /v1/rejected/replay?backend=x",
            "404",
            "there is no backend",
        ),
        ("POST /v1/rejected/drop", "400", "say which"),
        (
            "GET /sync_point?id=1-1",
            "404",
            "there is no such sync point",
        ),
        ("POST /v1/control/nonsense", "404", "there is pause"),
    ] {
        let (found, said) = end_of(begin(bench.address, request, LOGIN));
        assert_eq!(found, code, "{request}: {said}");
        assert!(
            said.contains(why) && said.lines().count() <= 1,
            "{request}: {said}"
        );
        let (found, said) = end_of(begin(bench.address, request, ""));
        assert_eq!((found.as_str(), said.as_str()), ("401", ""), "{request}");
    }
    bench.stop();
}

#[test]
fn whoever_waits_for_a_point_is_answered_when_it_is_settled() {
    let bench = Bench::start();
    bench.find_and_meet("127.0.0.1:1");
    let (id, board) = bench.take_point("127.0.0.1:1");
    let all = bench.ask_point(&id, "&wait=120s");
    let one = bench.ask_point(&id, "&wait=120s&backend=127.0.0.1:1");
    bench.wait_for_status("\"sync_point_waiters\":2,");
    let (code, body) = end_of(bench.ask_point(&id, ""));
    assert!(
        code == "200" && body.contains("\"settled\":false"),
        "{body}"
    );
    let (code, body) = end_of(bench.ask_point(&id, "&wait=10ms"));
    assert!(
        code == "200" && body.contains("\"settled\":false"),
        "{body}"
    );
    let (code, why) = end_of(bench.ask_point(&id, "&backend=127.0.0.1:2"));
    assert!(
        code == "404" && why.contains("did you mean 127.0.0.1:1?"),
        "{why}"
    );
    assert!(!all.is_finished() && !one.is_finished());
    settle(&bench, &board);
    for pending in [all, one, bench.ask_point(&id, "&wait=120s")] {
        let (code, body) = end_of(pending);
        let report: PointReport = serde_json::from_str(&body).unwrap();
        assert!(code == "200" && report.settled && report.id == id, "{body}");
    }
    bench.stop();
}

#[test]
fn who_has_waited_longest_gives_way_and_the_end_answers_all() {
    let bench = Bench::start();
    bench.find_and_meet("127.0.0.1:1");
    let (id, _board) = bench.take_point("127.0.0.1:1");
    let first = bench.ask_point(&id, "&wait=120s");
    bench.wait_for_status("\"sync_points\":1,\"sync_point_waiters\":1,");
    let others: Vec<_> = (0..SYNC_POINT_WAITERS_MAX)
        .map(|_| bench.ask_point(&id, "&wait=120s"))
        .collect();
    let (code, body) = end_of(first);
    assert!(
        code == "200" && body.contains("\"settled\":false"),
        "{body}"
    );
    bench.wait_for_status(&format!("\"sync_point_waiters\":{SYNC_POINT_WAITERS_MAX},"));
    bench.links.shared.stop();
    for other in others {
        let (code, _) = end_of(other);
        assert_eq!(code, "200");
    }
    bench.stop();
}

#[test]
fn what_becomes_of_rejected_lines_is_told_when_every_backend_has_been_seen_to() {
    let bench = Bench::start();
    bench.find_and_meet("127.0.0.1:1");
    bench.find("127.0.0.1:2");
    let pending = begin(
        bench.address,
        "POST /v1/rejected/replay?reason=checksum",
        LOGIN,
    );
    let mut outcomes = vec![
        Err("its disk is full".to_owned()),
        Ok(Requeued {
            done: 3,
            cut: 1,
            left: 2,
        }),
    ];
    while !outcomes.is_empty() {
        let CheckpointerMessage::Of(backend, BackendMessage::Requeue { ask, what, filter }) =
            eventually("Rework", || {
                let message = bench.links.replay.mailboxes.checkpointer.receive();
                message.filter(|message| {
                    matches!(
                        message,
                        CheckpointerMessage::Of(_, BackendMessage::Requeue { .. })
                    )
                })
            })
        else {
            unreachable!("that is one");
        };
        assert_eq!(
            (what, filter.reason.as_deref()),
            (RejectedVerb::Replay, Some("checksum"))
        );
        bench.tell(ControlMessage::Requeued {
            backend,
            ask,
            outcome: outcomes.pop().unwrap(),
        });
    }
    let (code, body) = end_of(pending);
    assert_eq!(code, "503");
    assert_eq!(
        body,
        "{\"done\":3,\"cut\":1,\"left\":2,\"failed\":[{\"backend\":\"127.0.0.1:2\",\"why\":\"its \
         disk is full\"}]}\n"
    );
    bench.stop();
}

#[test]
fn a_rotation_is_handed_on_and_a_drain_is_the_graceful_end() {
    let bench = Bench::start();
    assert_eq!(
        bench.outbox("/v1/control/rotate"),
        ("200".to_owned(), "rotated\n".to_owned())
    );
    let (code, said) = bench.outbox("/v1/control/drain");
    assert!(
        code == "200" && said.contains("then the server ends"),
        "{said}"
    );
    assert!(matches!(
        next(&bench.links.replay.mailboxes.checkpointer),
        CheckpointerMessage::Stop
    ));
    bench.tell(ControlMessage::CheckpointerDone);
    assert_eq!(bench.end(), Ending::Clean);
}
