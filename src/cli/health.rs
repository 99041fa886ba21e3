//! `health`: asks the running gateway's `/readyz`, so that a container without a shell can be watched.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use hyper_util::rt::TokioIo;

use super::Failed;
use crate::admin;

const DEADLINE: Duration = Duration::from_secs(3);

/// Succeeds when the gateway is ready.
pub(super) async fn health(settings: admin::Settings) -> Result<(), Failed> {
    let asking = ask(reachable(settings.address));
    Ok(tokio::time::timeout(DEADLINE, asking).await.context("no answer in time")??)
}

async fn ask(address: SocketAddr) -> anyhow::Result<()> {
    let stream =
        tokio::net::TcpStream::connect(address).await.with_context(|| format!("nobody at {address}"))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let request = Request::get("/readyz").header("host", address.to_string()).body(Empty::<Bytes>::new())?;
    let status = sender.send_request(request).await?.status();
    if !status.is_success() {
        bail!("not ready: /readyz answered {status}");
    }
    Ok(())
}

/// A listener on all addresses is reached over the loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
