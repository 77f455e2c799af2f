//! The fake HustDB between a connection and the store: password, script, counters, history. No
//! socket and no clock here either.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::answer::Answer;
use super::connection::{After, Handler};
use super::contents::{Contents, Item};
use super::query::{Call, Request, Space, Verb};
use super::script::{Accept, Act, Script};
use super::store::{Effect, KeyHasher, Store};

/// One mutation, in the order in which they were applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    pub space: Space,
    /// The table; empty for [`Space::Kv`].
    pub table: Vec<u8>,
    /// The key or member, decoded.
    pub key: Vec<u8>,
    /// The version that the mutation came with, or got if it was live.
    pub ver: u32,
    /// What was done.
    pub verb: Verb,
}

/// What a fake HustDB has counted since it was made (a restart doesn't reset it).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Whole requests that came in, probes too.
    pub requests: u64,
    /// Those for `/status.html`.
    pub probes: u64,
    /// Mutations asked for, whatever became of them.
    pub mutations: u64,
    /// Mutations applied, repetitions too.
    pub applied: u64,
    /// Replayed mutations that came too late and changed nothing.
    pub superseded: u64,
    /// Replayed mutations that were applied though they had been applied last already: same key,
    /// version and value.
    pub duplicates: u64,
    /// Reads that ended inside a request line: what a real hustdb can't stand.
    pub cut_targets: u64,
    /// Targets over 8 KB: each would have crashed a real hustdb, and drops all connections here.
    pub crashes: u64,
    /// Connections accepted, those reset at once too.
    pub accepted: u64,
    /// Connections open now.
    pub open: u64,
    /// Bytes read.
    pub bytes_in: u64,
}

impl Counters {
    /// Requests that were no probes.
    #[must_use]
    pub fn beside_probes(&self) -> u64 {
        self.requests - self.probes
    }

    /// Adds `more` to all but `open`, which [`Tallies::opened`] and [`Tallies::closed`] keep.
    fn add(&mut self, more: &Self) {
        self.requests += more.requests;
        self.probes += more.probes;
        self.mutations += more.mutations;
        self.applied += more.applied;
        self.superseded += more.superseded;
        self.duplicates += more.duplicates;
        self.cut_targets += more.cut_targets;
        self.crashes += more.crashes;
        self.accepted += more.accepted;
        self.bytes_in += more.bytes_in;
    }
}

/// [`Counters`], shared between threads. They are read as they were at one moment: whoever takes
/// one from another finds a difference that was there.
#[derive(Debug, Default)]
pub(super) struct Tallies(Mutex<Counters>);

impl Tallies {
    pub(super) fn add(&self, more: &Counters) {
        if *more != Counters::default() {
            lock(&self.0).add(more);
        }
    }

    pub(super) fn opened(&self) {
        lock(&self.0).open += 1;
    }

    pub(super) fn closed(&self) {
        lock(&self.0).open -= 1;
    }

    pub(super) fn counters(&self) -> Counters {
        *lock(&self.0)
    }
}

/// What can be changed while the fake HustDB runs.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// The `Authorization` that is asked for; none where anybody may come.
    pub(super) authorization: Option<Vec<u8>>,
    pub(super) script: Script,
}

/// The data and the settings, shared by all threads of a fake HustDB.
#[derive(Debug)]
pub(super) struct Shared {
    /// A table is whole in one of them, and so is every key without a table.
    shards: Box<[Mutex<Store>]>,
    history: Option<Mutex<Vec<Applied>>>,
    settings: Mutex<Settings>,
    /// Grows with each change of the settings.
    settings_version: AtomicU64,
    pub(super) tallies: Tallies,
}

