//! Who may connect: `network.access_allow`.
//!
//! Contract: a peer is admitted if the list is empty or one of its entries holds the peer's
//! address. An IPv4 peer that a dual-stack socket shows as `::ffff:a.b.c.d` is the IPv4 peer.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use ipnet::IpNet;

/// Addresses, `a-b` ranges and networks. Empty admits everyone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessList {
    /// Both ends of one family, neither IPv4-mapped, start ≤ end.
    ranges: Vec<RangeInclusive<IpAddr>>,
    /// As it stood in the file.
    text: String,
}

/// Why a text is no access list. The message names the entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// No address, range or network.
    #[error(
        "{0:?} is neither an address, nor a range such as 10.0.0.1-10.0.0.9, nor a network such as \
         10.0.0.0/8"
    )]
    Entry(String),
    /// A range from an IPv4 to an IPv6 address or the reverse.
    #[error("the range {0:?} has an IPv4 and an IPv6 end")]
    MixedRange(String),
    /// A range that ends before it begins.
    #[error("the range {0:?} ends before it begins")]
    ReversedRange(String),
    /// Nothing but commas, which must not come to mean everyone.
    #[error("it has commas but no entry")]
    NoEntry,
}

impl AccessList {
    /// Whether a peer with this address may connect.
    #[must_use]
    pub(crate) fn admits(&self, peer: IpAddr) -> bool {
        // Ranges of the other family don't hold the peer: every IPv4 address sorts before every
        // IPv6 one.
        let peer = peer.to_canonical();
        self.ranges.is_empty() || self.ranges.iter().any(|range| range.contains(&peer))
    }

    /// Whether nobody is kept out of a listener at this address: of the families that it takes, the
    /// list has every address of one.
    #[must_use]
    pub(crate) fn admits_everyone(&self, listener: IpAddr) -> bool {
        let ipv4 = || self.covers(Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::BROADCAST.into());
        let ipv6 = || self.covers(Ipv6Addr::UNSPECIFIED.into(), [0xff; 16].into());
        let takes_all = match listener.to_canonical() {
            IpAddr::V4(_) => ipv4(),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => ipv4() || ipv6(),
            IpAddr::V6(_) => ipv6(),
        };
        self.ranges.is_empty() || takes_all
    }

    /// Whether the ranges together have every address from `first` to `last`, of one family.
    fn covers(&self, first: IpAddr, last: IpAddr) -> bool {
        let is_of_family =
            |range: &&RangeInclusive<IpAddr>| range.start().is_ipv4() == first.is_ipv4();
        let mut ranges: Vec<_> = self.ranges.iter().filter(is_of_family).collect();
        ranges.sort_unstable_by_key(|range| *range.start());
        let mut missing = number(first);
        for range in ranges {
            if number(*range.start()) > missing || missing > number(last) {
                break;
            }
            match number(*range.end()).checked_add(1) {
                Some(next) => missing = missing.max(next),
                None => return true,
            }
        }
        missing > number(last)
    }

    /// The loopback address to listen on where the list admits this machine only: IPv4's, if it
    /// names both families.
    #[must_use]
    pub(crate) fn loopback(&self) -> Option<IpAddr> {
        // The loopback addresses of either family are one range, so both ends tell.
        let is_loopback = |range: &RangeInclusive<IpAddr>| {
            range.start().is_loopback() && range.end().is_loopback()
        };
        let first = self.ranges.iter().min_by_key(|range| *range.start())?;
        self.ranges
            .iter()
            .all(is_loopback)
            .then(|| match first.start() {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            })
    }

    /// Whether somebody whom the list admits can reach a listener at this address. A peer's address
    /// is of the listener's family, but `::` takes IPv4 too; loopback is reached from loopback.
    #[must_use]
    pub(crate) fn reaches(&self, listener: IpAddr) -> bool {
        let listener = listener.to_canonical();
        let takes = |range: &RangeInclusive<IpAddr>| match listener {
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => true,
            IpAddr::V6(Ipv6Addr::LOCALHOST) => range.contains(&listener),
            IpAddr::V4(address) if address.is_loopback() => {
                let [first, last] = [[127, 0, 0, 0], [127, 255, 255, 255]].map(IpAddr::from);
                *range.start() <= last && *range.end() >= first
            }
            _ => range.start().is_ipv4() == listener.is_ipv4(),
        };
        self.ranges.is_empty() || self.ranges.iter().any(takes)
    }
}

