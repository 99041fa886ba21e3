//! Connections over real sockets; time is paused once the peer is known to keep silent.

mod http_proxy;
mod socks;
mod source;
mod tcp;
mod tls;

use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::*;
use crate::net::{Http2, SourceIps};

fn settings() -> EgressSettings {
    EgressSettings {
        source_ips: SourceIps::None,
        allowed_ips: Vec::new(),
        proxy: None,
        // Far beyond what any test takes, unless its time is paused.
        connect_timeout: Duration::from_mins(1),
        idle_timeout: Duration::from_mins(1),
        http2: Http2::Auto,
        ca_file: None,
    }
}

fn origin(scheme: Scheme, host: &str, port: u16) -> Origin {
    Origin { scheme, host: host.to_owned(), port }
}

async fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// What an egress proxy that follows a script heard, and the connection.
type Heard = JoinHandle<(Vec<Vec<u8>>, TcpStream)>;

/// An egress proxy: reads as many bytes as each step says, then writes what it says.
async fn proxy(steps: Vec<(usize, Vec<u8>)>) -> (SocketAddr, Heard) {
    let (listener, address) = listen().await;
    let heard = tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let mut heard = Vec::new();
        for (length, answer) in steps {
            let mut bytes = vec![0; length];
            tcp.read_exact(&mut bytes).await.unwrap();
            heard.push(bytes);
            // Who is answered with garbage may be gone by the end of it.
            let _ = tcp.write_all(&answer).await;
        }
        (heard, tcp)
    });
    (address, heard)
}

fn through(kind: EgressProxyKind, address: SocketAddr, login: Option<(&str, &str)>) -> EgressSettings {
    let login = login.map(|(user, password)| (user.to_owned(), password.into()));
    let proxy = EgressProxy { kind, host: address.ip().to_string(), port: address.port(), login };
    EgressSettings { proxy: Some(proxy), ..settings() }
}

/// That what is sent now passes through, in both directions, from the first byte.
async fn is_open(stream: &mut Stream, peer: &mut TcpStream) {
    let mut four = [0; 4];
    stream.write_all(b"ping").await.unwrap();
    peer.read_exact(&mut four).await.unwrap();
    assert_eq!(&four, b"ping");
    peer.write_all(b"pong").await.unwrap();
    stream.read_exact(&mut four).await.unwrap();
    assert_eq!(&four, b"pong");
}
