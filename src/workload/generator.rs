//! One mutation after the other, each applied to the healthy master.

use crate::binlog::Method;
use crate::binlog::method::{Key, Ttl, Twice};
use crate::fake_hustdb::store::Store;

use super::live_pair::write_one;
use super::mutation::Mutation;
use super::{TTL_LONG_MIN_S, TTL_SHORT_MAX_S, Workload, spelling};

/// Tables of each type.
const TABLES: u64 = 8;
/// One of so many additions has a time to live that soon ends, and one a long one.
const TTL_ONE_IN: u64 = 32;
/// What is written once has a number beyond all others, which [`Generator::number_of_its_own`]
/// makes: from this on for the first workload, further up for one with another first key.
const WRITTEN_ONCE: u64 = 1 << 40;
/// Below hustdb's 2,592,000, above which it takes a time to live for none.
const TTL_LONG_MAX_S: u32 = 2_500_000;
/// Values are cut from so many random octets, each at another place.
const NOISE_BYTES: usize = 64 * 1024;

/// Makes a workload's mutations and applies them to a healthy master.
#[derive(Debug)]
pub struct Generator<'a> {
    workload: &'a Workload,
    random: fastrand::Rng,
    noise: Vec<u8>,
    weight: u32,
    healthy: Store,
    index: u64,
    target: Vec<u8>,
}

impl<'a> Generator<'a> {
    /// A generator at the first record, with an empty healthy master.
    #[must_use]
    pub fn new(workload: &'a Workload) -> Self {
        let mut random = fastrand::Rng::with_seed(workload.seed);
        let mut noise = vec![0; NOISE_BYTES + workload.value_bytes];
        random.fill(&mut noise);
        Self {
            workload,
            random,
            noise,
            weight: workload.mix.iter().map(|(_, weight)| weight).sum(),
            healthy: Store::new(false),
            index: 0,
            target: Vec::new(),
        }
    }