/// An address as a number, within its family.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

impl FromStr for AccessList {
    type Err = AccessError;

    fn from_str(text: &str) -> Result<Self, AccessError> {
        // The original passes over an empty entry, such as after a last comma.
        let entries = text
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty());
        let ranges: Vec<_> = entries.map(parse_entry).collect::<Result<_, _>>()?;
        if ranges.is_empty() && !text.trim().is_empty() {
            return Err(AccessError::NoEntry);
        }
        Ok(Self {
            ranges,
            text: text.trim().to_owned(),
        })
    }
}

fn parse_entry(entry: &str) -> Result<RangeInclusive<IpAddr>, AccessError> {
    let unreadable = || AccessError::Entry(entry.to_owned());
    let (start, end): (IpAddr, IpAddr) = if let Some((start, end)) = entry.split_once('-') {
        (
            start.trim().parse().map_err(|_| unreadable())?,
            end.trim().parse().map_err(|_| unreadable())?,
        )
    } else if entry.contains('/') {
        let net: IpNet = entry.parse().map_err(|_| unreadable())?;
        (net.network(), net.broadcast())
    } else {
        let address = entry.parse().map_err(|_| unreadable())?;
        (address, address)
    };
    let (start, end) = canonical(start, end);
    if start.is_ipv4() != end.is_ipv4() {
        Err(AccessError::MixedRange(entry.to_owned()))
    } else if start > end {
        Err(AccessError::ReversedRange(entry.to_owned()))
    } else {
        Ok(start..=end)
    }
}

/// Both ends as IPv4 where both are IPv4-mapped; a wider IPv6 range that only touches the mapped
/// ones stays what it is.
fn canonical(start: IpAddr, end: IpAddr) -> (IpAddr, IpAddr) {
    match (start.to_canonical(), end.to_canonical()) {
        (IpAddr::V4(start), IpAddr::V4(end)) => (start.into(), end.into()),
        _ => (start, end),
    }
}

