//! The controller without a thread: what it has its driver do, and what it sends to the others.

use super::*;
use crate::binlog::request::Template;
use crate::http::answer::Status;
use crate::limits::{
    COUNTERS_LOOK, DRAIN_EXTRA_MS, FORGET_AFTER_RESCANS, LOOKUP_HOLD, SYNC_POINT_TAKEN_WITHIN,
    SYNC_POINTS_MAX,
};
use crate::reconcile::settings::ReconcileSettings;
use crate::replay::controller::action::{ProbeRequest, Reply};
use crate::replay::lane::LaneSettings;
use crate::replay::links::{Links, Mailboxes};
use crate::replay::messages::{
    BackendMessage, CheckpointerSettings, Epoch, ForgottenTotals, ReaderSettings, Requeued,
    Trouble, WorkerMessage,
};
use crate::replay::monitor::MonitorSettings;
use crate::replay::outcome::Outcomes;
use crate::replay::reachability::{self, Outage};
use crate::status::control_request::{
    BackendRequest, Listed, LogList, RejectedList, RejectedRequest, RejectedVerb, SyncPointRequest,
};
use crate::status::snapshot::SecondName;
use crate::status::sync_point::{Listing, PointBackend, PointBoard};

const FIRST: BackendId = BackendId(0);
const WRITTEN: &str = "10.0.0.1:8085";
const NAMED: &str = "db.example:8085";
const CLIENT: ClientId = ClientId { slot: 3, serial: 7 };

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn settings() -> ControllerSettings {
    ControllerSettings {
        reconcile: ReconcileSettings::OFF,
        checkpointer: CheckpointerSettings {
            compares_keys: false,
            checkpoint_interval: ms(100),
            release_interval: ms(100),
            closed_after: ms(1_000),
            rejected_bytes_max: 1 << 20,
        },
        reader: ReaderSettings {
            lanes_per_backend: 2,
            memory_budget_bytes: 1 << 20,
            in_flight_per_backend: 10,
            rescan_interval: ms(1_000),
            closed_after: ms(1_000),
        },
        monitor: MonitorSettings {
            probe_interval: ms(1_000),
            probe_interval_down: ms(100),
            resolve_interval: ms(5_000),
            ttl_hold: ms(200),
            lanes: 2,
        },
        ambiguity_window: ms(5_000),
        credentials: "dTpw".into(),
        drain_timeout: ms(300),
        lane: LaneSettings {
            template: Template::new("", None),
            outcomes: Outcomes::default(),
            lanes: 2,
            burst_bytes: 0,
            head_bytes_max: 4096,
            requests_per_connection: 100,
            attempts_max: 10,
            records_per_second_max: 0,
            connect_timeout: ms(1_000),
            response_timeout: ms(1_000),
            idle_timeout: ms(60_000),
            keepalive_interval: ms(15_000),
            lookup_hold: LOOKUP_HOLD,
        },
    }
}

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 8085))
}

fn rules() -> ControllerRules {
    ControllerRules {
        is_backend: |folder| folder.ends_with(":8085"),
        address: |folder| match folder {
            _ if !folder.ends_with(":8085") => Err("it has no port".to_owned()),
            _ if folder.starts_with("10.") => Ok(folder.parse().ok()),
            _ => Ok(None),
        },
    }
}

/// The controller, at an instant, with the mailboxes of all others.
struct Fixture {
    controller: Controller,
    mailboxes: Mailboxes,
    now: Duration,
}

impl Fixture {
    fn new() -> Self {
        let mailboxes = Mailboxes::without_wakers(2, 64);
        let links = Links::new(mailboxes.clone(), 1, 1);
        Self {
            controller: Controller::new(&links, rules(), settings(), 1, Now::default()),
            mailboxes,
            now: Duration::ZERO,
        }
    }

