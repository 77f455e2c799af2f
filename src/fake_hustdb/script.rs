//! How a fake HustDB misbehaves: a script that can be set and changed while it runs.
//!
//! A script says how connections are accepted, how long answers take, and holds [`Rule`]s. The
//! first rule that matches a request and is neither waiting nor spent decides what becomes of it;
//! without one the request is answered as it should be.

use std::time::Duration;

use super::answer::Answer;
use super::connection::READ_BYTES_MAX;
use super::query::Verb;

/// What becomes of new connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Accept {
    /// They are served.
    #[default]
    Serve,
    /// Nobody listens: connecting is refused. Connections that stand already go on.
    Refuse,
    /// They are accepted and reset at once.
    Reset,
}

/// A fake HustDB's script. The default behaves well.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// What becomes of new connections.
    pub accept: Accept,
    /// How long the answers to all requests of one read wait, once: before the first of them.
    pub burst_delay: Duration,
    /// How long each answer waits. Answers that are given at once leave together when the sum of
    /// them is over.
    pub answer_delay: Duration,
    /// Whether a request whose target was cut by a read is spoiled, as hustdb does. See
    /// [`super::connection::Connection`].
    pub misread_cut_targets: bool,
    /// What happens to requests; the first that matches counts.
    pub rules: Vec<Rule>,
}

impl Script {
    /// This script with one more rule, behind those it has.
    #[must_use]
    pub fn rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    /// This script with new connections treated so.
    #[must_use]
    pub fn accept(mut self, accept: Accept) -> Self {
        self.accept = accept;
        self
    }

    /// This script with each answer delayed by `delay`.
    #[must_use]
    pub fn answer_delay(mut self, delay: Duration) -> Self {
        self.answer_delay = delay;
        self
    }

    /// This script with the answers of each read delayed by `delay`.
    #[must_use]
    pub fn burst_delay(mut self, delay: Duration) -> Self {
        self.burst_delay = delay;
        self
    }

    /// What happens to a request for `verb` (none: a path that is no verb's; `probe` says whether
    /// it is `/status.html`) with this decoded `key`, whose target ends at this octet. Uses up one
    /// of the rule's times.
    pub fn strike(
        &mut self,
        verb: Option<Verb>,
        probe: bool,
        key: &[u8],
        target_end: usize,
    ) -> Option<(Act, bool)> {
        for rule in &mut self.rules {
            if !rule.on.matches(verb, probe, key, target_end) {
                continue;
            }
            if rule.after > 0 {
                rule.after -= 1;
            } else if rule.times > 0 {
                rule.times -= 1;
                return Some((rule.act.clone(), rule.applied));
            }
        }
        None
    }
}

/// Which requests a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum On {
    /// All of them, `/status.html` too.
    Everything,
    /// All but `/status.html`.
    Data,
    /// Those that change something.
    Mutations,
    /// `/status.html`.
    Probes,
    /// Those whose decoded key or member begins so.
    KeyPrefix(Vec<u8>),
    /// Those whose target ends exactly at octet [`READ_BYTES_MAX`]. hustdb refuses some of them
    /// with 401, as if their version were wrong: see [`Rule::misread_targets`].
    FullTargets,
}

impl On {
    fn matches(&self, verb: Option<Verb>, probe: bool, key: &[u8], target_end: usize) -> bool {
        match self {
            Self::Everything => true,
            Self::Data => !probe,
            Self::Mutations => verb.is_some_and(Verb::is_mutation),
            Self::Probes => probe,
            Self::KeyPrefix(prefix) => verb.is_some() && key.starts_with(prefix),
            Self::FullTargets => target_end == READ_BYTES_MAX,
        }
    }
}

/// What happens to a request instead of its right answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    Answer(Answer),
    /// These bytes, and the connection goes on.
    Bytes(Vec<u8>),
    /// The connection is closed without an answer; what was answered before is sent.
    Close,
    /// The connection is reset; what was answered and has not been sent is lost too.
    Reset,
    /// The right answer's first so many bytes, then the connection is closed.
    Cut(usize),
    /// Half of the right answer, then nothing, with the connection open.
    Half,
    /// No answer, with the connection open.
    Silence,
    /// A header that never ends.
    EndlessHeader,
}

