//! Which of many slots has been left alone longest: a list through the slots' numbers, each step
//! O(1).
//!
//! ```text
//!  oldest ⇄ … ⇄ … ⇄ newest        touch: to the newest end;  remove: out of the list
//! ```

/// Slots in the order in which they were touched last.
#[derive(Debug, Default)]
pub(super) struct LruList {
    /// By slot. `None` for those not in the list.
    links: Vec<Option<Link>>,
    oldest: Option<usize>,
    newest: Option<usize>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Link {
    older: Option<usize>,
    newer: Option<usize>,
}

impl LruList {
    /// Makes `slot` the newest, whether it was in the list or not.
    pub(super) fn touch(&mut self, slot: usize) {
        if self.newest == Some(slot) {
            return;
        }
        self.remove(slot);
        if self.links.len() <= slot {
            self.links.resize(slot + 1, None);
        }
        self.links[slot] = Some(Link {
            older: self.newest,
            newer: None,
        });
        match self.newest.replace(slot) {
            Some(before) => self.link(before).newer = Some(slot),
            None => self.oldest = Some(slot),
        }
    }

    /// Takes `slot` out of the list, if it is in it.
    pub(super) fn remove(&mut self, slot: usize) {
        let Some(link) = self.links.get_mut(slot).and_then(Option::take) else {
            return;
        };
        match link.older {
            Some(older) => self.link(older).newer = link.newer,
            None => self.oldest = link.newer,
        }
        match link.newer {
            Some(newer) => self.link(newer).older = link.older,
            None => self.newest = link.older,
        }
    }

    /// The slots, the one left alone longest first.
    pub(super) fn oldest_first(&self) -> impl Iterator<Item = usize> {
        std::iter::successors(self.oldest, |&slot| {
            self.links[slot].and_then(|link| link.newer)
        })
    }

    fn link(&mut self, slot: usize) -> &mut Link {
        self.links[slot]
            .as_mut()
            .expect("linked slots are in the list")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_the_order_of_the_last_touches(
            steps in proptest::collection::vec((any::<bool>(), 0usize..8), 0..60),
        ) {
            let mut lru_list = LruList::default();
            let mut naive: Vec<usize> = Vec::new();
            for (touch, slot) in steps {
                naive.retain(|&other| other != slot);
                if touch {
                    naive.push(slot);
                    lru_list.touch(slot);
                } else {
                    lru_list.remove(slot);
                }
                prop_assert_eq!(lru_list.oldest_first().collect::<Vec<_>>(), naive.clone());
            }
        }
    }
}
