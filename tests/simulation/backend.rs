//! A model backend: hustdb's rules for versions, and its bad days.

use std::time::Duration;

use hustdbsync::internals::fake_hustdb::answer::Answer;
use hustdbsync::internals::fake_hustdb::connection::{After, Handler};
use hustdbsync::internals::fake_hustdb::query::Call;
use hustdbsync::internals::fake_hustdb::store::Store;
use hustdbsync::internals::fake_hustdb::{Request, Verb};

use crate::mutation::is_poisoned;
use crate::oracle::Oracle;
use crate::plan::Failing;

/// For so long after its start its clock stands at 0.
const CLOCK_STANDS: Duration = Duration::from_millis(900);

/// A value of so many bytes is long to one that fails long ones.
const LONG_VALUE_BYTES: usize = 3_000;

/// How it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Well,
    /// This status to everything, nothing applied.
    Status(u16),
    /// Something that is no HTTP.
    Garbage,
    /// 200 without what hustdb always says, nothing applied: a stranger at its port.
    Stranger,
    /// It applies and says nothing any more.
    Mute,
    /// It is stopped: it takes nothing and says nothing.
    Frozen,
    /// It refuses the password.
    Refuses,
}

/// Whether it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// Since this instant.
    Up { since: Duration },
    /// Connections are refused.
    Down,
    /// The machine is gone: packets vanish.
    Gone,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) name: String,
    pub(crate) store: Store,
    pub(crate) life: Life,
    pub(crate) mood: Mood,
    /// Raised by each change of life and mood, so that an older plan to mend it is void.
    pub(crate) changes: u64,
    /// Whether its probe answers badly too while its mood is a bad status.
    pub(crate) probe_shares_mood: bool,
    pub(crate) oracle: Oracle,
    pub(crate) authorization: Vec<u8>,
    /// What it does with mutations that fail for ever.
    pub(crate) failing: Option<Failing>,
    /// So it fails mutations with a long value.
    pub(crate) failing_long: Option<Failing>,
    /// All mutations fail, whatever its mood.
    pub(crate) is_ill: bool,
    /// Somebody dies with the last of so many sends that have increments which it missed; none:
    /// nobody does.
    pub(crate) dies_after_adds: Option<u32>,
    /// What was asked and answered since it was last told; none: it is not to be told.
    pub(crate) talk: Option<Vec<String>>,
}

impl Backend {
    pub(crate) fn new(name: String, store: Store, authorization: Vec<u8>) -> Self {
        Self {
            name,
            store,
            life: Life::Up {
                since: Duration::ZERO,
            },
            mood: Mood::Well,
            changes: 0,
            probe_shares_mood: false,
            oracle: Oracle::default(),
            authorization,
            failing: None,
            failing_long: None,
            is_ill: false,
            dies_after_adds: None,
            talk: None,
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        matches!(self.life, Life::Up { .. })
    }

    /// How it fails at a mutation, which it does not apply then.
    fn failing_at(&self, call: &Call<'_>) -> Option<Failing> {
        let ill = self.is_ill.then_some(Failing::Answers);
        let poisoned = self.failing.filter(|_| is_poisoned(call.key));
        let is_long = call.value.len() >= LONG_VALUE_BYTES;
        ill.or(poisoned).or(self.failing_long.filter(|_| is_long))
    }

    /// Whether somebody dies with these requests.
    pub(crate) fn brings_death(&mut self, requests: &[u8]) -> bool {
        let Some(left) = &mut self.dies_after_adds else {
            return false;
        };
        if self.oracle.counters.has_missed(requests) {
            *left -= 1;
        }
        let dies = *left == 0;
        if dies {
            self.dies_after_adds = None;
        }
        dies
    }

    /// Takes requests at this instant.
    pub(crate) fn at(&mut self, now: Duration, unix: u64) -> Service<'_> {
        let clock_stands = match self.life {
            Life::Up { since } => since > Duration::ZERO && now < since + CLOCK_STANDS,
            Life::Down | Life::Gone => false,
        };
        Service {
            backend: self,
            unix,
            clock_stands,
        }
    }
}

