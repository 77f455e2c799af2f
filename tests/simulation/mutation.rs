//! What clients ask the healthy master for: few keys, many spellings, all methods.

use fastrand::Rng;
use hustdbsync::internals::binlog::method::{Key, Ttl, Twice};
use hustdbsync::internals::binlog::{Method, Record};
use hustdbsync::internals::fake_hustdb::query::Call;
use hustdbsync::internals::fake_hustdb::store::{Effect, Store};
use hustdbsync::internals::fake_hustdb::{self, Item, Request, Verb};

use crate::plan::{Plan, TTL_REST_S, TTL_SHORT_MAX_S};

/// The table of counters.
pub(crate) const COUNTERS: &[u8] = b"counters";
/// The table of scores that are only ever added to, so that one that was added twice shows for
/// good.
pub(crate) const TALLIES: &[u8] = b"tallies";

/// So many of each table are there from the first.
pub(crate) const SCORES: u32 = 3;
/// Gives the scores of both tables a version to begin with.
pub(crate) fn begin_scores(store: &mut Store, version: u32) {
    let names = [COUNTERS, TALLIES].map(String::from_utf8_lossy);
    for (table, number) in names
        .iter()
        .flat_map(|table| (0..SCORES).map(move |at| (table, at)))
    {
        let target = format!(
            "/hustdb/zadd?tb={table}&key=counter{number}&score=0&opt=0&ver={version}&is_dup=true"
        );
        let request = Request::new(fake_hustdb::Method::Get, target.as_bytes(), b"");
        assert_eq!(store.apply(&request, 1).status, 200);
    }
}

/// So often one score is added to; then another one takes its place. What a score's version says
/// of its order holds for that many (docs/guarantees.md, G4).
pub(crate) const ADDED_MAX: u32 = 150;

/// A long time to live outlasts every run.
const TTL_LONG_S: u32 = 1_000_000;
/// From here on hustdb takes a time to live for none.
const TTL_HEEDED_ABOVE_S: u32 = 2_592_001;
/// Some of those: just above, and a client's -1 and -12.
const TTLS_UNLIMITED: [u32; 4] = [2_592_002, 31 * 86_400, u32::MAX, u32::MAX - 11];

/// One mutation, once the healthy master has taken it.
#[derive(Clone, Debug)]
pub(crate) struct Mutation {
    pub(crate) method: Method,
    pub(crate) table: Vec<u8>,
    /// As query text; empty where the member is the body.
    pub(crate) key: Vec<u8>,
    pub(crate) body: Vec<u8>,
    pub(crate) ttl: u32,
    pub(crate) score: i64,
    pub(crate) opt: i8,
    pub(crate) version: u32,
    pub(crate) unix: u64,
    /// What it is about, as hustdb decodes it.
    pub(crate) item: Item,
}

fn verb_of(method: Method) -> Verb {
    let path = format!("/hustdb/{}", method.name());
    Verb::of_path(path.as_bytes()).expect("hustdb knows it")
}

impl Mutation {
    /// One of a key in no table, without a version; the key needs no decoding.
    fn new(method: Method, key: Vec<u8>, unix: u64) -> Self {
        Self {
            method,
            table: Vec::new(),
            item: Item {
                space: fake_hustdb::Space::Kv,
                table: Vec::new(),
                key: key.clone(),
            },
            key,
            body: Vec::new(),
            ttl: 0,
            score: 0,
            opt: 0,
            version: 0,
            unix,
        }
    }

    /// As HA logs it.
    fn expires_unix(&self) -> u32 {
        match self.ttl {
            0 => 0,
            ttl => u32::try_from(self.unix).unwrap_or(0).wrapping_add(ttl),
        }
    }

    /// When hustdb ends it, Unix seconds; 0: never.
    pub(crate) fn ends_unix(&self) -> u64 {
        match self.ttl {
            0 | TTL_HEEDED_ABOVE_S.. => 0,
            ttl => self.unix + u64::from(ttl),
        }
    }