    /// One whose first backend is up.
    fn with_one_up() -> Self {
        let mut fixture = Self::new();
        fixture.find(WRITTEN);
        fixture.turn();
        fixture.answer(ProbeResult::Good { watched: true });
        fixture.tell(ControlMessage::OutagesRead {
            backend: FIRST,
            kept: Ok(None),
        });
        fixture.turn();
        fixture.expect_state("up");
        fixture.sent();
        fixture
    }

    fn now(&self) -> Now {
        Now::new(self.now, 1_800_000_000 + self.now.as_secs())
    }

    fn tell(&self, message: ControlMessage) {
        self.controller.mailbox().send(message).expect("room");
    }

    /// One was found, and its folder is gone since.
    fn with_a_folder_gone() -> Self {
        let mut fixture = Self::new();
        fixture.find(WRITTEN);
        fixture.turn();
        fixture.tell(ControlMessage::FolderGone(WRITTEN.to_owned()));
        fixture.turn();
        fixture
    }

    fn find(&self, folder: &str) {
        self.tell(ControlMessage::BackendFound(folder.to_owned()));
    }

    fn answer(&mut self, result: ProbeResult) {
        let now = self.now();
        self.controller.handle_probe(FIRST, result, now);
    }

    fn ask(&mut self, request: ControlRequest) {
        self.controller.handle_request(CLIENT, request);
    }

    fn ask_backend(&mut self, what: BackendRequest) -> Reply {
        self.ask(ControlRequest::Backend {
            backend: WRITTEN.to_owned(),
            what,
        });
        self.turn_for_reply()
    }

    /// All of a turn but what is sent. Gives what the driver is to do.
    fn think(&mut self) -> Vec<Action> {
        let now = self.now();
        self.controller.receive_messages(now);
        self.controller.turn(now);
        std::iter::from_fn(|| self.controller.poll_action()).collect()
    }

    fn turn(&mut self) -> Vec<Action> {
        let actions = self.think();
        assert_eq!(self.controller.hand_over(self.now()), None);
        actions
    }

    fn turn_for_reply(&mut self) -> Reply {
        let actions = self.turn();
        let reply = actions.into_iter().find_map(|action| match action {
            Action::Reply(CLIENT, reply) => Some(reply),
            _ => None,
        });
        reply.expect("an answer")
    }

    fn has_replied(&mut self) -> bool {
        let actions = self.turn();
        let mut actions = actions.iter();
        actions.any(|action| matches!(action, Action::Reply(..)))
    }

    /// What was sent to the first worker, the checkpointer and the reader, each in one word.
    fn sent(&self) -> Vec<String> {
        for worker in &self.mailboxes.workers[1..] {
            while worker.receive().is_some() {}
        }
        let word = |message: &dyn std::fmt::Debug| {
            let text = format!("{message:?}");
            let end = text.find(|c: char| !c.is_alphanumeric());
            text[..end.unwrap_or(text.len())].to_owned()
        };
        let mut all = Vec::new();
        while let Some(message) = self.mailboxes.workers[0].receive() {
            all.push(format!("worker {}", word(&message)));
        }
        while let Some(message) = self.mailboxes.checkpointer.receive() {
            let word = match &message {
                CheckpointerMessage::Of(_, message) => word(message),
                message => word(message),
            };
            all.push(format!("checkpointer {word}"));
        }
        while let Some(message) = self.mailboxes.reader.receive() {
            all.push(format!("reader {}", word(&message)));
        }
        all
    }

    fn expect_state(&self, state: &str) {
        let backends = self.controller.board().snapshot().backends();
        assert_eq!(backends[FIRST.index()].state, state, "{backends:?}");
    }

    fn epoch(&self) -> Epoch {
        let (_, monitor) = self.controller.backends().next().expect("there is one");
        monitor.epoch()
    }

    fn flush(&self) {
        self.tell(ControlMessage::Flushed {
            backend: FIRST,
            epoch: self.epoch(),
        });
    }
}

fn probe(address: SocketAddr) -> Action {
    Action::Probe(ProbeRequest {
        backend: FIRST,
        address,
        authenticated: false,
        is_up: false,
    })
}

