//! The logs of a backend as an operator sees them.

use std::collections::HashSet;

use super::Points;
use super::log::Log;
use crate::ledger::identity::LogKey;
use crate::ledger::rejected;
use crate::limits::LOGS_SHOWN_MAX;
use crate::replay::checkpointer::backend_state::{BackendState, Context};
use crate::replay::disk::{Area, Disk};
use crate::status::control_request::{LogList, LogPlace};

impl Points {
    /// Those that are not in their folder any more and were not delivered, then those in it, in the
    /// order in which they are replayed: the first of them.
    pub(in crate::replay::checkpointer) fn list_logs<D: Disk>(
        &mut self,
        backend_state: &BackendState,
        cx: &mut Context<'_, D>,
    ) -> Result<LogList, String> {
        let entries = cx.disk.entries(Area::Logs, backend_state.name());
        let mut entries = entries.map_err(|error| error.to_string())?;
        let there: HashSet<LogKey> = entries.iter().map(|entry| entry.meta.key()).collect();
        let mut away = self.away.undelivered(backend_state, there, cx.now.unix);
        away.retain(|log| log.copy.is_none());
        away.sort_by(|one, other| one.name.cmp(&other.name));
        entries.retain(|entry| entry.name != rejected::STAGED);
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        let all = away.len() + entries.len();
        let gone = away.iter().map(
            |Log {
                 name,
                 bytes,
                 settled,
                 ..
             }| LogPlace {
                name: name.to_string(),
                bytes: *bytes,
                completed_bytes: *settled,
                changed_unix: 0,
                gone: true,
            },
        );
        let ledger = backend_state.ledger();
        let there = entries.iter().map(|entry| {
            let completed = ledger.and_then(|ledger| ledger.settled_anywhere(entry.meta.key()));
            LogPlace {
                name: entry.name.clone(),
                bytes: entry.meta.bytes,
                completed_bytes: completed.unwrap_or(0).min(entry.meta.bytes),
                changed_unix: entry.meta.modified_nanos / 1_000_000_000,
                gone: false,
            }
        });
        let logs: Vec<LogPlace> = gone.chain(there).take(LOGS_SHOWN_MAX).collect();
        let more = (all - logs.len()) as u64;
        Ok(LogList { logs, more })
    }
}
