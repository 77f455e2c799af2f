//! Control over real sockets and folders, against a fake HustDB, with the other threads played by
//! the test.

mod pending_requests;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use super::*;
use crate::config::{Config, Login};
use crate::engine::listen_options::listener_options;
use crate::engine::waker::PollWaker;
use crate::fake_hustdb::{FakeHustdb, Options};
use crate::replay::links::Mailboxes;
use crate::replay::mailbox::Mailbox;
use crate::replay::messages::{
    BackendId, BackendMessage, CheckpointerMessage, ControlMessage, Epoch, ReaderMessage, Trouble,
    WorkerMessage,
};

const FIRST: BackendId = BackendId(0);

/// Control on its own thread, and the mailboxes of all others.
struct Bench {
    links: ControlLinks,
    address: SocketAddr,
    logs: tempfile::TempDir,
    thread: JoinHandle<io::Result<Ending>>,
}

/// Longer than anything takes on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(120);

/// Longer than a busy machine holds a test up while others are to let go.
const DRAIN: Duration = Duration::from_secs(60);

fn settings(password: &str, drain: Duration) -> Settings {
    let text = format!(
        r#"{{"network": {{"port": 0}}, "sync": {{
        "checkdb_interval": 60, "probe_interval_down": 20, "ttl_hold": "100ms",
        "drain_timeout": "{}ms", "threads": 2, "rescan_interval": 1}}}}"#,
        drain.as_millis()
    );
    let config = Config::parse(text, Path::new("sync_server.json")).unwrap();
    let login = Login::parse(format!("u:{password}").as_bytes()).unwrap();
    Settings::new(&config, &login).unwrap()
}

impl Bench {
    fn start() -> Self {
        Self::with(64, DRAIN)
    }

    fn with_mailboxes_of(capacity: usize) -> Self {
        Self::with(capacity, DRAIN)
    }