#[test]
fn a_backend_s_folder_is_watched_before_anybody_hears_of_it() {
    let mut fixture = Fixture::new();
    fixture.find(WRITTEN);
    let add = Action::Add {
        backend: FIRST,
        folder: WRITTEN.into(),
    };
    assert_eq!(fixture.think(), [add, probe(address(1))]);
    assert!(fixture.sent().is_empty());
    fixture.controller.hand_over(fixture.now());
    assert_eq!(
        fixture.sent(),
        ["checkpointer Backend", "reader Backend"].map(str::to_owned)
    );
    fixture.find("no backend");
    assert!(fixture.turn().is_empty());
    assert_eq!(fixture.controller.backends().count(), 1);
}

#[test]
fn one_that_answers_is_opened_once_what_is_kept_of_its_outages_was_read() {
    let mut fixture = Fixture::new();
    fixture.find(WRITTEN);
    fixture.turn();
    fixture.answer(ProbeResult::Good { watched: true });
    assert!(fixture.controller.has_work());
    fixture.turn();
    fixture.expect_state("up");
    assert!(!fixture.sent().contains(&"worker Open".to_owned()));
    fixture.tell(ControlMessage::OutagesRead {
        backend: FIRST,
        kept: Ok(None),
    });
    fixture.turn();
    let sent = fixture.sent();
    let opened = ["worker Open", "worker Ttl", "reader Up"];
    assert_eq!(sent, opened.map(str::to_owned));
    let states = fixture.controller.poll_states().expect("they have changed");
    assert_eq!(states.backends[0].0.state, "up");
    assert!(fixture.controller.poll_states().is_none());
}

#[test]
fn a_bad_probe_flushes_and_it_is_opened_again_only_when_all_have_let_go() {
    let mut fixture = Fixture::with_one_up();
    fixture.now = ms(1_000);
    fixture.turn();
    fixture.answer(ProbeResult::Closed("refused".to_owned()));
    fixture.turn();
    fixture.expect_state("down");
    assert_eq!(
        fixture.sent(),
        ["worker Flush", "checkpointer Flush", "reader Down"].map(str::to_owned)
    );
    fixture.now = ms(3_000);
    assert_eq!(fixture.turn(), [probe(address(1))]);
    fixture.answer(ProbeResult::Good { watched: true });
    fixture.turn();
    fixture.expect_state("down");
    fixture.flush();
    fixture.turn();
    fixture.now += settings().monitor.probe_interval_down;
    assert_eq!(fixture.turn(), [probe(address(1))]);
    fixture.answer(ProbeResult::Good { watched: true });
    fixture.turn();
    fixture.expect_state("up");
}

#[test]
fn a_name_is_looked_up_and_its_next_address_closes_the_probe_to_the_last() {
    let mut fixture = Fixture::new();
    fixture.find(NAMED);
    let resolves = |actions: Vec<Action>| {
        let mut actions = actions.iter();
        actions.any(|action| matches!(action, Action::Resolve { .. }))
    };
    assert!(resolves(fixture.turn()));
    fixture
        .controller
        .handle_resolved(FIRST, Err("no thread for it".to_owned()), Now::default());
    fixture.turn();
    let backends = fixture.controller.board().snapshot().backends();
    assert_eq!(backends[0].why, "no thread for it");
    // That is what a probe finds, which nobody could send.
    let answer = &*backends[0].probe.probe_answer;
    assert_eq!(answer, "no address to probe: no thread for it");
    fixture.now = ms(10_000);
    assert!(resolves(fixture.turn()));
    let resolved = |last| ControlMessage::Resolved {
        backend: FIRST,
        address: Ok(address(last)),
    };
    fixture.tell(resolved(1));
    let found = [Action::CloseProbe(FIRST), probe(address(1))];
    assert_eq!(fixture.turn(), found);
    // Its result is that it was closed; what it may still say is nobody's.
    let bad = |fixture: &Fixture| {
        let info = fixture.controller.info(FIRST);
        info.expect("it is there").counters.probes.bad.load()
    };
    fixture.tell(resolved(2));
    let now = fixture.now();
    fixture.controller.receive_messages(now);
    assert_eq!(bad(&fixture), 1);
    fixture.answer(ProbeResult::Bad("late".to_owned()));
    assert_eq!(bad(&fixture), 1);
    let actions = fixture.turn();
    assert_eq!(actions[0], Action::CloseProbe(FIRST));
    let backends = fixture.controller.board().snapshot().backends();
    assert_eq!(
        backends[0].why,
        "its name has moved from 10.0.0.1:8085 to 10.0.0.2:8085"
    );
}