impl Act {
    /// A bare answer with `status`.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self::Answer(Answer::bare(status))
    }

    /// A page of HTML, 200: what a wrong port or a captive proxy says.
    #[must_use]
    pub fn html() -> Self {
        let page = "<!DOCTYPE html><html><head><title>Welcome</title></head><body><h1>It \
            works!</h1></body></html>\n";
        let head = format!(
            "HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Type: text/html\r\nContent-Length: \
             {}\r\nConnection: keep-alive\r\n\r\n",
            page.len()
        );
        Self::Bytes([head.as_bytes(), page.as_bytes()].concat())
    }

    /// Bytes that are no HTTP.
    #[must_use]
    pub fn garbage() -> Self {
        Self::Bytes(
            b"\x16\x03\x01\x02\x00\x01\xfc\x03\x03 -ERR unknown command\r\n\xff\xfe\0\0".to_vec(),
        )
    }
}

/// One thing that goes wrong, for which requests and how often.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Which requests.
    pub on: On,
    /// How many of them are answered rightly before.
    pub after: u64,
    /// How many of them it happens to.
    pub times: u64,
    /// Whether the request is carried out all the same, so that only its answer is wrong or lost.
    pub applied: bool,
    /// What happens.
    pub act: Act,
}

impl Rule {
    /// `act` happens to all requests that `on` says, which are not carried out.
    #[must_use]
    pub fn new(on: On, act: Act) -> Self {
        Self {
            on,
            after: 0,
            times: u64::MAX,
            applied: false,
            act,
        }
    }

    /// hustdb takes an octet that was never sent for the end of a target that ends where its read
    /// does, and so does not understand the last argument.
    #[must_use]
    pub fn misread_targets() -> Self {
        Self::new(On::FullTargets, Act::Answer(Answer::write(401, 0, false)))
    }

    /// This rule, but the first `after` requests are answered rightly.
    #[must_use]
    pub fn after(mut self, after: u64) -> Self {
        self.after = after;
        self
    }

    /// This rule for `times` requests only.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    /// This rule, with the requests carried out all the same.
    #[must_use]
    pub fn applied(mut self) -> Self {
        self.applied = true;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of eight puts with keys `a0`, `b1`, `a2` … the rules strike.
    #[track_caller]
    fn check(rules: &[Rule], struck: &[usize]) {
        let mut script = Script {
            rules: rules.to_vec(),
            ..Script::default()
        };
        let found: Vec<usize> = (0..8)
            .filter(|n| {
                let key = format!("{}{n}", if n % 2 == 0 { 'a' } else { 'b' });
                script
                    .strike(Some(Verb::Put), false, key.as_bytes(), 4096 - n)
                    .is_some()
            })
            .collect();
        assert_eq!(found, struck);
    }

    #[test]
    fn a_rule_waits_strikes_and_is_spent() {
        check(
            &[Rule::new(On::Mutations, Act::Reset).after(2).times(3)],
            &[2, 3, 4],
        );
        check(
            &[Rule::new(On::KeyPrefix(b"a".to_vec()), Act::Reset)
                .after(1)
                .times(2)],
            &[2, 4],
        );
        check(&[Rule::new(On::Probes, Act::Reset)], &[]);
        check(&[Rule::misread_targets()], &[0]);
        check(&[], &[]);
    }

    #[test]
    fn a_spent_rule_makes_room_for_the_next() {
        let once = |act| Rule::new(On::Data, act).times(1);
        let mut script = Script::default()
            .rule(once(Act::Reset))
            .rule(once(Act::Close));
        let mut strike = || {
            script
                .strike(Some(Verb::Del), false, b"k", 20)
                .map(|(act, _)| act)
        };
        assert_eq!(strike(), Some(Act::Reset));
        assert_eq!(strike(), Some(Act::Close));
        assert_eq!(strike(), None);
    }
}
