//! The driver over a real folder and real inotify.

use std::fs;
use std::sync::Arc;
use std::thread;

use super::*;
use crate::config::BackendName;
use crate::engine::files::RealDisk;
use crate::engine::waker::mailbox;
use crate::patience::{eventually, eventually_some};
use crate::replay::links::{Links, Mailboxes};
use crate::replay::messages::{
    BackendId, BackendInfo, ControlMessage, ReaderMessage, ReaderSettings,
};
use crate::replay::reader::ReaderRules;

/// It is there before the reader starts.
const FIRST: &str = "127.0.0.1:1";

/// The test never gets as far as a look that no hint has asked for.
const RESCAN_INTERVAL: Duration = Duration::from_secs(3600);

#[test]
fn what_happens_in_folders_reaches_the_reader_without_a_rescan() {
    let logs = tempfile::tempdir().unwrap();
    fs::create_dir(logs.path().join(FIRST)).unwrap();
    let (poll, _, own) = mailbox::<ReaderMessage>(WAKER).unwrap();
    let mailboxes = Mailboxes {
        reader: Arc::clone(&own),
        ..Mailboxes::without_wakers(1, 1024)
    };
    let control = Arc::clone(&mailboxes.control);
    let reader = LogReader::new(
        RealDisk::new(logs.path().to_owned(), logs.path().join(".state")),
        ReaderSettings {
            lanes_per_backend: 1,
            memory_budget_bytes: 1 << 20,
            in_flight_per_backend: 100,
            rescan_interval: RESCAN_INTERVAL,
            closed_after: RESCAN_INTERVAL,
        },
        ReaderRules {
            is_backend: |folder| {
                let name = BackendName::parse(folder);
                name.map(drop).map_err(|fault| fault.to_string())
            },
            written_unix: |_| None,
            zone: String::new,
        },
        Links::new(mailboxes, 8, 1),
    );
    let path = logs.path().to_owned();
    let thread = thread::spawn(move || run(reader, poll, path, Clock::default()));

    let found = |name: &str| {
        eventually_some(name, || match control.receive()? {
            ControlMessage::BackendFound(found) if found == name => Some(()),
            _ => None,
        });
    };
    // Once it has looked, only a hint can tell.
    found(FIRST);
    let name = "127.0.0.1:2";
    let folder = logs.path().join(name);
    fs::create_dir(&folder).unwrap();
    found(name);
    fs::write(folder.join("0.log"), "x\n").unwrap();

    let backend = BackendInfo {
        id: BackendId(0),
        name: name.into(),
        counters: Arc::default(),
        dirty_flags: Arc::default(),
    };
    let counters = Arc::clone(&backend.counters);
    own.send(ReaderMessage::Backend(backend)).unwrap();
    let is_seen = |file: &str, bytes| {
        eventually(file, || counters.unread_bytes.load() == bytes);
    };
    is_seen("0.log", 2);
    for (file, bytes) in [("1.log", 4), ("2.log", 6)] {
        fs::write(folder.join(file), "x\n").unwrap();
        is_seen(file, bytes);
    }

    own.send(ReaderMessage::Stop).unwrap();
    thread.join().unwrap().unwrap();
}
