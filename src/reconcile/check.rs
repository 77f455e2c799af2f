//! One key's comparison, from the first lookup to its outcome.
//!
//! ```text
//!            both answer: equal
//!  looking ─────────────────────────────────────────────────────────────▶ Equal, or Mended
//!   ▲ ▲ │ differ
//!   │ │ ├─ looked at once only ──▶ waiting, as a live write may be under way ──▶ looking
//!   │ │ ├─ `report`, or nothing may be written ────────────────────────▶ Reported
//!   │ │ └─ `repair` ──▶ reading values ──▶ writing ─┐
//!   │ └──────────────────────── looked at again ◀───┘
//!   └── (reading values of equal versions, where they are compared too)
//! ```
//!
//! A mend races with live writes. It is therefore looked at again, and what the mend overwrote is
//! found then: on the backend, as the peer has the later version again; on the peer, as the
//! backend has. Every write carries a version, so the same write may be sent twice, and an older
//! one changes nothing.

mod patience;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_128;

use crate::binlog::{Lifetime, version};
use crate::clock::Now;
use crate::limits::{RECONCILE_LOOKS_APART, RECONCILE_MEND_FRESH, RECONCILE_SEND_WITHIN};
use crate::reconcile::ask::{Answer, Ask, Replacement, Side};
use crate::reconcile::decision::{ByValue, Seen, Trust, Verdict, judge, judge_values};
use crate::reconcile::key::{KeyId, Kind, Logged, content_hash};
use crate::reconcile::outcome::{Mend, Outcome, Skipped, WhyLeft};
use crate::reconcile::settings::{Deletes, ReconcileMode, ReconcileSettings};

use patience::Patience;

/// Which check. No other one ever has its number: an answer may come for one that was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CheckId(pub(super) u64);

/// What is next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask the backend, the peer, or both.
    Ask([Option<Ask>; 2]),
    /// Other answers are outstanding.
    Pending,
    /// Call [`Check::resume`] at this time, monotonic.
    Wait(Duration),
    Done(Outcome),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Looking,
    /// Both have the same, but the answers came apart: this is to be seen once more.
    Confirming([Seen; 2]),
    Waiting,
    /// Values of equal versions are compared.
    Comparing,
    /// The backend is newer: its value is compared with the peer's.
    Weighing,
    /// The peer's value is read, to be copied.
    Fetching,
    /// The backend's value is read: a live write came, and was overwritten on the peer.
    Restoring,
    Writing(Mend),
}

/// See the module.
#[derive(Debug)]
pub struct Check {
    pub key: KeyId,
    /// What the log says of it.
    pub logged: Logged,
    /// How far the peer is taken for the truth.
    trust: Trust,
    phase: Phase,
    /// Answers that are outstanding.
    outstanding: usize,
    seen: [Seen; 2],
    /// When each was seen, monotonic.
    seen_at: [Duration; 2],
    digests: [Option<(u32, Option<u128>)>; 2],
    patience: Patience,
    /// What was seen the last time that it differed.
    before: Option<[Seen; 2]>,
    /// The version that the peer was made to store, until it is looked at again.
    given_to_peer: Option<u32>,
    /// That version, while what follows from it is done; and until it is looked at again, where
    /// that may have been lost.
    followed: Option<u32>,
    mended: Option<Mend>,
    /// What is written.
    replacement: Replacement,
    /// When its requests left, monotonic.
    asked_at: Duration,
    /// A master declines, with this status.
    declined: Option<u16>,
    /// What was to be read is gone.
    is_gone: bool,
    /// What was to be written may have been lost.
    is_lost: bool,
}

impl Check {
    /// A comparison that has not begun. `trust` says how far the peer counts.
    #[must_use]
    pub fn new(key: KeyId, logged: Logged, trust: Trust) -> Self {
        Self {
            key,
            logged,
            trust,
            phase: Phase::Waiting,
            outstanding: 0,
            seen: [Seen::Absent; 2],
            seen_at: [Duration::ZERO; 2],
            digests: [None; 2],
            patience: Patience::default(),
            before: None,
            given_to_peer: None,
            followed: None,
            mended: None,
            replacement: Replacement {
                version: 0,
                score: 0,
                lifetime: Lifetime::Unlimited,
                value: Vec::new(),
            },
            asked_at: Duration::ZERO,
            declined: None,
            is_gone: false,
            is_lost: false,
        }
    }

