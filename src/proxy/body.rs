//! A request's body: capped, read whole where it is small, looked through for tenants.

use std::future::{Future, Ready, poll_fn, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::future::{BoxFuture, Either};
use http::header::{self, HeaderMap};
use http_body::Body;
use hyper::body::Incoming;
use tower::{Layer, Service};

use super::call::{Answered, Call, Refused};
use super::checking::checked;
use super::outgoing::{Outgoing, Rules, Supply, Watched};
use super::refusal::Refusal;
use super::settings::Checks;
use super::team_url;
use super::tenant::{self, Denied, MultipartScan, Tenants};
use crate::xinyao::Target;
use crate::xinyao::endpoint::BodyKind;

/// Bodies up to this size are read before anything is sent: one write then carries head and body.
const SMALL: u64 = 64 * 1024;
/// A JSON body that must be looked through for tenants is read whole, up to this size. The document's
/// largest are a few KiB.
pub const MAX_SCANNED: u64 = 1024 * 1024;

/// Puts the body's rules before the services below.
#[derive(Clone, Copy)]
pub struct BodyLayer;

/// See [`BodyLayer`].
#[derive(Clone, Copy)]
pub struct Bodied<S>(S);

impl<S> Layer<S> for BodyLayer {
    type Service = Bodied<S>;

    fn layer(&self, inner: S) -> Bodied<S> {
        Bodied(inner)
    }
}

impl<S> Service<Box<Call>> for Bodied<S>
where
    S: Service<Box<Call>, Response = Answered, Error = Refused> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Answered;
    type Error = Refused;
    type Future = Either<S::Future, Either<Reading, Ready<Result<Answered, Refused>>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, mut call: Box<Call>) -> Self::Future {
        match plan(&call) {
            Ok(Plan::Pass) => Either::Left(self.0.call(call)),
            Ok(Plan::Stream(scan)) => {
                stream(&mut call, scan);
                Either::Left(self.0.call(call))
            }
            Ok(Plan::Read(reading)) => {
                let mut inner = self.0.clone();
                Either::Right(Either::Left(Box::pin(async move {
                    match take(&mut call, reading).await {
                        Ok(()) => inner.call(call).await,
                        Err(refusal) => Err(call.refuse(refusal)),
                    }
                })))
            }
            Err(refusal) => Either::Right(Either::Right(ready(Err(call.refuse(refusal))))),
        }
    }
}

type Reading = BoxFuture<'static, Result<Answered, Refused>>;

/// How a body is to be treated.
#[expect(clippy::large_enum_variant, reason = "it lives for a moment, on the stack")]
enum Plan {
    /// There is none.
    Pass,
    /// Read whole, and looked through.
    Read(Read),
    /// Passed on as it comes, and looked through on the way.
    Stream(Option<MultipartScan>),
}

struct Read {
    max_bytes: u64,
    /// Whose tenants are looked for.
    tenants: Option<Arc<Tenants>>,
    /// What turns out too long is passed on as it comes.
    or_stream: bool,
}

fn plan(call: &Call) -> Result<Plan, Refusal> {
    let Outgoing::Raw(incoming) = &call.body else { return Ok(Plan::Pass) };
    let max_bytes = call.worker.running.settings.limits.max_body_bytes;
    if incoming.size_hint().lower() > max_bytes {
        return Err(Refusal::BodyTooLarge(max_bytes));
    }
    let exact = incoming.size_hint().exact();
    let tenants = &call.record.app.tenants;
    if !tenants.is_empty() {
        tenant::check_query(call.head.uri.query(), tenants).map_err(Refusal::AppIdNotAllowed)?;
    }
    if exact == Some(0) {
        return Ok(Plan::Pass);
    }
    let looked_at = names_tenants(call) || checked(call).is_some();
    let scanned = if looked_at { plan_scan(call, exact)? } else { None };
    Ok(match scanned {
        Some(plan) => plan,
        None if exact.is_some_and(|size| size <= SMALL) => {
            Plan::Read(Read { max_bytes: SMALL, tenants: None, or_stream: false })
        }
        None => Plan::Stream(None),
    })
}

/// Whether the body is to be looked through: always where the app is bound to tenants, else where the
/// document has an `app_id`, which may not be there twice.
fn names_tenants(call: &Call) -> bool {
    let documented = match call.record.target {
        Some(Target::Endpoint(endpoint)) => endpoint.spec().fields.iter().any(|field| field.name == "app_id"),
        _ => false,
    };
    documented || !call.record.app.tenants.is_empty()
}

fn stream(call: &mut Call, scan: Option<MultipartScan>) {
    let limits = &call.worker.running.settings.limits;
    let rules = Rules { max_bytes: limits.max_body_bytes, max_pause: limits.body_idle_timeout, scan };
    if let Outgoing::Raw(incoming) = std::mem::take(&mut call.body) {
        call.record.unread = true;
        call.body = Outgoing::Watched(Box::new(Watched::new(Supply::client(incoming), rules)));
    }
}

