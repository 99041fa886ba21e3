//! The innermost part of the way: signs an attempt, sends it, and takes in the answer.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Instant, SystemTime};

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use http::header::{AUTHORIZATION, DATE, HOST, HeaderValue};
use http::{Request, Response, Uri};
use http_body::Body;
use hyper::body::Incoming;
use tower::{Layer, Service};

use super::acquire::Acquired;
use super::answer::Answer;
use super::attempts::{Attempt, Failed, Failure, Sent};
use super::clock::Change;
use super::lane::{Http1, Http2, Lane, Patience, SendError};
use super::outgoing::Outgoing;
use super::upstream::Upstream;
use super::way::Way;
use super::worker::Worker;
use crate::net::headers;

/// Answers up to this size are passed on in one piece, if they are there in one piece.
const SMALL: usize = 64 * 1024;

/// Signs each attempt afresh (§3.1), just before it is sent: whatever delayed it, the timestamp is new.
#[derive(Clone, Copy)]
pub struct SignLayer;

/// See [`SignLayer`].
#[derive(Clone, Copy)]
pub struct Signed<S>(S);

impl<S> Layer<S> for SignLayer {
    type Service = Signed<S>;

    fn layer(&self, inner: S) -> Signed<S> {
        Signed(inner)
    }
}

impl<S: Service<Attempt>> Service<Attempt> for Signed<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut attempt: Attempt) -> S::Future {
        let call = &mut attempt.call;
        let timestamp = call.worker.running.clock.timestamp(SystemTime::now());
        let signature = Bytes::from(call.record.app.credential.authorization(timestamp));
        // The configuration admits visible ASCII only as an apikey; an empty field is refused upstream.
        let value = HeaderValue::from_maybe_shared(signature).unwrap_or(HeaderValue::from_static(""));
        call.head.headers.insert(AUTHORIZATION, value);
        call.head.headers.insert(HOST, attempt.way.host.clone());
        self.0.call(attempt)
    }
}

/// Sends an attempt.
#[derive(Clone, Copy)]
pub struct Send;

impl Service<Attempt> for Send {
    type Response = Sent;
    type Error = Failed;
    type Future = BoxFuture<'static, Result<Sent, Failed>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, attempt: Attempt) -> Self::Future {
        Box::pin(send(attempt))
    }
}

async fn send(attempt: Attempt) -> Result<Sent, Failed> {
    let Attempt { mut call, acquired, way, started, until } = attempt;
    let Acquired { lane, mut ticket, fresh } = acquired;
    let timeout = call.worker.running.settings.upstream.response_timeout;
    let progress = call.body.progress();
    let extend = || progress.as_ref().map(|progress| progress.upstream_idle_since() + timeout);
    let patience = Patience { until, extend: &extend };
    let outcome = match lane {
        Lane::Http1(mut lane) => {
            let answer = pin!(lane.begin(call.take_request()));
            let outcome = lane.wait(answer, patience).await;
            outcome.map(|response| take_in(response, lane, &way, progress.is_some()))
        }
        Lane::Http2(lane) => over_http2(lane, call.take_request(), &way.upstream, patience).await,
    };
    let error = match outcome {
        Ok(mut response) => {
            ticket.succeeded();
            observe_clock(&response, &call.worker, &way, started);
            headers::strip_hop_by_hop(response.headers_mut());
            return Ok(Sent { call, response });
        }
        Err(error) => error,
    };
    // A body that was cut off takes its connection with it: the cut is what there is to tell.
    if let Some(fault) = progress.and_then(|progress| progress.fault()) {
        return Err(Failed { call, failure: Failure::Cut(fault) });
    }
    let failure = match error {
        SendError::Unsent(request) => {
            (call.head, call.body) = request.into_parts();
            if fresh {
                ticket.failed();
            }
            Failure::Unsent
        }
        SendError::Timeout => {
            ticket.failed();
            Failure::Timeout
        }
        SendError::Lost(error) => {
            tracing::debug!(%error, address = %ticket.address(), "the upstream broke off");
            Failure::Lost
        }
    };
    Err(Failed { call, failure })
}