impl fmt::Display for AccessList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> AccessList {
        text.parse().expect(text)
    }

    fn check(text: &str, admitted: &[&str], refused: &[&str]) {
        let list = list(text);
        for peer in admitted {
            assert!(list.admits(peer.parse().unwrap()), "{text:?} admits {peer}");
        }
        for peer in refused {
            assert!(
                !list.admits(peer.parse().unwrap()),
                "{text:?} refuses {peer}"
            );
        }
    }

    #[test]
    fn an_empty_list_admits_everyone() {
        check("", &["127.0.0.1", "8.8.8.8", "2001:db8::1"], &[]);
        check("  ", &["8.8.8.8"], &[]);
    }

    #[test]
    fn addresses_and_ranges_admit_what_they_name_to_the_last_address() {
        check("127.0.0.1", &["127.0.0.1"], &["127.0.0.2", "::1"]);
        check(
            "10.0.0.5-10.0.1.7, 192.168.1.1",
            &["10.0.0.5", "10.0.0.255", "10.0.1.7", "192.168.1.1"],
            &["10.0.0.4", "10.0.1.8", "192.168.1.2"],
        );
        check("10.0.0.1,", &["10.0.0.1"], &["10.0.0.2"]);
    }

    #[test]
    fn networks_are_whole_also_when_a_host_address_stands_for_them() {
        check(
            "10.1.2.3/8,2001:db8::/32",
            &["10.0.0.0", "10.255.255.255", "2001:db8:ffff::1"],
            &["11.0.0.0", "2001:db9::"],
        );
        check("0.0.0.0/0", &["8.8.8.8", "::ffff:8.8.8.8"], &["::1"]);
        check("::1-::5", &["::1", "::5"], &["::6", "0.0.0.1"]);
    }

    #[test]
    fn an_ipv4_mapped_peer_is_its_ipv4_address() {
        check("127.0.0.1", &["::ffff:127.0.0.1"], &["::ffff:127.0.0.2"]);
        check(
            "::ffff:10.0.0.1",
            &["10.0.0.1", "::ffff:10.0.0.1"],
            &["10.0.0.2"],
        );
        check("::ffff:10.0.0.0/120", &["10.0.0.255"], &["10.0.1.0"]);
        check("::/0", &["2001:db8::1"], &["10.0.0.1", "::ffff:10.0.0.1"]);
    }

    #[test]
    fn loopback_only_is_told_from_the_rest() {
        for (text, expected) in [
            ("127.0.0.1", "127.0.0.1"),
            ("127.0.0.1,::1", "127.0.0.1"),
            ("::1,127.0.0.1", "127.0.0.1"),
            ("127.0.0.0/8", "127.0.0.1"),
            ("127.0.0.1-127.0.0.9", "127.0.0.1"),
            ("::ffff:127.0.0.1", "127.0.0.1"),
            ("::1", "::1"),
        ] {
            assert_eq!(list(text).loopback(), expected.parse().ok(), "{text}");
        }
        for text in [
            "",
            "127.0.0.1,10.0.0.1",
            "126.0.0.1-127.0.0.1",
            "127.0.0.1-128.0.0.1",
            "::1/64",
            "::1,10.0.0.1",
            "0.0.0.0/0",
        ] {
            assert_eq!(list(text).loopback(), None, "{text}");
        }
    }

    #[test]
    fn a_listener_is_reached_by_its_own_family_and_on_loopback_from_there() {
        for (text, listener, expected) in [
            ("", "0.0.0.0", true),
            ("::1", "0.0.0.0", false),
            ("::1", "::", true),
            ("127.0.0.1", "::", true),
            ("::1", "127.0.0.1", false),
            ("127.0.0.1", "::1", false),
            ("10.0.0.0/8", "127.0.0.1", false),
            ("126.0.0.0-128.0.0.0", "127.0.0.1", true),
            ("::/0", "::1", true),
            ("2001:db8::1", "::1", false),
            ("2001:db8::1", "2001:db8::2", true),
            ("2001:db8::1", "0.0.0.0", false),
            ("2001:db8::1,10.0.0.1", "10.0.0.2", true),
            ("127.0.0.1", "::ffff:127.0.0.1", true),
            ("10.0.0.0/8", "::ffff:127.0.0.1", false),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
        ] {
            let reaches = list(text).reaches(listener.parse().unwrap());
            assert_eq!(reaches, expected, "{text:?} {listener}");
        }
    }

    #[test]
    fn what_is_no_list_is_named() {
        let error = |text: &str| text.parse::<AccessList>().unwrap_err();
        assert_eq!(
            error("127.0.0.1,localhost"),
            AccessError::Entry("localhost".to_owned())
        );
        assert_eq!(
            error("127.0.0.1;10.0.0.1"),
            AccessError::Entry("127.0.0.1;10.0.0.1".to_owned())
        );
        assert_eq!(
            error("10.0.0.0/33"),
            AccessError::Entry("10.0.0.0/33".to_owned())
        );
        assert_eq!(
            error("10.0.0.9-10.0.0.1"),
            AccessError::ReversedRange("10.0.0.9-10.0.0.1".to_owned())
        );
        assert_eq!(
            error("10.0.0.9-::1"),
            AccessError::MixedRange("10.0.0.9-::1".to_owned())
        );
        assert_eq!(error(" , ,"), AccessError::NoEntry);
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".*", peer: std::net::IpAddr) {
            if let Ok(list) = text.parse::<AccessList>() {
                let _ = (list.admits(peer), list.loopback(), list.reaches(peer));
            }
        }

        #[test]
        fn a_prefix_admits_exactly_the_addresses_that_share_it(
            network: u32,
            peer: u32,
            length in 0u32..=32,
        ) {
            let mask = if length == 0 {
                0
            } else {
                u32::MAX << (32 - length)
            };
            let list = list(&format!("{}/{length}", std::net::Ipv4Addr::from(network)));
            for peer in [peer, network ^ (peer & 3), network ^ (peer >> 29 << 29)] {
                proptest::prop_assert_eq!(
                    list.admits(std::net::Ipv4Addr::from(peer).into()),
                    network & mask == peer & mask
                );
            }
        }
    }
}
