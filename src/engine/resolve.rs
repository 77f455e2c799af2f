//! Looking up a backend's name, on a thread that lives for that only: the system's resolver blocks,
//! for many seconds where a name server is silent. The monitor asks for one look-up at a time, so
//! there is at most one such thread a backend.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::thread;

use crate::config::{BackendName, Host};
use crate::limits::OUTBOX_RETRY;
use crate::replay::controller::action::Wanted;
use crate::replay::mailbox::Mailbox;
use crate::replay::messages::{BackendId, ControlMessage};

/// Gives all addresses of a host's name, with this port. It may block.
pub type Resolver = Arc<dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync>;

/// The system's: hosts file, DNS, whatever is configured.
#[must_use]
pub fn system_resolver() -> Resolver {
    Arc::new(|host, port| (host, port).to_socket_addrs().map(Iterator::collect))
}

/// The address of a backend that is named by one; none: its name has to be looked up.
#[must_use]
pub(crate) fn written_address(name: &BackendName) -> Option<SocketAddr> {
    match name.host {
        Host::Address(address) => Some(SocketAddr::new(address, name.port)),
        Host::Name(_) => None,
    }
}

/// Looks `name` up, and gives the address, or why there is none, to `tell` on the thread of the
/// look-up.
///
/// # Errors
/// There is no thread for it: then nothing will be told.
pub(crate) fn look_up(
    name: &BackendName,
    wanted: Wanted,
    resolver: &Resolver,
    tell: impl FnOnce(Result<SocketAddr, String>) + Send + 'static,
) -> Result<(), String> {
    let (asked, resolver) = (name.clone(), Arc::clone(resolver));
    thread::Builder::new()
        .name("resolve".to_owned())
        .spawn(move || tell(resolve(&asked, wanted, &resolver)))
        .map(drop)
        .map_err(|error| format!("cannot look up its name {name}: no thread for it: {error}"))
}

/// Tells control an address by [`ControlMessage::Resolved`].
pub(crate) fn tell_control(
    backend: BackendId,
    address: Result<SocketAddr, String>,
    control: &Mailbox<ControlMessage>,
) {
    let mut message = ControlMessage::Resolved { backend, address };
    while let Err(back) = control.send(message) {
        message = back;
        thread::sleep(OUTBOX_RETRY);
    }
}

fn resolve(name: &BackendName, wanted: Wanted, resolver: &Resolver) -> Result<SocketAddr, String> {
    match &name.host {
        Host::Address(address) => Ok(SocketAddr::new(*address, name.port)),
        Host::Name(host) => resolver(host, name.port)
            .map_err(|error| format!("its name {host} does not resolve: {error}"))
            .and_then(|addresses| {
                choose(addresses, wanted).ok_or_else(|| format!("its name {host} has no address"))
            }),
    }
}

/// hustdb listens on IPv4 unless told otherwise, so those addresses come first.
fn choose(mut addresses: Vec<SocketAddr>, wanted: Wanted) -> Option<SocketAddr> {
    if wanted
        .proven
        .is_some_and(|proven| addresses.contains(&proven))
    {
        return wanted.proven;
    }
    addresses.sort_by_key(SocketAddr::is_ipv6);
    let index = wanted.attempt.checked_rem(addresses.len())?;
    Some(addresses[index])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, expected: Result<&str, &str>) {
        let name = BackendName::parse(name).unwrap();
        match (
            resolve(&name, Wanted::default(), &system_resolver()),
            expected,
        ) {
            (Ok(address), Ok(expected)) => assert_eq!(address, expected.parse().unwrap()),
            (Err(why), Err(expected)) => assert!(why.starts_with(expected), "{why}"),
            (got, _) => panic!("{name}: {got:?}"),
        }
    }

    #[test]
    fn of_several_addresses_the_proven_one_is_kept_and_others_are_tried_in_turn() {
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let all = ["[::1]:1", "10.0.0.1:1", "10.0.0.2:1"].map(address);
        let choose = |proven: Option<&str>, attempt| {
            let proven = proven.map(address);
            choose(all.to_vec(), Wanted { proven, attempt })
        };
        for (attempt, expected) in ["10.0.0.1:1", "10.0.0.2:1", "[::1]:1", "10.0.0.1:1"]
            .into_iter()
            .enumerate()
        {
            assert_eq!(choose(None, attempt), Some(address(expected)));
            assert_eq!(choose(Some("10.9.9.9:1"), attempt), Some(address(expected)));
            assert_eq!(choose(Some("[::1]:1"), attempt), Some(address("[::1]:1")));
        }
        assert_eq!(super::choose(Vec::new(), Wanted::default()), None);
    }

    #[test]
    fn addresses_are_taken_as_written_and_names_looked_up() {
        check("127.0.0.1:9998", Ok("127.0.0.1:9998"));
        check("[::1]:9998", Ok("[::1]:9998"));
        check(
            "nobody.invalid:9998",
            Err("its name nobody.invalid does not resolve: "),
        );
        let address = |name| written_address(&BackendName::parse(name).unwrap());
        assert_eq!(address("10.0.0.1:1"), Some("10.0.0.1:1".parse().unwrap()));
        assert_eq!(address("localhost:1"), None);
    }
}