    /// What was found on a master by the last lookup.
    #[must_use]
    pub fn seen(&self, side: Side) -> Seen {
        self.seen[side.index()]
    }

    /// What [`Ask::Write`] writes, and [`Ask::Remove`] removes.
    #[must_use]
    pub fn replacement(&self) -> &Replacement {
        &self.replacement
    }

    /// The peer is not the truth any more.
    pub fn trust_no_peer(&mut self) {
        self.trust = Trust::Nothing;
    }

    /// Its requests leave now: it may have waited for others before.
    pub fn handle_asked(&mut self, now: Duration) {
        self.asked_at = now;
    }

    /// How it ends if the peer is not waited for any longer.
    #[must_use]
    pub fn outcome_without_peer(&self) -> Outcome {
        match self.is_known_to_differ() {
            true => Outcome::Reported(WhyLeft::StillDiffers),
            false => Outcome::Skipped(Skipped::PeerUnavailable),
        }
    }

    /// Whether it was found to differ twice, or a mend is under way.
    fn is_known_to_differ(&self) -> bool {
        self.patience.differences() > 1 || self.mended.is_some() || self.given_to_peer.is_some()
    }

    /// Whether the peer may have been given a version that nobody has looked at since.
    #[must_use]
    pub fn is_given(&self) -> bool {
        self.given_to_peer.or(self.followed).is_some()
    }

    /// Whether lookups are under way.
    #[cfg(test)]
    pub(super) fn is_looking(&self) -> bool {
        self.phase == Phase::Looking
    }

    /// Begins, or goes on after [`Step::Wait`].
    pub fn resume(&mut self) -> Step {
        self.phase = Phase::Looking;
        self.ask(Some(Ask::Look), Some(Ask::Look))
    }

    /// A master has answered.
    pub fn handle_answer(
        &mut self,
        side: Side,
        answer: Answer,
        settings: &ReconcileSettings,
        now: Now,
    ) -> Step {
        self.outstanding -= 1;
        match answer {
            Answer::Seen(seen) => {
                self.seen[side.index()] = seen;
                self.seen_at[side.index()] = now.monotonic;
            }
            Answer::Digest { version, digest } => {
                let version = version::as_seen(version, self.seen(side).version());
                self.digests[side.index()] = Some((version, digest));
            }
            Answer::Value { version, value } => {
                let version = version::as_seen(version, self.seen(side).version());
                self.replacement.version = version;
                self.replacement.value = value;
            }
            Answer::Gone => self.is_gone = true,
            Answer::Lost => self.is_lost = true,
            Answer::Bad => {
                self.is_lost = true;
                if self.patience.handle_bad_answer(now) {
                    return reported(WhyLeft::Declined);
                }
            }
            Answer::Done => self.patience.handle_written(),
            Answer::Declined(status) => self.declined = Some(status),
        }
        if self.outstanding > 0 {
            return Step::Pending;
        }
        if let Some(status) = self.declined {
            let differs = matches!(self.phase, Phase::Writing(_)) || self.is_known_to_differ();
            return Step::Done(match differs {
                true => Outcome::Reported(WhyLeft::Declined),
                false => Outcome::Skipped(Skipped::Declined(status)),
            });
        }
        let age = now.monotonic.saturating_sub(self.asked_at);
        let is_stale = age > RECONCILE_MEND_FRESH;
        let reads = matches!(
            self.phase,
            Phase::Comparing | Phase::Weighing | Phase::Fetching | Phase::Restoring
        );
        if std::mem::take(&mut self.is_lost) {
            return self.decide_again(now);
        }
        if reads && is_stale {
            self.begin_anew();
            return self.too_late(settings, now);
        }
        if std::mem::take(&mut self.is_gone) {
            return self.changed(settings, now);
        }
        match self.phase {
            Phase::Waiting => Step::Pending,
            Phase::Looking => self.looked(settings, now),
            Phase::Confirming(before) if self.is_confirmed(before) => self.equal(),
            Phase::Confirming(_) => self.changed(settings, now),
            Phase::Comparing => self.compared(settings, now),
            Phase::Weighing => self.read_both(settings, now),
            Phase::Fetching => self.fetched(settings, now),
            Phase::Restoring => self.restored(self.followed.unwrap_or_default()),
            Phase::Writing(mend) => self.written(mend),
        }
    }