    fn with(capacity: usize, drain: Duration) -> Self {
        let config = Config::parse(r#"{"network": {"port": 0}}"#, Path::new("x.json")).unwrap();
        let poll = Poll::new().unwrap();
        let waker = PollWaker::new(&poll, WAKER).unwrap();
        let own = Arc::new(Mailbox::new(64, Box::new(waker)));
        let mailboxes = Mailboxes {
            control: Arc::clone(&own),
            ..Mailboxes::without_wakers(2, capacity)
        };
        let links = ControlLinks {
            replay: Links::new(mailboxes, 1, 1),
            shared: Arc::new(Shared::new(own)),
            threads: Vec::new(),
        };
        let logs = tempfile::tempdir().unwrap();
        let control = Control::new(ControlParts {
            poll,
            clock: Clock::default(),
            links: links.clone(),
            settings: settings("wrong", drain),
            http_server: listener_options(&config, 1024),
            access: config.network.access_allow.clone(),
            reload: Arc::new(move || {
                Ok(Reloaded {
                    settings: settings("right", drain),
                    said: Vec::new(),
                })
            }),
            rotate: Arc::new(|| Ok("rotated".to_owned())),
            handed_over: None,
            resolver: crate::engine::resolve::system_resolver(),
            state_path: String::new(),
            engine: "mio",
            signals: false,
            seed: 1,
        })
        .unwrap();
        Self {
            links,
            address: control.local_addr(),
            logs,
            thread: thread::spawn(move || control.run()),
        }
    }

    fn tell(&self, message: ControlMessage) {
        self.links.replay.mailboxes.control.send(message).unwrap();
    }

    fn tell_when_there_is_room(&self, message: ControlMessage) {
        let mut message = Some(message);
        eventually("room", || {
            let unsent = self.links.replay.mailboxes.control.send(message.take()?);
            message = unsent.err();
            message.is_none().then_some(())
        });
    }

    fn find(&self, name: &str) {
        std::fs::create_dir(self.logs.path().join(name)).unwrap();
        self.tell(ControlMessage::BackendFound(name.to_owned()));
    }

    /// The reader, then the checkpointer, get to know the first backend.
    fn find_and_meet(&self, name: &str) {
        self.find(name);
        let ReaderMessage::Backend(info) = next(&self.links.replay.mailboxes.reader) else {
            panic!("the reader first meets the backend");
        };
        assert_eq!((info.id, &*info.name), (FIRST, name));
        assert!(matches!(
            next(&self.links.replay.mailboxes.checkpointer),
            CheckpointerMessage::Backend(_)
        ));
        self.tell(ControlMessage::OutagesRead {
            backend: FIRST,
            kept: Ok(None),
        });
    }

    /// Every worker, then the reader, hear that it is up.
    fn expect_open(&self, epoch: Epoch, at: SocketAddr) {
        for worker in &self.links.replay.mailboxes.workers {
            let WorkerMessage::Open {
                backend,
                epoch: opened,
                address,
                ..
            } = next_but_ttl(worker)
            else {
                panic!("Open comes first");
            };
            assert_eq!((backend, opened, address), (FIRST, epoch, at));
        }
        assert!(matches!(
            next(&self.links.replay.mailboxes.reader),
            ReaderMessage::Up { backend: FIRST, epoch: up, .. } if up == epoch
        ));
    }

    /// The checkpointer, then the reader and every worker, hear of the flush. Gives whether what is
    /// in flight may be answered.
    fn expect_flush(&self, epoch: Epoch) -> bool {
        assert!(matches!(
            next(&self.links.replay.mailboxes.checkpointer),
            CheckpointerMessage::Of(FIRST, BackendMessage::Flush { epoch: flushed })
                if flushed == epoch
        ));
        assert!(matches!(
            next(&self.links.replay.mailboxes.reader),
            ReaderMessage::Down { backend: FIRST, epoch: down } if down == epoch
        ));
        let mut drains = false;
        for worker in &self.links.replay.mailboxes.workers {
            let WorkerMessage::Flush {
                epoch: flushed,
                drain_until,
                ..
            } = next_but_ttl(worker)
            else {
                panic!("Flush comes next");
            };
            assert_eq!(flushed, epoch);
            drains = drain_until.is_some();
        }
        drains
    }

    fn flushed(&self, epoch: Epoch) {
        self.tell(ControlMessage::Flushed {
            backend: FIRST,
            epoch,
        });
    }

    fn ask(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // sync:sync
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic c3luYzpzeW5j\r\nConnection: \
             close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn wait_for_status(&self, wanted: &str) {
        eventually(wanted, || {
            self.ask("/v1/status").contains(wanted).then_some(())
        });
    }

    fn end(self) -> Ending {
        self.thread.join().unwrap().unwrap()
    }

    /// Plays the others' part in an end at which nothing has to be flushed.
    fn stop(self) {
        self.links.shared.stop();
        eventually("Stop", || {
            match self.links.replay.mailboxes.checkpointer.receive() {
                Some(CheckpointerMessage::Of(_, BackendMessage::Flush { epoch })) => {
                    self.flushed(epoch);
                    None
                }
                Some(CheckpointerMessage::Stop) => Some(()),
                _ => None,
            }
        });
        self.tell(ControlMessage::CheckpointerDone);
        let (reader, workers) = (
            Arc::clone(&self.links.replay.mailboxes.reader),
            self.links.replay.mailboxes.workers.clone(),
        );
        // They would take their mail.
        while reader.receive().is_some() {}
        for worker in workers {
            while worker.receive().is_some() {}
        }
        assert_eq!(self.end(), Ending::Clean);
    }
}

fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let give_up = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < give_up, "{what} comes in time");
        thread::sleep(Duration::from_millis(1));
    }
}

fn next<T>(mailbox: &Mailbox<T>) -> T {
    eventually("an envelope", || mailbox.receive())
}

fn next_but_ttl(mailbox: &Mailbox<WorkerMessage>) -> WorkerMessage {
    eventually("an envelope", || {
        mailbox
            .receive()
            .filter(|message| !matches!(message, WorkerMessage::Ttl { .. }))
    })
}

