//! `health`: asks the running gateway's `/readyz`, so that a container without a shell can be watched.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::Request;

use super::Failed;
use super::exchange::exchange;
use crate::admin;
use crate::net::{Origin, Scheme};

const DEADLINE: Duration = Duration::from_secs(3);

/// Succeeds when the gateway is ready.
pub(super) async fn health(settings: admin::Settings) -> Result<(), Failed> {
    let asking = ask(reachable(settings.address));
    Ok(tokio::time::timeout(DEADLINE, asking).await.context("no answer in time")??)
}

async fn ask(origin: Origin) -> anyhow::Result<()> {
    let request = Request::get("/readyz").body(Bytes::new())?;
    let status = exchange(&origin, request).await?.status;
    if !status.is_success() {
        bail!("not ready: /readyz answered {status}");
    }
    Ok(())
}

/// How a listener of this host is reached; one on all addresses is reached over the loopback.
pub(super) fn reachable(address: SocketAddr) -> Origin {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    Origin { scheme: Scheme::Http, host: ip.to_string(), port: address.port() }
}
