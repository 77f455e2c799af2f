//! What an operator asks of one backend.

use super::{Backends, Hands};
use crate::replay::messages::BackendId;
use crate::status::ask::BackendAsk;

impl Backends {
    /// An operator asks for something; gives what was done, or why nothing was.
    pub(in crate::engine::control) fn handle_ask(
        &mut self,
        id: BackendId,
        what: BackendAsk,
        hands: &mut Hands<'_>,
    ) -> Result<String, &'static str> {
        let backend = self.get_mut(id).ok_or("it is not there any more")?;
        if backend.leaving.is_under_way() {
            return Err("its folder is gone, and it is being forgotten");
        }
        let monitor = &mut backend.monitor;
        let (is_done, said, not) = match what {
            BackendAsk::Pause => (
                monitor.handle_pause(hands.now),
                "paused",
                "it is paused already",
            ),
            BackendAsk::Resume => (
                monitor.handle_resume(hands.now),
                "resumed; it is probed now",
                "it is not paused",
            ),
            BackendAsk::Probe => (
                monitor.handle_probe_wanted(hands.now),
                "it is probed now",
                "it is paused, and not probed",
            ),
            BackendAsk::Forget { .. } => return Err("that is answered later"),
            BackendAsk::Rate(rate_max) => {
                backend.rate_max = rate_max;
                backend.set_lane(hands);
                let bound = backend.lane.records_per_second_max;
                return Ok(match bound {
                    0 => "its rate has no bound now".to_owned(),
                    bound => format!("at most {bound} records/s now"),
                });
            }
        };
        if is_done {
            Ok(said.to_owned())
        } else {
            Err(not)
        }
    }
}
