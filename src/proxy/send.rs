//! The innermost part of the way: signs an attempt, sends it, and takes in the answer.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Instant, SystemTime};

use bytes::{Bytes, BytesMut};
use futures_util::future::BoxFuture;
use http::header::{AUTHORIZATION, DATE, HOST, HeaderValue};
use http::uri::PathAndQuery;
use http::{Request, Response, Uri};
use tower::{Layer, Service};

use super::acquire::Acquired;
use super::answer::Answer;
use super::attempts::{Attempt, Failed, Failure, Sent};
use super::busy;
use super::call::Call;
use super::clock::Change;
use super::lane::{Http1, Http2, Lane, Patience, SendError};
use super::outgoing::Outgoing;
use super::unclaimed::Awaited;
use super::way::Way;
use super::worker::Worker;
use crate::net::headers;
use crate::net::http1::{self, Payload};

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
        let call = &attempt.call;
        let timestamp = call.worker.running.clock.timestamp(SystemTime::now());
        attempt.authorization = call.record.app.credential.authorization(timestamp);
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

/// What has come on other connections is read before this one writes, so that writes come close together: who reads
/// them wakes once for several, where it would be woken, and take the processor, for each.
async fn let_others_read() {
    tokio::task::yield_now().await;
}

async fn send(attempt: Attempt) -> Result<Sent, Failed> {
    let Attempt { mut call, acquired, way, authorization, started, until } = attempt;
    let Acquired { lane, mut ticket, fresh } = acquired;
    let timeout = call.worker.running.settings.upstream.response_timeout;
    let progress = call.body.progress();
    let extend = || progress.as_ref().map(|progress| progress.upstream_idle_since() + timeout);
    let patience = Patience { until, extend: &extend };
    let outcome = match lane {
        Lane::Http1(mut lane) => {
            let_others_read().await;
            begin(&mut lane, &mut call, &way, &authorization);
            let answer = Awaited::new(lane, &way).wait(patience).await;
            let_others_read().await;
            answer.map(|(head, lane)| take_in(head, lane, &way))
        }
        Lane::Http2(lane) => over_http2(lane, for_http2(&mut call, &way, authorization), patience).await,
    };
    let error = match outcome {
        Ok(mut response) => {
            ticket.succeeded();
            observe_clock(&response, &call.worker, &way, started);
            busy::observe(&response, &call.worker, &way, started);
            headers::strip_hop_by_hop(response.headers_mut());
            let pause = call.worker.running.settings.limits.body_idle_timeout;
            return Ok(Sent { call, response: response.map(|answer| answer.pausing_at_most(pause)) });
        }
        Err(error) => error,
    };
    // A body that was cut off takes its connection with it: the cut is what there is to tell.
    if let Some(fault) = progress.and_then(|progress| progress.fault()) {
        return Err(Failed { call, failure: Failure::Cut(fault) });
    }
    let failure = match error {
        SendError::Unsent(body) => {
            if let Some(body) = body {
                call.body = body;
            }
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

/// Writes the call's head from where it stands: it is the call's still, should it be sent again.
fn begin(lane: &mut Http1, call: &mut Call, way: &Way, authorization: &[u8]) {
    let payload = call.body.payload();
    let head = http1::Head {
        method: &call.head.method,
        target: call.head.uri.path_and_query().map_or("/", PathAndQuery::as_str),
        fields: &call.head.headers,
        set: &[(HOST, way.host.as_bytes()), (AUTHORIZATION, authorization)],
    };
    lane.connection.begin(&head, payload);
}

/// In a box: its future would be part of every request's otherwise.
fn over_http2(
    mut lane: Http2,
    request: Request<Outgoing>,
    patience: Patience<'_>,
) -> BoxFuture<'_, Result<Response<Answer>, SendError>> {
    Box::pin(async move { lane.send(request, patience).await.map(|response| response.map(Answer::apart)) })
}

fn for_http2(call: &mut Call, way: &Way, authorization: Vec<u8>) -> Request<Outgoing> {
    let body = match call.body.payload() {
        Payload::Whole(bytes) => Outgoing::Whole(bytes),
        Payload::Stream(body) => body,
    };
    let mut request = Request::new(body);
    let mut uri = call.head.uri.clone().into_parts();
    uri.scheme = Some(way.upstream.scheme.clone());
    uri.authority = Some(way.upstream.authority.clone());
    *request.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
    *request.method_mut() = call.head.method.clone();
    *request.version_mut() = http::Version::HTTP_2;
    *request.headers_mut() = call.head.headers.clone();
    request.headers_mut().remove(HOST);
    // The configuration admits visible ASCII only as an apikey; an empty field is refused upstream.
    let signature = HeaderValue::from_maybe_shared(Bytes::from(authorization));
    request.headers_mut().insert(AUTHORIZATION, signature.unwrap_or(HeaderValue::from_static("")));
    request
}

/// Passes the answer on whole if all of it is there already, which spares the client's side a write.
fn take_in(head: Response<()>, mut lane: Box<Http1>, way: &Arc<Way>) -> Response<Answer> {
    let mut gathered = Gathered::default();
    // Only a look: what is not there yet is waited for by whoever writes the answer.
    let ended = gathered.gather(&mut lane, &mut Context::from_waker(Waker::noop()));
    let answer = match ended {
        Ended::Whole if lane.connection.is_sent() => {
            way.keep(Lane::Http1(lane));
            Answer::whole(gathered.freeze())
        }
        // The rest of the request is on its way still, whatever the client does about the answer.
        _ if !lane.connection.is_sent() => Answer::run_out(*lane, gathered.freeze()),
        _ => Answer::along(lane, Some(gathered.freeze()).filter(|bytes| !bytes.is_empty()), Arc::clone(way)),
    };
    head.map(|()| answer)
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
    fn gather(&mut self, lane: &mut Http1, cx: &mut Context<'_>) -> Ended {
        while self.first.len() + self.rest.len() < SMALL {
            if lane.connection.is_end_stream() {
                return Ended::Whole;
            }
            match lane.connection.poll_data(cx) {
                Poll::Ready(Some(Ok(data))) if self.first.is_empty() => self.first = data,
                Poll::Ready(Some(Ok(data))) => self.rest.extend_from_slice(&data),
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
