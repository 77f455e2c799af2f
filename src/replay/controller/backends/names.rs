//! Has names of backends looked up, and follows one whose address has changed.

use std::net::SocketAddr;

use super::{Action, Backend, Backends, Context};
use crate::replay::controller::action::ProbeResult;
use crate::replay::messages::BackendId;
use crate::status::snapshot::LastProbe;

impl Backend {
    pub(super) fn look_up(&mut self, cx: &mut Context<'_>) {
        cx.actions.push_back(Action::Resolve {
            backend: self.info.id,
            wanted: self.wanted,
        });
        // A backend that is up has a working address. If the name loses that one, any other is as
        // good.
        if !self.monitor.is_up() {
            self.wanted.attempt += 1;
        }
    }
}

impl Backends {
    pub(in crate::replay::controller) fn handle_resolved(
        &mut self,
        id: BackendId,
        found: Result<SocketAddr, String>,
        cx: &mut Context<'_>,
    ) {
        let now = cx.now;
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
                if before.is_none() {
                    // There is nothing to probe: this is what a probe has found.
                    backend.probed = Some(LastProbe {
                        probe_unix: now.unix,
                        probe_answer: format!("no address to probe: {why}").into(),
                        probe_ms: None,
                    });
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
        cx.actions.push_back(Action::CloseProbe(id));
        if backend.is_probing {
            let result = ProbeResult::Bad("its name has got another address".to_owned());
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
        self.warn_of_second_name(id);
    }

    /// Two folders may lead to one hustdb, as after a backend was renamed. They are replayed side
    /// by side, so records of one key in both may come in any order.
    pub(super) fn warn_of_second_name(&mut self, id: BackendId) {
        let Some((name, address)) = self
            .get_mut(id)
            .and_then(|backend| Some((backend.info.name.clone(), backend.address?)))
        else {
            return;
        };
        let mut others = self.all.iter().flatten();
        let other = others.find(|other| other.info.id != id && other.address == Some(address));
        if let Some(other) = other {
            tracing::warn!(
                backend = %name,
                other = %other.info.name,
                %address,
                "two folders of logs lead to one address, and nothing keeps the order between \
                 them: if the backend was renamed, move the older folder's logs into the newer one \
                 (the guide: A backend has moved to another address)"
            );
        }
    }
}
