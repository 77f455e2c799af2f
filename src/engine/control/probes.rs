//! Each backend's probe, and the look-ups of its name.

use std::sync::Arc;
use std::time::Duration;

use mio::event::Event;
use mio::{Registry, Token};

use crate::clock::Now;
use crate::config::BackendName;
use crate::engine::probe::Probe;
use crate::engine::resolve::{Resolver, look_up, tell_control};
use crate::engine::settings::Settings;
use crate::replay::controller::action::{ProbeRequest, ProbeResult, Wanted};
use crate::replay::mailbox::Mailbox;
use crate::replay::messages::{BackendId, ControlMessage};

struct Attached {
    backend: BackendId,
    name: BackendName,
    probe: Probe,
}

/// See the module.
pub(super) struct Probes {
    /// By the backends' places.
    all: Vec<Option<Attached>>,
    /// The places of those that may be under way, each once: all that have a deadline are among
    /// them. At most times they are few of a thousand.
    under_way: Vec<usize>,
    /// The token of the first one; the others' follow.
    first_token: usize,
    resolver: Resolver,
    control: Arc<Mailbox<ControlMessage>>,
}

impl Probes {
    pub(super) fn new(
        first_token: Token,
        resolver: Resolver,
        control: Arc<Mailbox<ControlMessage>>,
    ) -> Self {
        Self {
            all: Vec::new(),
            under_way: Vec::new(),
            first_token: first_token.0,
            resolver,
            control,
        }
    }

    /// A backend whose place is free.
    pub(super) fn add(&mut self, backend: BackendId, folder: &str) {
        let place = backend.index();
        if self.all.len() <= place {
            self.all.resize_with(place + 1, || None);
        }
        let name = BackendName::parse(folder).expect("the controller takes in no other");
        self.all[place] = Some(Attached {
            backend,
            name,
            probe: Probe::new(folder, Token(self.first_token + place)),
        });
    }

    pub(super) fn remove(&mut self, backend: BackendId) {
        if self.get_mut(backend).is_some() {
            self.all[backend.index()] = None;
        }
    }

    /// Begins a probe. Returns its result if it is there at once.
    pub(super) fn begin(
        &mut self,
        request: &ProbeRequest,
        settings: &Settings,
        registry: &Registry,
        now: Now,
    ) -> Option<ProbeResult> {
        let limits = settings.probe_limits(request.is_up);
        let probe = &mut self.get_mut(request.backend)?.probe;
        let credentials = &*settings.controller.credentials;
        let credentials = request.authenticated.then_some(credentials);
        let result = probe.begin(credentials, request.address, limits, registry, now);
        let place = request.backend.index();
        if !self.under_way.contains(&place) {
            self.under_way.push(place);
        }
        result
    }

    pub(super) fn close(&mut self, backend: BackendId) {
        if let Some(attached) = self.get_mut(backend) {
            attached.probe.close();
        }
    }

    /// Looks a backend's name up.
    ///
    /// # Errors
    /// Why nothing will be told.
    pub(super) fn resolve(&mut self, backend: BackendId, wanted: Wanted) -> Result<(), String> {
        let (resolver, control) = (Arc::clone(&self.resolver), Arc::clone(&self.control));
        match self.get_mut(backend) {
            Some(attached) => look_up(&attached.name, wanted, &resolver, move |address| {
                tell_control(backend, address, &control);
            }),
            None => Ok(()),
        }
    }

    /// Whether events with this token are for [`Probes::handle_event`].
    pub(super) fn owns(&self, token: Token) -> bool {
        (self.first_token..self.first_token + self.all.len()).contains(&token.0)
    }

    pub(super) fn handle_event(
        &mut self,
        event: &Event,
        now: Now,
    ) -> Option<(BackendId, ProbeResult)> {
        let attached = self.all[event.token().0 - self.first_token].as_mut()?;
        let result = attached.probe.handle_event(event, now)?;
        Some((attached.backend, result))
    }

    /// Ends what has taken too long.
    pub(super) fn handle_deadlines(&mut self, now: Now) -> Vec<(BackendId, ProbeResult)> {
        let mut results = Vec::new();
        self.under_way.retain(|place| {
            let Some(attached) = &mut self.all[*place] else {
                return false;
            };
            if let Some(result) = attached.probe.handle_deadline(now) {
                results.push((attached.backend, result));
            }
            attached.probe.deadline().is_some()
        });
        results
    }

    /// When [`Probes::handle_deadlines`] is due, monotonic.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let under_way = self.under_way.iter();
        let attached = under_way.filter_map(|place| self.all[*place].as_ref());
        attached
            .filter_map(|attached| attached.probe.deadline())
            .min()
    }

    fn get_mut(&mut self, backend: BackendId) -> Option<&mut Attached> {
        let attached = self.all.get_mut(backend.index())?.as_mut();
        attached.filter(|attached| attached.backend == backend)
    }
}
