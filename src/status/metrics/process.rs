//! The metrics of the process: itself, its memory, its disk, its threads, its HTTP server.

use std::fmt;

use super::sheet::{Labels, Sheet};
use crate::status::server::Server;
use crate::status::snapshot::Snapshot;

/// One sample without labels.
fn only<T>(value: T) -> [(Labels<'static>, T); 1] {
    [(Labels::none(), value)]
}

pub(super) fn encode(snapshot: &Snapshot, sheet: &mut Sheet<'_>) -> fmt::Result {
    sheet.info(
        "hustdbsync_build",
        "The version of hustdbsync that runs.",
        Labels::one("version", env!("CARGO_PKG_VERSION")),
    )?;
    ours(&snapshot.server, sheet)?;
    http_server(&snapshot.server, sheet)?;
    system(&snapshot.server, sheet)
}

fn ours(server: &Server, sheet: &mut Sheet<'_>) -> fmt::Result {
    sheet.gauge(
        "hustdbsync_memory_used_bytes",
        "Bytes of log in memory, buffers that wait to be used again among them.",
        only(server.memory_bytes),
    )?;
    sheet.gauge(
        "hustdbsync_memory_budget_bytes",
        "Bytes of log that may be in memory (memory_budget).",
        only(server.memory_budget_bytes),
    )?;
    sheet.gauge(
        "hustdbsync_logs_path_listed",
        "1 while the folder of logs (sync.logs_path) can be listed; 0 before its first listing, \
         and while it cannot be: new backends are not found then. The log says why.",
        only(u64::from(server.logs_listed)),
    )?;
    sheet.histogram(
        "hustdbsync_checkpoint_duration_seconds",
        "How long checkpoints took, of whatever backend: from being begun to the file and its \
         folder being synced.",
        [(Labels::none(), server.checkpoint_times)],
    )?;
    sheet.gauge(
        "hustdbsync_thread_stuck_seconds",
        "For how long a thread has been at one and the same turn; 0 while it sleeps or goes on. \
         /healthz fails from 30 on.",
        server.threads.iter().map(|thread| {
            (
                Labels::one("thread", &thread.name),
                thread.stuck.as_secs_f64(),
            )
        }),
    )
}

fn http_server(server: &Server, sheet: &mut Sheet<'_>) -> fmt::Result {
    let http_server = &server.http_server;
    sheet.gauge(
        "hustdbsync_http_connections",
        "Connections that were open at the listener that HA polls, just before this scrape.",
        only(http_server.connections),
    )?;
    sheet.counter(
        "hustdbsync_http_connections_accepted",
        "Connections that the listener took in.",
        only(http_server.accepted),
    )?;
    sheet.counter(
        "hustdbsync_http_connections_denied",
        "Connections that the listener closed at once, since their peer is not in \
         network.access_allow.",
        only(http_server.denied),
    )?;
    sheet.counter(
        "hustdbsync_http_connections_evicted",
        "Connections that the listener closed to make room for others, or since they did not take \
         their answers.",
        only(http_server.evicted),
    )?;
    sheet.counter(
        "hustdbsync_http_requests",
        "Requests that the listener answered.",
        only(http_server.answered),
    )?;
    sheet.counter(
        "hustdbsync_http_accept_pauses",
        "Times that the listener accepted nobody for a moment, since the system had no descriptor \
         or memory left.",
        only(http_server.pauses),
    )
}

fn system(server: &Server, sheet: &mut Sheet<'_>) -> fmt::Result {
    let Some(process) = &server.process else {
        return Ok(());
    };
    sheet.gauge(
        "process_start_time_seconds",
        "When the process was started, in seconds since 1970.",
        only(process.start_seconds),
    )?;
    sheet.counter(
        "process_cpu_seconds",
        "User and system time that the process has taken, in seconds.",
        only(process.cpu_seconds),
    )?;
    sheet.gauge(
        "process_resident_memory_bytes",
        "Memory of the process that is resident, in bytes.",
        only(process.resident_bytes),
    )?;
    sheet.gauge(
        "process_virtual_memory_bytes",
        "Address space of the process, in bytes.",
        only(process.virtual_bytes),
    )?;
    sheet.gauge(
        "process_threads",
        "Threads of the process.",
        only(process.threads),
    )?;
    sheet.gauge(
        "process_open_fds",
        "Descriptors that the process has open.",
        only(process.open_fds),
    )?;
    sheet.gauge(
        "process_max_fds",
        "Descriptors that the process may have open.",
        only(process.max_fds),
    )
}
