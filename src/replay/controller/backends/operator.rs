//! An operator's requests about one backend.

use super::{Backends, Context};
use crate::replay::messages::BackendId;
use crate::status::control_request::BackendRequest;

impl Backends {
    /// Carries out an operator's request. Returns what was done, or why nothing was.
    pub(in crate::replay::controller) fn handle_ask(
        &mut self,
        id: BackendId,
        what: BackendRequest,
        cx: &mut Context<'_>,
    ) -> Result<String, &'static str> {
        let backend = self.get_mut(id).ok_or("it is not there any more")?;
        if backend.leaving.is_under_way() {
            return Err("its folder is gone, and it is being forgotten");
        }
        let monitor = &mut backend.monitor;
        // Who asks for what is so already has what they want.
        let said = match what {
            BackendRequest::Pause if monitor.handle_pause() => "paused",
            BackendRequest::Pause => "it is paused already",
            BackendRequest::Resume if monitor.handle_resume(cx.now) => "resumed; it is probed now",
            BackendRequest::Resume => "it is not paused",
            BackendRequest::Probe if monitor.handle_probe_wanted(cx.now) => "it is probed now",
            BackendRequest::Probe => return Err("it is paused, and not probed"),
            BackendRequest::Forget { .. } => return Err("that is answered later"),
            BackendRequest::Rate(rate_max) => {
                backend.rate_max = rate_max;
                backend.set_lane(cx);
                return Ok(match backend.lane.records_per_second_max {
                    0 => "its rate has no bound now".to_owned(),
                    bound => format!("at most {bound} records/s now"),
                });
            }
        };
        Ok(said.to_owned())
    }
}