    fn ask(&mut self, backend: Option<Ask>, peer: Option<Ask>) -> Step {
        self.is_gone = false;
        let asks = [backend, peer];
        self.outstanding = asks.iter().flatten().count();
        Step::Ask(asks)
    }

    fn looked(&mut self, settings: &ReconcileSettings, now: Now) -> Step {
        let [backend, peer] = self.seen;
        let kind = self.key.kind;
        // What is equal is confirmed, however far apart the answers were.
        let is_equal = self.given_to_peer.is_none() && judge(kind, backend, peer) == Verdict::Equal;
        if !is_equal && self.answers_apart() > RECONCILE_SEND_WITHIN {
            return self.too_late(settings, now);
        }
        let has_values = kind.has_value() && backend != Seen::Absent;
        let given = [self.given_to_peer.take(), self.followed.take()];
        if let Seen::Present { version, .. } = peer
            && given.contains(&Some(version))
            && let Some(step) = self.look_after(version, settings)
        {
            self.followed = Some(version);
            return step;
        }
        match judge(kind, backend, peer) {
            Verdict::Equal if settings.values && has_values => {
                self.phase = Phase::Comparing;
                self.digests = [None; 2];
                let digest = Some(Ask::ReadDigest { is_bounded: true });
                self.ask(digest, digest)
            }
            Verdict::Equal if self.is_doubtful() => self.confirm(),
            Verdict::Equal => self.equal(),
            verdict => self.differs(verdict, settings, now),
        }
    }

    /// The peer has the version that it was given. What the backend has shows whether a live write
    /// came meanwhile, which was overwritten on the peer.
    fn look_after(&mut self, given: u32, settings: &ReconcileSettings) -> Option<Step> {
        self.replacement.version = given;
        match self.seen(Side::Backend) {
            Seen::Absent if settings.deletes != Deletes::Never => {
                self.phase = Phase::Writing(Mend::Deleted);
                Some(self.ask(None, Some(Ask::Remove)))
            }
            Seen::Absent => Some(reported(WhyLeft::StillDiffers)),
            Seen::Present { version, score } if version != given => {
                self.phase = Phase::Restoring;
                if self.key.kind.has_value() {
                    return Some(self.ask(Some(Ask::ReadValue), None));
                }
                self.replacement.version = version;
                self.replacement.score = score;
                Some(self.restored(given))
            }
            Seen::Present { .. } => None,
        }
    }

    /// Gives the peer what the backend has. The version of what was made anew is older than the one
    /// that the peer was given; the peer keeps that, or has the next one, which is then copied.
    fn restored(&mut self, given: u32) -> Step {
        let version = self.replacement.version;
        if version::order_of_stored(version, given) == Ordering::Less {
            // There is nothing to look after: the peer's version counts from here on.
            self.replacement.version = version::to_replace(given);
            return self.write_to_peer();
        }
        self.raise_peer(version, given)
    }

    /// Has the peer, which has `over`, store the version that the backend has, and looks after it.
    fn raise_peer(&mut self, version: u32, over: u32) -> Step {
        self.given_to_peer = Some(version);
        self.replacement.version = given_for(version, over);
        self.write_to_peer()
    }

    fn write_to_peer(&mut self) -> Step {
        self.phase = Phase::Writing(Mend::Raised);
        self.ask(None, Some(Ask::Write))
    }

    /// Whether the two answers may be of different instants, with a live write between them that
    /// hides a difference: they came apart, or the key differed a moment ago.
    fn is_doubtful(&self) -> bool {
        self.patience.differences() > 0 || self.answers_apart() > RECONCILE_LOOKS_APART
    }

    /// How long after one master's answer the other one's came. One of them may have been down, or
    /// had records to be replayed first.
    fn answers_apart(&self) -> Duration {
        let [backend, peer] = self.seen_at;
        backend.abs_diff(peer)
    }

    /// Looks at both once more. Both lookups come after both earlier ones, so if each finds what it
    /// found, there was an instant at which both had it.
    fn confirm(&mut self) -> Step {
        self.phase = Phase::Confirming(self.seen);
        self.ask(Some(Ask::Look), Some(Ask::Look))
    }

    fn is_confirmed(&self, before: [Seen; 2]) -> bool {
        let [backend, peer] = self.seen;
        // A member's version is nobody's business.
        let is_member = self.key.kind == Kind::Set;
        self.seen == before || is_member && judge(Kind::Set, backend, peer) == Verdict::Equal
    }