/// A backend at an instant.
pub(crate) struct Service<'a> {
    backend: &'a mut Backend,
    unix: u64,
    clock_stands: bool,
}

impl Service<'_> {
    /// Its answer; an error where it fails at this request for ever.
    fn apply(&mut self, request: &Request<'_>) -> Result<Answer, Failing> {
        let Some(verb) = Verb::of_path(request.path) else {
            return Ok(Answer::bare(404));
        };
        if request.authorization != Some(&self.backend.authorization) {
            return Ok(Answer::unauthorized());
        }
        let mut scratch = Vec::new();
        let call = match Call::parse(verb, request, &mut scratch) {
            Ok(call) => call,
            Err(answer) => return Ok(answer),
        };
        if verb.is_mutation() {
            assert!(call.is_dup, "a replayed mutation says that it is one");
            let failing = self.backend.failing_at(&call);
            let is_taken = failing.is_none();
            self.backend.oracle.handle_call(&call, is_taken, self.unix);
            if let Some(failing) = failing {
                return Err(failing);
            }
        }
        // What has a time to live ends, by a clock that stands at 0, in 1970.
        let unix = if self.clock_stands && call.ttl != 0 {
            0
        } else {
            self.unix
        };
        let (answer, effect) = self.backend.store.execute(&call, unix);
        let stored = self.stored(&call, &answer, unix);
        if verb == Verb::Zscore {
            let stored = stored.filter(|_| answer.status == 200);
            self.backend
                .oracle
                .counters
                .handle_question(call.key, stored);
        }
        let is_lookup = matches!(verb, Verb::Sismember | Verb::Zscore);
        if is_lookup {
            let is_there = answer.status == 200;
            let stored = stored.unwrap_or(0);
            let found = is_there.then_some(stored);
            let oracle = &mut self.backend.oracle;
            oracle.handle_lookup(&call, found, stored, self.unix);
        }
        if let Some(talk) = &mut self.backend.talk {
            talk.push(format!(
                "{:?} {}/{} ver {} ttl {} score {} opt {}: {} {effect:?}",
                call.verb,
                call.table.escape_ascii(),
                call.key.escape_ascii(),
                call.ver,
                call.ttl,
                call.score,
                call.opt,
                answer.status
            ));
        }
        Ok(answer)
    }

    /// The version that is stored of what was asked for. A cache may have told what was given.
    fn stored(&mut self, call: &Call<'_>, answer: &Answer, unix: u64) -> Option<u32> {
        if call.verb != Verb::Zscore || answer.status != 200 {
            return answer.version;
        }
        let look = Call {
            verb: Verb::Zismember,
            ..*call
        };
        self.backend.store.execute(&look, unix).0.version
    }
}

impl Handler for Service<'_> {
    fn handle_request(&mut self, request: &Request<'_>, close: bool, out: &mut Vec<u8>) -> After {
        let answer = match self.backend.mood {
            Mood::Well => match self.apply(request) {
                Ok(answer) => answer,
                Err(Failing::Answers) => Answer::bare(500),
                Err(Failing::Resets) => return After::Reset,
                Err(Failing::Hangs) => return After::Hang,
            },
            Mood::Status(status) => Answer::bare(status),
            Mood::Garbage => {
                out.extend_from_slice(b"SSH-2.0-OpenSSH_9.6\r\n\r\n");
                return After::Continue;
            }
            Mood::Stranger => Answer::bare(200),
            Mood::Mute => {
                let _ = self.apply(request);
                return After::Hang;
            }
            Mood::Frozen => return After::Hang,
            Mood::Refuses => Answer::unauthorized(),
        };
        answer.write_to(close, out);
        After::Continue
    }
}
