//! Connections from whoever compares to the masters: bytes take time, and connections break.

use std::collections::BTreeMap;
use std::time::Duration;

use hustdbsync::internals::fake_hustdb::connection::{ANSWERS_MAX, After, Connection};
use hustdbsync::internals::limits::RECONCILE_SEND_WITHIN;

use crate::masters::{Answering, Master, Rules};

/// Requests after which whoever compares replaces a connection.
pub(crate) const REQUESTS_PER_CONNECTION: u32 = 60;

/// After how many answers a master closes a connection.
const ANSWERS_OF_ONE: [u32; 4] = [50, REQUESTS_PER_CONNECTION, ANSWERS_MAX, ANSWERS_MAX];

/// Something on its way.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// The connection is made, or refused.
    Made,
    /// Bytes reach the master.
    AtMaster(Vec<u8>),
    /// Bytes reach whoever compares.
    Answer(Vec<u8>),
    /// The connection breaks.
    Broken,
}

struct Line {
    generation: u64,
    master: usize,
    hustdb: Connection,
    /// When the last byte each way arrives, so that none overtakes another.
    last: [Duration; 2],
}

/// See the module.
pub(crate) struct Network {
    lines: BTreeMap<usize, Line>,
    arrivals: BTreeMap<(Duration, u64), (usize, u64, Arrival)>,
    numbers: u64,
    /// Of a thousand transmissions so many break their connection.
    breaks: u32,
    /// Nothing is slower than this, on the way to the nearer master.
    latency_ms: u64,
    /// The master that is far away, and how much longer the way to it is.
    far: (usize, Duration),
}

impl Network {
    pub(crate) fn new(breaks: u32, latency_ms: u64, far: (usize, Duration)) -> Self {
        Self {
            lines: BTreeMap::new(),
            arrivals: BTreeMap::new(),
            numbers: 0,
            breaks,
            latency_ms,
            far,
        }
    }

    /// Whether the answers of both masters to one look come too far apart to decide anything.
    pub(crate) fn is_far_apart(&self) -> bool {
        self.far.1 > RECONCILE_SEND_WITHIN
    }

    /// Whether a mend of this key is on its way to a master.
    pub(crate) fn carries_mend_of(&self, key: &[u8]) -> bool {
        let key = String::from_utf8_lossy(key).replace(' ', "%20");
        // Its first octet may be spelt otherwise.
        let key = key[1..].to_owned();
        let mut arrivals = self.arrivals.values();
        arrivals.any(|(_, _, arrival)| match arrival {
            Arrival::AtMaster(bytes) => {
                let text = String::from_utf8_lossy(bytes);
                text.contains(&key) && text.contains("is_dup=true")
            }
            _ => false,
        })
    }

    /// A network like this one, for another process.
    pub(crate) fn renewed(&self) -> Self {
        Self::new(self.breaks, self.latency_ms, self.far)
    }

    pub(crate) fn next(&self) -> Duration {
        self.arrivals
            .keys()
            .next()
            .map_or(Duration::MAX, |(at, _)| *at)
    }

    /// What has arrived by now, of connections that still exist.
    pub(crate) fn take(&mut self, now: Duration) -> Option<(usize, Arrival)> {
        while let Some(first) = self.arrivals.first_entry() {
            if first.key().0 > now {
                return None;
            }
            let (slot, generation, arrival) = first.remove();
            let line = self.lines.get(&slot);
            if line.is_some_and(|line| line.generation == generation) {
                return Some((slot, arrival));
            }
        }
        None
    }

    fn send(
        &mut self,
        slot: usize,
        way: usize,
        arrival: Arrival,
        now: Duration,
        random: &mut fastrand::Rng,
    ) {
        let mut delay = Duration::from_micros(random.u64(50..1000 * self.latency_ms));
        let Some(line) = self.lines.get_mut(&slot) else {
            return;
        };
        if way == 0 && line.master == self.far.0 {
            delay += self.far.1;
        }
        line.last[way] = line.last[way].max(now + delay);
        self.numbers += 1;
        let at = (line.last[way], self.numbers);
        self.arrivals.insert(at, (slot, line.generation, arrival));
    }

    pub(crate) fn connect(
        &mut self,
        slot: usize,
        master: usize,
        now: Duration,
        random: &mut fastrand::Rng,
    ) {
        self.numbers += 1;
        let line = Line {
            generation: self.numbers,
            master,
            hustdb: Connection::new(ANSWERS_OF_ONE[random.usize(..4)]),
            last: [now; 2],
        };
        self.lines.insert(slot, line);
        self.send(slot, 1, Arrival::Made, now, random);
    }

    pub(crate) fn close(&mut self, slot: usize) {
        self.lines.remove(&slot);
    }

    pub(crate) fn master_of(&self, slot: usize) -> Option<usize> {
        self.lines.get(&slot).map(|line| line.master)
    }

    /// The master closes a connection: that comes later than its last answer, or with it.
    fn end(&mut self, slot: usize, now: Duration, random: &mut fastrand::Rng) {
        let line = self.lines.get(&slot).expect("it was there");
        if self.numbers.is_multiple_of(2) {
            return self.send(slot, 1, Arrival::Broken, now, random);
        }
        self.numbers += 1;
        let at = (line.last[1].max(now), self.numbers);
        let arrival = (slot, line.generation, Arrival::Broken);
        self.arrivals.insert(at, arrival);
    }

    /// Every connection to a master breaks.
    pub(crate) fn break_all(&mut self, master: usize, now: Duration, random: &mut fastrand::Rng) {
        let lines = self.lines.iter();
        let slots: Vec<usize> = lines
            .filter(|(_, line)| line.master == master)
            .map(|(slot, _)| *slot)
            .collect();
        for slot in slots {
            self.send(slot, 1, Arrival::Broken, now, random);
        }
    }

    /// Whoever compares sends bytes; they, or the answer, may never arrive.
    pub(crate) fn transmit(
        &mut self,
        slot: usize,
        bytes: &[u8],
        now: Duration,
        random: &mut fastrand::Rng,
    ) {
        if random.u32(..1000) < self.breaks {
            self.send(slot, 1, Arrival::Broken, now, random);
            return;
        }
        self.send(slot, 0, Arrival::AtMaster(bytes.to_vec()), now, random);
    }

    /// Bytes have reached a master, which answers.
    pub(crate) fn arrive(
        &mut self,
        slot: usize,
        bytes: &[u8],
        masters: &mut [Master; 2],
        rules: Rules,
        now: Duration,
        random: &mut fastrand::Rng,
    ) {
        let Some(line) = self.lines.get_mut(&slot) else {
            return;
        };
        let master = &mut masters[line.master];
        if !master.is_up {
            return self.send(slot, 1, Arrival::Broken, now, random);
        }
        let mut out = Vec::new();
        let mut answering = Answering { master, rules };
        let after = line.hustdb.handle_read(bytes, &mut answering, &mut out);
        let is_lost = random.u32(..1000) < self.breaks;
        if is_lost {
            return self.send(slot, 1, Arrival::Broken, now, random);
        }
        // hustdb writes each answer by itself.
        let cut = random.usize(..=out.len());
        let rest = out.split_off(cut);
        for piece in [out, rest] {
            if !piece.is_empty() {
                self.send(slot, 1, Arrival::Answer(piece), now, random);
            }
        }
        if after != After::Continue {
            self.end(slot, now, random);
        }
    }
}
