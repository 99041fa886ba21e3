//! Source IPs: which there are, and whether they are this host's.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};

use super::EgressError;
use crate::net::SourceIps;

/// Whether `address` can be dialled from `source`: both IPv4, or both IPv6.
pub fn compatible(source: Option<IpAddr>, address: SocketAddr) -> bool {
    source.is_none_or(|source| source.is_ipv4() == address.is_ipv4())
}

/// The sources to connect from: never empty, and each an address of this host.
pub(super) fn settle(wanted: &SourceIps, allowed: &[IpAddr]) -> Result<Vec<Option<IpAddr>>, EgressError> {
    let sources: Vec<_> = match wanted {
        SourceIps::None => Vec::new(),
        SourceIps::Auto => ours(allowed)?,
        SourceIps::List(list) => list.iter().map(here).collect::<Result<_, _>>()?,
    };
    Ok(if sources.is_empty() { vec![None] } else { sources.into_iter().map(Some).collect() })
}

fn ours(allowed: &[IpAddr]) -> Result<Vec<IpAddr>, EgressError> {
    let ours: Vec<_> = allowed.iter().filter_map(|address| here(address).ok()).collect();
    if ours.is_empty() {
        return Err(EgressError::NoneHere { allowed: allowed.to_vec() });
    }
    Ok(ours)
}

/// The kernel lets only a host's own addresses be bound (unless `ip_nonlocal_bind` is set, and then
/// the operator has said so).
fn here(address: &IpAddr) -> Result<IpAddr, EgressError> {
    let address = address.to_canonical();
    match TcpListener::bind((address, 0)) {
        Ok(_) if !address.is_unspecified() => Ok(address),
        Ok(_) => {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "it stands for any address");
            Err(EgressError::NotHere { address, source })
        }
        Err(source) => Err(EgressError::NotHere { address, source }),
    }
}
