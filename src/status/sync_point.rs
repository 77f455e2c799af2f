//! "Synced up to here": what stood in all logs at an instant, and how much of it is not settled.
//!
//! The checkpointer makes a [`PointBoard`] and keeps its numbers; control tells them. A point's id
//! begins with a number that each process draws anew, so that one of an earlier process is not
//! known, and is never taken for another.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use super::counters::Counter;
use super::snapshot::Snapshot;
use super::text::Text;

/// What a server says that ends, instead of anything else. Other reasons not to take a point may
/// pass while it runs.
pub const SERVER_ENDS: &str = "the server ends";

/// One point.
#[derive(Debug)]
pub struct PointBoard {
    /// When it was taken, Unix seconds.
    pub taken_unix: u64,
    /// Every backend that had a log folder then, by name.
    pub backends: Vec<PointBackend>,
}

/// One backend of a point.
#[derive(Debug, Default)]
pub struct PointBackend {
    pub name: Arc<str>,
    /// What its folder had; not set while the folder cannot be listed.
    listing: OnceLock<Listing>,
    /// Why its folder could not be listed.
    unreadable: Text,
    /// Of the logs: not known to be settled as far as they went then.
    pub missing_logs: Counter,
    /// Of the bytes: at most so many are not settled.
    pub missing_bytes: Counter,
    /// Of the missing logs: not in their folder any more.
    pub gone_logs: Counter,
    /// Of the missing bytes: in these. Nobody will deliver them unless they come back.
    pub gone_bytes: Counter,
    /// The first of these logs in the order of their names.
    pub(crate) gone_log: Text,
    /// Lines that were rejected since.
    pub rejected: Counter,
    /// All is settled, durably.
    pub settled: AtomicBool,
    /// All but what is gone is.
    pub rest_settled: AtomicBool,
}

/// What a backend's folder had when its part of a point was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Logs that had bytes then.
    pub logs: u64,
    /// Their bytes then.
    pub bytes: u64,
    /// Files beside them that NFS or FUSE keep under hidden names, and of which nothing is known:
    /// the first one's name, and how many there were. Nobody waits for them.
    pub hidden: Option<(Box<str>, u64)>,
}

impl PointBackend {
    /// A backend of whose logs nothing is known to be settled.
    #[must_use]
    pub fn new(name: Arc<str>, listing: Listing) -> Self {
        let backend = Self::unreadable(name, "");
        backend.set_listing(listing);
        backend
    }

    /// A backend whose folder cannot be listed.
    pub(crate) fn unreadable(name: Arc<str>, why: &str) -> Self {
        let backend = Self {
            name,
            ..Self::default()
        };
        backend.set_unreadable(why);
        backend
    }

    /// Its folder was listed. What it had then is what its part of the point has.
    pub(crate) fn set_listing(&self, listing: Listing) {
        self.missing_logs.set(listing.logs);
        self.missing_bytes.set(listing.bytes);
        // A second listing would be of another instant.
        let is_first = self.listing.set(listing).is_ok();
        debug_assert!(is_first, "{} is listed once", self.name);
    }

    /// Its folder still cannot be listed.
    pub(crate) fn set_unreadable(&self, why: &str) {
        self.unreadable.set(Some(why));
    }

    /// What its folder had; nothing while it cannot be listed.
    #[must_use]
    pub fn listing(&self) -> Option<&Listing> {
        self.listing.get()
    }

    /// Whether all of it is settled.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.settled.load(Ordering::Acquire)
    }
}

impl PointBoard {
    /// Whether all is settled, or all of `backend`; none where there is no such backend in it.
    #[must_use]
    pub fn is_settled(&self, backend: Option<&str>) -> Option<bool> {
        match backend {
            None => Some(self.backends.iter().all(PointBackend::is_settled)),
            Some(name) => self.find(name).map(PointBackend::is_settled),
        }
    }

    fn find(&self, name: &str) -> Option<&PointBackend> {
        self.backends.iter().find(|backend| *backend.name == *name)
    }

