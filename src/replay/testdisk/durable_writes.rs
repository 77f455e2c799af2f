//! Chains that take their time: each step is taken when the test says so, and a crash can fall
//! between two.

use crate::replay::disk::{take_at_once, take_step};
use crate::replay::durable_write::{Completed, DurableWrite, JobId, Submitted};
use crate::replay::testdisk::TestDisk;
use crate::replay::testdisk::world::UnderWay;

impl TestDisk {
    /// From now on chains wait for [`TestDisk::step_chain`], or don't.
    pub fn set_chains_wait(&self, wait: bool) {
        self.world().durable_writes.wait = wait;
    }

    /// Chains that were begun since this was last asked.
    #[must_use]
    pub fn take_begun(&self) -> Vec<JobId> {
        std::mem::take(&mut self.world().durable_writes.begun)
    }

    /// Chains that are under way, in the order in which they were begun.
    #[must_use]
    pub fn chains_under_way(&self) -> Vec<JobId> {
        let world = self.world();
        let under_way = world.durable_writes.under_way.iter();
        under_way
            .map(|durable_write| durable_write.job_id)
            .collect()
    }

    /// Takes the next step of a chain under way. Gives whether it has ended with it.
    ///
    /// # Panics
    /// When no such chain is under way.
    pub fn step_chain(&self, job_id: JobId) -> bool {
        let (mut durable_write, at) = {
            let under_way = &mut self.world().durable_writes.under_way;
            let at = under_way
                .iter()
                .position(|durable_write| durable_write.job_id == job_id);
            let at = at.expect("the chain is under way");
            (under_way.remove(at), at)
        };
        let step = durable_write.durable_write.steps[durable_write.taken];
        let result = take_step(&mut self.clone(), &durable_write.durable_write, step);
        durable_write.taken += 1;
        let durable_writes = &mut self.world().durable_writes;
        if result.is_ok() && durable_write.taken < durable_write.durable_write.steps.len() {
            durable_writes.under_way.insert(at, durable_write);
            return false;
        }
        durable_writes.ended.push_back(Completed {
            job_id,
            durable_write: durable_write.durable_write,
            result,
        });
        true
    }

    /// Whoever began the chains is gone: what was not done of them never is.
    pub fn drop_chains(&self) {
        self.world().durable_writes.drop_all();
    }

    pub(super) fn begin_write(&mut self, job_id: JobId, durable_write: DurableWrite) -> Submitted {
        if !self.world().durable_writes.wait {
            return Submitted::Completed(take_at_once(self, job_id, durable_write));
        }
        let durable_writes = &mut self.world().durable_writes;
        durable_writes.begun.push(job_id);
        durable_writes.under_way.push(UnderWay {
            job_id,
            durable_write,
            taken: 0,
        });
        Submitted::UnderWay
    }

    pub(super) fn completed_write(&mut self) -> Option<Completed> {
        self.world().durable_writes.ended.pop_front()
    }
}
