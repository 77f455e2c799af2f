//! Many things of which few have something to do at a time, as a thousand backends of which sixteen
//! have a backlog: a turn looks at those that are awake, and costs nothing for those that rest.
//!
//! ```text
//!             changed, or its time has come
//!   resting ────────────────────────────────▶ awake
//!      ▲                                        │ looked at: nothing to do before `until`
//!      └────────────────────────────────────────┘
//! ```
//!
//! **No change is missed.** Whoever gets at a thing to change it wakes it by that, so nobody has to
//! remember to. What a thing does by itself, it does because of the time, which
//! [`Agenda::rest`] is told. One that waits for something else than its own state and the time must
//! not rest, or whoever changes that has to wake it ([`Agenda::wake_all`]).

use std::collections::BTreeSet;
use std::ops::{Index, IndexMut};
use std::time::Duration;

/// See the module.
#[derive(Debug)]
pub(super) struct Agenda<T> {
    entries: Vec<Entry<T>>,
    awake: BTreeSet<usize>,
    /// Those that rest, by when they are due, monotonic.
    resting: BTreeSet<(Duration, usize)>,
}

#[derive(Debug)]
struct Entry<T> {
    thing: T,
    /// `None`: it is awake.
    rests_until: Option<Duration>,
}

impl<T> Default for Agenda<T> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            awake: BTreeSet::new(),
            resting: BTreeSet::new(),
        }
    }
}

impl<T> Agenda<T> {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// All of them, in the order of their places.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().map(|entry| &entry.thing)
    }

    /// The one at this place, if there is one.
    pub(super) fn get(&self, place: usize) -> Option<&T> {
        self.entries.get(place).map(|entry| &entry.thing)
    }

    /// The same, to be changed.
    pub(super) fn get_mut(&mut self, place: usize) -> Option<&mut T> {
        (place < self.len()).then(|| &mut self[place])
    }

    /// All of them, to be changed.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.wake_all();
        self.entries.iter_mut().map(|entry| &mut entry.thing)
    }

    /// Adds one behind the others. It is awake.
    pub(super) fn push(&mut self, thing: T) {
        self.awake.insert(self.entries.len());
        self.entries.push(Entry {
            thing,
            rests_until: None,
        });
    }

    /// Removes one; those behind it move up. All are awake then.
    pub(super) fn remove(&mut self, place: usize) -> T {
        self.wake_all();
        self.awake.remove(&(self.entries.len() - 1));
        self.entries.remove(place).thing
    }

    /// Those that are awake.
    pub(super) fn awake(&self) -> impl Iterator<Item = &T> {
        self.awake.iter().map(|place| &self[*place])
    }

    /// How many are awake.
    pub(super) fn awake_count(&self) -> usize {
        self.awake.len()
    }

    /// The place of the first that is awake, from this place on.
    pub(super) fn first_awake(&self, from: usize) -> Option<usize> {
        self.awake.range(from..).next().copied()
    }

    /// Does something to each that is awake.
    pub(super) fn for_each_awake(&mut self, mut act: impl FnMut(&mut T)) {
        for place in &self.awake {
            act(&mut self.entries[*place].thing);
        }
    }

    /// Lets each rest that is awake, until the time that `until` gives; `None`: it stays awake.
    pub(super) fn rest_each(&mut self, mut until: impl FnMut(&T) -> Option<Duration>) {
        let mut from = 0;
        while let Some(place) = self.first_awake(from) {
            from = place + 1;
            if let Some(until) = until(&self[place]) {
                self.rest(place, until);
            }
        }
    }

    /// The one at this place has nothing to do before `until` (monotonic) unless it is changed.
    pub(super) fn rest(&mut self, place: usize, until: Duration) {
        self.wake(place);
        self.entries[place].rests_until = Some(until);
        self.awake.remove(&place);
        self.resting.insert((until, place));
    }

    /// When the first of those that rest is due, monotonic; the maximum if none rests.
    pub(super) fn next_due(&self) -> Duration {
        self.resting
            .first()
            .map_or(Duration::MAX, |(until, _)| *until)
    }

    /// Wakes those whose time has come.
    pub(super) fn wake_due(&mut self, monotonic: Duration) {
        while let Some(&(until, place)) = self.resting.first()
            && until <= monotonic
        {
            self.wake(place);
        }
    }

    /// Wakes all: something has changed that all of them depend on.
    pub(super) fn wake_all(&mut self) {
        for (_, place) in std::mem::take(&mut self.resting) {
            self.entries[place].rests_until = None;
            self.awake.insert(place);
        }
    }

    /// Those that rest, with their places, and until when they do.
    #[cfg(debug_assertions)]
    pub(super) fn resting(&self) -> impl Iterator<Item = (Duration, usize, &T)> {
        let resting = self.resting.iter();
        resting.map(|&(until, place)| (until, place, &self[place]))
    }

    fn wake(&mut self, place: usize) {
        if let Some(until) = self.entries[place].rests_until.take() {
            self.resting.remove(&(until, place));
            self.awake.insert(place);
        }
    }
}

