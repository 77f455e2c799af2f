//! Resolves names of backends, and follows one whose address has changed.

use std::net::SocketAddr;

use super::{Backend, Backends, Context};
use crate::clock::Now;
use crate::engine::resolve::{Resolver, look_up};
use crate::replay::messages::BackendId;

impl Backend {
    pub(super) fn look_up(&mut self, resolver: &Resolver, cx: &mut Context<'_>) {
        let (name, wanted) = (&self.name, self.wanted);
        if let Err(why) = look_up(self.info.id, name, wanted, resolver, cx.mailbox) {
            self.monitor.handle_resolved(Err(why), cx.now);
        }
        // A backend that is up has a working address. If the name loses that one, any other is as
        // good.
        if !self.monitor.is_up() {
            self.wanted.attempt += 1;
        }
    }
}

impl Backends {
    pub(in crate::engine::control) fn handle_resolved(
        &mut self,
        id: BackendId,
        found: Result<SocketAddr, String>,
        now: Now,
    ) {
        let Some(backend) = self.get_mut(id) else {
            return;
        };
        let before = backend.address;
        let address = match found {
            Ok(address) => address,
            Err(why) => {
                if let Some(address) = before
                    && !std::mem::replace(&mut backend.is_name_lost, true)
                {
                    tracing::warn!(backend = %backend.info.name, %address, cause = %why, "its name \
                        cannot be looked up again; the address that it had stays in use");
                }
                backend.monitor.handle_resolved(Err(why), now);
                return;
            }
        };
        backend.is_name_lost = false;
        backend.address = Some(address);
        backend.monitor.handle_resolved(Ok(()), now);
        if before == Some(address) {
            return;
        }
        // The probe's connection goes to the old address. If the backend is up, it goes down
        // anyway.
        if let Some(result) = backend.probe.close() {
            backend.handle_probe(result, now);
        }
        let name = &backend.info.name;
        match before {
            None => tracing::info!(backend = %name, %address, "its name is resolved"),
            Some(before) => {
                tracing::info!(backend = %name, %address, %before, "its name has another address, \
                    and connections go there from now on");
                let why = format!("its name has moved from {before} to {address}");
                backend.monitor.handle_moved(why, now);
            }
        }
    }
}
