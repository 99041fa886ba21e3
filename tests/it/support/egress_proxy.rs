//! Proxies on the way out: CONNECT and SOCKS 5, as far as the gateway needs them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::message::Seen;

/// A proxy that tunnels to wherever it is asked, and keeps what it was asked.
pub struct EgressProxy {
    /// Where it listens.
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    serving: JoinHandle<()>,
}

impl EgressProxy {
    /// One that takes `CONNECT`.
    pub async fn connect() -> Self {
        Self::start(true).await
    }

    /// One that speaks SOCKS 5, with user and password.
    pub async fn socks() -> Self {
        Self::start(false).await
    }

    async fn start(http: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let kept = Arc::clone(&asked);
        let serving = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            loop {
                let (mut stream, peer) = listener.accept().await.unwrap();
                let kept = Arc::clone(&kept);
                open.spawn(async move {
                    let target =
                        if http { by_connect(&mut stream).await } else { by_socks(&mut stream).await };
                    let Some((target, login)) = target else { return };
                    kept.lock().unwrap().push(format!("{target} for {login} from {}", peer.ip()));
                    let Ok(mut onward) = TcpStream::connect(&target).await else { return };
                    let _ = copy_bidirectional(&mut stream, &mut onward).await;
                });
            }
        });
        Self { address, asked, serving }
    }

    /// What it was asked: `TARGET for LOGIN from ADDRESS` each.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for EgressProxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn by_connect(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let seen = Seen::of(&String::from_utf8(head).ok()?, stream.peer_addr().ok()?);
    let answer = if seen.method == "CONNECT" { "200 Fine" } else { "405 No" };
    stream.write_all(format!("HTTP/1.1 {answer}\r\n\r\n").as_bytes()).await.ok()?;
    (seen.method == "CONNECT").then(|| (seen.target.clone(), seen.header("proxy-authorization").to_owned()))
}

async fn by_socks(stream: &mut TcpStream) -> Option<(String, String)> {
    assert_eq!(stream.read_u8().await.ok()?, 5);
    let mut offered = vec![0; stream.read_u8().await.ok()?.into()];
    stream.read_exact(&mut offered).await.ok()?;
    let mut login = String::new();
    let method = offered.iter().max().copied()?;
    stream.write_all(&[5, method]).await.ok()?;
    if method == 2 {
        assert_eq!(stream.read_u8().await.ok()?, 1);
        let (user, password) = (text(stream).await?, text(stream).await?);
        login = format!("{user}:{password}");
        stream.write_all(&[1, 0]).await.ok()?;
    }
    let mut request = [0; 4];
    stream.read_exact(&mut request).await.ok()?;
    assert_eq!(request[..3], [5, 1, 0]);
    let host = match request[3] {
        1 => std::net::Ipv4Addr::from(stream.read_u32().await.ok()?).to_string(),
        3 => text(stream).await?,
        other => panic!("address type {other}"),
    };
    let port = stream.read_u16().await.ok()?;
    stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await.ok()?;
    Some((format!("{host}:{port}"), login))
}

async fn text(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = vec![0; stream.read_u8().await.ok()?.into()];
    stream.read_exact(&mut bytes).await.ok()?;
    String::from_utf8(bytes).ok()
}