    /// Appends what there is to tell to `body`, as JSON: of all backends or of one.
    pub fn write(&self, id: &str, backend: Option<&str>, snapshot: &Snapshot, body: &mut Vec<u8>) {
        let told = self
            .backends
            .iter()
            .filter(|known| backend.is_none_or(|name| *known.name == *name));
        let backends: Vec<BackendReport> = told.map(|known| report(known, snapshot)).collect();
        let report = PointReport {
            id: id.to_owned(),
            taken_unix: self.taken_unix,
            settled: backends.iter().all(|backend| backend.settled),
            backends,
        };
        // Numbers and strings into a `Vec`: neither can fail.
        let _ = serde_json::to_writer(&mut *body, &report);
        body.push(b'\n');
    }
}

fn report(backend: &PointBackend, snapshot: &Snapshot) -> BackendReport {
    let (backends, seconds) = (snapshot.backends(), &snapshot.second_names);
    let now = backends.binary_search_by(|known| (*known.name).cmp(&*backend.name));
    let now = now.ok().map(|place| &backends[place]);
    let reconcile = now.and_then(|now| now.reconcile.as_ref());
    let reconcile = reconcile.filter(|reconcile| reconcile.is_on());
    let second = seconds.binary_search_by(|second| (*second.name).cmp(&*backend.name));
    let why_second = second.ok().map(|place| seconds[place].why());
    // First: what is missing is told no less than it was when all was settled.
    let settled = backend.is_settled();
    let nothing = Listing::default();
    let listing = backend.listing().unwrap_or(&nothing);
    let hidden = listing.hidden.as_ref();
    BackendReport {
        name: backend.name.to_string(),
        settled,
        unreadable: match backend.listing() {
            None => backend.unreadable.load(),
            Some(_) => String::new(),
        },
        logs: listing.logs,
        bytes: listing.bytes,
        missing_logs: backend.missing_logs.load(),
        missing_bytes: backend.missing_bytes.load(),
        gone_logs: backend.gone_logs.load(),
        gone_bytes: backend.gone_bytes.load(),
        gone_log: backend.gone_log.load(),
        hidden_logs: hidden.map_or(0, |(_, count)| *count),
        hidden_log: hidden.map_or_else(String::new, |(name, _)| name.to_string()),
        rest_settled: settled || backend.rest_settled.load(Ordering::Acquire),
        rejected: backend.rejected.load(),
        logs_to_compare: reconcile.map_or(0, |reconcile| reconcile.logs_waiting),
        differences_left: reconcile.map_or(0, |reconcile| reconcile.differences_left),
        not_compared: reconcile.map_or(0, |reconcile| reconcile.not_compared),
        state: now.map_or_else(|| "unknown".to_owned(), |now| now.state.to_string()),
        why: why_second
            .or_else(|| now.map(|now| now.why.clone()))
            .unwrap_or_default(),
    }
}

/// A point as it is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PointReport {
    /// What to ask for it by.
    pub id: String,
    /// When it was taken, Unix seconds.
    pub taken_unix: u64,
    /// Everything that stood in the logs then, of the backends below, is settled or rejected, and
    /// that is on disk.
    pub settled: bool,
    pub backends: Vec<BackendReport>,
}