async fn take(call: &mut Call, reading: Read) -> Result<(), Refusal> {
    let limits = &call.worker.running.settings.limits;
    let (most, max_pause) = (limits.max_body_bytes, limits.body_idle_timeout);
    let Outgoing::Raw(mut incoming) = std::mem::take(&mut call.body) else {
        return Ok(());
    };
    let started = Instant::now();
    let read = read(Pin::new(&mut incoming), reading.max_bytes, max_pause).await;
    call.record.waited += started.elapsed();
    let (bytes, whole) = read.inspect_err(|_| call.record.unread = true)?;
    if !whole {
        call.record.unread = true;
        if !reading.or_stream {
            return Err(Refusal::AppIdNotAllowed(Denied::Unreadable("it is over 1 MiB")));
        }
        let rules = Rules { max_bytes: most, max_pause, scan: None };
        let supply = Supply::Client { read: Some(bytes), rest: incoming };
        call.body = Outgoing::Watched(Box::new(Watched::new(supply, rules)));
        return Ok(());
    }
    if let Some(tenants) = reading.tenants.filter(|_| !bytes.is_empty()) {
        tenant::check_json(&bytes, &tenants).map_err(Refusal::AppIdNotAllowed)?;
    }
    call.record.bytes_in = bytes.len() as u64;
    call.body = Outgoing::Whole(bytes);
    Ok(())
}

/// How a body is looked through; `None`: it can't be, and need not be.
fn plan_scan(call: &Call, exact: Option<u64>) -> Result<Option<Plan>, Refusal> {
    let tenants = Arc::clone(&call.record.app.tenants);
    let bound = !tenants.is_empty();
    let unreadable =
        |why| if bound { Err(Refusal::AppIdNotAllowed(Denied::Unreadable(why))) } else { Ok(None) };
    if is_encoded(&call.head.headers) {
        return unreadable("it is content-encoded; send it as it is");
    }
    let content_type = call.head.headers.get(header::CONTENT_TYPE);
    let multipart = match call.record.target {
        Some(Target::Endpoint(endpoint)) => endpoint.spec().body == BodyKind::Multipart,
        _ => {
            content_type.is_some_and(|value| value.as_bytes().to_ascii_lowercase().starts_with(b"multipart/"))
        }
    };
    if multipart {
        let Some(content_type) = content_type else { return unreadable("it has no content-type") };
        let scan = MultipartScan::new(content_type, tenants).map_err(Refusal::AppIdNotAllowed)?;
        return Ok(Some(Plan::Stream(Some(scan))));
    }
    // Where nobody has to have seen a body before it goes out, one whose length is not told is not waited for.
    let enforced = checked(call).is_some() && call.record.app.checks == Checks::Enforce;
    let awaited = bound || enforced || team_url::rewritten(call);
    if exact.map_or(!awaited, |size| size > MAX_SCANNED) {
        return unreadable("it is over 1 MiB");
    }
    let tenants = names_tenants(call).then_some(tenants);
    Ok(Some(Plan::Read(Read { max_bytes: MAX_SCANNED, tenants, or_stream: !bound })))
}

/// Whether a body is not there as it is.
pub fn is_encoded(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
    !codings.all(|coding| coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// The whole body, with no pause over `max_pause`; and whether it is the whole. It is not, once it is over
/// `max_bytes`.
async fn read(
    mut incoming: Pin<&mut Incoming>,
    max_bytes: u64,
    max_pause: Duration,
) -> Result<(Bytes, bool), Refusal> {
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    let mut whole = true;
    while let Some(data) = next(incoming.as_mut(), max_pause).await? {
        let size = first.as_ref().map_or(0, Bytes::len) + rest.len() + data.len();
        // Nearly always there is one part, which needs no copy.
        match &first {
            None => first = Some(data),
            Some(_) => rest.extend_from_slice(&data),
        }
        if size as u64 > max_bytes {
            whole = false;
            break;
        }
    }
    let first = first.unwrap_or_default();
    if rest.is_empty() {
        return Ok((first, whole));
    }
    let mut all = BytesMut::with_capacity(first.len() + rest.len());
    all.extend_from_slice(&first);
    all.extend_from_slice(&rest);
    Ok((all.freeze(), whole))
}

async fn next(mut incoming: Pin<&mut Incoming>, max_pause: Duration) -> Result<Option<Bytes>, Refusal> {
    // A timer only once there is something to wait for.
    let mut pause = None;
    poll_fn(|cx| {
        loop {
            match incoming.as_mut().poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => return Poll::Ready(Ok(Some(data))),
                    Err(_) => continue,
                },
                Poll::Ready(Some(Err(_))) => {
                    return Poll::Ready(Err(Refusal::Invalid(
                        "the body's framing is broken, or it ended early",
                    )));
                }
                Poll::Ready(None) => return Poll::Ready(Ok(None)),
                Poll::Pending => {}
            }
            let pause = pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(max_pause)));
            return pause.as_mut().poll(cx).map(|()| Err(Refusal::TooSlow("body")));
        }
    })
    .await
}
