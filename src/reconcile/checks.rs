//! The checks that are under way, each under a number that no other check ever has: an answer may
//! come for one that has been given up.

use slab::Slab;

use crate::reconcile::check::Check;

/// Which check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CheckId {
    pub(super) serial: u64,
    pub(super) place: usize,
}

/// A check that is under way.
#[derive(Debug)]
pub(super) struct Running {
    serial: u64,
    pub(super) check: Check,
    /// The peer's place among the masters.
    pub(super) peer: usize,
    /// Whether it has a value in memory, or has asked for one.
    pub(super) has_value_in_memory: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Checks {
    running: Slab<Running>,
    next_serial: u64,
}

impl Checks {
    pub(super) fn insert(&mut self, check: Check, peer: usize) -> CheckId {
        let serial = self.next_serial;
        self.next_serial += 1;
        let place = self.running.insert(Running {
            serial,
            check,
            peer,
            has_value_in_memory: false,
        });
        CheckId { serial, place }
    }

    pub(super) fn get(&self, id: CheckId) -> Option<&Running> {
        let running = self.running.get(id.place)?;
        (running.serial == id.serial).then_some(running)
    }

    pub(super) fn get_mut(&mut self, id: CheckId) -> Option<&mut Running> {
        let running = self.running.get_mut(id.place)?;
        (running.serial == id.serial).then_some(running)
    }

    pub(super) fn remove(&mut self, id: CheckId) -> Option<Running> {
        self.get(id)?;
        self.running.try_remove(id.place)
    }

    pub(super) fn len(&self) -> usize {
        self.running.len()
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Check> {
        self.running.iter().map(|(_, running)| &running.check)
    }

    /// Those that compare with the peer at this place.
    pub(super) fn with_peer(&self, peer: usize) -> Vec<CheckId> {
        let running = self.running.iter();
        let with_peer = running.filter(|(_, running)| running.peer == peer);
        let ids = with_peer.map(|(place, running)| CheckId {
            serial: running.serial,
            place,
        });
        ids.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::decision::Trust;
    use crate::reconcile::key::{KeyId, Kind, Logged};

    #[test]
    fn the_next_check_in_a_place_is_another() {
        let key = KeyId {
            kind: Kind::Key,
            table: Box::default(),
            key: b"k"[..].into(),
            body: None,
        };
        let check = || Check::new(key.clone(), Logged::default(), Trust::Everything);
        let mut checks = Checks::default();
        let first = checks.insert(check(), 1);
        assert!(checks.remove(first).is_some());
        let second = checks.insert(check(), 2);
        assert_eq!(first.place, second.place);
        assert!(checks.get(first).is_none() && checks.get_mut(first).is_none());
        assert!(checks.remove(first).is_none());
        assert_eq!(checks.get(second).map(|running| running.peer), Some(2));
        assert_eq!(
            (checks.with_peer(1), checks.with_peer(2)),
            (vec![], vec![second])
        );
    }
}
