//! An answer's body on its way to the client.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::lane::{Http1, Lane};
use super::record::Record;
use super::team_url::Restorer;
use super::way::Way;

/// Where the bytes come from.
enum Source {
    /// Here already.
    Whole(Option<Bytes>),
    /// Over a connection that is polled along, and goes back to its pool at the end.
    Along(Box<Along>),
    /// Over a connection that runs by itself.
    Apart(Incoming),
    /// What was read of it already, and then the rest.
    After(Option<Bytes>, Box<Answer>),
    /// Changed on its way; `None` at its end.
    Restored(Option<Box<Restorer>>, Box<Answer>),
}

struct Along {
    lane: Option<Box<Http1>>,
    first: Option<Bytes>,
    body: Incoming,
    way: Arc<Way>,
}

/// An answer's body; ends its request's record when it ends itself.
pub struct Answer {
    source: Source,
    record: Option<Box<Record>>,
}

impl Answer {
    /// A body that is here already.
    pub fn whole(bytes: Bytes) -> Self {
        Self { source: Source::Whole(Some(bytes)), record: None }
    }

    /// A body that still comes over `lane`, after `first`.
    pub fn along(lane: Box<Http1>, first: Option<Bytes>, body: Incoming, way: Arc<Way>) -> Self {
        let along = Along { lane: Some(lane), first, body, way };
        Self { source: Source::Along(Box::new(along)), record: None }
    }

    /// A body that comes by itself.
    pub fn apart(body: Incoming) -> Self {
        Self { source: Source::Apart(body), record: None }
    }

    /// A body of which `first` was read already.
    pub fn after(first: Bytes, rest: Self) -> Self {
        Self { source: Source::After(Some(first), Box::new(rest)), record: None }
    }

    /// What there is of it, until that is more than `most` bytes, and whether it is all; `None`: it broke off.
    /// `headers` are those that came with it.
    pub async fn gather(&mut self, headers: &HeaderMap, most: usize) -> Option<(Bytes, bool)> {
        let mut read = BytesMut::new();
        while let Some(frame) = self.frame().await {
            if let Ok(data) = frame.ok()?.into_data() {
                read.extend_from_slice(&data);
            }
            if read.len() > most {
                return Some((read.freeze(), false));
            }
        }
        let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        let length: Option<usize> = length.and_then(|length| length.parse().ok());
        length.is_none_or(|length| length == read.len()).then(|| (read.freeze(), true))
    }

    /// A body that `restorer` changes.
    pub fn restored(restorer: Restorer, body: Self) -> Self {
        Self { source: Source::Restored(Some(Box::new(restorer)), Box::new(body)), record: None }
    }

    /// Has `record` told when the body ends.
    pub fn tell(mut self, mut record: Box<Record>) -> Self {
        if let Source::Whole(Some(bytes)) = &self.source {
            record.saw(bytes);
        }
        self.record = Some(record);
        self
    }
}

impl Along {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        let Some(lane) = &mut self.lane else { return Poll::Ready(None) };
        let frame = ready!(lane.poll_body(&mut self.body, cx));
        match &frame {
            None => self.release(),
            Some(Err(_)) => self.lane = None,
            Some(Ok(_)) if self.body.is_end_stream() => self.release(),
            Some(Ok(_)) => {}
        }
        Poll::Ready(frame)
    }

    fn release(&mut self) {
        if let Some(lane) = self.lane.take() {
            self.way.keep(Lane::Http1(lane));
        }
    }
}

/// The next part that may go out.
fn restore(
    restorer: &mut Option<Box<Restorer>>,
    body: &mut Answer,
    cx: &mut Context<'_>,
) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
    loop {
        let Some(restoring) = restorer else { return Poll::Ready(None) };
        let data = match ready!(Pin::new(&mut *body).poll_frame(cx)) {
            Some(Ok(frame)) => frame.into_data().map(|data| restoring.feed(&data)).unwrap_or_default(),
            Some(Err(error)) => {
                *restorer = None;
                return Poll::Ready(Some(Err(error)));
            }
            None => {
                let rest = restoring.finish();
                *restorer = None;
                rest
            }
        };
        if !data.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let frame = match &mut this.source {
            Source::Whole(bytes) => {
                return Poll::Ready(
                    bytes.take().filter(|bytes| !bytes.is_empty()).map(|b| Ok(Frame::data(b))),
                );
            }
            Source::Along(along) => ready!(along.poll_frame(cx)),
            Source::Apart(body) => ready!(Pin::new(body).poll_frame(cx)),
            Source::Restored(restorer, body) => ready!(restore(restorer, body, cx)),
            Source::After(first, rest) => match first.take() {
                Some(first) => Some(Ok(Frame::data(first))),
                None => ready!(Pin::new(&mut **rest).poll_frame(cx)),
            },
        };
        let Some(record) = &mut this.record else { return Poll::Ready(frame) };
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    record.saw(data);
                }
            }
            Some(Err(_)) => record.upstream_failed = true,
            None => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Whole(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Source::Along(along) => along.first.is_none() && along.body.is_end_stream(),
            Source::Apart(body) => body.is_end_stream(),
            Source::Restored(restorer, _) => restorer.is_none(),
            Source::After(first, rest) => first.is_none() && rest.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Source::Along(along) => match (&along.first, along.body.size_hint().exact()) {
                (None, Some(rest)) => SizeHint::with_exact(rest),
                (Some(first), Some(rest)) => SizeHint::with_exact(first.len() as u64 + rest),
                (_, None) => SizeHint::default(),
            },
            Source::Apart(body) => body.size_hint(),
            Source::Restored(..) => SizeHint::default(),
            Source::After(first, rest) => match rest.size_hint().exact() {
                Some(size) => SizeHint::with_exact(first.as_ref().map_or(0, |b| b.len() as u64) + size),
                None => SizeHint::default(),
            },
        }
    }
}