fn fake_hustdb(password: Option<&str>) -> FakeHustdb {
    FakeHustdb::start(Options {
        credentials: password.map(|password| ("u".to_owned(), password.to_owned())),
        ..Options::default()
    })
    .unwrap()
}

#[test]
fn one_that_is_there_is_opened_and_trusted_with_ttls_after_the_hold() {
    let backend = fake_hustdb(None);
    let bench = Bench::start();
    bench.find_and_meet(&backend.name());
    bench.expect_open(0, backend.addr());
    let worker = &bench.links.replay.mailboxes.workers[0];
    eventually("ttl", || {
        matches!(
            worker.receive(),
            Some(WorkerMessage::Ttl { ready: true, .. })
        )
        .then_some(())
    });
    bench.wait_for_status("\"state\":\"up\"");
    bench.stop();
}

#[test]
fn one_that_goes_is_flushed_and_opened_again_when_it_is_back_and_everyone_has_let_go() {
    let backend = fake_hustdb(None);
    let bench = Bench::start();
    bench.find_and_meet(&backend.name());
    bench.expect_open(0, backend.addr());
    backend.kill().unwrap();
    assert!(!bench.expect_flush(1), "what is in flight is forgotten");
    bench.wait_for_status("\"state\":\"down\",\"why\":\"no connection: ");
    backend.restart().unwrap();
    bench.flushed(1);
    bench.expect_open(1, backend.addr());
    bench.stop();
}

#[test]
fn a_quick_restart_does_not_go_unseen() {
    let backend = fake_hustdb(None);
    let bench = Bench::start();
    bench.find_and_meet(&backend.name());
    bench.expect_open(0, backend.addr());
    let worker = &bench.links.replay.mailboxes.workers[0];
    let ttl = |wanted: bool| {
        matches!(worker.receive(), Some(WorkerMessage::Ttl { ready, .. }) if ready == wanted)
            .then_some(())
    };
    eventually("ready", || ttl(true));
    backend.restart().unwrap();
    // The probe that follows the loss may find it back or still gone: records with a ttl are held
    // back, or all are.
    eventually("held back", || {
        let flush = match bench.links.replay.mailboxes.checkpointer.receive() {
            Some(CheckpointerMessage::Of(_, BackendMessage::Flush { epoch })) => {
                bench.flushed(epoch);
                Some(())
            }
            _ => None,
        };
        flush.or_else(|| ttl(false))
    });
    eventually("ready again", || ttl(true));
    bench.stop();
}

#[test]
fn a_wrong_password_pauses_the_backend_until_another_is_read() {
    let backend = fake_hustdb(Some("right"));
    let bench = Bench::start();
    bench.find_and_meet(&backend.name());
    bench.expect_open(0, backend.addr());
    bench.tell(ControlMessage::Trouble {
        backend: FIRST,
        lane: 0,
        epoch: 0,
        trouble: Trouble::Refused,
        record: None,
    });
    bench.expect_flush(1);
    bench.flushed(1);
    bench.wait_for_status("\"state\":\"refused\"");
    let probes = backend.counters().requests;
    eventually("further probes", || {
        (backend.counters().requests > probes + 3).then_some(())
    });
    assert!(bench.ask("/v1/status").contains("\"state\":\"refused\""));
    bench.links.shared.reload();
    assert!(matches!(
        next(&bench.links.replay.mailboxes.checkpointer),
        CheckpointerMessage::Settings(_)
    ));
    eventually("Open", || {
        match bench.links.replay.mailboxes.workers[0].receive() {
            Some(WorkerMessage::Open { epoch: 1, .. }) => Some(()),
            _ => None,
        }
    });
    bench.stop();
}

#[test]
fn has_questions_are_answered_while_nobody_takes_any_mail() {
    let backend = fake_hustdb(None);
    let bench = Bench::with_mailboxes_of(1);
    for _ in 0..2 {
        let _ = bench
            .links
            .replay
            .mailboxes
            .checkpointer
            .send(CheckpointerMessage::Stop);
        let _ = bench
            .links
            .replay
            .mailboxes
            .reader
            .send(ReaderMessage::Stop);
    }
    bench.find(&backend.name());
    bench.wait_for_status("\"state\":\"up\"");
    let answer = bench.ask("/sync_status?backend_count=9");
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains(&backend.name()),
        "{answer}"
    );
    assert!(bench.ask("/status.html").ends_with("\r\n\r\nok\n"));
    bench.links.shared.fail("enough".to_owned());
    assert_eq!(bench.end(), Ending::Failed("enough".to_owned()));
}