impl Shared {
    pub(super) fn new(
        shards: usize,
        store: impl Fn() -> Store,
        record_history: bool,
        settings: Settings,
    ) -> Self {
        Self {
            shards: (0..shards.max(1)).map(|_| Mutex::new(store())).collect(),
            history: record_history.then(Mutex::default),
            settings: Mutex::new(settings),
            settings_version: AtomicU64::new(1),
            tallies: Tallies::default(),
        }
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut lock(&self.settings));
        self.settings_version.fetch_add(1, Ordering::Release);
    }

    pub(super) fn accept(&self) -> Accept {
        lock(&self.settings).script.accept
    }

    pub(super) fn contents(&self, now_unix: u64) -> Contents {
        let mut contents = Contents::new();
        // All locks at once, so that the snapshot is one instant.
        let shards: Vec<_> = self.shards.iter().map(lock).collect();
        for shard in &shards {
            shard.collect_into(now_unix, &mut contents);
        }
        contents
    }

    pub(super) fn drop_l2_caches(&self) {
        for shard in &self.shards {
            lock(shard).drop_l2_cache();
        }
    }

    pub(super) fn misordered(&self) -> BTreeSet<Item> {
        let shards = self.shards.iter().map(lock);
        shards
            .flat_map(|shard| shard.misordered().collect::<Vec<_>>())
            .collect()
    }

    pub(super) fn history(&self) -> Vec<Applied> {
        self.history
            .as_ref()
            .map(|history| lock(history).clone())
            .unwrap_or_default()
    }

    pub(super) fn execute(&self, call: &Call<'_>, now_unix: u64) -> (Answer, Effect) {
        let mut shard = lock(self.shard(call));
        let (answer, effect) = shard.execute(call, now_unix);
        if let (Some(history), Effect::Applied { version, .. }) = (&self.history, effect) {
            // Under the shard's lock, so that the order is the order in which it happened.
            lock(history).push(Applied {
                space: call.verb.space(),
                table: call.table.to_vec(),
                key: call.key.to_vec(),
                ver: if call.is_dup { call.ver } else { version },
                verb: call.verb,
            });
        }
        (answer, effect)
    }

    fn shard(&self, call: &Call<'_>) -> &Mutex<Store> {
        if self.shards.len() == 1 {
            return &self.shards[0];
        }
        let name = match call.verb.space() {
            Space::Kv => call.key,
            Space::Hash | Space::Set | Space::SortedSet => call.table,
        };
        let mut hasher = KeyHasher::default();
        std::hash::Hasher::write(&mut hasher, name);
        let hash = std::hash::Hasher::finish(&hasher);
        // The remainder is below the number of shards, which is a usize.
        &self.shards[(hash % self.shards.len() as u64) as usize]
    }
}

/// Locks `mutex` also after a panic of another holder: what a fake HustDB holds is whole between
/// any two statements.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One thread's way to the shared data: a [`Handler`] for its connections.
#[derive(Debug)]
pub(super) struct Service<'a> {
    shared: &'a Shared,
    /// What the clock says to the store, in Unix seconds.
    pub(super) now_unix: u64,
    /// Counted since it was last handed over.
    pub(super) tally: Counters,
    scratch: Vec<u8>,
    /// The settings as they were at `settings_version`; rules have counts that threads share, so
    /// they are not copied.
    settings_version: u64,
    authorization: Option<Vec<u8>>,
    burst_delay: Duration,
    answer_delay: Duration,
    misread_cut_targets: bool,
    has_rules: bool,
}

impl<'a> Service<'a> {
    pub(super) fn new(shared: &'a Shared) -> Self {
        Self {
            shared,
            now_unix: 0,
            tally: Counters::default(),
            scratch: Vec::new(),
            settings_version: 0,
            authorization: None,
            burst_delay: Duration::ZERO,
            answer_delay: Duration::ZERO,
            misread_cut_targets: false,
            has_rules: false,
        }
    }

    /// Takes over settings that have changed.
    pub(super) fn refresh(&mut self) {
        let version = self.shared.settings_version.load(Ordering::Acquire);
        if version == self.settings_version {
            return;
        }
        let settings = lock(&self.shared.settings);
        self.settings_version = version;
        self.authorization.clone_from(&settings.authorization);
        self.burst_delay = settings.script.burst_delay;
        self.answer_delay = settings.script.answer_delay;
        self.misread_cut_targets = settings.script.misread_cut_targets;
        self.has_rules = !settings.script.rules.is_empty();
    }

    pub(super) fn misread_cut_targets(&self) -> bool {
        self.misread_cut_targets
    }