#[test]
fn a_paused_backend_is_flushed_and_left_alone_until_it_is_resumed() {
    let mut fixture = Fixture::with_one_up();
    let reply = fixture.ask_backend(BackendRequest::Pause);
    assert_eq!(reply.body, b"10.0.0.1:8085: paused\n");
    fixture.expect_state("paused");
    assert!(fixture.sent().contains(&"worker Flush".to_owned()));
    fixture.flush();
    fixture.now = ms(60_000);
    assert!(fixture.turn().is_empty());
    let now = fixture.now();
    fixture.controller.handle_settings(settings(), now);
    fixture.turn();
    fixture.expect_state("paused");
    let again = fixture.ask_backend(BackendRequest::Pause);
    assert_eq!(again.body, b"10.0.0.1:8085: it is paused already\n");
    assert_eq!(again.status, Status::Ok);
    fixture.ask(ControlRequest::Backend {
        backend: WRITTEN.to_owned(),
        what: BackendRequest::Resume,
    });
    assert!(fixture.turn().contains(&probe(address(1))));
}

#[test]
fn a_rate_limit_outlives_a_reload_and_each_is_passed_on() {
    let mut fixture = Fixture::with_one_up();
    let rate = |fixture: &Fixture| {
        let mut last = None;
        while let Some(message) = fixture.mailboxes.workers[0].receive() {
            if let WorkerMessage::Settings { settings, .. } = message {
                last = Some(settings.records_per_second_max);
            }
        }
        last
    };
    fixture.ask_backend(BackendRequest::Rate(Some(250)));
    assert_eq!(rate(&fixture), Some(250));
    let mut reloaded = settings();
    reloaded.lane.records_per_second_max = 90;
    let now = fixture.now();
    fixture.controller.handle_settings(reloaded, now);
    fixture.turn();
    assert_eq!(rate(&fixture), Some(250));
    let sent = fixture.sent();
    assert!(sent.contains(&"checkpointer Settings".to_owned()));
    assert!(sent.contains(&"reader Settings".to_owned()));
    fixture.ask_backend(BackendRequest::Rate(None));
    assert_eq!(rate(&fixture), Some(90));
    let backends = fixture.controller.board().snapshot().backends();
    assert_eq!(backends[0].rate_max, 90);
}

#[test]
fn one_that_is_forgotten_is_removed_and_one_that_is_back_is_another() {
    let mut fixture = Fixture::with_a_folder_gone();
    assert!(!fixture.sent().contains(&"checkpointer AskLeft".to_owned()));
    fixture.now = settings().reader.rescan_interval * FORGET_AFTER_RESCANS;
    fixture.turn();
    assert_eq!(fixture.sent(), ["checkpointer AskLeft"].map(str::to_owned));
    fixture.tell(ControlMessage::StateLeft {
        backend: FIRST,
        left: Ok(None),
    });
    fixture.turn();
    assert_eq!(
        fixture.sent(),
        ["worker Forget", "reader Forget"].map(str::to_owned)
    );
    fixture.find(WRITTEN);
    fixture.turn();
    let totals = ForgottenTotals {
        processed: 7,
        settled: 5,
    };
    fixture.tell(ControlMessage::Forgotten {
        backend: FIRST,
        totals,
    });
    let actions = fixture.turn();
    assert_eq!(actions[0], Action::Remove(FIRST));
    let Action::Add { backend, .. } = actions[1] else {
        panic!("{actions:?}");
    };
    assert_eq!((backend == FIRST, backend.index()), (false, FIRST.index()));
    let states = fixture.controller.poll_states().expect("they have changed");
    assert_eq!(states.forgotten, (7, 5));
}