    pub(crate) fn record(&self) -> Record<'_> {
        Record {
            method: self.method,
            version: self.version,
            key: if self.key.is_empty() {
                &self.body
            } else {
                &self.key
            },
            expires_unix: self.expires_unix(),
            table: &self.table,
            score: self.score,
            opt: self.opt,
            value: &self.body,
        }
    }

    /// A master takes it as its client sends it, and says which version it has there.
    pub(crate) fn apply_live(&self, store: &mut Store) -> u32 {
        let target = self.target();
        let request = Request::new(fake_hustdb::Method::Get, &target, &self.body);
        let answer = store.apply(&request, self.unix);
        answer.version.expect("a counter takes every increment")
    }

    fn target(&self) -> Vec<u8> {
        let mut target = format!("/hustdb/{}?ha=1", self.method.name()).into_bytes();
        let mut argument = |name: &str, value: &[u8]| {
            if !value.is_empty() {
                target.extend_from_slice(format!("&{name}=").as_bytes());
                target.extend_from_slice(value);
            }
        };
        argument("tb", &self.table);
        argument("key", &self.key);
        if self.ttl != 0 {
            argument("ttl", self.ttl.to_string().as_bytes());
        }
        if self.method.row().score {
            argument("score", self.score.to_string().as_bytes());
            argument("opt", self.opt.to_string().as_bytes());
        }
        target
    }
}

/// A healthy master and its clients.
#[derive(Debug)]
pub(crate) struct Healthy {
    pub(crate) store: Store,
    /// Items that expire: not to be written before this, Unix seconds.
    resting: std::collections::BTreeMap<Item, u64>,
    /// How often each score was added to.
    added: std::collections::BTreeMap<(&'static [u8], u32), u32>,
    values: u64,
    /// Keys of those that soon expire, so far.
    mayflies: u64,
    /// Those with a long time to live, so far.
    long_lived: usize,
    /// Lines of a key of their own, so far.
    alone: u64,
    /// Records that fail for ever, so far.
    poisons: u32,
    poison_kind: usize,
}

/// Whether a backend fails at each mutation of this key.
pub(crate) fn is_poisoned(key: &[u8]) -> bool {
    key.starts_with(b"poison")
}

impl Healthy {
    pub(crate) fn new(store: Store, poison_kind: usize) -> Self {
        Self {
            store,
            resting: std::collections::BTreeMap::new(),
            added: std::collections::BTreeMap::new(),
            values: 0,
            mayflies: 0,
            long_lived: 0,
            alone: 0,
            poisons: 0,
            poison_kind,
        }
    }

    /// A put of a key that no other line is about. It is not taken by anybody yet.
    pub(crate) fn alone(&mut self, unix: u64) -> Mutation {
        self.alone += 1;
        let key = format!("alone{}", self.alone).into_bytes();
        Mutation {
            body: b"alone".to_vec(),
            version: 1,
            ..Mutation::new(Method::Put, key, unix)
        }
    }

    /// An increment of one of a few counters that nothing else is about. This master has taken it.
    pub(crate) fn increment(&mut self, number: u32, unix: u64) -> Mutation {
        self.add_one(COUNTERS, number, unix)
    }

    /// The same of one of [`TALLIES`].
    pub(crate) fn tally(&mut self, number: u32, unix: u64) -> Mutation {
        self.add_one(TALLIES, number, unix)
    }

    fn add_one(&mut self, table: &'static [u8], number: u32, unix: u64) -> Mutation {
        let added = self.added.entry((table, number)).or_default();
        let key = match *added / ADDED_MAX {
            0 => format!("counter{number}"),
            more => format!("counter{number}.{more}"),
        };
        *added += 1;
        let key = key.into_bytes();
        let mut mutation = Mutation {
            table: table.to_vec(),
            score: 1,
            opt: 1,
            ..Mutation::new(Method::Zadd, key, unix)
        };
        mutation.item.space = Verb::Zadd.space();
        mutation.item.table = table.to_vec();
        mutation.version = mutation.apply_live(&mut self.store);
        mutation
    }

