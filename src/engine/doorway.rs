//! From the configuration to HA's door.

use std::time::Duration;

use crate::config::Config;
use crate::engine::listener::ListenerOptions;
use crate::engine::os::socket::SocketOptions;
use crate::http::server::ServerLimits;
use crate::limits::{DEFER_ACCEPT_SECONDS, DOOR_SHARE_OF_OPEN_FILES, HTTP_CONNECTIONS_MAX};

/// How to listen, by this configuration, in a process that may have `open_files_max` files open.
#[must_use]
pub fn listener_options(config: &Config, open_files_max: u64) -> ListenerOptions {
    let share = usize::try_from(open_files_max / DOOR_SHARE_OF_OPEN_FILES).unwrap_or(usize::MAX);
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
        connections_max: HTTP_CONNECTIONS_MAX.min(share).max(1),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_door_leaves_most_of_the_open_files_to_the_rest() {
        let config = Config::parse("{}", Path::new("sync_server.json")).unwrap();
        for (open_files, connections) in [(1024, 256), (1 << 20, HTTP_CONNECTIONS_MAX), (0, 1)] {
            let options = listener_options(&config, open_files);
            assert_eq!(options.connections_max, connections);
            assert_eq!(options.address, "127.0.0.1:8089".parse().unwrap());
        }
    }
}