#[test]
fn the_end_lets_what_is_in_flight_be_answered_and_stops_the_checkpointer_first() {
    let backend = fake_hustdb(None);
    let bench = Bench::start();
    bench.find_and_meet(&backend.name());
    bench.expect_open(0, backend.addr());
    bench.links.shared.stop();
    assert!(bench.expect_flush(1), "what is in flight may be answered");
    assert!(
        bench.links.replay.mailboxes.checkpointer.is_empty(),
        "not before everyone let go"
    );
    bench.flushed(1);
    assert!(matches!(
        next(&bench.links.replay.mailboxes.checkpointer),
        CheckpointerMessage::Stop
    ));
    assert!(bench.links.replay.mailboxes.reader.is_empty());
    bench.tell(ControlMessage::CheckpointerDone);
    assert!(matches!(
        next(&bench.links.replay.mailboxes.reader),
        ReaderMessage::Stop
    ));
    for worker in &bench.links.replay.mailboxes.workers {
        assert!(matches!(next_but_ttl(worker), WorkerMessage::Stop));
    }
    assert_eq!(bench.end(), Ending::Clean);
}

#[test]
fn an_end_that_not_everyone_lets_go_for_is_cut_when_its_time_is_up() {
    let backend = fake_hustdb(None);
    let bench = Bench::with(64, Duration::from_millis(300));
    bench.find_and_meet(&backend.name());
    bench.expect_open(0, backend.addr());
    bench.links.shared.stop();
    bench.expect_flush(1);
    assert!(matches!(
        next(&bench.links.replay.mailboxes.checkpointer),
        CheckpointerMessage::Stop
    ));
    bench.tell(ControlMessage::CheckpointerDone);
    assert!(matches!(bench.end(), Ending::Cut(_)));
}

#[test]
fn a_name_that_does_not_resolve_says_so() {
    let bench = Bench::start();
    bench.find_and_meet("nobody.invalid:9998");
    bench.wait_for_status(
        "\"state\":\"unresolved\",\"why\":\"its name nobody.invalid does not resolve: ",
    );
    bench.stop();
}

impl Bench {
    /// The checkpointer is asked what is left of a backend.
    fn expect_asked(&self, backend: BackendId) {
        eventually("AskLeft", || {
            match self.links.replay.mailboxes.checkpointer.receive() {
                Some(CheckpointerMessage::AskLeft { backend: asked }) => {
                    assert_eq!(asked, backend);
                    Some(())
                }
                Some(CheckpointerMessage::Of(_, BackendMessage::KeepOutages { .. })) | None => None,
                Some(other) => panic!("{other:?}"),
            }
        });
    }

    fn left(&self, left: Result<Option<String>, String>) {
        self.tell(ControlMessage::StateLeft {
            backend: FIRST,
            left,
        });
    }

    /// Every worker, then the reader, are told to forget the first backend.
    fn expect_forget(&self) {
        for worker in &self.links.replay.mailboxes.workers {
            assert!(matches!(
                next_but_ttl(worker),
                WorkerMessage::Forget { backend: FIRST }
            ));
        }
        assert!(matches!(
            next(&self.links.replay.mailboxes.reader),
            ReaderMessage::Forget { backend: FIRST }
        ));
    }

    fn forgotten(&self) {
        let totals = crate::replay::messages::ForgottenTotals {
            processed: 70,
            settled: 50,
        };
        self.tell(ControlMessage::Forgotten {
            backend: FIRST,
            totals,
        });
    }
}

const NOBODY: &str = "127.0.0.1:1";