#[test]
fn one_whose_folder_is_gone_is_forgotten_as_soon_as_a_shorter_rescan_interval_says() {
    let mut fixture = Fixture::with_a_folder_gone();
    let mut reloaded = settings();
    reloaded.reader.rescan_interval = ms(10);
    let now = fixture.now();
    fixture.controller.handle_settings(reloaded, now);
    fixture.turn();
    fixture.sent();
    fixture.now += ms(10) * FORGET_AFTER_RESCANS;
    fixture.turn();
    assert!(fixture.sent().contains(&"checkpointer AskLeft".to_owned()));
}

/// Nothing else wakes it: neither a probe, nor what it waits for where it has no backlog.
#[test]
fn one_that_is_held_to_be_forgotten_goes_on_although_its_folder_was_back_for_a_moment() {
    let mut fixture = Fixture::with_one_up();
    let info = fixture.controller.info(FIRST).expect("it was found");
    info.counters.unread_bytes.set(1);
    let grace = settings().reader.rescan_interval * FORGET_AFTER_RESCANS;
    let gone = || ControlMessage::FolderGone(WRITTEN.to_owned());
    let ask = "checkpointer AskLeft".to_owned();
    fixture.tell(gone());
    fixture.turn();
    fixture.now = grace;
    fixture.turn();
    assert!(fixture.sent().contains(&ask));
    fixture.find(WRITTEN);
    fixture.tell(gone());
    fixture.tell(ControlMessage::StateLeft {
        backend: FIRST,
        left: Ok(None),
    });
    fixture.turn();
    let (_, monitor) = fixture.controller.backends().next().expect("there is one");
    assert!(monitor.is_paused(), "it is held");
    fixture.flush();
    fixture.turn();
    assert!(!fixture.sent().contains(&ask));
    fixture.now = 2 * grace;
    fixture.turn();
    assert!(fixture.sent().contains(&ask));
}

#[test]
fn whoever_waits_for_a_sync_point_is_answered_when_it_is_settled_and_not_before() {
    let mut fixture = Fixture::with_one_up();
    fixture.ask(ControlRequest::TakeSyncPoint);
    assert!(!fixture.has_replied());
    let Some(ReaderMessage::SyncPoint { id, .. }) = fixture.mailboxes.reader.receive() else {
        panic!("the reader is asked to look");
    };
    let listing = Listing {
        logs: 1,
        bytes: 100,
        hidden: None,
    };
    let board = Arc::new(PointBoard {
        taken_unix: 9,
        backends: vec![PointBackend::new(WRITTEN.into(), listing)],
    });
    fixture.tell(ControlMessage::SyncPointTaken {
        id,
        taken: Ok(Arc::clone(&board)),
    });
    let reply = fixture.turn_for_reply();
    let report: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    let request = SyncPointRequest {
        id: report["id"].as_str().unwrap().to_owned(),
        wait: ms(5_000),
        backend: None,
    };
    fixture.ask(ControlRequest::SyncPoint(request.clone()));
    assert!(!fixture.has_replied());
    let settled = &board.backends[0].settled;
    settled.store(true, std::sync::atomic::Ordering::Release);
    fixture.tell(ControlMessage::SyncPointMoved);
    let reply = fixture.turn_for_reply();
    assert!(
        reply
            .body
            .windows(14)
            .any(|part| part == b"\"settled\":true")
    );
    settled.store(false, std::sync::atomic::Ordering::Release);
    fixture.find("10.0.0.2:8085");
    fixture.turn();
    fixture.ask(ControlRequest::SyncPoint(SyncPointRequest {
        backend: Some("10.0.0.2:8085".into()),
        ..request.clone()
    }));
    let reply = fixture.turn_for_reply();
    let why = String::from_utf8_lossy(&reply.body);
    assert_eq!(reply.status, Status::NotFound);
    assert!(
        why.contains("10.0.0.2:8085 had no folder of logs when"),
        "{why}"
    );
    fixture.ask(ControlRequest::SyncPoint(request));
    assert!(!fixture.has_replied());
    assert_eq!(
        fixture
            .controller
            .deadline(fixture.now())
            .map(|at| at <= ms(5_000)),
        Some(true)
    );
    fixture.now += ms(5_000);
    assert_eq!(fixture.turn_for_reply().status, Status::Ok);
}

