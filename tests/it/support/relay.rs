//! A way to a server that can be cut.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    /// Nothing passes, and nobody is told.
    Silent,
    /// Every connection is closed.
    Closed,
}

/// Passes connections on to a server. It ends when it is dropped.
pub struct Relay {
    /// Where it listens.
    pub address: SocketAddr,
    way: watch::Sender<Way>,
    serving: JoinHandle<()>,
}

impl Relay {
    /// One on this address of the loopback network, on a free port.
    pub async fn on(local: &str, server: SocketAddr) -> Self {
        let listener = TcpListener::bind((local, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (way, ways) = watch::channel(Way::Open);
        let serving = tokio::spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                open.spawn(pass(client, server, ways.clone()));
                while open.try_join_next().is_some() {}
            }
        });
        Self { address, way, serving }
    }

    /// From now on nothing passes, as when a cable is pulled.
    pub fn silence(&self) {
        self.way.send_replace(Way::Silent);
    }

    /// Closes all connections, and those that are made from now on.
    pub fn close(&self) {
        self.way.send_replace(Way::Closed);
    }

    /// Passes again; what waits on silent connections too.
    pub fn mend(&self) {
        self.way.send_replace(Way::Open);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn pass(client: TcpStream, server: SocketAddr, mut ways: watch::Receiver<Way>) {
    if ways.wait_for(|way| *way != Way::Silent).await.is_err() || *ways.borrow() == Way::Closed {
        return;
    }
    let Ok(server) = TcpStream::connect(server).await else { return };
    client.set_nodelay(true).ok();
    server.set_nodelay(true).ok();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let closed = async |mut ways: watch::Receiver<Way>| drop(ways.wait_for(|way| *way == Way::Closed).await);
    tokio::select! {
        () = pump(from_client, to_server, ways.clone()) => {}
        () = pump(from_server, to_client, ways.clone()) => {}
        () = closed(ways.clone()) => {}
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut ways: watch::Receiver<Way>) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else { return };
        if ways.wait_for(|way| *way == Way::Open).await.is_err()
            || to.write_all(&buffer[..read]).await.is_err()
        {
            return;
        }
    }
}