/// In a box: its future would be part of every request's otherwise.
fn over_http2<'a>(
    mut lane: Http2,
    request: Request<Outgoing>,
    upstream: &Upstream,
    patience: Patience<'a>,
) -> BoxFuture<'a, Result<Response<Answer>, SendError>> {
    let request = for_http2(request, upstream);
    Box::pin(async move {
        let outcome = lane.send(request, patience).await;
        outcome.map(|response| response.map(Answer::apart)).map_err(from_http2)
    })
}

/// Passes the answer on whole if all of it is there already, which spares the client's side a write.
fn take_in(
    response: Response<Incoming>,
    mut lane: Box<Http1>,
    way: &Arc<Way>,
    streamed: bool,
) -> Response<Answer> {
    let (head, mut body) = response.into_parts();
    if streamed && !lane.is_usable() && !body.is_end_stream() {
        // The request's body may still be on its way, whatever the client does about the answer.
        lane.run_out();
        return Response::from_parts(head, Answer::apart(body));
    }
    let mut gathered = Gathered::default();
    // Only a look: what is not there yet is waited for by whoever writes the answer.
    let answer = match gathered.gather(&mut lane, &mut body, &mut Context::from_waker(Waker::noop())) {
        Ended::Whole => {
            way.keep(Lane::Http1(lane));
            Answer::whole(gathered.freeze())
        }
        Ended::More => {
            let first = Some(gathered.freeze()).filter(|bytes| !bytes.is_empty());
            Answer::along(lane, first, body, Arc::clone(way))
        }
    };
    Response::from_parts(head, answer)
}

#[derive(Default)]
struct Gathered {
    first: Bytes,
    rest: BytesMut,
}

enum Ended {
    Whole,
    More,
}

impl Gathered {
    fn gather(&mut self, lane: &mut Http1, body: &mut Incoming, cx: &mut Context<'_>) -> Ended {
        while self.first.len() + self.rest.len() < SMALL {
            if body.is_end_stream() {
                return Ended::Whole;
            }
            match lane.poll_body(body, cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) if self.first.is_empty() => self.first = data,
                    Ok(data) => self.rest.extend_from_slice(&data),
                    Err(_) => {}
                },
                Poll::Ready(None) => return Ended::Whole,
                // An error comes again when the body is polled next, after what there is has gone out.
                Poll::Ready(Some(Err(_))) | Poll::Pending => return Ended::More,
            }
        }
        Ended::More
    }

    fn freeze(&mut self) -> Bytes {
        if self.rest.is_empty() {
            return std::mem::take(&mut self.first);
        }
        let mut whole = BytesMut::with_capacity(self.first.len() + self.rest.len());
        whole.extend_from_slice(&self.first);
        whole.extend_from_slice(&self.rest);
        whole.freeze()
    }
}

fn for_http2(mut request: Request<Outgoing>, upstream: &Upstream) -> Request<Outgoing> {
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(upstream.scheme.clone());
    parts.authority = Some(upstream.authority.clone());
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    *request.version_mut() = http::Version::HTTP_2;
    request.headers_mut().remove(HOST);
    request
}

/// An unsent request goes back to the shape that either protocol can be made of.
fn from_http2(error: SendError) -> SendError {
    match error {
        SendError::Unsent(mut request) => {
            let path = request.uri().path_and_query().cloned();
            *request.uri_mut() = path.map_or_else(Uri::default, Uri::from);
            *request.version_mut() = http::Version::HTTP_11;
            SendError::Unsent(request)
        }
        other => other,
    }
}

fn observe_clock(response: &Response<Answer>, worker: &Worker, way: &Arc<Way>, started: Instant) {
    let running = &worker.running;
    // Recordings may come from elsewhere, whose clock nobody signs for.
    if !Arc::ptr_eq(way, &worker.api) {
        return;
    }
    let Some(date) = response.headers().get(DATE).and_then(|date| worker.date(date.as_bytes())) else {
        return;
    };
    match running.clock.observe(date, SystemTime::now(), started.elapsed()) {
        Change::None => {}
        Change::Corrected(skew_ms) => {
            tracing::warn!(
                skew_seconds = skew_ms / 1000,
                "this host's clock is off; signing with the upstream's time"
            );
        }
        Change::Agreed => tracing::info!("this host's clock agrees with the upstream's again"),
    }
}
