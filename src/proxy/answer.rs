//! An answer's body on its way to the client.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::mpsc;

use super::lane::{Broken, Http1, Lane};
use super::record::Record;
use super::team_url::Restorer;
use super::timer::Timer;
use super::way::Way;

/// Where the bytes come from.
enum Source {
    /// Here already.
    Whole(Option<Bytes>),
    /// Over a connection that is polled along, and goes back to its pool at the end.
    Along(Box<Along>),
    /// Over an HTTP/2 connection, which runs by itself.
    Apart(Incoming),
    /// What was read of it already, and then the rest.
    After(Option<Bytes>, Box<Answer>),
    /// Changed on its way; `None` at its end.
    Restored(Option<Box<Restorer>>, Box<Answer>),
    /// Over a connection that runs by itself, until the request is through too.
    RunOut(mpsc::Receiver<Result<Bytes, Broken>>),
}

struct Along {
    lane: Option<Box<Http1>>,
    first: Option<Bytes>,
    way: Arc<Way>,
}

/// An answer's body; ends its request's record when it ends itself.
pub struct Answer {
    source: Source,
    record: Option<Box<Record>>,
    pause: Option<Box<Pause>>,
}

/// How long the upstream may take for the next part.
struct Pause {
    longest: Duration,
    since: Option<Instant>,
    timer: Timer,
}

impl Answer {
    /// A body that is here already.
    pub fn whole(bytes: Bytes) -> Self {
        Self { source: Source::Whole(Some(bytes)), record: None, pause: None }
    }

    /// A body that still comes over `lane`, after `first`.
    pub fn along(lane: Box<Http1>, first: Option<Bytes>, way: Arc<Way>) -> Self {
        let along = Along { lane: Some(lane), first, way };
        Self { source: Source::Along(Box::new(along)), record: None, pause: None }
    }

    /// A body that comes by itself.
    pub fn apart(body: Incoming) -> Self {
        Self { source: Source::Apart(body), record: None, pause: None }
    }

    /// A body of which `first` was read already.
    pub fn after(first: Bytes, rest: Self) -> Self {
        Self { source: Source::After(Some(first), Box::new(rest)), record: None, pause: None }
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
        Self { source: Source::Restored(Some(Box::new(restorer)), Box::new(body)), record: None, pause: None }
    }

    /// A body that still comes over `lane`, after `first`; the lane has to get rid of its request too.
    pub fn run_out(lane: Http1, first: Bytes) -> Self {
        let rest = Self { source: Source::RunOut(lane.run_out()), record: None, pause: None };
        if first.is_empty() { rest } else { Self::after(first, rest) }
    }

    /// Breaks it off when the upstream pauses for longer than `longest`.
    pub fn pausing_at_most(mut self, longest: Duration) -> Self {
        if !matches!(self.source, Source::Whole(_)) {
            self.pause = Some(Box::new(Pause { longest, since: None, timer: Timer::default() }));
        }
        self
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

impl Pause {
    /// Ready once the upstream has paused for too long.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let since = *self.since.get_or_insert_with(Instant::now);
        self.timer.poll(since + self.longest, cx)
    }
}

impl Along {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        let Some(lane) = &mut self.lane else { return Poll::Ready(None) };
        let data = ready!(lane.connection.poll_data(cx));
        if data.as_ref().is_none_or(Result::is_err) || lane.connection.is_end_stream() {
            self.release();
        }
        Poll::Ready(data.map(|data| data.map_err(Broken::from)))
    }

    fn release(&mut self) {
        if let Some(lane) = self.lane.take() {
            self.way.keep(Lane::Http1(lane));
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.lane.as_ref().is_none_or(|lane| lane.connection.is_end_stream())
    }

    fn left(&self) -> Option<u64> {
        let first = self.first.as_ref().map_or(0, |first| first.len() as u64);
        let rest = self.lane.as_ref().map_or(Some(0), |lane| lane.connection.left());
        rest.map(|rest| first + rest)
    }
}

/// The next part that may go out.
fn restore(
    restorer: &mut Option<Box<Restorer>>,
    body: &mut Answer,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
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

impl Source {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self {
            Self::Whole(bytes) => {
                let bytes = bytes.take().filter(|bytes| !bytes.is_empty());
                Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
            }
            Self::Along(along) => along.poll_data(cx).map(|data| data.map(|data| data.map(Frame::data))),
            Self::Apart(body) => {
                Pin::new(body).poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(Broken::from)))
            }
            Self::RunOut(receiver) => {
                receiver.poll_recv(cx).map(|data| data.map(|data| data.map(Frame::data)))
            }
            Self::Restored(restorer, body) => restore(restorer, body, cx),
            Self::After(first, rest) => match first.take() {
                Some(first) => Poll::Ready(Some(Ok(Frame::data(first)))),
                None => Pin::new(&mut **rest).poll_frame(cx),
            },
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = self.get_mut();
        let told = matches!(this.source, Source::Whole(_));
        let frame = match (this.source.poll_frame(cx), &mut this.pause) {
            (Poll::Ready(frame), pause) => {
                if let Some(pause) = pause {
                    pause.since = None;
                }
                frame
            }
            (Poll::Pending, None) => return Poll::Pending,
            (Poll::Pending, Some(pause)) => {
                ready!(pause.poll(cx));
                // With the connection, which is of no more use.
                this.source = Source::Whole(None);
                Some(Err(Broken::Stalled))
            }
        };
        let Some(record) = this.record.as_mut().filter(|_| !told) else { return Poll::Ready(frame) };
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
            Source::Along(along) => along.is_end_stream(),
            Source::Apart(body) => body.is_end_stream(),
            Source::Restored(restorer, _) => restorer.is_none(),
            Source::After(first, rest) => first.is_none() && rest.is_end_stream(),
            Source::RunOut(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Source::Along(along) => along.left().map_or_else(SizeHint::default, SizeHint::with_exact),
            Source::Apart(body) => body.size_hint(),
            Source::Restored(..) | Source::RunOut(_) => SizeHint::default(),
            Source::After(first, rest) => match rest.size_hint().exact() {
                Some(size) => SizeHint::with_exact(first.as_ref().map_or(0, |b| b.len() as u64) + size),
                None => SizeHint::default(),
            },
        }
    }
}