    fn equal(&self) -> Step {
        Step::Done(self.mended.map_or(Outcome::Equal, Outcome::Mended))
    }

    /// Values of equal versions were read. One that is too large is compared by its version alone.
    fn compared(&mut self, settings: &ReconcileSettings, now: Now) -> Step {
        match self.digests {
            [Some((backend, Some(_))), Some((peer, Some(_)))] if backend != peer => {
                self.changed(settings, now)
            }
            [Some((_, Some(backend))), Some((_, Some(peer)))] if backend != peer => {
                self.differs(Verdict::PeerCounts, settings, now)
            }
            [Some((_, Some(_))), Some((_, Some(_)))] => self.equal(),
            _ if self.is_doubtful() => self.confirm(),
            _ => self.equal(),
        }
    }

    fn differs(&mut self, verdict: Verdict, settings: &ReconcileSettings, now: Now) -> Step {
        let is_used_up = self.patience.handle_difference(settings);
        let before = self.before.replace(self.seen);
        if self.patience.differences() == 1 {
            return self.wait(now);
        }
        if settings.mode != ReconcileMode::Repair {
            return reported(WhyLeft::ReportOnly);
        }
        let is_trusted = match self.trust {
            Trust::Everything => true,
            Trust::OtherVersions => !self.has_one_version(),
            Trust::Nothing => false,
        };
        if !is_trusted {
            return reported(WhyLeft::PeerUnsettled);
        }
        if is_used_up {
            return reported(WhyLeft::StillDiffers);
        }
        match verdict {
            Verdict::Equal => self.equal(),
            Verdict::PeerCounts => self.fetch(settings, now),
            Verdict::BackendNewer if failpoint!(LowerVersion) => self.remove(),
            // The peer is written to only where nobody else writes.
            Verdict::BackendNewer if before != Some(self.seen) => self.wait(now),
            Verdict::BackendNewer => self.weigh(),
            Verdict::PeerLacks
                if settings.deletes >= Deletes::Bounded || failpoint!(DeleteUnasked) =>
            {
                self.remove()
            }
            Verdict::PeerLacks => reported(WhyLeft::PeerLacks),
        }
    }

    /// Whether both have it, at one version.
    fn has_one_version(&self) -> bool {
        let [backend, peer] = self.seen.map(Seen::version);
        !self.seen.contains(&Seen::Absent) && backend == peer
    }

    /// It is looked at again after a moment, as a live write may be under way.
    fn wait(&mut self, now: Now) -> Step {
        self.phase = Phase::Waiting;
        Step::Wait(now.after(self.patience.wait()))
    }

    /// The same, unless it was looked at often enough.
    fn wait_unless(&mut self, is_used_up: bool, now: Now) -> Step {
        match is_used_up {
            true => reported(WhyLeft::StillDiffers),
            false => self.wait(now),
        }
    }

    /// Reads what the peer has, where a lookup has not told all of it.
    fn fetch(&mut self, settings: &ReconcileSettings, now: Now) -> Step {
        self.phase = Phase::Fetching;
        if self.key.kind.has_value() {
            return self.ask(None, Some(Ask::ReadValue));
        }
        let peer = self.seen(Side::Peer);
        self.replacement.version = peer.version();
        self.replacement.score = peer.score();
        self.fetched(settings, now)
    }

    fn fetched(&mut self, settings: &ReconcileSettings, now: Now) -> Step {
        let version = self.replacement.version;
        let over = self.seen(Side::Backend).version();
        // The peer's key was made anew since the look. It is not to be stored over what is later.
        if version::order_of_stored(version, over) == Ordering::Less {
            return self.changed(settings, now);
        }
        // To store this very version again takes a number above all live writes'.
        if version == over && version::to_replace(over) != over {
            return self.make_anew(over);
        }
        let lifetime = self.logged.lifetime(self.key.kind, version, now.unix);
        let Some(lifetime) = lifetime else {
            return reported(WhyLeft::TtlUnknown);
        };
        self.replacement.version = given_for(version, over);
        self.replacement.lifetime = lifetime;
        self.phase = Phase::Writing(Mend::Copied);
        self.ask(Some(Ask::Write), None)
    }

    /// Deletes it on the backend, unless that has a newer version by now.
    fn remove(&mut self) -> Step {
        self.replacement.version = self.seen(Side::Backend).version();
        self.phase = Phase::Writing(Mend::Deleted);
        self.ask(Some(Ask::Remove), None)
    }

