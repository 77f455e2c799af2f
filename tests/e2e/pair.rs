//! Two masters behind HA, which writes to both and logs what the first of them misses, and a server
//! that replays that log and compares its keys with the second.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use hustdbsync::internals::binlog::Method;
use hustdbsync::internals::fake_hustdb::query::decode;
use hustdbsync::internals::fake_hustdb::{Contents, FakeHustdb, Item, Script, Space, differences};
use hustdbsync::internals::reconcile::difference::{Difference, FILE_NAME, Line};
use hustdbsync::internals::workload::live_connection::Connection;
use hustdbsync::internals::workload::live_pair::{LiveLog, LivePair, Reach};
use hustdbsync::internals::workload::{Generator, Mutation, Workload};
use serde_json::json;

use crate::harness::{
    DEADLINE, Home, PASSWORD, USER, eventually, fake_hustdb, now_unix, whole_lines,
};
use crate::process::Process;
use crate::support::holds_within;

/// More than `checklog_interval` and the 20 s behind it.
const CLOSED_AFTER: Duration = Duration::from_secs(81);

/// See the module.
pub(crate) struct Pair {
    pub(crate) home: Home,
    /// The backend, and its peer.
    pub(crate) masters: [FakeHustdb; 2],
    pub(crate) ha: LivePair<Connection>,
    /// Whether some writes are of sorted sets; the replay may look these up itself.
    pub(crate) has_sorted_sets: bool,
    /// Lines in the backend's log.
    pub(crate) logged: u64,
    log: LiveLog,
}

impl Pair {
    /// Both are up, HA's table names them, and `sync.reconcile` is `mode`.
    pub(crate) fn new(mode: &str) -> Self {
        let home = Home::new()
            .with("sync.reconcile", mode)
            .with("sync.reconcile_deletes", true)
            // No master sweeps.
            .with("sync.reconcile_delay", 0)
            // Live writes and records can give two values one version.
            .with("sync.reconcile_values", true);
        let masters = [fake_hustdb(), fake_hustdb()];
        let login = Some((USER, PASSWORD));
        let connect = |at: usize| Connection::new(masters[at].addr(), login);
        let pair = Self {
            ha: LivePair::new([connect(0), connect(1)]),
            log: LiveLog::new(home.path("logs").join(masters[0].name())).unwrap(),
            has_sorted_sets: true,
            logged: 0,
            home,
            masters,
        };
        pair.write_table(&pair.names());
        pair
    }

    pub(crate) fn names(&self) -> [String; 2] {
        [0, 1].map(|at: usize| self.masters[at].name())
    }

    pub(crate) fn backend(&self) -> &FakeHustdb {
        &self.masters[0]
    }

    pub(crate) fn peer(&self) -> &FakeHustdb {
        &self.masters[1]
    }

    /// HA's table: these hold every key.
    pub(crate) fn write_table(&self, masters: &[String]) {
        let table = json!({"table": [{"item": {"key": [0, 1024], "val": masters}}]});
        self.write_table_text(&table.to_string());
    }