/// As while the log reader hangs, and clients ask again and again.
#[test]
fn points_that_nobody_waits_for_any_more_make_room_for_others() {
    let mut fixture = Fixture::with_one_up();
    for _ in 0..SYNC_POINTS_MAX {
        fixture.ask(ControlRequest::TakeSyncPoint);
        assert!(!fixture.has_replied());
    }
    fixture.ask(ControlRequest::TakeSyncPoint);
    assert_eq!(fixture.turn_for_reply().status, Status::Unavailable);
    fixture.now += SYNC_POINT_TAKEN_WITHIN + ms(1);
    fixture.ask(ControlRequest::TakeSyncPoint);
    assert!(!fixture.has_replied());
    let sent = std::iter::from_fn(|| fixture.mailboxes.checkpointer.receive());
    let forgotten = sent.filter_map(|message| match message {
        CheckpointerMessage::ForgetSyncPoint { id } => Some(id),
        _ => None,
    });
    assert_eq!(forgotten.collect::<Vec<_>>(), [1]);
}

#[test]
fn a_question_about_rejected_lines_is_answered_when_every_backend_has_been_seen_to() {
    let mut fixture = Fixture::with_one_up();
    fixture.find("10.0.0.2:8085");
    fixture.turn();
    fixture.sent();
    fixture.ask(ControlRequest::Rejected(RejectedRequest {
        verb: RejectedVerb::Replay,
        backend: None,
        reason: None,
        since: None,
        until: None,
        ids: Vec::new(),
    }));
    assert!(!fixture.has_replied());
    for (backend, last) in [(FIRST, false), (BackendId(1), true)] {
        let Some(CheckpointerMessage::Of(_, BackendMessage::Requeue { ask, .. })) =
            fixture.mailboxes.checkpointer.receive()
        else {
            panic!("each is asked for");
        };
        fixture.tell(ControlMessage::Requeued {
            backend,
            ask,
            outcome: Ok(Requeued {
                done: 2,
                cut: 0,
                left: 1,
            }),
        });
        if !last {
            assert!(!fixture.has_replied());
        }
    }
    let reply = fixture.turn_for_reply();
    assert_eq!(
        reply.body,
        b"{\"done\":4,\"cut\":0,\"left\":2,\"failed\":[]}\n"
    );
}

#[test]
fn no_rejected_lines_are_replayed_to_a_folder_that_is_another_backend_s() {
    let mut fixture = Fixture::with_one_up();
    fixture.find("10.0.0.2:8085");
    fixture.tell(ControlMessage::SecondNames(vec![SecondName {
        name: "10.0.0.2:8085".to_owned(),
        first: WRITTEN.to_owned(),
    }]));
    fixture.turn();
    fixture.sent();
    let ask = |verb, backend: Option<&str>| {
        ControlRequest::Rejected(RejectedRequest {
            verb,
            backend: backend.map(str::to_owned),
            reason: None,
            since: None,
            until: None,
            ids: Vec::new(),
        })
    };
    fixture.ask(ask(RejectedVerb::Replay, Some("10.0.0.2:8085")));
    let reply = String::from_utf8(fixture.turn_for_reply().body).unwrap();
    assert!(reply.contains("under a second name"), "{reply}");
    assert!(fixture.mailboxes.checkpointer.receive().is_none());
    let mut asked = |verb| {
        fixture.ask(ask(verb, None));
        fixture.turn();
        let sent = std::iter::from_fn(|| fixture.mailboxes.checkpointer.receive());
        let backends = sent.filter_map(|message| match message {
            CheckpointerMessage::Of(backend, BackendMessage::Requeue { .. }) => Some(backend),
            _ => None,
        });
        backends.collect::<Vec<_>>()
    };
    assert_eq!(asked(RejectedVerb::Replay), [FIRST]);
    assert_eq!(asked(RejectedVerb::Drop), [FIRST, BackendId(1)]);
}

