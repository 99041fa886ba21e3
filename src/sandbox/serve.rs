//! Accepting connections, and running campaigns beside them.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use super::campaign::Campaign;
use super::exchange::exchange;
use super::handle::Handle;
use super::house::House;

const MAX_CONNECTIONS: usize = 1024;
/// To the end of a request's head, from the connection's first byte or the end of the last answer.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
const GRACE: Duration = Duration::from_secs(2);
/// Until the next try, when accepting failed, most likely for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A sandbox that has its address.
#[derive(Debug)]
pub struct Sandbox {
    pub(super) address: SocketAddr,
    pub(super) listener: TcpListener,
    pub(super) house: Arc<House>,
    pub(super) queue: mpsc::Receiver<Campaign>,
}

impl Sandbox {
    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Its remote control.
    pub fn handle(&self) -> Handle {
        Handle::new(Arc::clone(&self.house))
    }

    /// Serves until `shutdown` is over. Then requests under way have two seconds to finish; campaigns are
    /// broken off.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = pin!(shutdown);
        let (mut connections, mut campaigns) = (JoinSet::new(), JoinSet::new());
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let closing = watch::Sender::new(false);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                Some(_) = connections.join_next() => {}
                Some(_) = campaigns.join_next() => {}
                Some(campaign) = self.queue.recv() => {
                    campaigns.spawn(campaign.run(Arc::clone(&self.house)));
                }
                (stream, peer, slot) = accept(&self.listener, &slots) => {
                    let (house, closed) = (Arc::clone(&self.house), closing.subscribe());
                    connections.spawn(async move {
                        converse(house, stream, peer, closed).await;
                        drop(slot);
                    });
                }
            }
        }
        drop(self.listener);
        closing.send_replace(true);
        let drained = async { while connections.join_next().await.is_some() {} };
        // Past the grace the set is dropped, and what is left in it is aborted.
        tokio::time::timeout(GRACE, drained).await.unwrap_or_default();
    }
}

/// The next connection, once there is room for it.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> (TcpStream, SocketAddr, Option<OwnedSemaphorePermit>) {
    // The semaphore is never closed, so there always is a permit.
    let slot = Arc::clone(slots).acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (stream, peer, slot),
            Err(error) => {
                tracing::warn!(%error, "sandbox: a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// All requests of one connection.
async fn converse(house: Arc<House>, stream: TcpStream, peer: SocketAddr, mut closed: watch::Receiver<bool>) {
    // Answers are small; without it the peer's delayed acknowledgement would hold them back.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "sandbox: TCP_NODELAY");
    }
    let service = service_fn(|request| exchange(Arc::clone(&house), peer, request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let over = tokio::select! {
        over = connection.as_mut() => over,
        _ = closed.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = over {
        tracing::debug!(%error, %peer, "sandbox: connection ended");
    }
}