    /// How long the answers to `count` requests wait; `read` says that they are the first of their
    /// read.
    pub(super) fn delay(&self, count: u32, read: bool) -> Duration {
        let burst_delay = if read {
            self.burst_delay
        } else {
            Duration::ZERO
        };
        burst_delay + self.answer_delay.saturating_mul(count)
    }

    /// Hands over what was counted.
    pub(super) fn flush_tally(&mut self) {
        let tally = std::mem::take(&mut self.tally);
        self.shared.tallies.add(&tally);
    }

    /// The right answer to `request`, which is carried out.
    fn answer(&mut self, request: &Request<'_>, verb: Option<Verb>) -> Answer {
        let Some(verb) = verb else {
            return match is_probe(request) {
                true => Answer::status_page(),
                false => Answer::bare(404),
            };
        };
        if let Some(wanted) = &self.authorization
            && request.authorization != Some(wanted)
        {
            return Answer::unauthorized();
        }
        self.tally.mutations += u64::from(verb.is_mutation());
        let call = match Call::parse(verb, request, &mut self.scratch) {
            Ok(call) => call,
            Err(answer) => return answer,
        };
        let (answer, effect) = self.shared.execute(&call, self.now_unix);
        match effect {
            Effect::None => {}
            Effect::Applied { duplicate, .. } => {
                self.tally.applied += 1;
                self.tally.duplicates += u64::from(duplicate);
            }
            Effect::Superseded => self.tally.superseded += 1,
        }
        answer
    }

    /// What the script wants done with `request`, if anything.
    fn strike(&mut self, request: &Request<'_>, verb: Option<Verb>) -> Option<(Act, bool)> {
        let call = verb.and_then(|verb| Call::parse(verb, request, &mut self.scratch).ok());
        let key = call.map_or(&[][..], |call| call.key);
        lock(&self.shared.settings).script.strike(
            verb,
            is_probe(request),
            key,
            request.target_end(),
        )
    }

    fn misbehave(
        &mut self,
        (act, applied): (Act, bool),
        request: &Request<'_>,
        verb: Option<Verb>,
        close: bool,
        out: &mut Vec<u8>,
    ) -> After {
        let right = match applied {
            true => self.answer(request, verb),
            false => Answer::write(200, 1, false),
        };
        match act {
            Act::Answer(answer) => {
                answer.write_to(close, out);
                After::Continue
            }
            Act::Bytes(bytes) => {
                out.extend_from_slice(&bytes);
                After::Continue
            }
            Act::Close => After::Close,
            Act::Reset => After::Reset,
            Act::Cut(length) => {
                let bytes = right.to_bytes();
                out.extend_from_slice(&bytes[..length.min(bytes.len())]);
                After::Close
            }
            Act::Half => {
                let bytes = right.to_bytes();
                out.extend_from_slice(&bytes[..bytes.len() / 2]);
                After::Hang
            }
            Act::Silence => After::Hang,
            Act::EndlessHeader => {
                out.extend_from_slice(b"HTTP/1.1 200 OK\r\nVersion: 1\r\n");
                After::Endless
            }
        }
    }
}

fn is_probe(request: &Request<'_>) -> bool {
    request.path == b"/status.html"
}

impl Handler for Service<'_> {
    fn handle_request(&mut self, request: &Request<'_>, close: bool, out: &mut Vec<u8>) -> After {
        let verb = Verb::of_path(request.path);
        self.tally.requests += 1;
        self.tally.probes += u64::from(is_probe(request));
        if self.has_rules
            && let Some(act) = self.strike(request, verb)
        {
            return self.misbehave(act, request, verb, close, out);
        }
        self.answer(request, verb).write_to(close, out);
        After::Continue
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_read_as_they_were_at_one_moment() {
        let tallies = Tallies::default();
        let probe = Counters {
            requests: 1,
            probes: 1,
            ..Counters::default()
        };
        std::thread::scope(|scope| {
            let adding = scope.spawn(|| (0..100_000).for_each(|_| tallies.add(&probe)));
            while !adding.is_finished() {
                let counters = tallies.counters();
                assert_eq!(counters.requests, counters.probes);
            }
        });
        assert_eq!(tallies.counters().requests, 100_000);
        assert_eq!(tallies.counters().beside_probes(), 0);
    }
}