    /// Finds out whether both have the same, though not at the same version.
    fn weigh(&mut self) -> Step {
        self.phase = Phase::Weighing;
        if self.key.kind.has_value() {
            self.digests = [None; 2];
            let digest = Ask::ReadDigest { is_bounded: false };
            return self.ask(Some(digest), Some(Ask::ReadValue));
        }
        let [backend, peer] = self.seen;
        self.replacement.score = peer.score();
        self.replacement.version = peer.version();
        let are_equal = backend.score() == peer.score();
        self.weighed(are_equal, backend.version())
    }

    /// Both values were read; the peer's is the one that may be written.
    fn read_both(&mut self, settings: &ReconcileSettings, now: Now) -> Step {
        let (version, digest) = self.digests[Side::Backend.index()].unwrap_or_default();
        if [version, self.replacement.version] != self.seen.map(Seen::version) {
            return self.changed(settings, now);
        }
        let are_equal = digest == Some(xxh3_128(&self.replacement.value));
        self.weighed(are_equal, version)
    }

    /// What is copied is the peer's so far, and `version` is the backend's. Where the peer's counts
    /// it is given to the backend first: then they have the same, whatever comes between, and only
    /// the peer's version is left to be raised.
    fn weighed(&mut self, are_equal: bool, version: u32) -> Step {
        let content = content_hash(&self.replacement.value, self.replacement.score);
        let by_value = judge_values(are_equal, self.replacement.version, content, &self.logged);
        match by_value {
            ByValue::Unclear => reported(WhyLeft::BackendNewer),
            ByValue::PeerMadeAnew => self.make_anew(version),
            ByValue::RaisePeer if self.logged.had_ttl => reported(WhyLeft::TtlUnknown),
            ByValue::RaisePeer => {
                self.replacement.lifetime = Lifetime::Unlimited;
                self.raise_peer(version, self.seen(Side::Peer).version())
            }
        }
    }

    /// Gives the backend, which has `over`, the peer's value, with a version from which the peer is
    /// raised: that of a key that was made anew, or of one version from 64 on.
    fn make_anew(&mut self, over: u32) -> Step {
        if self.logged.had_ttl {
            return reported(WhyLeft::TtlUnknown);
        }
        self.replacement.version = version::to_replace(over);
        self.replacement.lifetime = Lifetime::Unlimited;
        self.phase = Phase::Writing(Mend::MadeAnew);
        self.ask(Some(Ask::Write), None)
    }

    fn written(&mut self, mend: Mend) -> Step {
        // The raise that follows is part of it.
        let is_part = mend == Mend::Raised && self.mended == Some(Mend::MadeAnew);
        if !is_part {
            self.mended = Some(mend);
        }
        self.followed = None;
        self.drop_value();
        match failpoint!(TrustMend) {
            true => self.equal(),
            false => self.resume(),
        }
    }

    /// Nothing can be decided by answers that are so old, or came so far apart.
    fn too_late(&mut self, settings: &ReconcileSettings, now: Now) -> Step {
        let is_used_up = self.patience.handle_late(settings);
        self.wait_unless(is_used_up, now)
    }

    /// A master does not answer in time. That is no try of a mend.
    fn decide_again(&mut self, now: Now) -> Step {
        self.begin_anew();
        self.patience.handle_lost();
        self.wait(now)
    }

    /// This try has come to nothing. What the peer was given is looked after all the same.
    fn begin_anew(&mut self) {
        self.given_to_peer = self.given_to_peer.or(self.followed);
        self.drop_value();
    }

    fn drop_value(&mut self) {
        self.replacement.value = Vec::new();
    }

    /// It is another by now than it was when it was looked at.
    fn changed(&mut self, settings: &ReconcileSettings, now: Now) -> Step {
        self.begin_anew();
        let is_used_up = self.patience.handle_difference(settings);
        self.wait_unless(is_used_up, now)
    }
}

/// What is given so that a master that has `over` stores `version`. One that hustdb never tells is
/// given as it is.
fn given_for(version: u32, over: u32) -> u32 {
    match version::to_store(version, over) {
        Some(given) if !failpoint!(GiveAsTold) => given,
        _ => version,
    }
}

fn reported(left: WhyLeft) -> Step {
    Step::Done(Outcome::Reported(left))
}
