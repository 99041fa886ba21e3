//! Who calls: the first app that has the caller's address and accepts its token.

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;

use super::app::App;
use super::call::Call;
use super::refusal::Refusal;
use super::settings::AppSettings;
use crate::net::client_address::client_address;

/// Finds the caller's app.
///
/// # Errors
/// No app has the address, or those that have it want another token.
pub fn admit(call: &mut Call) -> Result<(), Refusal> {
    let running = &call.worker.running;
    let address =
        client_address(&call.record.peer, &call.head.headers, &running.settings.listen.trusted_proxies);
    call.record.client = address;
    let candidates = call.worker.admission.candidates(address);
    let token = bearer(&call.head.headers);
    match candidates.iter().find(|app| app.accepts(token)) {
        Some(app) => {
            call.record.app = Arc::clone(app);
            Ok(())
        }
        None if candidates.is_empty() => Err(Refusal::NotAllowed(address)),
        None => Err(Refusal::BadToken(address)),
    }
}

/// Credentials of the `Bearer` scheme (RFC 6750 §2.1), whose name is case-insensitive.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// For each network, the apps that may call from it, in the order they are configured in.
pub struct Admission {
    v4: PrefixMap<Ipv4Net, Vec<Arc<App>>>,
    v6: PrefixMap<Ipv6Net, Vec<Arc<App>>>,
}

impl Admission {
    /// From the apps and their settings, in the same order.
    pub fn new(apps: &[Arc<App>], settings: &[AppSettings]) -> Self {
        let mut admission = Self { v4: PrefixMap::new(), v6: PrefixMap::new() };
        let networks = settings.iter().flat_map(|app| app.networks.iter());
        for network in networks {
            // One look-up must give all: a narrow network lists the apps of the wider ones around it too.
            let around = settings.iter().zip(apps).filter(|(app, _)| app.networks.covers(network));
            let around: Vec<Arc<App>> = around.map(|(_, app)| Arc::clone(app)).collect();
            match network {
                IpNet::V4(net) => drop(admission.v4.insert(net, around)),
                IpNet::V6(net) => drop(admission.v6.insert(net, around)),
            }
        }
        admission
    }

    /// Apps that may call from `address`.
    pub fn candidates(&self, address: IpAddr) -> &[Arc<App>] {
        let found = match address {
            IpAddr::V4(v4) => self.v4.get_lpm(&Ipv4Net::from(v4)).map(|(_, apps)| apps),
            IpAddr::V6(v6) => self.v6.get_lpm(&Ipv6Net::from(v6)).map(|(_, apps)| apps),
        };
        found.map_or(&[], Vec::as_slice)
    }
}
