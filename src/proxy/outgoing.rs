//! A request's body on its way to the upstream.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;

use super::refusal::Refusal;
use super::tenant::{Denied, MultipartScan};

/// A body, from where nobody has touched it to where it has gone.
pub enum Outgoing {
    /// As it came.
    Raw(Incoming),
    /// Read whole; `None` once it was sent.
    Whole(Option<Bytes>),
    /// Watched while it streams by.
    Watched(Box<Watched>),
}

impl Outgoing {
    /// Whether nothing of it is left to be read from the client.
    pub fn is_taken(&self) -> bool {
        match self {
            Self::Raw(incoming) => incoming.is_end_stream(),
            Self::Whole(_) => true,
            Self::Watched(_) => false,
        }
    }

    /// A second one of the same bytes, where they are at hand.
    pub fn again(&self) -> Option<Self> {
        match self {
            Self::Whole(bytes) => Some(Self::Whole(bytes.clone())),
            Self::Raw(_) | Self::Watched(_) => None,
        }
    }

    /// How a streaming body fares.
    pub fn progress(&self) -> Option<Arc<Progress>> {
        match self {
            Self::Watched(watched) => Some(Arc::clone(&watched.progress)),
            Self::Raw(_) | Self::Whole(_) => None,
        }
    }
}

/// The body can't go on; why stands in [`Progress::fault`].
#[derive(Debug, thiserror::Error)]
#[error("the request's body was cut off")]
pub struct Cut;

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match self.get_mut() {
            Self::Raw(incoming) => {
                Pin::new(incoming).poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(|_| Cut)))
            }
            Self::Whole(bytes) => {
                Poll::Ready(bytes.take().filter(|b| !b.is_empty()).map(|b| Ok(Frame::data(b))))
            }
            Self::Watched(watched) => {
                watched.poll_data(cx).map(|data| data.map(|data| data.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Raw(incoming) => incoming.is_end_stream(),
            Self::Whole(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Self::Watched(watched) => watched.ended,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Raw(incoming) => incoming.size_hint(),
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Self::Watched(watched) => watched.incoming.size_hint(),
        }
    }
}

/// What a streaming body is held to.
pub struct Rules {
    /// Most bytes.
    pub max_bytes: u64,
    /// Longest pause.
    pub max_pause: Duration,
    /// Looks for tenants.
    pub scan: Option<MultipartScan>,
}

/// A body that is counted, timed and looked through while it streams by.
pub struct Watched {
    incoming: Incoming,
    rules: Rules,
    seen: u64,
    /// While tenants are looked for, the newest part stays here until the next has passed too: the
    /// upstream never has the whole of what is refused at its end.
    held: Option<Bytes>,
    pause: Option<Pin<Box<Sleep>>>,
    ended: bool,
    progress: Arc<Progress>,
}

impl Watched {
    /// Watches `incoming`.
    pub fn new(incoming: Incoming, rules: Rules) -> Self {
        let progress = Arc::new(Progress::new());
        Self { incoming, rules, seen: 0, held: None, pause: None, ended: false, progress }
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        self.progress.moved();
        loop {
            if self.ended {
                return Poll::Ready(None);
            }
            let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) else {
                ready!(self.poll_pause(cx));
                return self.cut(Refusal::TooSlow("body"));
            };
            self.pause = None;
            self.progress.waiting(false);
            let passed = match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.pass(data),
                    // Trailers end at this hop.
                    Err(_) => continue,
                },
                Some(Err(_)) => Err(Refusal::Invalid("the body's framing is broken, or it ended early")),
                None => self.end(),
            };
            match passed {
                Ok(Some(data)) => return Poll::Ready(Some(Ok(data))),
                Ok(None) => {}
                Err(refusal) => return self.cut(refusal),
            }
        }
    }

    fn pass(&mut self, data: Bytes) -> Result<Option<Bytes>, Refusal> {
        self.seen += data.len() as u64;
        if self.seen > self.rules.max_bytes {
            return Err(Refusal::BodyTooLarge(self.rules.max_bytes));
        }
        let Some(scan) = &mut self.rules.scan else { return Ok(Some(data)) };
        scan.feed(&data).map_err(Refusal::AppIdNotAllowed)?;
        Ok(self.held.replace(data))
    }

    fn end(&mut self) -> Result<Option<Bytes>, Refusal> {
        self.ended = true;
        let verdict: Result<(), Denied> = self.rules.scan.as_mut().map_or(Ok(()), MultipartScan::finish);
        verdict.map_err(Refusal::AppIdNotAllowed)?;
        Ok(self.held.take())
    }

    fn cut(&mut self, refusal: Refusal) -> Poll<Option<Result<Bytes, Cut>>> {
        self.ended = true;
        self.progress.fail(refusal);
        Poll::Ready(Some(Err(Cut)))
    }

    fn poll_pause(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let max = self.rules.max_pause;
        let progress = &self.progress;
        let pause = self.pause.get_or_insert_with(|| {
            progress.waiting(true);
            Box::pin(tokio::time::sleep(max))
        });
        pause.as_mut().poll(cx)
    }
}

/// How a streaming body fares, seen from the request that it belongs to.
#[derive(Debug)]
pub struct Progress {
    start: Instant,
    moved_ms: AtomicU64,
    waiting: AtomicBool,
    fault: Mutex<Option<Refusal>>,
}

impl Progress {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            moved_ms: AtomicU64::new(0),
            waiting: AtomicBool::new(false),
            fault: Mutex::new(None),
        }
    }

    fn moved(&self) {
        let since = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved_ms.store(since, Ordering::Relaxed);
    }

    fn waiting(&self, waiting: bool) {
        self.waiting.store(waiting, Ordering::Relaxed);
    }

    fn fail(&self, refusal: Refusal) {
        if let Ok(mut fault) = self.fault.lock() {
            fault.get_or_insert(refusal);
        }
    }

    /// When the upstream was last the one to be waited for: now, while it is the client; else when it
    /// last took something.
    pub fn upstream_idle_since(&self) -> Instant {
        if self.waiting.load(Ordering::Relaxed) {
            return Instant::now();
        }
        self.start + Duration::from_millis(self.moved_ms.load(Ordering::Relaxed))
    }

    /// Why the body was cut off, if it was.
    pub fn fault(&self) -> Option<Refusal> {
        self.fault.lock().ok()?.take()
    }
}
