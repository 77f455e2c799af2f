//! Chains that take their time: each step is taken when the test says so, and a crash can fall between two.

use std::collections::VecDeque;

use crate::replay::chain::{Begun, Chain, Ended, Ticket};
use crate::replay::testdisk::TestDisk;

/// All chains of a disk.
#[derive(Debug, Default)]
pub(super) struct Chains {
    /// Whether they wait for the test; otherwise all steps are taken at once.
    wait: bool,
    under_way: Vec<UnderWay>,
    /// Begun since the test last asked.
    begun: Vec<Ticket>,
    ended: VecDeque<Ended>,
}

#[derive(Debug)]
struct UnderWay {
    ticket: Ticket,
    chain: Chain,
    /// Steps that went well.
    taken: usize,
}

impl Chains {
    /// Whoever began them is gone, and with it the steps that were not taken.
    pub(super) fn drop_all(&mut self) {
        self.under_way.clear();
        self.begun.clear();
        self.ended.clear();
    }
}

impl TestDisk {
    /// From now on chains wait for [`TestDisk::step_chain`], or don't.
    pub fn set_chains_wait(&self, wait: bool) {
        self.world().chains.wait = wait;
    }

    /// Chains that were begun since this was last asked.
    #[must_use]
    pub fn take_begun(&self) -> Vec<Ticket> {
        std::mem::take(&mut self.world().chains.begun)
    }

    /// Chains that are under way, in the order in which they were begun.
    #[must_use]
    pub fn chains_under_way(&self) -> Vec<Ticket> {
        let world = self.world();
        let under_way = world.chains.under_way.iter();
        under_way.map(|chain| chain.ticket).collect()
    }

    /// Takes the next step of a chain under way. Gives whether it has ended with it.
    ///
    /// # Panics
    /// When no such chain is under way.
    pub fn step_chain(&self, ticket: Ticket) -> bool {
        let (mut chain, at) = {
            let under_way = &mut self.world().chains.under_way;
            let at = under_way.iter().position(|chain| chain.ticket == ticket);
            let at = at.expect("the chain is under way");
            (under_way.remove(at), at)
        };
        let step = chain.chain.steps[chain.taken];
        let result = chain.chain.take_step(step, &mut self.clone());
        chain.taken += 1;
        let chains = &mut self.world().chains;
        if result.is_ok() && chain.taken < chain.chain.steps.len() {
            chains.under_way.insert(at, chain);
            return false;
        }
        chains.ended.push_back(Ended {
            ticket,
            chain: chain.chain,
            result,
        });
        true
    }

    /// Whoever began the chains is gone: what was not done of them never is.
    pub fn drop_chains(&self) {
        self.world().chains.drop_all();
    }

    pub(super) fn begin_chain(&mut self, ticket: Ticket, chain: Chain) -> Begun {
        if !self.world().chains.wait {
            return Begun::Ended(chain.take_at_once(ticket, self));
        }
        let chains = &mut self.world().chains;
        chains.begun.push(ticket);
        chains.under_way.push(UnderWay {
            ticket,
            chain,
            taken: 0,
        });
        Begun::UnderWay
    }

    pub(super) fn ended_chain(&mut self) -> Option<Ended> {
        self.world().chains.ended.pop_front()
    }
}
