//! Live writes as HA makes them: to both masters of a pair, each of which numbers them by its own
//! counter, and to a log what one of them has missed (docs/hustdb.md, "How HA writes a pair").
//!
//! ```text
//!            ┌─▶ first master ──▶ its version ─┐
//!  client ─ HA │                                 ├─▶ the higher one: to the client, and to the log
//!            └─▶ second master ─▶ its version ─┘    of the master that did not answer 200
//! ```
//!
//! A master is a [`Store`], which a simulation has in its hands, or, in tests, a connection to a
//! hustdb.

use std::io;
use std::path::PathBuf;

use super::Mutation;
use super::log_writer::LogWriter;
use crate::binlog::{Method, line};
use crate::fake_hustdb::store::Store;
use crate::fake_hustdb::{self, Request};

/// What a master has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    /// The `Version`; 0 where there is none.
    pub version: u32,
}

/// One of the two, as HA reaches it.
pub trait Master {
    /// Carries out a client's write at `now_unix` (seconds). `None`: no answer came.
    fn answer(&mut self, request: &Request<'_>, now_unix: u64) -> Option<Reply>;
}

impl Master for Store {
    fn answer(&mut self, request: &Request<'_>, now_unix: u64) -> Option<Reply> {
        let answer = self.apply(request, now_unix);
        Some(Reply {
            status: answer.status,
            version: answer.version.unwrap_or(0),
        })
    }
}

/// How HA reaches a master.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// It gets writes and answers.
    #[default]
    Up,
    /// Nothing reaches it.
    Down,
    /// It gets and carries out writes, and its answers are lost.
    #[cfg(feature = "testing")]
    AnswersLost,
}

/// What HA has made of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The version that it tells its client, and writes to the log: the higher one of those that
    /// the masters gave it.
    pub version: u32,
    /// The place of the master that has missed it, for HA's log.
    pub missed: Option<usize>,
}

/// A pair of masters behind HA.
#[derive(Debug)]
pub struct LivePair<M> {
    /// In the order of the row of HA's table.
    pub masters: [M; 2],
    /// How each is reached.
    pub reach: [Reach; 2],
    target: Vec<u8>,
}

impl<M: Master> LivePair<M> {
    /// A pair of which both masters are up.
    #[must_use]
    pub fn new(masters: [M; 2]) -> Self {
        Self {
            masters,
            reach: [Reach::Up; 2],
            target: Vec::new(),
        }
    }

    /// A client's write at `now_unix` (seconds). `None`: HA has answered that it failed, and logs
    /// nothing, although one of the masters may have carried it out.
    pub fn write(&mut self, mutation: &Mutation, now_unix: u64) -> Option<Taken> {
        let target = &mut self.target;
        let (mut versions, mut missed, mut is_refused) = (0, Vec::new(), false);
        for (place, (master, reach)) in self.masters.iter_mut().zip(self.reach).enumerate() {
            let reply = match reach {
                Reach::Down => None,
                Reach::Up => write_one(master, mutation, now_unix, target),
                #[cfg(feature = "testing")]
                Reach::AnswersLost => write_one(master, mutation, now_unix, target).and(None),
            };
            match reply {
                Some(Reply {
                    status: 200,
                    version,
                }) => versions = versions.max(version),
                Some(reply) if is_final(mutation.method, reply.status) => is_refused = true,
                // A master that answers anything else has missed it too.
                _ => missed.push(place),
            }
        }
        match (&*missed, is_refused) {
            ([], false) => Some(Taken {
                version: versions,
                missed: None,
            }),
            ([place], false) => Some(Taken {
                version: versions,
                missed: Some(*place),
            }),
            _ => None,
        }
    }
}

/// Gives one master a client's write at `now_unix` (seconds), as HA hands it on. `None`: no answer
/// came. `target` is scratch.
pub fn write_one(
    master: &mut impl Master,
    mutation: &Mutation,
    now_unix: u64,
    target: &mut Vec<u8>,
) -> Option<Reply> {
    target.clear();
    mutation.live_target(target);
    let method = fake_hustdb::Method::Get;
    master.answer(&Request::new(method, target, &mutation.body), now_unix)
}