/// A backend of a point as it is told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BackendReport {
    /// `host:port`
    pub name: String,
    /// Everything of it is settled or rejected.
    pub settled: bool,
    /// Why its folder cannot be listed, so that the numbers below are unknown; empty if it was.
    pub unreadable: String,
    /// Logs that had bytes then.
    pub logs: u64,
    /// Their bytes then.
    pub bytes: u64,
    /// Of the logs: not settled as far as they went.
    pub missing_logs: u64,
    /// Of the bytes: at most so many are not settled.
    pub missing_bytes: u64,
    /// Of the missing logs: deleted, moved away, emptied, or their folder is covered.
    pub gone_logs: u64,
    /// Of the missing bytes: in these.
    pub gone_bytes: u64,
    /// The first of these logs in the order of their names; empty where there is none.
    pub gone_log: String,
    /// Files under hidden names of which nothing is known, and for which nobody waits.
    pub hidden_logs: u64,
    /// The first of them; empty where there is none.
    pub hidden_log: String,
    /// Everything but `gone_bytes` is settled or rejected, and that is on disk.
    pub rest_settled: bool,
    /// Lines rejected since.
    pub rejected: u64,
    /// Finished logs that are kept now until their keys are compared; as the next two, 0 where
    /// `sync.reconcile` is off.
    pub logs_to_compare: u64,
    /// Keys on which the masters differ now.
    pub differences_left: u64,
    /// Keys of finished logs that this process has not compared.
    pub not_compared: u64,
    /// The backend's state now.
    pub state: String,
    /// Why it is in that state.
    pub why: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Now;
    use crate::status::snapshot::{SecondName, StatusBoard};

    fn told(point: &PointBoard, backend: Option<&str>) -> PointReport {
        let mut board = StatusBoard::new(Now::default());
        board.add("a:1", Arc::default(), Now::default());
        board.set_state("a:1", "down", "no answer", Now::default());
        let mut body = Vec::new();
        point.write("7-1", backend, board.snapshot(), &mut body);
        serde_json::from_slice(&body).unwrap()
    }

    fn listing(logs: u64, bytes: u64) -> Listing {
        Listing {
            logs,
            bytes,
            hidden: None,
        }
    }

    #[test]
    fn a_folder_that_cannot_be_listed_is_pending_with_its_reason_until_it_is_listed() {
        let point = PointBoard {
            taken_unix: 5,
            backends: vec![PointBackend::unreadable("b:1".into(), "no rights")],
        };
        let report = told(&point, Some("b:1")).backends.remove(0);
        assert_eq!((report.settled, &*report.unreadable), (false, "no rights"));
        point.backends[0].set_listing(listing(2, 100));
        let report = told(&point, None).backends.remove(0);
        assert_eq!((report.missing_bytes, &*report.unreadable), (100, ""));
    }

    #[test]
    fn a_point_is_settled_when_each_of_its_backends_is() {
        let point = PointBoard {
            taken_unix: 5,
            backends: vec![
                PointBackend::new("a:1".into(), listing(2, 100)),
                PointBackend::new("b:1".into(), listing(0, 0)),
            ],
        };
        point.backends[1].settled.store(true, Ordering::Release);
        point.backends[0].missing_bytes.set(40);
        point.backends[0].gone_logs.set(1);
        point.backends[0].gone_bytes.set(30);
        point.backends[0].gone_log.set(Some("16-40.log"));
        point.backends[0].rejected.set(1);
        assert_eq!(point.is_settled(None), Some(false));
        assert_eq!(point.is_settled(Some("b:1")), Some(true));
        assert_eq!(point.is_settled(Some("c:1")), None);
        let report = told(&point, None);
        assert_eq!(
            (report.id.as_str(), report.taken_unix, report.settled),
            ("7-1", 5, false)
        );
        let expected = BackendReport {
            name: "a:1".into(),
            settled: false,
            unreadable: String::new(),
            logs: 2,
            bytes: 100,
            missing_logs: 2,
            missing_bytes: 40,
            gone_logs: 1,
            gone_bytes: 30,
            gone_log: "16-40.log".into(),
            hidden_logs: 0,
            hidden_log: String::new(),
            rest_settled: false,
            rejected: 1,
            logs_to_compare: 0,
            differences_left: 0,
            not_compared: 0,
            state: "down".into(),
            why: "no answer".into(),
        };
        assert_eq!(report.backends[0], expected);
        assert_eq!(report.backends[1].state, "unknown");
        let one = told(&point, Some("b:1"));
        assert!(one.settled && one.backends.len() == 1);
        point.backends[0].settled.store(true, Ordering::Release);
        assert!(told(&point, None).settled);
    }

    #[test]
    fn a_second_name_says_whose_folder_it_leads_to() {
        let point = PointBoard {
            taken_unix: 5,
            backends: vec![PointBackend::new("b:2".into(), listing(1, 10))],
        };
        let mut board = StatusBoard::new(Now::default());
        let second = || {
            vec![SecondName {
                name: "b:2".into(),
                first: "a:1".into(),
            }]
        };
        assert_eq!(board.set_second_names(second()), second());
        assert_eq!(board.set_second_names(second()), []);
        let mut body = Vec::new();
        point.write("7-1", None, board.snapshot(), &mut body);
        let report: PointReport = serde_json::from_slice(&body).unwrap();
        assert!(report.backends[0].why.contains("\"a:1\""), "{report:?}");
    }
}
