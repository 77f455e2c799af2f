//! Somebody who mounts something over logs and takes it away again, or has a folder be a link to a
//! copy of it on another disk.
//!
//! HA goes on beneath: it has mounts of its own.

use std::time::Duration;

use crate::world::{Event, World};

/// For how long something is mounted over logs, at most: a restart of the server can fall into it.
const COVERED: Duration = Duration::from_secs(6);

impl World {
    /// Mounts something empty over a backend's folder, or over all of them.
    pub(crate) fn cover(&mut self, place: usize) {
        let place = self.moves.bool().then_some(place);
        let places = match place {
            Some(place) => place..place + 1,
            None => 0..self.backends.len(),
        };
        if places
            .clone()
            .any(|at| self.disk.inner.is_covered(&self.backends[at].name))
        {
            return;
        }
        for at in places {
            for file in self.logs(at) {
                self.displace(at, &file);
                self.note_loss(at, &file, 0);
            }
        }
        self.covers += 1;
        self.disk.inner.set_covered(self.folder_name(place), true);
        self.note(format_args!(
            "somebody mounts something over the logs of {place:?}"
        ));
        let covered = u64::try_from(COVERED.as_micros()).expect("it is short");
        let later = Duration::from_micros(self.moves.u64(..covered));
        self.at(self.now + later, Event::Uncover { place });
    }

    pub(crate) fn uncover(&mut self, place: Option<usize>) {
        self.covers -= 1;
        self.disk.inner.set_covered(self.folder_name(place), false);
        self.note(format_args!("the logs of {place:?} are there again"));
        for at in 0..self.backends.len() {
            self.hint_name_soon(at);
        }
    }

    fn folder_name(&self, place: Option<usize>) -> Option<&str> {
        place.map(|place| &*self.backends[place].name)
    }

    /// A copy of the folder on another disk, and a link to that in its place: all logs are other
    /// files now. Each of their lines may come again.
    pub(crate) fn relocate(&mut self, place: usize) {
        let logs = self.logs(place);
        let backend = self.backends[place].name.clone();
        let oracle = &mut self.backends[place].oracle;
        let have_one_name = logs.iter().all(|file| oracle.has_one_name(file));
        if self.writers[place].has_rests() || !have_one_name {
            return;
        }
        for file in logs {
            let lines = oracle.next_line(&file);
            oracle.handle_taken(&file, lines);
            let copy = self.disk.inner.copy_out(&backend, &file, 0);
            let copy = copy.expect("it is there");
            self.disk.inner.move_in(&backend, &file, copy);
        }
        self.note(format_args!(
            "{place}: somebody makes its folder a link to a copy"
        ));
    }
}
