//! The accept loop.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::Service;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;

use super::connection::{LAST_CALL, Rejections, Terms};
use super::early::Stream;
use super::proxy_header::{self, Header};
use super::{Drain, Live, Peer, Rejected, Tls};

/// How long to wait for files or memory to be had again, where nothing here tells when.
const EXHAUSTED_PAUSE: Duration = Duration::from_secs(1);

/// Most connections of a listener that are still to introduce themselves; the next ones wait to be accepted.
const MAX_ARRIVING: usize = 1024;

/// A listening socket, and TLS if it is spoken there.
#[derive(Debug)]
pub struct Listening {
    /// The socket.
    pub socket: std::net::TcpListener,
    /// TLS.
    pub tls: Option<Arc<Tls>>,
}

impl From<std::net::TcpListener> for Listening {
    fn from(socket: std::net::TcpListener) -> Self {
        Self { socket, tls: None }
    }
}

/// Accepts connections from `listening` on the current runtime, and answers their requests by the service that
/// `make_service` makes for each; requests that do not get that far are answered by `rejections`. A connection
/// keeps the settings that it was accepted under. Returns when draining has begun and the connections have ended:
/// those without a request under way a moment later, the others after its answer; likewise those that were still
/// waiting to be accepted, unless the socket is another process's too. Dropped before, it cuts them off.
pub async fn serve<R, M, S, B>(
    listening: impl Into<Listening>,
    settings: Live,
    rejections: R,
    make_service: M,
    drain: Drain,
) where
    R: Fn(Rejected, Peer) -> Response<Bytes> + Send + Sync + 'static,
    M: Fn(Peer) -> S,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send + 'static,
    S::Future: Send + 'static,
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let Listening { socket, tls } = listening.into();
    let listener = match socket.set_nonblocking(true).and_then(|()| TcpListener::from_std(socket)) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, address = %settings.now().address, "cannot listen"),
    };
    let mut terms = Standing::new(settings, Arc::new(rejections));
    let mut acceptor = Acceptor { listener, exhausted: false };
    let mut arriving = JoinSet::new();
    let mut open = JoinSet::new();
    let attend = |introduced: Introduced, open: &mut JoinSet<()>| {
        let Introduced { stream, peer, early, terms } = introduced;
        open.spawn(terms.attend(stream, peer, early, make_service(peer), drain.clone()));
    };
    let mut receive = |(tcp, socket), arriving: &mut JoinSet<Option<Introduced>>, open: &mut JoinSet<()>| {
        let arrival = Arrival::new(tcp, socket, tls.clone(), terms.now());
        if arrival.is_proxied() || arrival.tls.is_some() {
            arriving.spawn(arrival.introduced());
        } else {
            attend(arrival.plain(BytesMut::new()), open);
        }
    };
    let mut draining = pin!(drain.started());
    loop {
        tokio::select! {
            biased;
            () = &mut draining => break,
            Some(ended) = open.join_next() => ended_well(ended),
            Some(arrived) = arriving.join_next() => {
                if let Ok(Some(arrival)) = arrived {
                    attend(arrival, &mut open);
                }
            }
            connected = acceptor.accept(), if arriving.len() < MAX_ARRIVING => receive(connected, &mut arriving, &mut open),
        }
    }
    if !drain.leaves_sockets() {
        acceptor.rest().into_iter().for_each(|connected| receive(connected, &mut arriving, &mut open));
    }
    let last_call = async {
        while let Some(arrived) = arriving.join_next().await {
            if let Ok(Some(arrival)) = arrived {
                attend(arrival, &mut open);
            }
        }
    };
    // Who has not introduced itself by then will hardly send a request.
    drop(timeout(LAST_CALL, last_call).await);
    drop(arriving);
    while let Some(ended) = open.join_next().await {
        ended_well(ended);
    }
}

fn ended_well(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection's task panicked");
    }
}

/// Most connections that are taken over when listening ends; more can't have been waiting.
const LONGEST_QUEUE: usize = 4096;

/// What holds at present.
struct Standing {
    settings: Live,
    rejections: Rejections,
    terms: Arc<Terms>,
}

impl Standing {
    fn new(settings: Live, rejections: Rejections) -> Self {
        let terms = Arc::new(Terms::new(settings.now(), Arc::clone(&rejections)));
        Self { settings, rejections, terms }
    }

