//! What the demo plays on: a gateway and a sandbox in this process, on the usual ports where they are free.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context, anyhow};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::app::Gateway;
use crate::config;
use crate::sandbox::{self, Handle};
use crate::xinyao::Credential;

const HOME: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// The address that the sandbox has in its whitelist. All of 127.0.0.0/8 is this host, on Linux.
const LISTED: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
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
    stop: oneshot::Sender<()>,
    running: JoinHandle<()>,
    /// Goes when the demo ends.
    _store: TempDir,
}

impl Stage {
    /// Sets it up.
    pub(super) async fn set() -> anyhow::Result<Self> {
        let source_ip = if TcpListener::bind((LISTED, 0)).is_ok() { LISTED } else { HOME };
        let [proxy, callbacks, admin, sandbox] = ports([8080, 8081, 9090, 9100])?;
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
        let written = json!({
            "listen": { "proxy": proxy, "callbacks": callbacks, "admin": admin },
            "proxy_url": format!("http://{proxy}"),
            "upstream": {
                "base_url": format!("http://{sandbox_address}"),
                "recordings_url": format!("http://{sandbox_address}"),
            },
            "egress": { "allowed_ips": [source_ip], "source_ips": [source_ip] },
            "credentials": { "default": { "apikey": APIKEY, "apisecret": APISECRET } },
            "apps": [{ "name": "crm", "networks": ["127.0.0.0/8"] }],
            "callbacks": { "public_url": format!("http://{callbacks}"), "key": "demo-callback-key" },
            "store": { "path": store.path().join("gateway.db") },
        });
        // Nothing of the environment goes in: the demo is the same everywhere.
        let loaded = config::parse("demo", &written.to_string(), &BTreeMap::new())
            .map_err(|faults| anyhow!("the demo's configuration is refused: {faults}"))?;
        let gateway = Gateway::start(loaded.config).await?;

        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(sandbox.run(async { drop(stopped.await) }));
        Ok(Self { gateway, sandbox: handle, sandbox_address, source_ip, stop, running, _store: store })
    }

    /// Where unsigned requests go.
    pub(super) fn proxy(&self) -> SocketAddr {
        self.gateway.proxy_address
    }

    /// Where operators look.
    pub(super) fn admin(&self) -> SocketAddr {
        self.gateway.admin_address
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
