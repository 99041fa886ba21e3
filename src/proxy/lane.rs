//! A connection to the upstream.
//!
//! Over HTTP/1.1 nothing runs in the background: whoever waits for an answer polls the connection
//! along, in its own task. That spares a task switch each way, and an unused connection costs nothing.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::Sleep;

use super::outgoing::Outgoing;
use super::way::Route;
use crate::net::connect::{Connected, Protocol, Stream};

/// A connection that takes requests.
pub enum Lane {
    /// HTTP/1.1: one request at a time.
    Http1(Box<Http1>),
    /// HTTP/2: one of many handles.
    Http2(Http2),
}

/// A handle to an HTTP/2 connection, which runs as its own task.
#[derive(Clone)]
pub struct Http2 {
    /// Where it leads.
    pub route: Route,
    sender: http2::SendRequest<Outgoing>,
}

/// A connection and its sender.
pub struct Http1 {
    /// Where it leads.
    pub route: Route,
    sender: http1::SendRequest<Outgoing>,
    connection: http1::Connection<TokioIo<Stream>, Outgoing>,
    closed: bool,
    timer: Option<Pin<Box<Sleep>>>,
    _open: Open,
}

/// Counts an open connection, for as long as this lives.
pub struct Open(Arc<AtomicUsize>);

impl Open {
    /// One more.
    pub fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What hyper's sender comes back with.
pub type Answering = Result<Response<Incoming>, TrySendError<Request<Outgoing>>>;

/// Why there is no answer.
pub enum SendError {
    /// The connection had been closed; the request comes back unsent.
    Unsent(Box<Request<Outgoing>>),
    /// The connection was lost on the way.
    Lost(hyper::Error),
    /// Time was up.
    Timeout,
}

impl Lane {
    /// Begins to speak HTTP over a new connection.
    ///
    /// # Errors
    /// The HTTP/2 preface could not be written.
    pub async fn begin(connected: Connected, route: Route, open: Open) -> hyper::Result<Self> {
        let io = TokioIo::new(connected.stream);
        match connected.protocol {
            Protocol::Http1 => {
                let (sender, connection) = http1::handshake(io).await?;
                let lane = Http1 { route, sender, connection, closed: false, timer: None, _open: open };
                Ok(Self::Http1(Box::new(lane)))
            }
            Protocol::Http2 => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
                tokio::spawn(async move {
                    let _open = open;
                    if let Err(error) = connection.await {
                        tracing::debug!(%error, "an HTTP/2 connection to the upstream ended");
                    }
                });
                Ok(Self::Http2(Http2 { route, sender }))
            }
        }
    }

    /// Where it leads.
    pub fn route(&self) -> Route {
        match self {
            Self::Http1(lane) => lane.route,
            Self::Http2(lane) => lane.route,
        }
    }
}

impl Http2 {
    /// Whether it takes requests.
    pub fn is_usable(&self) -> bool {
        self.sender.is_ready()
    }

    /// Sends a request, and waits for the answer's head until `patience` ends.
    pub async fn send(
        &mut self,
        request: Request<Outgoing>,
        mut patience: Patience<'_>,
    ) -> Result<Response<Incoming>, SendError> {
        let mut answer = pin!(self.sender.try_send_request(request));
        loop {
            match tokio::time::timeout_at(patience.until.into(), answer.as_mut()).await {
                Ok(answer) => return answer.map_err(failed),
                Err(_) if patience.is_over() => return Err(SendError::Timeout),
                Err(_) => {}
            }
        }
    }
}

impl Http1 {
    /// Hands the connection a request. Nothing moves before [`wait`](Self::wait) polls it along. Apart from it,
    /// so that the request is no part of what waits.
    pub fn begin(&mut self, request: Request<Outgoing>) -> impl Future<Output = Answering> + use<> {
        self.sender.try_send_request(request)
    }

    /// Waits for the answer's head until `patience` ends.
    pub async fn wait(
        &mut self,
        mut answer: Pin<&mut impl Future<Output = Answering>>,
        mut patience: Patience<'_>,
    ) -> Result<Response<Incoming>, SendError> {
        let (connection, closed, timer) = (&mut self.connection, &mut self.closed, &mut self.timer);
        poll_fn(|cx| {
            if !*closed && Pin::new(&mut *connection).poll(cx).is_ready() {
                *closed = true;
            }
            if let Poll::Ready(answer) = answer.as_mut().poll(cx) {
                return Poll::Ready(answer.map_err(failed));
            }
            while poll_timer(timer, patience.until, cx).is_ready() {
                if patience.is_over() {
                    return Poll::Ready(Err(SendError::Timeout));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Polls the connection along with `body`, which it feeds.
    pub fn poll_body(
        &mut self,
        body: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<hyper::body::Frame<bytes::Bytes>>>> {
        if let Poll::Ready(frame) = Pin::new(&mut *body).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        if !self.closed && Pin::new(&mut self.connection).poll(cx).is_ready() {
            self.closed = true;
        }
        Pin::new(body).poll_frame(cx)
    }

    /// Whether it takes another request: all of the last one is done, and the server has not closed it.
    pub fn is_usable(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        if !self.closed && Pin::new(&mut self.connection).poll(&mut cx).is_ready() {
            self.closed = true;
        }
        !self.closed && self.sender.is_ready()
    }

    /// Lets it run by itself until its request and answer are through, and then close.
    pub fn run_out(self) {
        tokio::spawn(async move {
            let Self { sender, connection, _open, .. } = self;
            drop(sender);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the upstream broke off");
            }
        });
    }
}

/// One timer serves all requests of a connection: it is not set anew for each, which would cost a lock,
/// but only looks, when it goes off, whether it was meant.
fn poll_timer(timer: &mut Option<Pin<Box<Sleep>>>, until: Instant, cx: &mut Context<'_>) -> Poll<()> {
    let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(until.into())));
    if timer.deadline().into_std() > until {
        timer.as_mut().reset(until.into());
    }
    while timer.as_mut().poll(cx).is_ready() {
        if Instant::now() >= until {
            timer.as_mut().reset(until.into());
            return Poll::Ready(());
        }
        timer.as_mut().reset(until.into());
    }
    Poll::Pending
}

fn failed(mut error: TrySendError<Request<Outgoing>>) -> SendError {
    match error.take_message() {
        Some(request) => SendError::Unsent(Box::new(request)),
        None => SendError::Lost(error.into_error()),
    }
}

/// How long an answer is waited for.
pub struct Patience<'a> {
    /// When it ends, as far as is known.
    pub until: Instant,
    /// When the upstream was last not the one to be waited for, asked anew when time is up.
    pub extend: &'a (dyn Fn() -> Option<Instant> + Send + Sync),
}

impl Patience<'_> {
    /// Asks whether it has ended; if not, it knows a later end.
    fn is_over(&mut self) -> bool {
        let now = Instant::now();
        match (self.extend)() {
            Some(until) if until > now => {
                self.until = until;
                false
            }
            _ => true,
        }
    }
}
