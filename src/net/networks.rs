//! Sets of addresses, given as CIDRs.

use std::fmt;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixSet;

/// A set of IPv4 and IPv6 networks; one look-up costs the same however many there are.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Networks {
    v4: PrefixSet<Ipv4Net>,
    v6: PrefixSet<Ipv6Net>,
}

impl Networks {
    /// Whether `address` is in one of them. An IPv4-mapped IPv6 address is the IPv4 address that it maps.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(v4) => self.v4.get_lpm(&Ipv4Net::from(v4)).is_some(),
            IpAddr::V6(v6) => self.v6.get_lpm(&Ipv6Net::from(v6)).is_some(),
        }
    }

    /// Whether all of `network` is in one of them.
    pub fn covers(&self, network: IpNet) -> bool {
        match network {
            IpNet::V4(net) => self.v4.get_lpm(&net).is_some(),
            IpNet::V6(net) => self.v6.get_lpm(&net).is_some(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.v4.iter().next().is_none() && self.v6.iter().next().is_none()
    }

    /// All of them, IPv4 first.
    pub fn iter(&self) -> impl Iterator<Item = IpNet> + '_ {
        self.v4.iter().map(IpNet::V4).chain(self.v6.iter().map(IpNet::V6))
    }
}

impl FromIterator<IpNet> for Networks {
    fn from_iter<I: IntoIterator<Item = IpNet>>(networks: I) -> Self {
        let mut set = Self::default();
        for network in networks {
            match network {
                IpNet::V4(net) => set.v4.insert(net.trunc()),
                IpNet::V6(net) => set.v6.insert(net.trunc()),
            };
        }
        set
    }
}

impl fmt::Debug for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_its_networks_hold() {
        let set: Networks =
            ["10.20.0.0/16", "192.168.1.7/32", "fd00::/8"].iter().map(|n| n.parse().unwrap()).collect();
        for (address, inside) in [
            ("10.20.255.1", true),
            ("10.21.0.1", false),
            ("192.168.1.7", true),
            ("::ffff:10.20.0.1", true),
            ("fd12::1", true),
            ("fe80::1", false),
        ] {
            assert_eq!(set.contains(address.parse().unwrap()), inside, "{address}");
        }
        assert!(!set.is_empty() && Networks::default().is_empty());
        for (network, inside) in
            [("10.20.0.0/16", true), ("10.20.7.0/24", true), ("10.0.0.0/8", false), ("fd12::/16", true)]
        {
            assert_eq!(set.covers(network.parse().unwrap()), inside, "{network}");
        }
    }
}