    fn now(&mut self) -> Arc<Terms> {
        let settings = self.settings.now();
        if !Arc::ptr_eq(&settings, &self.terms.settings) {
            self.terms = Arc::new(Terms::new(settings, Arc::clone(&self.rejections)));
        }
        Arc::clone(&self.terms)
    }
}

/// A connection that was accepted.
struct Arrival {
    tcp: TcpStream,
    peer: Peer,
    tls: Option<Arc<Tls>>,
    terms: Arc<Terms>,
}

/// A connection that is about to be served.
struct Introduced {
    stream: Stream,
    peer: Peer,
    early: BytesMut,
    terms: Arc<Terms>,
}

impl Arrival {
    fn new(tcp: TcpStream, socket: SocketAddr, tls: Option<Arc<Tls>>, terms: Arc<Terms>) -> Self {
        let peer = Peer::connected(socket, &terms.settings.trusted_proxies);
        Self { tcp, peer, tls, terms }
    }

    /// Whether a PROXY header is due.
    fn is_proxied(&self) -> bool {
        self.terms.settings.proxy_protocol && self.peer.trusted
    }

    fn plain(self, early: BytesMut) -> Introduced {
        Introduced { stream: Stream::Plain(self.tcp), peer: self.peer, early, terms: self.terms }
    }

    /// Takes the PROXY header off, then TLS on, each in its time; `None`, with the connection closed, where there is
    /// none.
    async fn introduced(self) -> Option<Introduced> {
        let socket = self.peer.socket;
        let introducing = async {
            let (arrival, early) = self.unproxied().await?;
            arrival.secured(early).await
        };
        let introduced: Result<_, Box<dyn Error + Send + Sync>> = introducing.await;
        introduced
            .inspect_err(|error| tracing::debug!(peer = %socket, %error, "closed without a request"))
            .ok()
    }

    /// With it comes what was read behind the header.
    async fn unproxied(mut self) -> Result<(Self, BytesMut), proxy_header::ReceiveError> {
        if !self.is_proxied() {
            return Ok((self, BytesMut::new()));
        }
        let settings = &self.terms.settings;
        let (header, early) = proxy_header::receive(&mut self.tcp, settings.header_timeout).await?;
        if let Header::Source(source) = header {
            self.peer = self.peer.passed_on(source, &settings.trusted_proxies);
        }
        Ok((self, early))
    }

    async fn secured(self, early: BytesMut) -> Result<Introduced, Box<dyn Error + Send + Sync>> {
        let Self { tcp, peer, tls, terms } = self;
        let Some(tls) = tls else { return Ok(Introduced { stream: Stream::Plain(tcp), peer, early, terms }) };
        let stream = tls.handshake(tcp, early, terms.settings.header_timeout).await?;
        Ok(Introduced { stream: Stream::Tls(Box::new(stream)), peer, early: BytesMut::new(), terms })
    }
}

struct Acceptor {
    listener: TcpListener,
    /// The last accept failed for want of something, and that has been said.
    exhausted: bool,
}

impl Acceptor {
    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    self.exhausted = false;
                    // It can only fail on a connection that is gone already.
                    let _ = stream.set_nodelay(true);
                    return (stream, peer);
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => self.pause(&error).await,
            }
        }
    }

    /// Stops listening. What the kernel has accepted already is not to be reset: it may carry requests.
    fn rest(self) -> Vec<(TcpStream, SocketAddr)> {
        let Ok(listener) = self.listener.into_std() else { return Vec::new() };
        let accept = || {
            let (stream, peer) = listener.accept().ok()?;
            stream.set_nonblocking(true).and_then(|()| stream.set_nodelay(true)).ok()?;
            Some((TcpStream::from_std(stream).ok()?, peer))
        };
        std::iter::from_fn(accept).take(LONGEST_QUEUE).collect()
    }

    async fn pause(&mut self, error: &io::Error) {
        if !self.exhausted {
            self.exhausted = true;
            tracing::warn!(%error, "cannot accept connections; trying again every second");
        }
        tokio::time::sleep(EXHAUSTED_PAUSE).await;
    }
}

/// Whether it is the connection that failed, before it could be accepted, not the accepting (accept(2)).
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable, Interrupted, NetworkDown,
        NetworkUnreachable, TimedOut,
    };
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionRefused
            | ConnectionReset
            | HostUnreachable
            | Interrupted
            | NetworkDown
            | NetworkUnreachable
            | TimedOut
    )
}