    /// Has it taken.
    pub(crate) fn take(&mut self, mutation: &Mutation) {
        let target = mutation.target();
        let request = Request::new(fake_hustdb::Method::Get, &target, &mutation.body);
        assert_eq!(self.store.apply(&request, mutation.unix).status, 200);
    }

    /// A mutation at which backends fail for ever, of one of so many keys. This master does not
    /// keep it either.
    pub(crate) fn poison(&mut self, keys: u32, unix: u64, random: &mut Rng) -> Mutation {
        use Method::{Del, Hdel, Hset, Put, Zadd, Zrem};
        const KINDS: [[Method; 2]; 3] = [[Put, Del], [Hset, Hdel], [Zadd, Zrem]];
        self.poisons += 1;
        let (kind, key) = match keys {
            1 => (self.poison_kind, 0),
            _ => (random.usize(..3), random.u32(..keys)),
        };
        let key = format!("poison{key}").into_bytes();
        let method = KINDS[kind][random.usize(..2)];
        let mut mutation = Mutation::new(method, key, unix);
        // Each has another, so that they are told apart.
        mutation.version = self.poisons;
        if let Some(kind) = table_kind(method) {
            mutation.table = format!("{kind}.0").into_bytes();
        }
        if method.row().score {
            mutation.opt = 1;
        }
        if has_value(method) {
            mutation.body = format!("poison {}", self.poisons).into_bytes();
        }
        mutation.item.space = verb_of(method).space();
        mutation.item.table.clone_from(&mutation.table);
        mutation
    }

    /// Records that fail for ever, so far.
    pub(crate) fn poisons(&self) -> u32 {
        self.poisons
    }

    /// A mutation that it has taken; none where it refused the one that was tried.
    pub(crate) fn mutate(&mut self, plan: &Plan, unix: u64, random: &mut Rng) -> Option<Mutation> {
        let mut mutation = self.draw(plan, unix, random);
        let target = mutation.target();
        let request = Request::new(fake_hustdb::Method::Get, &target, &mutation.body);
        let verb = Verb::of_path(request.path).expect("it was put together here");
        let mut scratch = Vec::new();
        let call = Call::parse(verb, &request, &mut scratch).ok()?;
        let item = Item {
            space: verb.space(),
            table: call.table.to_vec(),
            key: call.key.to_vec(),
        };
        if self.resting.get(&item).is_some_and(|until| unix < *until) {
            return None;
        }
        let (answer, effect) = self.store.execute(&call, unix);
        // A score that was there already is left alone by a live zadd, its time to live too: a
        // replay would set it.
        if !matches!(effect, Effect::Applied { .. }) {
            return None;
        }
        if (1..=TTL_SHORT_MAX_S).contains(&mutation.ttl) {
            let until = unix + u64::from(mutation.ttl) + TTL_REST_S;
            self.resting.insert(item.clone(), until);
        }
        mutation.version = answer.version?;
        mutation.item = item;
        Some(mutation)
    }

    fn draw(&mut self, plan: &Plan, unix: u64, random: &mut Rng) -> Mutation {
        use Method::{Sadd, Zadd};
        let method = draw_method(random);
        // What soon expires is another key each time, and no score is added to it: with what is on
        // its way, nobody could tell to what.
        let mayfly = random.u64(..=plan.keys) == 0;
        // A set's member heeds only the time to live that it was made with, so it is made with it.
        // So is each other score; the rest get it later.
        if mayfly && (method == Sadd || (method == Zadd && self.mayflies.is_multiple_of(2))) {
            self.mayflies += 1;
        }
        let number = if mayfly {
            600 + self.mayflies
        } else {
            random.u64(..plan.keys)
        };
        let mut mutation = Mutation::new(method, Vec::new(), unix);
        if let Some(kind) = table_kind(method) {
            mutation.table = format!("{kind}.{}", random.u32(..2)).into_bytes();
        }
        let row = method.row();
        match row.key {
            Key::Body => mutation.body = member(number),
            Key::BodyOrQuery if random.bool() => mutation.body = spelling(number, random),
            Key::BodyOrQuery | Key::Query => mutation.key = spelling(number, random),
        }
        if has_value(method) {
            mutation.body = self.value(plan, random);
        }
        if row.score {
            mutation.score = random.i64(-1000..1000);
            mutation.opt = if mayfly { 0 } else { random.i8(-1..=1) };
        }
        let may_expire = row.ttl != Ttl::None && (row.twice == Twice::Same || mayfly);
        if may_expire && random.u32(..12) == 0 {
            self.long_lived += 1;
            mutation.ttl = match self.long_lived % 8 {
                4.. => TTLS_UNLIMITED[self.long_lived % 4],
                _ => TTL_LONG_S,
            };
        }
        if may_expire && mayfly && random.bool() {
            mutation.ttl = random.u32(1..=TTL_SHORT_MAX_S);
            self.mayflies += 1;
        }
        mutation
    }

