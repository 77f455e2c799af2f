//! Both hustdbs: what they store, and how they answer.

use hustdbsync::internals::fake_hustdb::answer::Answer;
use hustdbsync::internals::fake_hustdb::connection::{After, Handler};
use hustdbsync::internals::fake_hustdb::contents::{Contents, Item, Value};
use hustdbsync::internals::fake_hustdb::query::Call;
use hustdbsync::internals::fake_hustdb::store::{Store, kept_version, live_versions};
use hustdbsync::internals::fake_hustdb::{Request, Verb};

/// A number above this is taken over whatever live writes leave (docs/reconcile.md, "Limits").
const LIVE_VERSION_MAX: u32 = 65_535;

/// Their names; the first is the one whose log is looked at in comments.
pub(crate) const NAMES: [&str; 2] = ["127.0.0.1:8001", "127.0.0.1:8002"];

/// How a master answers whoever compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Well,
    /// 503 to everything.
    Ill,
    /// It refuses the password.
    Refuses,
    /// Something that is no HTTP.
    Garbage,
}

pub(crate) struct Master {
    pub(crate) store: Store,
    pub(crate) is_up: bool,
    pub(crate) mood: Mood,
    /// Writes by whoever compares that broke a rule.
    pub(crate) broken_rules: Vec<String>,
}

impl Master {
    pub(crate) fn new() -> Self {
        Self {
            store: Store::default(),
            is_up: true,
            mood: Mood::Well,
            broken_rules: Vec::new(),
        }
    }
}

/// What whoever compares may do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) unix: u64,
    pub(crate) may_delete: bool,
    pub(crate) may_write: bool,
}

/// Answers whoever compares, and watches that R3 holds.
pub(crate) struct Answering<'a> {
    pub(crate) master: &'a mut Master,
    pub(crate) rules: Rules,
}

impl Handler for Answering<'_> {
    fn handle_request(&mut self, request: &Request<'_>, close: bool, out: &mut Vec<u8>) -> After {
        match self.master.mood {
            Mood::Well => {}
            Mood::Ill => {
                Answer::bare(503).write_to(close, out);
                return After::Continue;
            }
            Mood::Refuses => {
                Answer::unauthorized().write_to(close, out);
                return After::Continue;
            }
            Mood::Garbage => {
                out.extend_from_slice(b"SSH-2.0-OpenSSH_9.6\r\n");
                return After::Close;
            }
        }
        let verb = Verb::of_path(request.path);
        let is_mutation = verb.is_some_and(Verb::is_mutation);
        let before = is_mutation.then(|| self.master.store.contents(self.rules.unix));
        let answer = self.master.store.apply(request, self.rules.unix);
        if let Some(before) = before {
            let after = self.master.store.contents(self.rules.unix);
            let mut scratch = Vec::new();
            let call = verb.and_then(|verb| Call::parse(verb, request, &mut scratch).ok());
            let may_fall = call.is_some_and(|call| call.ver > LIVE_VERSION_MAX);
            self.check(verb.is_some_and(Verb::removes), may_fall, &before, &after);
        }
        answer.write_to(close, out);
        After::Continue
    }
}

impl Answering<'_> {
    fn check(&mut self, removes: bool, may_fall: bool, before: &Contents, after: &Contents) {
        let mut broken = Vec::new();
        if removes && !self.rules.may_delete {
            broken.push("R3: it deletes, and may not".to_owned());
        }
        if !self.rules.may_write {
            broken.push("R3: it writes, and may only report".to_owned());
        }
        for (item, was) in before {
            let Some(is) = after.get(item) else {
                continue;
            };
            // Versions of keys that were written often fall, and come round after 192 writes.
            let mut later = live_versions(was.version).take(190).map(kept_version);
            let is_earlier = is.version < was.version && !later.any(|later| later == is.version);
            if is_earlier && !may_fall {
                broken.push(format!(
                    "R3: {item:?} has an older version: {was:?}, {is:?}"
                ));
            }
        }
        self.master.broken_rules.append(&mut broken);
    }
}

/// How an item differs, if it does. For members of a set only being there counts.
pub(crate) fn difference(item: &Item, contents: &[Contents; 2]) -> Option<String> {
    let [ours, theirs] = contents.each_ref().map(|all| all.get(item));
    let is_equal = match (ours, theirs) {
        (None, None) => true,
        (Some(ours), Some(theirs)) => {
            let is_member = matches!(ours.value, Value::Member);
            is_member || (ours.version == theirs.version && ours.value == theirs.value)
        }
        _ => false,
    };
    (!is_equal).then(|| format!("{item:?}: {ours:?} here, {theirs:?} there"))
}
