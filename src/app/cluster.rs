//! Tells the replicas that share the store of this one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::proxy::Proxy;
use crate::store::{About, Store};

const EVERY: Duration = Duration::from_secs(1);

/// Where this process listens: its proxy, its callbacks listener, its operators' listener.
pub(super) type Addresses = [SocketAddr; 3];

/// Tells them every second; does not end, where there are others.
pub(super) async fn tell(store: Arc<dyn Store>, proxy: Arc<Proxy>, addresses: Addresses) {
    while store.replica().is_some() {
        store.tell_about(about(&proxy, addresses));
        tokio::time::sleep(EVERY).await;
    }
}

fn about(proxy: &Proxy, addresses: Addresses) -> About {
    let status = proxy.status();
    let [proxy, callbacks, admin] = addresses.map(|address| address.to_string());
    About {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        proxy,
        callbacks,
        admin,
        source_ips: status.egress.source_ips.into_iter().map(|source| source.address).collect(),
        in_flight: status.in_flight as u64,
        // The store knows.
        waiting_events: 0,
    }
}