#[test]
fn the_list_of_rejected_lines_is_the_checkpointer_s() {
    let mut fixture = Fixture::with_one_up();
    let name = |name: &str| ControlRequest::ListRejected {
        backend: name.to_owned(),
    };
    fixture.ask(name("10.9.9.9:1"));
    assert_eq!(fixture.turn_for_reply().status, Status::NotFound);
    for (listed, status, body) in [
        (
            Ok(Listed::Rejected(RejectedList {
                left: 7,
                ..RejectedList::default()
            })),
            Status::Ok,
            "{\"lines\":[],\"left\":7}\n",
        ),
        (
            Err("it cannot be read".to_owned()),
            Status::Unavailable,
            "it cannot be read\n",
        ),
    ] {
        fixture.ask(name(WRITTEN));
        assert!(!fixture.has_replied());
        let Some(CheckpointerMessage::Of(backend, BackendMessage::ListRejected { ask })) =
            fixture.mailboxes.checkpointer.receive()
        else {
            panic!("it is asked for");
        };
        assert_eq!(backend, FIRST);
        fixture.tell(ControlMessage::Listed { ask, listed });
        let reply = fixture.turn_for_reply();
        assert_eq!(reply.status, status);
        assert_eq!(reply.body, body.as_bytes());
    }
}

#[test]
fn the_list_of_logs_is_the_checkpointer_s() {
    let mut fixture = Fixture::with_one_up();
    fixture.ask(ControlRequest::ListLogs {
        backend: WRITTEN.to_owned(),
    });
    assert!(!fixture.has_replied());
    let Some(CheckpointerMessage::ListLogs { ask, .. }) = fixture.mailboxes.checkpointer.receive()
    else {
        panic!("it is asked for");
    };
    let listed = Ok(Listed::Logs(LogList {
        more: 7,
        ..LogList::default()
    }));
    fixture.tell(ControlMessage::Listed { ask, listed });
    let reply = fixture.turn_for_reply();
    assert_eq!(reply.body, b"{\"logs\":[],\"more\":7}\n");
}

#[test]
fn the_end_is_clean_when_all_have_let_go_and_cut_when_its_time_is_up() {
    for lets_go in [true, false] {
        let mut fixture = Fixture::with_one_up();
        let now = fixture.now();
        fixture.controller.handle_stop(now);
        assert_eq!(fixture.turn(), [Action::BeginShutdown]);
        assert!(!fixture.controller.is_running());
        let is_stopped = |fixture: &Fixture| {
            let sent = fixture.sent();
            sent.contains(&"checkpointer Stop".to_owned())
        };
        assert!(!is_stopped(&fixture), "what is in flight may be answered");
        // Who asks now is sent away.
        fixture.ask(ControlRequest::TakeSyncPoint);
        assert_eq!(fixture.turn_for_reply().status, Status::Unavailable);
        if lets_go {
            fixture.flush();
        } else {
            fixture.now += settings().drain_timeout + ms(DRAIN_EXTRA_MS);
        }
        fixture.turn();
        assert!(is_stopped(&fixture));
        fixture.tell(ControlMessage::CheckpointerDone);
        fixture.think();
        let over = fixture.controller.hand_over(fixture.now());
        assert_eq!(over.map(|over| over.cut.is_none()), Some(lets_go));
    }
}

