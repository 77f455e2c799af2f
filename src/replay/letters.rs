//! What a monitor's orders mean to the others, and in which order each hears of them.
//!
//! | order | who is told | and not before |
//! |---|---|---|
//! | a new backend | feeder; keeper | the keeper when the feeder knows it |
//! | flush | keeper; feeder and workers | these when the keeper knows that a flush has begun |
//! | open, once its [`Gate`] lets it | workers; feeder | the feeder when every worker can take its batches |
//! | ttl | workers | |
//! | forget | workers; feeder, which tells the keeper | when the keeper has all that it was told before; the feeder when every worker has let go |

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::replay::lane::LaneSettings;
use crate::replay::messages::{BackendId, BackendInfo, Epoch, FeederMail, KeeperMail, WorkerMail};
use crate::replay::post::{After, Post};
use crate::replay::reachability::gate::{Gate, Opened, Request};

impl Post {
    /// A backend has been found.
    pub fn introduce(&mut self, info: &BackendInfo) {
        self.feeder(After::Nothing, FeederMail::Backend(info.clone()));
        self.keeper(After::Feeder, KeeperMail::Backend(info.clone()));
    }

    /// An epoch begins. What is in flight may be answered until `drain_until`, monotonic; none: it is let go at once.
    pub fn flush(&mut self, backend: BackendId, epoch: Epoch, drain_until: Option<Duration>) {
        self.keeper(After::Nothing, KeeperMail::Flush { backend, epoch });
        self.feeder(After::Keeper, FeederMail::Down { backend, epoch });
        self.workers(After::Keeper, || WorkerMail::Flush {
            backend,
            epoch,
            drain_until,
        });
    }

    /// What would be lost if a backend were forgotten?
    pub fn ask_left(&mut self, backend: BackendId) {
        self.keeper(After::Nothing, KeeperMail::AskLeft { backend });
    }

    /// A backend that is flushed and stays down is to be forgotten.
    pub fn forget(&mut self, backend: BackendId) {
        self.workers(After::Keeper, || WorkerMail::Forget { backend });
        self.feeder(After::Workers, FeederMail::Forget { backend });
    }

    /// What a gate asks of the keeper.
    pub fn keep_outages(&mut self, backend: BackendId, gate: &mut Gate) {
        while let Some(request) = gate.poll_request() {
            let mail = match request {
                Request::Keep(bytes) => KeeperMail::KeepOutages { backend, bytes },
                Request::Forget => KeeperMail::ForgetOutages { backend },
            };
            self.keeper(After::Nothing, mail);
        }
    }

    /// A backend is up, at `address`.
    pub fn open(
        &mut self,
        info: &BackendInfo,
        opened: Opened,
        address: SocketAddr,
        settings: &Arc<LaneSettings>,
    ) {
        let backend = info.id;
        let Opened {
            epoch,
            ttl_ready,
            outages,
        } = opened;
        self.workers(After::Nothing, || WorkerMail::Open {
            backend,
            epoch,
            address,
            settings: Arc::clone(settings),
            counters: Arc::clone(&info.counters),
        });
        let up = FeederMail::Up {
            backend,
            epoch,
            outages,
        };
        self.feeder(After::Workers, up);
        if let Some(ready) = ttl_ready {
            self.ttl(backend, ready);
        }
    }

    /// Whether records with a ttl may go.
    pub fn ttl(&mut self, backend: BackendId, ready: bool) {
        self.workers(After::Nothing, || WorkerMail::Ttl { backend, ready });
    }
}