    /// The next mutation and the version that the healthy master gave it, or none behind the last.
    #[allow(
        clippy::should_implement_trait,
        reason = "an iterator would have to be ended before `into_healthy`"
    )]
    pub fn next(&mut self) -> Option<(Mutation, u32)> {
        if self.index == self.workload.records || self.weight == 0 {
            return None;
        }
        let mutation = self.make();
        self.index += 1;
        if let Some(version) = self.apply(&mutation) {
            return Some((mutation, version));
        }
        // Nothing was there to be removed. HA keeps no record of what the healthy master refuses;
        // the client adds it instead.
        let mutation = Mutation {
            method: adding(mutation.method),
            body: match mutation.method.row().body {
                true => mutation.body,
                false => self.value(),
            },
            ..mutation
        };
        let version = self.apply(&mutation)?;
        Some((mutation, version))
    }

    /// The healthy master, as it is after all that was made.
    #[must_use]
    pub fn into_healthy(self) -> Store {
        self.healthy
    }

    fn apply(&mut self, mutation: &Mutation) -> Option<u32> {
        let (healthy, target) = (&mut self.healthy, &mut self.target);
        let reply = write_one(healthy, mutation, mutation.unix, target)?;
        (reply.status == 200).then_some(reply.version)
    }

    fn make(&mut self) -> Mutation {
        let workload = self.workload;
        let method = self.method();
        let number = match workload.mix.len() {
            // One after the other where each is to be written as often as the others.
            1 => self.index % workload.keys.max(1),
            _ => self.random.u64(..workload.keys.max(1)),
        } + workload.first_key;
        // A score that is added to what has expired would not be the same at the replay, when more
        // has.
        let row = method.row();
        let may_end = row.ttl != Ttl::None && row.twice == Twice::Same;
        // What soon ends is a key of its own: hustdb sweeps by the first time to live, whatever
        // comes after it, and what has passed when its record is replayed is never written there.
        let ends_soon = may_end && self.one_in(TTL_ONE_IN);
        let number = if ends_soon {
            self.number_of_its_own()
        } else {
            number
        };
        let span_s = 60 * u64::from(workload.minutes.max(1)) - 1;
        let mut mutation = Mutation {
            method,
            unix: workload.begin_unix + spread(self.index, workload.records, span_s),
            table: Vec::new(),
            key: Vec::new(),
            body: Vec::new(),
            ttl: 0,
            score: 0,
            opt: 0,
        };
        match method {
            Method::Put | Method::Del => self.spell(number, &mut mutation.key),
            Method::Hset | Method::Hdel => {
                mutation.table = table("hash", number);
                self.spell(number, &mut mutation.key);
            }
            Method::Sadd | Method::Srem => {
                mutation.table = table("set", number);
                spelling::member(number, &mut mutation.body);
            }
            // The tables' methods of an older hustdb have no live form here.
            Method::Zadd | Method::Zrem | Method::TbPut | Method::TbUpdate | Method::TbDelete => {
                mutation.table = table("sorted", number);
                // hustdb decodes the member of a GET from wherever it comes, so both are one
                // member.
                if workload.varied && self.random.bool() {
                    self.spell(number, &mut mutation.key);
                } else {
                    self.spell(number, &mut mutation.body);
                }
            }
        }
        if row.body && row.key == Key::Query {
            mutation.body = self.value();
        }
        if row.score {
            mutation.score = self.random.i64(-1_000_000_000..1_000_000_000);
            if workload.varied {
                mutation.opt = self.random.i8(-1..=1);
            }
        }
        if ends_soon {
            mutation.ttl = self.random.u32(1..=TTL_SHORT_MAX_S);
        } else if may_end && self.one_in(TTL_ONE_IN) {
            mutation.ttl = self.random.u32(TTL_LONG_MIN_S..=TTL_LONG_MAX_S);
        }
        if method == Method::Sadd && mutation.ttl != 0 {
            // hustdb heeds a set's ttl only for a member that it creates, and sweeps by that one
            // whatever comes later. No replay can follow that but for a member that is written
            // once.
            mutation.body.clear();
            spelling::member(self.number_of_its_own(), &mut mutation.body);
        }
        mutation
    }

    /// A number that no other record has, of this workload or another with other keys.
    fn number_of_its_own(&self) -> u64 {
        WRITTEN_ONCE.wrapping_mul(self.workload.first_key + 1) + self.index
    }

    fn method(&mut self) -> Method {
        let mut job_id = self.random.u32(..self.weight);
        for (method, weight) in &self.workload.mix {
            if job_id < *weight {
                return *method;
            }
            job_id -= weight;
        }
        Method::Put
    }

    fn spell(&mut self, number: u64, text: &mut Vec<u8>) {
        if self.workload.varied {
            spelling::query(number, self.random.u64(..), text);
        } else {
            text.extend_from_slice(format!("key:{number:010}").as_bytes());
        }
    }

    /// A value that no other record has: it begins with the record's number, as far as there is
    /// room.
    fn value(&mut self) -> Vec<u8> {
        let bytes = self.workload.value_bytes.max(1);
        let start = self.random.usize(..NOISE_BYTES);
        let mut value = vec![0; bytes];
        let noise = &self.noise[start..];
        let length = bytes.min(noise.len());
        value[..length].copy_from_slice(&noise[..length]);
        let number = format!("{}:", self.index);
        let length = number.len().min(bytes);
        value[..length].copy_from_slice(&number.as_bytes()[..length]);
        value
    }

    /// Whether it is this one of so many; never where the workload is not varied.
    fn one_in(&mut self, many: u64) -> bool {
        self.workload.varied && self.random.u64(..many) == 0
    }
}

fn table(kind: &str, number: u64) -> Vec<u8> {
    format!("{kind}.{}", number % TABLES).into_bytes()
}

/// The method that adds what this one removes.
fn adding(method: Method) -> Method {
    let adds = |adding: &Method| adding.row().removed_by == Some(method);
    Method::ALL.into_iter().find(adds).unwrap_or(method)
}

/// Where record `index` of `records` is within `span`.
fn spread(index: u64, records: u64, span: u64) -> u64 {
    let place = u128::from(index) * u128::from(span) / u128::from(records.max(1));
    u64::try_from(place).unwrap_or(span)
}