impl<T> Index<usize> for Agenda<T> {
    type Output = T;

    fn index(&self, place: usize) -> &T {
        &self.entries[place].thing
    }
}

impl<T> IndexMut<usize> for Agenda<T> {
    /// Wakes it: it may have something to do once it is changed.
    fn index_mut(&mut self, place: usize) -> &mut T {
        if !failpoint!(RestOnChange) {
            self.wake(place);
        }
        &mut self.entries[place].thing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn agenda(things: &[char]) -> Agenda<char> {
        let mut agenda = Agenda::default();
        things.iter().for_each(|thing| agenda.push(*thing));
        agenda
    }

    #[track_caller]
    fn check(agenda: &Agenda<char>, awake: &str, next_due: Duration) {
        assert_eq!(agenda.awake().collect::<String>(), awake);
        assert_eq!(agenda.next_due(), next_due);
        assert_eq!(agenda.awake_count() + agenda.resting.len(), agenda.len());
    }

    #[test]
    fn one_that_is_changed_wakes_and_one_that_is_looked_at_does_not() {
        let mut agenda = agenda(&['a', 'b', 'c']);
        check(&agenda, "abc", Duration::MAX);
        (0..3).for_each(|place| agenda.rest(place, Duration::MAX));
        assert_eq!((agenda[1], agenda.iter().count()), ('b', 3));
        check(&agenda, "", Duration::MAX);
        agenda[1] = 'B';
        check(&agenda, "B", Duration::MAX);
        assert_eq!(agenda.first_awake(0), Some(1));
        assert_eq!(agenda.first_awake(2), None);
        agenda.wake_all();
        check(&agenda, "aBc", Duration::MAX);
    }

    #[test]
    fn one_wakes_when_its_time_has_come() {
        let mut agenda = agenda(&['a', 'b', 'c']);
        agenda.rest(0, ms(30));
        agenda.rest(1, ms(10));
        agenda.rest(2, ms(20));
        check(&agenda, "", ms(10));
        agenda.wake_due(ms(9));
        check(&agenda, "", ms(10));
        agenda.wake_due(ms(20));
        check(&agenda, "bc", ms(30));
        // The time that counts is the last that was said.
        agenda.rest(0, ms(50));
        check(&agenda, "bc", ms(50));
        agenda[0] = 'A';
        check(&agenda, "Abc", Duration::MAX);
    }

    #[test]
    fn those_behind_one_that_is_removed_are_awake_at_their_new_places() {
        let mut agenda = agenda(&['a', 'b', 'c']);
        (0..3).for_each(|place| agenda.rest(place, ms(10)));
        assert_eq!(agenda.remove(1), 'b');
        check(&agenda, "ac", Duration::MAX);
        agenda.rest(1, ms(10));
        check(&agenda, "a", ms(10));
        agenda[1] = 'C';
        check(&agenda, "aC", Duration::MAX);
    }
}
