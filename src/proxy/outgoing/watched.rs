//! A body that streams, and what is looked for in it on the way.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::SizeHint;
use tokio::time::Sleep;

use super::{Cut, Progress, Supply};
use crate::proxy::refusal::Refusal;
use crate::proxy::tenant::{MultipartScan, Parts};

/// Follows a multipart body while it streams to the upstream.
pub trait Observer: Parts + Send {
    /// Bytes as they came, multipart or not.
    fn bytes(&mut self, _: &[u8]) {}

    /// The body has ended. If `whole`, it was multipart to its end, and all parts of it were told.
    ///
    /// The upstream lacks the newest bytes until this is ready, and what is refused here never gets them.
    /// So an answer must come, or fail, within a time of the observer's own; it is not asked again after it.
    fn poll_end(&mut self, whole: bool, cx: &mut Context<'_>) -> Poll<Result<(), Refusal>>;
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
    supply: Supply,
    rules: Rules,
    /// Those that have not seen the end yet.
    observers: Vec<Box<dyn Observer>>,
    seen: u64,
    /// While somebody looks at the body, the newest part stays here until the next has passed too: the
    /// upstream never has the whole of what is refused at its end.
    held: Option<Bytes>,
    pause: Option<Pin<Box<Sleep>>>,
    drained: bool,
    ended: bool,
    progress: Arc<Progress>,
}

impl Watched {
    /// Watches `supply`.
    pub fn new(supply: Supply, rules: Rules) -> Self {
        Self {
            supply,
            rules,
            observers: Vec::new(),
            seen: 0,
            held: None,
            pause: None,
            drained: false,
            ended: false,
            progress: Arc::new(Progress::new()),
        }
    }

    /// Has `observer` follow it from its beginning.
    pub fn observe(&mut self, observer: Box<dyn Observer>) {
        self.observers.push(observer);
    }

    /// How it fares.
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Whether nothing more will come of it.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// Whether none of it is to come from the client any more.
    pub fn is_here(&self) -> bool {
        self.supply.is_here()
    }

    /// How much will come of it.
    pub fn size_hint(&self) -> SizeHint {
        self.supply.size_hint()
    }

    /// Its next bytes; an error is its end.
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        self.progress.moved();
        loop {
            if self.ended {
                return Poll::Ready(None);
            }
            let passed = if self.drained {
                // What is waited for now is neither the client nor the upstream.
                self.progress.waiting(true);
                let passed = ready!(self.poll_end(cx));
                self.progress.waiting(false);
                self.ended = true;
                passed
            } else {
                let Poll::Ready(data) = self.supply.poll(cx) else {
                    ready!(self.poll_pause(cx));
                    return self.cut(Refusal::TooSlow("body"));
                };
                self.pause = None;
                self.progress.waiting(false);
                match data {
                    Some(data) => data.and_then(|data| self.pass(data)),
                    None => self.finish().map(|()| None),
                }
            };
            match passed {
                Ok(Some(data)) => return Poll::Ready(Some(Ok(data))),
                Ok(None) => {}
                Err(refusal) => return self.cut(refusal),
            }
        }
    }

    fn pass(&mut self, data: Bytes) -> Result<Option<Bytes>, Refusal> {
        if data.is_empty() {
            return Ok(None);
        }
        self.seen += data.len() as u64;
        if self.seen > self.rules.max_bytes {
            return Err(Refusal::BodyTooLarge(self.rules.max_bytes));
        }
        self.observers.iter_mut().for_each(|observer| observer.bytes(&data));
        if let Some(scan) = &mut self.rules.scan {
            scan.feed_to(&data, &mut All(&mut self.observers)).map_err(Refusal::AppIdNotAllowed)?;
        } else if self.observers.is_empty() {
            return Ok(Some(data));
        }
        Ok(self.held.replace(data))
    }

    fn finish(&mut self) -> Result<(), Refusal> {
        self.drained = true;
        let verdict = self.rules.scan.as_mut().map_or(Ok(()), MultipartScan::finish);
        verdict.map_err(Refusal::AppIdNotAllowed)
    }

    /// Asks the observers, one after the other.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Refusal>> {
        let whole = self.rules.scan.as_ref().is_some_and(MultipartScan::is_whole);
        while let Some(observer) = self.observers.first_mut() {
            ready!(observer.poll_end(whole, cx))?;
            self.observers.remove(0);
        }
        Poll::Ready(Ok(self.held.take()))
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

struct All<'a>(&'a mut [Box<dyn Observer>]);

impl Parts for All<'_> {
    fn part(&mut self, name: &str, is_file: bool) {
        self.0.iter_mut().for_each(|observer| observer.part(name, is_file));
    }

    fn data(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.0.iter_mut().for_each(|observer| observer.data(bytes));
        }
    }
}