/// Whether HA takes an answer other than 200 for the last word on a write, and logs nothing: there
/// is nothing to be removed, or the table has another type.
fn is_final(method: Method, status: u16) -> bool {
    let removes = matches!(
        method,
        Method::Del | Method::Hdel | Method::Srem | Method::Zrem
    );
    let adds_to_table = matches!(method, Method::Hset | Method::Sadd | Method::Zadd);
    match status {
        404 => removes,
        412 => removes || adds_to_table,
        _ => false,
    }
}

/// The log that HA keeps of what a backend has missed, as it is written now.
pub struct LiveLog {
    writer: LogWriter,
    record: Vec<u8>,
    line: Vec<u8>,
}

impl LiveLog {
    /// The log of a backend, in this folder, which is made if it is missing.
    ///
    /// # Errors
    /// The folder can't be made.
    pub fn new(folder: PathBuf) -> io::Result<Self> {
        Ok(Self {
            writer: LogWriter::new(folder, false)?,
            record: Vec::new(),
            line: Vec::new(),
        })
    }

    /// Appends a write that the backend has missed, with the version that HA was given. When this
    /// returns, the line is in the file and the file is closed, as zlog leaves it. Times may not go
    /// back.
    ///
    /// # Errors
    /// What the system says about the file, which is named.
    pub fn append(&mut self, mutation: &Mutation, version: u32) -> io::Result<()> {
        self.record.clear();
        mutation.record(version).encode(&mut self.record);
        self.line.clear();
        let prefix = self.writer.prefix(mutation.unix);
        line::encode(prefix, &self.record, &mut self.line);
        self.writer.write(mutation.unix, &self.line)?;
        self.writer.close()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;

    use super::*;
    use crate::binlog::Record;

    pub(in crate::workload) const NOW: u64 = 1_795_365_584;

    /// A write of `name`, in a table where the method has one.
    pub(in crate::workload) fn mutation(method: Method, name: &str) -> Mutation {
        let is_member = matches!(
            method,
            Method::Sadd | Method::Srem | Method::Zadd | Method::Zrem
        );
        let has_value = matches!(method, Method::Put | Method::Hset);
        Mutation {
            method,
            unix: NOW,
            table: match method {
                Method::Put | Method::Del => Vec::new(),
                Method::Hset | Method::Hdel => b"h".to_vec(),
                Method::Sadd | Method::Srem => b"s".to_vec(),
                _ => b"z".to_vec(),
            },
            key: if is_member { Vec::new() } else { name.into() },
            body: match (is_member, has_value) {
                (true, _) => name.into(),
                (_, true) => b"value".to_vec(),
                (_, false) => Vec::new(),
            },
            ttl: 0,
            score: 5,
            opt: 1,
        }
    }

    fn pair() -> LivePair<Store> {
        LivePair::new([Store::new(false), Store::new(false)])
    }

    /// Writes a key of the master's own, past HA.
    fn put_past_ha(master: &mut Store, key: &str, version: u32) {
        let target = format!("/hustdb/put?key={key}&ver={version}&is_dup=true");
        let request = Request::new(fake_hustdb::Method::Post, target.as_bytes(), b"past");
        assert_eq!(master.apply(&request, NOW).status, 200);
    }

    fn versions(pair: &LivePair<Store>) -> [Vec<u32>; 2] {
        [0, 1].map(|place: usize| {
            let contents = pair.masters[place].contents(NOW);
            contents.values().map(|stored| stored.version).collect()
        })
    }

    pub(in crate::workload) fn taken(version: u32, missed: Option<usize>) -> Option<Taken> {
        Some(Taken { version, missed })
    }

    pub(in crate::workload) const WRITES: [(Method, Method); 4] = [
        (Method::Put, Method::Del),
        (Method::Hset, Method::Hdel),
        (Method::Sadd, Method::Srem),
        (Method::Zadd, Method::Zrem),
    ];

    #[test]
    fn both_masters_number_alike_while_both_are_up() {
        let mut pair = pair();
        for (add, remove) in WRITES {
            for version in 1..=3 {
                let write = pair.write(&mutation(add, "k"), NOW);
                assert_eq!(write, taken(version, None), "{add:?}");
            }
            let write = pair.write(&mutation(remove, "k"), NOW);
            assert_eq!(write, taken(3, None), "{remove:?}");
            assert_eq!(
                pair.write(&mutation(remove, "k"), NOW),
                None,
                "nothing is there"
            );
            assert_eq!(pair.write(&mutation(add, "k"), NOW), taken(1, None));
        }
        assert_eq!(versions(&pair), [[1, 1, 1, 1], [1, 1, 1, 1]]);
    }

    /// As a real HA 1.9 did: version 9 past it on one master, then a put through it.
    #[test]
    fn each_master_counts_for_itself_and_the_higher_version_is_told() {
        for ahead in [0, 1] {
            let mut pair = pair();
            assert_eq!(pair.write(&mutation(Method::Put, "k"), NOW), taken(1, None));
            put_past_ha(&mut pair.masters[ahead], "k", 9);
            assert_eq!(
                pair.write(&mutation(Method::Put, "k"), NOW),
                taken(10, None)
            );
            let found = versions(&pair);
            assert_eq!((&*found[ahead], &*found[1 - ahead]), (&[10][..], &[2][..]));
            assert_eq!(
                pair.write(&mutation(Method::Del, "k"), NOW),
                taken(10, None)
            );
            assert_eq!(versions(&pair), [[0; 0], [0; 0]]);
        }
    }

    #[test]
    fn what_one_master_misses_is_logged_with_the_others_version() {
        for down in [0, 1] {
            for (add, remove) in WRITES {
                let mut pair = pair();
                pair.write(&mutation(add, "k"), NOW);
                pair.reach[down] = Reach::Down;
                assert_eq!(pair.write(&mutation(add, "k"), NOW), taken(2, Some(down)));
                assert_eq!(
                    pair.write(&mutation(remove, "k"), NOW),
                    taken(2, Some(down))
                );
                // The other lacks it: HA answers 404, though the one that is down still has it.
                assert_eq!(pair.write(&mutation(remove, "k"), NOW), None);
                pair.reach[down] = Reach::Up;
                // Live again, it counts on from what it has: 2, where the other begins at 1.
                assert_eq!(pair.write(&mutation(add, "k"), NOW), taken(2, None));
                let found = versions(&pair);
                assert_eq!((&*found[down], &*found[1 - down]), (&[2][..], &[1][..]));
            }
        }
    }

    #[test]
    fn a_write_whose_answer_is_lost_is_logged_although_it_was_carried_out() {
        let mut pair = pair();
        pair.reach[1] = Reach::AnswersLost;
        assert_eq!(
            pair.write(&mutation(Method::Zadd, "m"), NOW),
            taken(1, Some(1))
        );
        assert_eq!(versions(&pair), [[1], [1]]);
        pair.reach[0] = Reach::Down;
        assert_eq!(pair.write(&mutation(Method::Zadd, "m"), NOW), None);
        assert_eq!(versions(&pair), [[1], [2]], "nobody knows of it");
    }

    #[test]
    fn a_removal_of_what_one_master_lacks_is_done_by_the_other_and_not_logged() {
        for only in [0, 1] {
            let mut pair = pair();
            put_past_ha(&mut pair.masters[only], "k", 4);
            assert_eq!(pair.write(&mutation(Method::Del, "k"), NOW), None);
            assert_eq!(versions(&pair), [[0; 0], [0; 0]]);
        }
        let mut pair = pair();
        let set = mutation(Method::Sadd, "m");
        pair.masters[0].answer(
            &Request::new(fake_hustdb::Method::Get, b"/hustdb/sadd?tb=h", b"m"),
            NOW,
        );
        assert_eq!(
            pair.write(&mutation(Method::Hset, "k"), NOW),
            None,
            "another type"
        );
        assert_eq!(pair.write(&set, NOW), taken(1, None));
    }

    #[test]
    fn a_line_of_the_log_is_there_at_once_and_is_the_missed_write() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = LiveLog::new(folder.path().join("h:1")).unwrap();
        let lines = || {
            let files = fs::read_dir(folder.path().join("h:1")).unwrap();
            let texts = files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap());
            texts.collect::<String>()
        };
        for version in 1..=2 {
            log.append(&mutation(Method::Zadd, "m"), version).unwrap();
            assert_eq!(lines().lines().count(), version as usize);
        }
        let text = lines();
        let mut last = text.lines().last().unwrap().as_bytes().to_vec();
        let range = line::decode_in_place(&mut last).unwrap();
        let record = Record::parse(&last[range]).unwrap();
        assert_eq!(
            (record.version, record.key, record.value),
            (2, &b"m"[..], &b"m"[..])
        );
        assert_eq!(
            (record.method, record.score, record.opt),
            (Method::Zadd, 5, 1)
        );
    }
}
