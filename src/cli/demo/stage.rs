//! What the demo plays on: a gateway, a sandbox and two subscribers in this process, on the usual ports where
//! they are free.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context, anyhow};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::subscriber::Subscriber;
use crate::app::Gateway;
use crate::config;
use crate::hub::Keys;
use crate::sandbox::{self, Handle};
use crate::xinyao::Credential;

const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// The address that the sandbox has in its whitelist. All of 127.0.0.0/8 is this host, on Linux.
const LISTED: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// Of proxy, callbacks, admin and sandbox.
const USUAL: [u16; 4] = [8080, 8081, 9090, 9100];
const APP: &str = "crm";
const APIKEY: &str = "demo-apikey";
const APISECRET: &str = "demo-apisecret";
/// How much faster than life calls go.
const SPEED: f64 = 20.0;

/// Everything that runs.
pub(super) struct Stage {
    gateway: Gateway,
    pub(super) sandbox: Handle,
    pub(super) sandbox_address: SocketAddr,
    pub(super) source_ip: IpAddr,
    /// Where the SaaS pushes to.
    pub(super) callback_url: String,
    /// Takes everything, and knows what to say to callers.
    pub(super) crm: Subscriber,
    /// Takes every other event at the second try only.
    pub(super) warehouse: Subscriber,
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
    /// Goes when the demo ends.
    _store: TempDir,
}

impl Stage {
    /// Sets it up.
    pub(super) async fn set() -> anyhow::Result<Self> {
        match Self::on(ports(USUAL)?).await {
            Ok(stage) => Ok(stage),
            // Somebody was faster, most likely: another demo.
            Err(_) => Self::on(ports([0; 4])?).await,
        }
    }

    async fn on([proxy, callbacks, admin, sandbox]: [SocketAddr; 4]) -> anyhow::Result<Self> {
        let source_ip = if TcpListener::bind((LISTED, 0)).is_ok() { LISTED } else { HOME };
        let credential = Credential { apikey: APIKEY.into(), apisecret: APISECRET.into() };
        let sandbox = sandbox::bind(sandbox::Settings {
            speed: SPEED,
            allowed_ips: vec![source_ip],
            ..sandbox::Settings::new(sandbox, credential)
        });
        let sandbox = sandbox.await.context("the sandbox cannot listen")?;
        let (sandbox_address, handle) = (sandbox.local_addr(), sandbox.handle());

        let store = tempfile::Builder::new().prefix("xinyao-gateway-demo-").tempdir();
        let store = store.context("there is no room for the demo's store")?;
        let (crm, warehouse) = (Subscriber::start(false).await?, Subscriber::start(true).await?);
        let written = json!({
            "listen": { "proxy": proxy, "callbacks": callbacks, "admin": admin },
            "proxy_url": format!("http://{proxy}"),
            "upstream": {
                "base_url": format!("http://{sandbox_address}"),
                "recordings_url": format!("http://{sandbox_address}"),
            },
            "egress": { "allowed_ips": [source_ip], "source_ips": [source_ip] },
            "credentials": { "default": { "apikey": APIKEY, "apisecret": APISECRET } },
            "apps": [{ "name": APP, "networks": ["127.0.0.0/8"] }],
            "callbacks": { "public_url": format!("http://{callbacks}"), "key": "demo-callback-key" },
            "subscribers": [
                { "name": "crm-hook", "url": format!("http://{}/events", crm.address), "enrich": true },
                {
                    "name": "warehouse",
                    "url": format!("http://{}/events", warehouse.address),
                    "retry": ["1s", "2s", "4s", "8s"],
                },
            ],
            "inbound_query": [
                { "responders": [{ "name": "crm", "url": format!("http://{}/inbound", crm.address) }] },
            ],
            "store": { "path": store.path().join("gateway.db") },
        });
        // Nothing of the environment goes in: the demo is the same everywhere.
        let loaded = config::parse("demo", &written.to_string(), &BTreeMap::new())
            .map_err(|faults| anyhow!("the demo's configuration is refused: {faults}"))?;
        let hub = &loaded.config.hub;
        let callback_url = Keys::new(&hub.keys).url(&hub.public_url, APP, None);
        let gateway = Gateway::start(loaded.config).await?;

        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(sandbox.run(async { drop(stopped.await) }));
        Ok(Self {
            gateway,
            sandbox: handle,
            sandbox_address,
            source_ip,
            callback_url,
            crm,
            warehouse,
            stop,
            running,
            _store: store,
        })
    }

    /// Where unsigned requests go.
    pub(super) fn proxy(&self) -> SocketAddr {
        self.gateway.proxy_address
    }

    /// Where operators look.
    pub(super) fn admin(&self) -> SocketAddr {
        self.gateway.admin_address
    }

    /// The subscribers, by name.
    pub(super) fn subscribers(&self) -> [(&'static str, &Subscriber); 2] {
        [("crm-hook", &self.crm), ("warehouse", &self.warehouse)]
    }

    /// Ends it all, in order.
    pub(super) async fn clear(self) {
        self.gateway.stop().await;
        drop(self.stop);
        // A panic in there has been reported by its thread.
        drop(self.running.await);
    }
}

/// The ports that are wanted, or free ones in place of those that are taken.
fn ports<const N: usize>(wanted: [u16; N]) -> anyhow::Result<[SocketAddr; N]> {
    // All are held until each is settled, so that no two are the same.
    let mut held = Vec::new();
    let mut addresses = [SocketAddr::new(HOME, 0); N];
    for (address, port) in addresses.iter_mut().zip(wanted) {
        let listener = TcpListener::bind((HOME, port)).or_else(|_| TcpListener::bind((HOME, 0)));
        let listener = listener.context("there is no free port")?;
        *address = listener.local_addr()?;
        held.push(listener);
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_gives_way_to_a_free_one() {
        let taken = TcpListener::bind((HOME, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let [first, second] = ports([port, port]).unwrap();
        assert!(first.port() != port && second.port() != port && first != second);
    }
}
