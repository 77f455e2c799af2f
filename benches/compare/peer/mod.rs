//! The peer: a replayer of the same log as one would write it today with tokio and hyper, in a
//! process of its own.
//!
//! It is given every advantage: one thread, so nothing crosses cores; the log is read in large
//! chunks and decoded in place; heads are composed by the product's own code; keys, values and
//! targets are slices of what was read, never copies; a key's lane and its order are the product's.
//! What it lacks costs the product time: it keeps no ledger, writes no checkpoint, answers no
//! polls, replaces no connection, retries nothing.

mod chunks;
mod replay;

use std::io::Read;
use std::path::Path;

use crate::figure::Figure;
use crate::reference;
use crate::{CONNECTIONS, Outcome};

/// What the bench starts itself with to be the peer.
#[derive(Debug, clap::Args)]
pub(crate) struct PeerArgs {
    /// Be the peer, for the sink at this address
    #[arg(long, hide = true, value_name = "HOST:PORT", requires = "peer_logs")]
    pub(crate) peer: Option<String>,
    /// The peer's logs
    #[arg(long, hide = true, value_name = "FOLDER")]
    peer_logs: Option<std::path::PathBuf>,
}

/// In the peer's own process: replays, says how it went, and waits to be measured.
pub(crate) fn be(args: &PeerArgs, address: &str) -> Outcome<()> {
    let logs = args.peer_logs.as_deref().expect("clap requires it");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(|error| error.to_string())?;
    let done = runtime.block_on(replay::replay(address, logs, CONNECTIONS as usize))?;
    println!("{} {}", done.records, done.seconds);
    // Its CPU time is read while it still is.
    let _ = std::io::stdin().read(&mut [0]);
    Ok(())
}

/// One run of the peer over the logs in `folder`, which have `records` records.
pub(crate) fn run(address: &str, folder: &Path, records: u64) -> Outcome<Figure> {
    reference::run("peer", address, folder, records)
}
