//! One connection, from its first request to its end.

use std::convert::Infallible;
use std::error::Error;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::Service;
use hyper_util::rt::TokioIo;

use super::answer::{Answerer, UnderWay};
use super::early::Stream;
use super::guard::Guard;
use super::head::Limits;
use super::linger::linger;
use super::patience::Patience;
use super::{Drain, Peer, Rejected};

use crate::net::ListenSettings;

/// hyper's own default; up to it the fields of a head are kept on the stack while it is read.
const HYPERS_MAX_HEADERS: usize = 100;
/// How much of a body hyper reads at most at a time, and how much of an answer it keeps to be written.
const MIN_BUFFER: usize = 64 << 10;

/// How long a connection that stands unused when draining begins is still listened to: a request that was sent as it
/// began is answered, and the answer asks the client to come back on another connection.
pub const LAST_CALL: Duration = Duration::from_millis(500);

/// What answers a request of a peer's that does not get to the service.
pub(super) type Rejections = Arc<dyn Fn(Rejected, Peer) -> Response<Bytes> + Send + Sync>;

/// What holds for all connections that a listener accepts while it has these settings.
pub(super) struct Terms {
    pub(super) settings: Arc<ListenSettings>,
    http: Builder,
    limits: Limits,
    rejections: Rejections,
}

impl Terms {
    pub(super) fn new(settings: Arc<ListenSettings>, rejections: Rejections) -> Self {
        let mut http = Builder::new();
        // hyper's own limits lie outside those of the guard, which has answers for who runs into them.
        http.header_read_timeout(None);
        http.max_buf_size(settings.max_header_bytes.saturating_mul(2).max(MIN_BUFFER));
        if settings.max_headers > HYPERS_MAX_HEADERS {
            http.max_headers(settings.max_headers);
        }
        Self {
            http,
            limits: Limits { max_headers: settings.max_headers, max_bytes: settings.max_header_bytes },
            settings,
            rejections,
        }
    }

    /// The answer to a request of `peer`'s that does not get to the service.
    pub(super) fn reject(&self, rejected: Rejected, peer: Peer) -> Response<Bytes> {
        (self.rejections)(rejected, peer)
    }

    /// Answers the requests of `peer`'s that come by `stream`, of which `early` has been read already.
    pub(super) async fn attend<S, B>(
        self: Arc<Self>,
        stream: Stream,
        peer: Peer,
        early: BytesMut,
        service: S,
        drain: Drain,
    ) where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
        B: http_body::Body<Data = Bytes> + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let under_way = Arc::<UnderWay>::default();
        let patience = Patience::new(self.settings.header_timeout);
        let guard = Guard::new(stream, early, self.limits, patience, Arc::clone(&under_way), drain.clone());
        let answerer =
            Answerer { service, peer, terms: Arc::clone(&self), under_way: Arc::clone(&under_way) };
        let mut connection = self.http.serve_connection(TokioIo::new(guard), answerer);
        let mut draining = pin!(drain.started());
        let mut last_call = None;
        let mut told = false;
        let mut waits = false;
        let ended = poll_fn(|cx| {
            // What has come is read before the connection is told to stop, lest a request be lost.
            let ended = Pin::new(&mut connection).poll(cx);
            if ended.is_ready() || told {
                return ended;
            }
            // Polled once, to be woken by it; from then on a look at the flag does.
            if !waits {
                waits = true;
                let _ = draining.as_mut().poll(cx);
            }
            if !drain.is_started() {
                return Poll::Pending;
            }
            let calling = last_call.get_or_insert_with(|| Box::pin(tokio::time::sleep(LAST_CALL)));
            if !under_way.is() && calling.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            told = true;
            Pin::new(&mut connection).graceful_shutdown();
            Pin::new(&mut connection).poll(cx)
        });
        if let Err(error) = ended.await {
            tracing::debug!(%error, "a client's connection ended early");
        }
        if let Some(stream) = connection.into_parts().io.into_inner().unfinished() {
            // Boxed, as the task of each connection would have to be large enough for it.
            Box::pin(linger(stream)).await;
        }
    }
}
