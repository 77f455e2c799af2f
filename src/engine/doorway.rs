//! From the configuration to HA's door.

use std::time::Duration;

use crate::config::Config;
use crate::engine::listener::ListenerOptions;
use crate::engine::os::socket::SocketOptions;
use crate::http::server::ServerLimits;
use crate::limits::{DEFER_ACCEPT_SECONDS, HTTP_CONNECTIONS_MAX};

/// How to listen, by this configuration.
#[must_use]
pub fn listener_options(config: &Config) -> ListenerOptions {
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
        connections_max: HTTP_CONNECTIONS_MAX,
    }
}