    /// As HA does: another file takes the name.
    pub(crate) fn write_table_text(&self, text: &str) {
        let path = self.home.path("conf/hustdbtable.json");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path.with_extension("tmp"), text).unwrap();
        fs::rename(path.with_extension("tmp"), path).unwrap();
    }

    /// A client's write, which goes to both masters, and to the log if the backend misses it.
    pub(crate) fn write(&mut self, mutation: &Mutation) {
        let unix = now_unix();
        let mutation = Mutation {
            unix,
            ..mutation.clone()
        };
        let taken = self.ha.write(&mutation, unix);
        if let Some(taken) = taken
            && taken.missed == Some(0)
        {
            self.log.append(&mutation, taken.version).unwrap();
            self.logged += 1;
        }
    }

    pub(crate) fn write_all<'a>(&mut self, mutations: impl IntoIterator<Item = &'a Mutation>) {
        mutations
            .into_iter()
            .for_each(|mutation| self.write(mutation));
    }

    /// These writes while nothing reaches the backend. Their log looks as if that was some time
    /// ago, so that nothing has to be waited for before it may be deleted.
    pub(crate) fn miss<'a>(&mut self, mutations: impl IntoIterator<Item = &'a Mutation>) {
        self.ha.reach[0] = Reach::Down;
        self.write_all(mutations);
        self.ha.reach[0] = Reach::Up;
        self.age_logs(0);
    }

    /// Nothing has come to the logs of a master for so long that they can be finished.
    pub(crate) fn age_logs(&self, at: usize) {
        let folder = self.home.path("logs").join(self.masters[at].name());
        for file in fs::read_dir(folder).unwrap() {
            let file = fs::File::options().append(true).open(file.unwrap().path());
            let changed = SystemTime::now() - CLOSED_AFTER;
            file.unwrap().set_modified(changed).unwrap();
        }
    }

    fn logs(&self) -> PathBuf {
        self.home.path("logs").join(self.backend().name())
    }

    /// An outage as they are: keys that both masters have, then writes that the backend misses,
    /// and then, while their records wait, writes to the same keys that it does not miss.
    pub(crate) fn have_outage(&mut self) {
        self.write_all(&self.writes(1, 150));
        self.miss(&self.writes(2, 400));
        assert!(self.logged > 300, "{} lines", self.logged);
        self.write_all(&self.writes(3, 150));
    }

    /// Writes of all eight methods to some forty keys of each kind, in many spellings, without ttl.
    pub(crate) fn writes(&self, seed: u64, count: u64) -> Vec<Mutation> {
        let workload = Workload {
            keys: 40,
            seed,
            mix: Workload::mixed(1, 0)
                .mix
                .into_iter()
                .map(|(method, _)| (method, 1))
                .collect(),
            ..Workload::mixed(count, now_unix())
        };
        let mut generator = Generator::new(&workload);
        let mut mutations = Vec::new();
        while let Some((mutation, _)) = generator.next() {
            let is_of_sorted_set = matches!(mutation.method, Method::Zadd | Method::Zrem);
            if self.has_sorted_sets || !is_of_sorted_set {
                mutations.push(Mutation { ttl: 0, ..mutation });
            }
        }
        mutations
    }

    pub(crate) fn start(&self) -> Process {
        Process::start(&self.home)
    }

    /// The settings as they are by now, taken by a running server.
    pub(crate) fn reload(&self, process: &Process) {
        self.home.write_config();
        let reloads = || self.said().matches("was read again").count();
        let before = reloads();
        process.signal("HUP");
        eventually("it is reloaded", || reloads() > before);
    }

    /// Whether a log of the backend's is there.
    pub(crate) fn has_logs(&self) -> bool {
        fs::read_dir(self.logs()).unwrap().next().is_some()
    }

    /// Deletes the backend's logs, as an operator may.
    pub(crate) fn remove_logs(&self) {
        for log in fs::read_dir(self.logs()).unwrap() {
            fs::remove_file(log.unwrap().path()).unwrap();
        }
    }

    /// Waits until all is replayed, and compared where it is: the logs go after that.
    #[track_caller]
    pub(crate) fn wait_gone(&self) {
        let gone = holds_within(DEADLINE, || !self.has_logs());
        assert!(gone, "the logs stay:\n{}", self.said());
    }

    /// What the server has said.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.home.path("stderr")).unwrap()
    }

    /// Waits until the server has said a line of `level` with all these words; gives it.
    #[track_caller]
    pub(crate) fn wait_said(&self, level: &str, words: &[&str]) -> String {
        let mut found = None;
        eventually(&format!("{level} {words:?} is said"), || {
            let said = self.said();
            let mut lines = whole_lines(&said).filter(|line| line.contains(&format!(" {level} ")));
            found = lines
                .find(|line| words.iter().all(|word| line.contains(word)))
                .map(str::to_owned);
            found.is_some()
        });
        found.unwrap()
    }

    /// Which keys the masters do not have alike. The versions of a set's members are nobody's
    /// business.
    pub(crate) fn wrong(&self) -> BTreeSet<Item> {
        let [backend, peer] = [0, 1].map(|at: usize| comparable(self.masters[at].contents()));
        let items = backend.keys().chain(peer.keys());
        items
            .filter(|item| backend.get(item) != peer.get(item))
            .cloned()
            .collect()
    }

    /// Fails where a key is wrong.
    #[track_caller]
    pub(crate) fn assert_equal(&self) {
        let contents = [0, 1].map(|at: usize| comparable(self.masters[at].contents()));
        let wrong = differences(&contents[1], &contents[0], 0, 20);
        assert_eq!(wrong, None, "{:#?}\n{}", self.differences(), self.said());
    }

    /// What a difference is about.
    pub(crate) fn item(difference: &Difference) -> Item {
        let space = match &*difference.kind {
            "key" => Space::Kv,
            "hash" => Space::Hash,
            "set" => Space::Set,
            "sorted_set" => Space::SortedSet,
            other => panic!("{other}"),
        };
        let is_raw = space == Space::Set;
        // A sorted set's member is the key where the body is empty.
        let member = difference.member.as_ref();
        let member = member.filter(|member| !member.is_empty());
        let key = member.unwrap_or(&difference.key);
        Item {
            space,
            table: difference.table.clone(),
            key: if is_raw {
                key.clone()
            } else {
                decode(key, &mut Vec::new()).to_vec()
            },
        }
    }

    /// What is in the backend's differences.jsonl.
    pub(crate) fn differences(&self) -> Vec<Difference> {
        let path = self.home.state(&self.backend().name(), FILE_NAME);
        let text = fs::read_to_string(path).unwrap_or_default();
        // Behind a write that has failed a newline begins the next.
        let lines = whole_lines(&text).filter(|line| !line.is_empty());
        let lines = lines.map(|line| Line::parse(line.as_bytes()).unwrap());
        lines
            .filter_map(|line| match line {
                Line::Difference(_, difference) => Some(*difference),
                Line::Settlement(_) => None,
            })
            .collect()
    }

    /// What a master was asked besides probes and writes.
    pub(crate) fn lookups(&self, at: usize) -> u64 {
        let counters = self.masters[at].counters();
        counters.beside_probes() - counters.mutations
    }

    /// Makes a master misbehave, or behave again.
    pub(crate) fn script(&self, at: usize, script: Script) {
        self.masters[at].set_script(script).unwrap();
    }
}

fn comparable(mut contents: Contents) -> Contents {
    for (item, stored) in &mut contents {
        if item.space == Space::Set {
            stored.version = 0;
        }
    }
    contents
}

/// One write of this method to this key or member, in a table of that kind.
pub(crate) fn write_of(method: Method, table: &str, key: &[u8], value: &[u8]) -> Mutation {
    let is_member = matches!(
        method,
        Method::Sadd | Method::Srem | Method::Zadd | Method::Zrem
    );
    Mutation {
        method,
        unix: 0,
        table: table.into(),
        key: if is_member { Vec::new() } else { key.to_vec() },
        body: if is_member { key } else { value }.to_vec(),
        ttl: 0,
        score: 5,
        opt: 0,
    }
}

/// A client puts a key.
pub(crate) fn put(key: &str, value: &str) -> Mutation {
    write_of(Method::Put, "", key.as_bytes(), value.as_bytes())
}
