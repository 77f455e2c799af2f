//! From the configuration to the HTTP server.

use std::time::Duration;

use crate::config::Config;
use crate::engine::listener::ListenerOptions;
use crate::engine::os::socket::SocketOptions;
use crate::http::server::ServerLimits;
use crate::limits::{
    BACKEND_OPEN_FILES, BACKENDS_EXPECTED, DEFER_ACCEPT_SECONDS, HTTP_CONNECTIONS_MAX,
    HTTP_SERVER_LEAST_OF_OPEN_FILES, HTTP_SERVER_LEAVES_OF_OPEN_FILES, HTTP_UNSENT_BYTES_MAX,
    OWN_OPEN_FILES,
};

/// Files that may be open in all when so many backends are replayed to.
#[must_use]
fn open_files_of(backends: u64, config: &Config) -> u64 {
    let lanes = u64::try_from(config.sync.connections_per_backend).unwrap_or(u64::MAX);
    lanes
        .saturating_add(BACKEND_OPEN_FILES)
        .saturating_mul(backends)
        .saturating_add(OWN_OPEN_FILES)
}

/// Connections that the HTTP server may have in a process that may have `open_files_max` files
/// open: what the rest does not need, so that a many clients at the HTTP server takes no connection
/// from a backend.
#[must_use]
pub fn connections_max(config: &Config, open_files_max: u64) -> usize {
    let rest = open_files_of(BACKENDS_EXPECTED, config)
        .max(open_files_max / HTTP_SERVER_LEAVES_OF_OPEN_FILES);
    let share = open_files_max
        .saturating_sub(rest)
        .max(open_files_max / HTTP_SERVER_LEAST_OF_OPEN_FILES);
    usize::try_from(share)
        .unwrap_or(usize::MAX)
        .clamp(1, HTTP_CONNECTIONS_MAX)
}

/// What is to be said where fewer files may be open than the backends whose folders are there and
/// the HTTP server want.
#[must_use]
pub(crate) fn few_open_files(config: &Config, open_files_max: u64) -> Option<String> {
    let backends = std::fs::read_dir(&config.sync.logs_path).map_or(0, |all| all.count() as u64);
    let http_server = connections_max(config, open_files_max) as u64;
    let wanted = open_files_of(backends, config).saturating_add(http_server);
    (wanted > open_files_max).then(|| {
        format!(
            "{open_files_max} may be open, and {backends} backends with the HTTP server want up to \
             {wanted}; raise it (systemd: LimitNOFILE=), or lower sync.connections_per_backend"
        )
    })
}

/// How to listen, by this configuration, in a process that may have `open_files_max` files open.
#[must_use]
pub(crate) fn listener_options(config: &Config, open_files_max: u64) -> ListenerOptions {
    let network = &config.network;
    ListenerOptions {
        address: config.listen_address(),
        socket: SocketOptions {
            backlog: i32::try_from(network.backlog).unwrap_or(i32::MAX),
            reuse_port: network.enable_reuseport,
            no_delay: network.enable_nodelay,
            defer_accept: network
                .enable_defer_accept
                .then_some(Duration::from_secs(DEFER_ACCEPT_SECONDS)),
        },
        limits: ServerLimits {
            body_bytes_max: network.max_body_size as u64,
            requests_max: network.max_keepalive_requests,
            recv_timeout: network.recv_timeout,
            send_timeout: network.send_timeout,
            send_continue: !network.disable_100_cont,
        },
        connections_max: connections_max(config, open_files_max),
        unsent_bytes_max: HTTP_UNSENT_BYTES_MAX,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_http_server_leaves_what_the_rest_needs() {
        let config = Config::parse("{}", Path::new("sync_server.json")).unwrap();
        // 16 lanes and 16 more files for each of 32 backends, and our own.
        assert_eq!(open_files_of(32, &config), 1088);
        for (open_files, connections) in [
            (0, 1),
            (256, 32),
            (1024, 128),
            (4096, 3008),
            (20_000, 15_000),
            (1 << 20, HTTP_CONNECTIONS_MAX),
            (u64::MAX, HTTP_CONNECTIONS_MAX),
        ] {
            let options = listener_options(&config, open_files);
            assert_eq!(options.connections_max, connections, "{open_files}");
            assert_eq!(options.address, "127.0.0.1:8089".parse().unwrap());
        }
    }
}
