//! One request and its answer, with whatever goes wrong on purpose.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::header::{DATE, HeaderValue};
use http::{HeaderMap, Method, Request, Uri, request};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use sha2::{Digest, Sha256};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::answer::{Answer, AnswerBody, Failure, trouble};
use super::clock::http_date;
use super::fault::FaultKind;
use super::house::House;
use super::journal::{BODY_BYTES, Seen};
use super::route::route;

/// Largest body: a number file of 150,000 rows (§6) with room for columns.
const MAX_BODY: usize = 64 << 20;
/// Between two parts of a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// A client that does not give up is let go after this.
const LONGEST_HANG: Duration = Duration::from_mins(10);

/// A request whose body has been read.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// The connection is to be closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("closed without an answer")]
pub(super) struct NoAnswer;

/// How far a body came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Came {
    Whole,
    TooLarge,
    /// Other bodies fill the memory that there is for them.
    NoRoom,
    BrokenOff,
}

/// Answers `request`, or does not.
pub(super) async fn exchange(
    house: Arc<House>,
    peer: SocketAddr,
    request: Request<Incoming>,
) -> Result<Answer, NoAnswer> {
    let (head, body) = request.into_parts();
    // Held until the request is answered, like the body.
    let mut room = None;
    let (body, came) = read(body, &house.body_room, &mut room).await;
    let admitted = house.authorize(peer.ip(), &head.headers);
    house.journal().note(seen(peer, &head, &body, came, admitted.is_ok()));
    if came == Came::BrokenOff {
        return Err(NoAnswer);
    }
    let request = Received { method: head.method, uri: head.uri, headers: head.headers, body };
    let act = || match (&admitted, came) {
        (Err(failure), _) => failure.answer(),
        (Ok(()), Came::TooLarge) => Failure::TooLarge.answer(),
        (Ok(()), Came::NoRoom) => Failure::Busy.answer(),
        (Ok(()), _) => route(&house, &request).unwrap_or_else(|failure| failure.answer()),
    };

    let plan = house.roll();
    tracing::debug!(%peer, method = %request.method, path = request.uri.path(), ?plan, "sandbox: request");
    tokio::time::sleep(plan.delay).await;
    let mut answer = match plan.ending {
        None | Some(FaultKind::Latency(_) | FaultKind::Skew(_)) => act(),
        Some(FaultKind::Http(status)) => trouble(status),
        Some(FaultKind::Code(code)) => Failure::Injected(code).answer(),
        Some(FaultKind::DropMid) => act().map(AnswerBody::broken),
        Some(FaultKind::Drop) => {
            drop(act());
            return Err(NoAnswer);
        }
        Some(FaultKind::Hang) => {
            tokio::time::sleep(LONGEST_HANG).await;
            return Err(NoAnswer);
        }
    };
    let date = http_date(house.clock.now_ms().saturating_add(plan.date_skew.saturating_mul(1000)));
    if let Ok(date) = HeaderValue::from_str(&date) {
        answer.headers_mut().insert(DATE, date);
    }
    Ok(answer)
}

/// The body, up to [`MAX_BODY`], and as long as there is room.
async fn read<'a>(
    mut body: Incoming,
    all_room: &'a Semaphore,
    room: &mut Option<SemaphorePermit<'a>>,
) -> (Bytes, Came) {
    let mut read = BytesMut::new();
    loop {
        let frame = match tokio::time::timeout(BODY_TIMEOUT, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => return (read.freeze(), Came::Whole),
            Ok(Some(Err(_))) | Err(_) => return (read.freeze(), Came::BrokenOff),
        };
        let Ok(data) = frame.into_data() else { continue };
        if read.len() + data.len() > MAX_BODY {
            return (read.freeze(), Came::TooLarge);
        }
        let more_kib = u32::try_from(data.len().div_ceil(1024)).unwrap_or(u32::MAX);
        let Ok(more) = all_room.try_acquire_many(more_kib) else {
            return (read.freeze(), Came::NoRoom);
        };
        match room {
            Some(room) => room.merge(more),
            None => *room = Some(more),
        }
        read.extend_from_slice(&data);
    }
}

fn seen(peer: SocketAddr, head: &request::Parts, body: &Bytes, came: Came, authorized: bool) -> Seen {
    Seen {
        at: SystemTime::now(),
        peer,
        method: head.method.clone(),
        target: head.uri.to_string(),
        headers: head.headers.clone(),
        authorized,
        body_bytes: body.len(),
        sha256: hex::encode(Sha256::digest(body)),
        // Copied: a slice would keep the whole of a large body.
        body: Bytes::copy_from_slice(&body[..body.len().min(BODY_BYTES)]),
        complete: came == Came::Whole,
    }
}
