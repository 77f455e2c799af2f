//! What the reconciler knows of one backend: whether it can be believed, and which of its logs
//! wait.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Now;
use crate::reconcile::comparison::Stalled;
use crate::reconcile::key::KeyId;
use crate::replay::disk::OpenFile;
use crate::replay::messages::{BackendInfo, FinishedLog};
use crate::replay::reconciler::differences::Differences;
use crate::replay::reconciler::job::Job;

/// A backend whose logs may be compared.
pub(super) struct Backend<L> {
    /// `None` until the controller has introduced it.
    pub(super) info: Option<BackendInfo>,
    /// Since when it is up, monotonic; `None` where it is not.
    pub(super) up_since: Option<Duration>,
    /// `None` until the controller has introduced it.
    pub(super) differences: Option<Differences>,
    /// When its differences are read again, monotonic.
    pub(super) read_at: Duration,
    /// Finished logs that wait for their comparison.
    pub(super) waiting: Vec<FinishedLog>,
    /// Since when the first of them does, monotonic.
    pub(super) waiting_since: Duration,
    /// The last log, in their order, that was compared.
    pub(super) newest_compared: Option<Arc<str>>,
    pub(super) job: Option<Job<L>>,
    /// For how long masters were asked without progress by jobs whose logs were put back.
    pub(super) stalled: Stalled,
    /// Keys that such jobs may have given a peer without having looked at them again.
    pub(super) given: BTreeSet<KeyId>,
    /// How often its job has given way to newer logs of a peer since one has ended.
    pub(super) gave_way: u32,
    /// The codes of the reasons for which keys were not compared the last time.
    pub(super) said: String,
}

impl<L> Default for Backend<L> {
    fn default() -> Self {
        Self {
            info: None,
            up_since: None,
            differences: None,
            read_at: Duration::ZERO,
            waiting: Vec::new(),
            waiting_since: Duration::ZERO,
            newest_compared: None,
            job: None,
            stalled: Stalled::new(),
            given: BTreeSet::new(),
            gave_way: 0,
            said: String::new(),
        }
    }
}

impl<L: OpenFile> Backend<L> {
    /// Whether it is up and has no record to be replayed, as far as is known.
    pub(super) fn is_in_order(&self) -> bool {
        self.why_not_in_order().is_none()
    }

    pub(super) fn why_not_in_order(&self) -> Option<&'static str> {
        match self.up_since {
            None => Some("it is not up"),
            Some(_) if self.has_backlog() => Some("its records are replayed first"),
            Some(_) => None,
        }
    }

    /// Why it is waited for where it came up so lately that hustdb may yet sweep keys that had
    /// expired before, as the end of a sentence that begins with its name.
    pub(super) fn why_fresh(&self, delay: Duration, now: Now) -> Option<&'static str> {
        let is_fresh = now.monotonic.saturating_sub(self.up_since?) < delay;
        is_fresh.then_some("came up only lately (sync.reconcile_delay)")
    }

    /// Why it cannot be believed about keys of the other master's logs, as the end of a sentence
    /// that begins with its name.
    pub(super) fn why_not_believed(&self, delay: Duration, now: Now) -> Option<&'static str> {
        if self.is_behind() {
            return Some("has records to be replayed first, or logs that are not finished");
        }
        self.why_fresh(delay, now)
    }

    fn logs_of_job(&self) -> &[FinishedLog] {
        self.job.as_ref().map_or(&[], Job::logs)
    }

    /// Takes in finished logs. One that is waiting already may have grown.
    pub(super) fn handle_finished(&mut self, logs: Vec<FinishedLog>, now: Now) {
        if self.waiting.is_empty() {
            self.waiting_since = now.monotonic;
        }
        let of_job = self.logs_of_job();
        let logs = logs.into_iter().filter(|log| !of_job.contains(log));
        for log in logs.collect::<Vec<_>>() {
            self.waiting.retain(|known| known.key != log.key);
            self.waiting.push(log);
        }
    }

    /// Ends its job, and has its logs wait for another one.
    pub(super) fn put_back(&mut self, now: Now) -> Option<Job<L>> {
        let mut job = self.job.take()?;
        self.stalled = job.stalled();
        self.given.extend(job.comparison.given_keys().cloned());
        self.handle_finished(job.take_logs(), now);
        if let Some(differences) = &mut self.differences {
            // Their keys are compared again.
            differences.drop_unwritten();
        }
        Some(job)
    }

    /// Publishes what keeps its logs from being compared.
    pub(super) fn tell_waits_for(&self, waits_for: Option<&str>) {
        if let Some(info) = &self.info {
            info.counters.reconcile.waits_for.set(waits_for);
        }
    }

    /// Whether there are logs of it that are not finished: their keys are newer than those of
    /// finished ones.
    pub(super) fn has_unfinished_logs(&self) -> bool {
        let of_job = self.logs_of_job();
        // Asked at each step, when hardly any wait.
        let grown = self.waiting.iter().filter(|log| {
            let mut compared = of_job.iter();
            compared.any(|known| known.key == log.key)
        });
        let finished = (self.waiting.len() + of_job.len() - grown.count()) as u64;
        let counters = self.info.as_ref().map(|info| &info.counters);
        counters.is_some_and(|counters| {
            let reconcile = &counters.reconcile;
            let others = reconcile.logs_compared.load() + reconcile.logs_not_asked.load();
            counters.log_files.load() > finished + others
        })
    }

    /// Whether no later log of it than its job's has been compared, or is to be. What the last
    /// record of a key says is only known then.
    pub(super) fn has_newest(&self) -> bool {
        let newest = self.job.as_ref().and_then(Job::newest);
        let others = self.waiting.iter().map(|log| &log.name);
        let is_last = others.chain(&self.newest_compared).max() <= newest;
        is_last && !self.has_unfinished_logs()
    }

    /// Whether it may lack what the other master has.
    pub(super) fn is_behind(&self) -> bool {
        self.has_backlog() || self.has_unfinished_logs()
    }

    /// Whether it has logs that are not compared, finished or not.
    pub(super) fn has_logs(&self) -> bool {
        self.has_work() || self.is_behind()
    }

    /// Whether logs of it are compared, or wait for that.
    pub(super) fn has_work(&self) -> bool {
        self.job.is_some() || !self.waiting.is_empty()
    }

    pub(super) fn has_backlog(&self) -> bool {
        let counters = self.info.as_ref().map(|info| &info.counters);
        counters.is_none_or(|counters| !counters.is_backlog_known() || counters.has_backlog())
    }
}