    /// A value that no other mutation has.
    fn value(&mut self, plan: &Plan, random: &mut Rng) -> Vec<u8> {
        self.values += 1;
        let mut value = format!("v{}:", self.values).into_bytes();
        let bytes = match random.u32(..16) {
            nth if nth < plan.values_long => plan.value_bytes_max,
            _ => plan.value_bytes,
        };
        value.resize(value.len() + random.usize(..bytes), b'.');
        value
    }
}

/// Draws a method. Each is as likely as its share of the mix says.
fn draw_method(random: &mut Rng) -> Method {
    let share = |method| match method {
        Method::Put => 3,
        Method::Del | Method::Hset | Method::Sadd => 2,
        Method::Hdel | Method::Srem | Method::Zrem => 1,
        Method::Zadd => 4,
        // HA writes no lines of an older hustdb's tables.
        Method::TbPut | Method::TbUpdate | Method::TbDelete => 0,
    };
    let shares: usize = Method::ALL.into_iter().map(share).sum();
    let mut job_id = random.usize(..shares);
    for method in Method::ALL {
        if job_id < share(method) {
            return method;
        }
        job_id -= share(method);
    }
    unreachable!("a ticket is less than the sum of all shares")
}

/// How the tables of this method's kind begin; `None` where it has no table.
fn table_kind(method: Method) -> Option<&'static str> {
    match method {
        Method::Put | Method::Del => None,
        Method::Hset | Method::Hdel => Some("hash"),
        Method::Sadd | Method::Srem => Some("set"),
        Method::Zadd | Method::Zrem => Some("sorted"),
        Method::TbPut | Method::TbUpdate | Method::TbDelete => Some("old"),
    }
}

/// Whether it has a value beside its key.
pub(crate) fn has_value(method: Method) -> bool {
    let row = method.row();
    row.body && row.key == Key::Query
}

/// One of the ways in which clients write the key of this number in a query.
fn spelling(number: u64, random: &mut Rng) -> Vec<u8> {
    const SPELLINGS: [&[&[u8]]; 6] = [
        &[b"user", b"%75ser", b"us%65r"],
        &[b"a%20b", b"%61%20b", b"a%20%62"],
        &[b"caf%C3%A9", b"caf%c3%a9", b"caf\xc3\xa9"],
        &[b"50%25+", b"50%25%2B", b"%350%25+"],
        &[b"q%3Fw", b"q?", b"q%3f"],
        &[b"line%0Aend", b"line%0aend", b"lin%65%0Aend"],
    ];
    let spellings = SPELLINGS[usize::try_from(number % 6).unwrap_or(0)];
    let mut text = format!("{}", number / 6).into_bytes();
    text.extend_from_slice(spellings[random.usize(..spellings.len())]);
    text
}

/// A set's member: nobody decodes it.
fn member(number: u64) -> Vec<u8> {
    let start: &[u8] = match number % 4 {
        0 => b"member ",
        1 => b"\xff\x80 ",
        2 => b"two\r\nlines ",
        _ => b"100%25 %zz & # ",
    };
    let mut member = start.to_vec();
    member.extend_from_slice(number.to_string().as_bytes());
    member
}
