//! What the reconciler knows of the world besides logs and masters.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::reconcile::master::Master;
use crate::reconcile::table::Table;

/// See the module.
pub trait Surroundings {
    /// HA's table as it is now.
    ///
    /// # Errors
    /// It cannot be read; a sentence that names the file.
    fn table(&mut self) -> Result<Arc<Table>, String>;

    /// Where a master is that could not be reached the last `failures` times: with each, the next
    /// address of its name has its turn. Never waits: a name that has to be looked up is pending
    /// until it is.
    fn address(&mut self, name: &str, failures: u32) -> Address;
}

/// What is known of a master's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Known(SocketAddr),
    /// It is being looked up.
    Pending,
    /// It cannot be looked up; a sentence.
    Unknown(String),
}

/// Finds out where a master is, unless that is known.
pub(crate) fn find(master: &mut Master, surroundings: &mut dyn Surroundings) {
    if master.has_address() {
        return;
    }
    match surroundings.address(&master.name, master.failures()) {
        Address::Known(address) => master.set_address(address),
        Address::Pending => {}
        Address::Unknown(why) => master.handle_unresolved(why),
    }
}
