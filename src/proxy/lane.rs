//! A connection to the upstream.
//!
//! Over HTTP/1.1 nothing runs in the background: whoever waits for an answer polls the connection
//! along, in its own task. That spares a task switch each way, and an unused connection costs nothing.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::mpsc;
use tokio_util::sync::PollSender;

use super::outgoing::Outgoing;
use super::timer::Timer;
use super::way::Route;
use crate::net::connect::{Connected, Protocol, Stream};
use crate::net::http1;

/// How long what is left of a request may take once its answer is through.
const RUN_OUT: Duration = Duration::from_secs(30);

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

/// A connection that is polled along.
pub struct Http1 {
    /// Where it leads.
    pub route: Route,
    /// What is polled.
    pub connection: http1::Connection<Stream, Outgoing>,
    timer: Timer,
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

/// Why there is no answer.
pub enum SendError {
    /// The connection had been closed; the body comes back unsent, where it was taken.
    Unsent(Option<Outgoing>),
    /// The connection was lost on the way.
    Lost(Broken),
    /// Time was up.
    Timeout,
}

/// How a connection broke off.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// Over HTTP/1.1.
    #[error(transparent)]
    Http1(#[from] http1::Error),
    /// Over HTTP/2.
    #[error(transparent)]
    Http2(#[from] hyper::Error),
    /// Nothing more came.
    #[error("the answer's body stopped coming")]
    Stalled,
}

impl Lane {
    /// Begins to speak HTTP over a new connection.
    ///
    /// # Errors
    /// The HTTP/2 preface could not be written.
    pub async fn begin(connected: Connected, route: Route, open: Open) -> hyper::Result<Self> {
        match connected.protocol {
            Protocol::Http1 => {
                let connection = http1::Connection::new(connected.stream);
                Ok(Self::Http1(Box::new(Http1 { route, connection, timer: Timer::default(), _open: open })))
            }
            Protocol::Http2 => {
                let io = TokioIo::new(connected.stream);
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
    /// Waits for the answer's head until `patience` ends.
    pub async fn wait(&mut self, mut patience: Patience<'_>) -> Result<Response<()>, SendError> {
        let (connection, timer) = (&mut self.connection, &mut self.timer);
        poll_fn(|cx| {
            if let Poll::Ready(answer) = connection.poll_head(cx) {
                return Poll::Ready(answer.map_err(|error| match error {
                    http1::Error::Unsent => SendError::Unsent(connection.take_body()),
                    error => SendError::Lost(error.into()),
                }));
            }
            while timer.poll(patience.until, cx).is_ready() {
                if patience.is_over() {
                    return Poll::Ready(Err(SendError::Timeout));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Lets it run by itself until its request and answer are through, and then close. The answer's body comes
    /// out of what this returns; while nobody takes it, the request goes on all the same.
    pub fn run_out(self) -> mpsc::Receiver<Result<Bytes, Broken>> {
        let (sender, receiver) = mpsc::channel(1);
        let client = sender.clone();
        let mut sender = PollSender::new(sender);
        tokio::spawn(async move {
            let Self { mut connection, _open, .. } = self;
            let passed = poll_fn(|cx| poll_pass(&mut connection, &mut sender, cx));
            tokio::select! {
                biased;
                () = client.closed() => return,
                passed = passed => if passed.is_err() {
                    return;
                },
            }
            drop((sender, client));
            let rest = poll_fn(|cx| connection.poll_request(cx));
            if !matches!(tokio::time::timeout(RUN_OUT, rest).await, Ok(Ok(()))) {
                tracing::debug!("a request broke off after its answer");
            }
        });
        receiver
    }
}

/// Passes the answer's body on, to its end.
fn poll_pass(
    connection: &mut http1::Connection<Stream, Outgoing>,
    sender: &mut PollSender<Result<Bytes, Broken>>,
    cx: &mut Context<'_>,
) -> Poll<Result<(), Gone>> {
    loop {
        // What comes of it, the answer's body tells.
        let _ = connection.poll_request(cx);
        ready!(sender.poll_reserve(cx)).map_err(|_| Gone)?;
        let Some(data) = ready!(connection.poll_data(cx)) else { return Poll::Ready(Ok(())) };
        let failed = data.is_err();
        sender.send_item(data.map_err(Broken::from)).map_err(|_| Gone)?;
        if failed {
            return Poll::Ready(Err(Gone));
        }
    }
}

/// The client is gone, or the server.
struct Gone;

fn failed(mut error: TrySendError<Request<Outgoing>>) -> SendError {
    match error.take_message() {
        Some(request) => SendError::Unsent(Some(request.into_body())),
        None => SendError::Lost(error.into_error().into()),
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