#[test]
fn one_whose_folder_is_gone_is_forgotten_and_its_place_is_anothers() {
    let bench = Bench::start();
    bench.find_and_meet(NOBODY);
    std::fs::remove_dir(bench.logs.path().join(NOBODY)).unwrap();
    bench.tell(ControlMessage::FolderGone(NOBODY.to_owned()));
    bench.expect_asked(FIRST);
    bench.left(Ok(None));
    bench.expect_forget();
    assert!(
        bench.ask("/metrics").contains(NOBODY),
        "until the checkpointer says so"
    );
    bench.forgotten();
    eventually("it is gone", || {
        (!bench.ask("/metrics").contains(NOBODY)).then_some(())
    });
    let body = bench.ask("/sync_status?backend_count=9");
    assert!(body.contains("\"processed_items\": 70") && body.contains("\"synced_items\": 50"));
    bench.find(NOBODY);
    let ReaderMessage::Backend(info) = next(&bench.links.replay.mailboxes.reader) else {
        panic!("the reader first meets the backend");
    };
    assert_ne!(info.id, FIRST);
    assert_eq!(info.id.index(), FIRST.index());
    bench.stop();
}

#[test]
fn one_that_is_up_is_flushed_and_asked_for_again_before_it_is_forgotten() {
    let backend = fake_hustdb(None);
    let name = backend.name();
    let bench = Bench::start();
    bench.find_and_meet(&name);
    bench.expect_open(0, backend.addr());
    std::fs::remove_dir(bench.logs.path().join(&name)).unwrap();
    bench.tell(ControlMessage::FolderGone(name.clone()));
    bench.expect_asked(FIRST);
    bench.left(Ok(None));
    bench.expect_flush(1);
    bench.flushed(1);
    bench.expect_asked(FIRST);
    bench.left(Ok(None));
    bench.expect_forget();
    // Its folder comes back when it is too late: it is a new one.
    backend.kill().unwrap();
    bench.find(&name);
    bench.forgotten();
    let ReaderMessage::Backend(info) = next(&bench.links.replay.mailboxes.reader) else {
        panic!("the reader meets it anew");
    };
    assert_eq!((info.id == FIRST, &*info.name), (false, &*name));
    bench.stop();
}

#[test]
fn one_whose_folder_is_back_in_time_stays() {
    let backend = fake_hustdb(None);
    let name = backend.name();
    let bench = Bench::start();
    bench.find_and_meet(&name);
    bench.expect_open(0, backend.addr());
    bench.tell(ControlMessage::FolderGone(name.clone()));
    bench.expect_asked(FIRST);
    bench.left(Ok(None));
    bench.expect_flush(1);
    bench.tell(ControlMessage::BackendFound(name.clone()));
    bench.flushed(1);
    bench.expect_open(1, backend.addr());
    bench.stop();
}

#[test]
fn there_is_room_again_once_one_is_forgotten() {
    let bench = Bench::with_mailboxes_of(8192);
    for place in 0..crate::limits::BACKENDS_MAX {
        let port = 1 + place;
        bench.tell_when_there_is_room(ControlMessage::BackendFound(format!("127.0.0.1:{port}")));
    }
    bench.tell_when_there_is_room(ControlMessage::BackendFound("127.0.0.2:1".to_owned()));
    bench.tell_when_there_is_room(ControlMessage::FolderGone("127.0.0.1:1".to_owned()));
    eventually("AskLeft", || {
        let message = bench.links.replay.mailboxes.checkpointer.receive();
        matches!(
            message,
            Some(CheckpointerMessage::AskLeft { backend: FIRST })
        )
        .then_some(())
    });
    bench.left(Ok(None));
    bench.forgotten();
    eventually("the reader tells again", || {
        matches!(
            bench.links.replay.mailboxes.reader.receive(),
            Some(ReaderMessage::TellFolders)
        )
        .then_some(())
    });
    bench.tell(ControlMessage::BackendFound("127.0.0.2:1".to_owned()));
    eventually("it is met", || {
        match bench.links.replay.mailboxes.reader.receive() {
            Some(ReaderMessage::Backend(info)) => (&*info.name == "127.0.0.2:1").then_some(()),
            _ => None,
        }
    });
    bench.stop();
}