/// Its next probe comes later than `COUNTERS_LOOK`.
#[test]
fn that_records_fail_ends_with_an_answer_that_nobody_tells_of() {
    let mut fixture = Fixture::with_one_up();
    fixture.now = settings().monitor.ttl_hold;
    fixture.turn();
    fixture.answer(ProbeResult::Good { watched: true });
    fixture.tell(ControlMessage::Trouble {
        backend: FIRST,
        lane: 0,
        epoch: fixture.epoch(),
        trouble: Trouble::Answer("500".to_owned()),
        record: None,
    });
    let info = fixture.controller.info(FIRST).expect("it was found");
    info.counters.in_flight_records.set(2);
    fixture.turn();
    let why = |fixture: &Fixture| {
        let backends = fixture.controller.board().snapshot().backends();
        backends[FIRST.index()].why.clone()
    };
    assert!(why(&fixture).contains("500"), "{}", why(&fixture));
    let info = fixture.controller.info(FIRST).expect("it was found");
    info.counters.answers.add(1);
    fixture.now += COUNTERS_LOOK;
    let actions = fixture.turn();
    assert_eq!((why(&fixture).as_str(), actions.as_slice()), ("", &[][..]));
}

/// There may be many backends, and many events that concern only one or none of them.
#[test]
fn a_turn_looks_at_the_backends_that_something_has_happened_to_and_at_those_that_wait() {
    let first_is_probed = |happens: &dyn Fn(&mut Fixture), then| {
        let mut fixture = Fixture::new();
        fixture.find(WRITTEN);
        fixture.turn();
        fixture.answer(ProbeResult::Bad("it is starting".to_owned()));
        fixture.turn();
        // Nobody says so; it is to be probed sooner by this.
        let info = fixture.controller.info(FIRST).expect("it was found");
        info.counters.unread_bytes.set(1);
        fixture.now = ms(10);
        happens(&mut fixture);
        fixture.turn();
        fixture.now = then;
        let actions = fixture.turn();
        actions.contains(&probe(address(1)))
    };
    let of_another = |fixture: &mut Fixture| fixture.find("10.0.0.2:8085");
    let of_it = |fixture: &mut Fixture| {
        fixture.tell(ControlMessage::LogFault {
            backend: FIRST,
            fault: None,
        });
    };
    let reload = |fixture: &mut Fixture| {
        let now = fixture.now();
        fixture.controller.handle_settings(settings(), now);
    };
    assert!(!first_is_probed(&of_another, ms(200)));
    assert!(first_is_probed(&of_another, COUNTERS_LOOK));
    assert!(first_is_probed(&of_it, ms(200)));
    assert!(first_is_probed(&reload, ms(200)));
}

/// G4: nobody has looked at the backend between a record's answer and the bad probe.
#[test]
fn an_outage_ends_with_an_answer_although_the_next_probe_is_as_bad_as_the_last() {
    let mut fixture = Fixture::new();
    fixture.find(WRITTEN);
    fixture.tell(ControlMessage::OutagesRead {
        backend: FIRST,
        kept: Ok(None),
    });
    for second in 0..=12 {
        fixture.now = Duration::from_secs(second);
        fixture.turn();
        if second == 6 {
            let info = fixture.controller.info(FIRST).expect("it was found");
            info.counters.answers.add(1);
        }
        fixture.answer(ProbeResult::Closed("refused".to_owned()));
    }
    fixture.turn();
    let mut kept = Vec::new();
    while let Some(message) = fixture.mailboxes.checkpointer.receive() {
        if let CheckpointerMessage::Of(_, BackendMessage::KeepOutages { bytes }) = message {
            kept = reachability::decode(&bytes).expect("outages");
        }
    }
    let seconds = |outage: &Outage| (outage.from % 1_000_000, outage.until % 1_000_000);
    let kept: Vec<_> = kept.iter().map(seconds).collect();
    assert_eq!(kept, [(3, 5), (9, 12)]);
}
