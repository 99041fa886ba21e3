//! One TCP connection, from a chosen local address.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};

/// How long a connection may be silent before the kernel asks whether the peer is still there. Below the
/// few minutes after which NATs and firewalls forget a connection without telling.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
const KEEPALIVE_TRIES: u32 = 3;
/// How long sent bytes may stay unacknowledged; without it a peer that vanished in the midst of an upload
/// is given up after a quarter of an hour.
const UNACKNOWLEDGED: Duration = Duration::from_mins(1);

pub(super) async fn connect(address: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_nodelay(true)?;
    if let Err(error) = watch_peer(&socket) {
        // Kernels and sandboxes that lack it connect all the same.
        tracing::debug!(%error, "no keep-alive or TCP_USER_TIMEOUT here");
    }
    if let Some(source) = source {
        bind(&socket, source)?;
    }
    socket.connect(address).await
}

fn watch_peer(socket: &TcpSocket) -> io::Result<()> {
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_AFTER)
        .with_interval(KEEPALIVE_EVERY)
        .with_retries(KEEPALIVE_TRIES);
    let socket = SockRef::from(socket);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))
}

/// A bind would take a port for this socket alone, so that some 28,000 connections to all peers together
/// would be all. Told that no port is needed yet, the kernel picks one when it connects, and shares it
/// between peers.
fn bind(socket: &TcpSocket, source: IpAddr) -> io::Result<()> {
    if let Err(error) = setsockopt(socket, sockopt::IpBindAddressNoPort, &true) {
        tracing::debug!(%error, "no IP_BIND_ADDRESS_NO_PORT here");
    }
    socket.bind(SocketAddr::new(source, 0))
}
