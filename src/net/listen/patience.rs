//! How long a connection is waited for.
//!
//! One timer a connection, and none of its registrations a request: what happens on the connection only notes
//! the time, and the timer, when it fires, looks at the notes and is set anew. It is set sooner than it stands
//! only where a head comes in pieces, or the client stops reading.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// How long a connection may stand unused between two requests. Over the minute for which common clients and
/// balancers keep theirs, so that it is them who close it, not we under their next request.
const IDLE: Duration = Duration::from_secs(75);
/// How long a client may take none of an answer that waits for it.
const STALLED: Duration = Duration::from_mins(1);
/// A longer `header_timeout` is taken for this, so that no sum of times can overflow.
const MAX_HEADER_TIMEOUT: Duration = Duration::from_hours(1);

/// What was waited for too long.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Expired {
    /// The rest of a head.
    Head,
    /// Any request at all.
    Idle,
}

#[derive(Debug)]
pub(super) struct Patience {
    header_timeout: Duration,
    /// When the connection was accepted, or the last of an answer written.
    quiet_since: Instant,
    /// When the head began that has not ended.
    head_since: Option<Instant>,
    /// No head has ended yet.
    fresh: bool,
    /// Since when the client takes none of its answer.
    stalled_since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
    /// The timer may stand too late.
    hurry: bool,
}

impl Patience {
    pub(super) fn new(header_timeout: Duration) -> Self {
        Self {
            header_timeout: header_timeout.min(MAX_HEADER_TIMEOUT),
            quiet_since: Instant::now(),
            head_since: None,
            fresh: true,
            stalled_since: None,
            timer: None,
            hurry: false,
        }
    }

    pub(super) fn head_began(&mut self) {
        if self.head_since.is_none() {
            self.head_since = Some(Instant::now());
            self.hurry = true;
        }
    }

    pub(super) fn no_head_began(&mut self) {
        self.head_since = None;
    }

    pub(super) fn head_ended(&mut self) {
        self.head_since = None;
        self.fresh = false;
    }

    pub(super) fn wrote(&mut self) {
        self.quiet_since = Instant::now();
        self.stalled_since = None;
    }

    /// To be asked when the socket has nothing to read; `awaited` is whether it is a request that should come.
    /// Ready when it has been waited for too long; pending with the task's waker kept.
    pub(super) fn poll_read(&mut self, cx: &mut Context<'_>, awaited: bool) -> Poll<Expired> {
        // The task of a connection is always the same, and so is the waker that the timer has.
        if !self.hurry && self.timer.as_ref().is_some_and(|timer| !timer.is_elapsed()) {
            return Poll::Pending;
        }
        self.hurry = false;
        loop {
            let (deadline, expired) = self.deadline(awaited);
            if deadline <= Instant::now() {
                return Poll::Ready(expired);
            }
            ready!(self.poll_timer(cx, deadline));
        }
    }

    /// To be asked when the socket takes nothing; ready when the client has taken nothing for too long.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = *self.stalled_since.get_or_insert_with(Instant::now) + STALLED;
        while Instant::now() < deadline {
            ready!(self.poll_timer(cx, deadline));
        }
        Poll::Ready(())
    }

    fn deadline(&self, awaited: bool) -> (Instant, Expired) {
        match self.head_since {
            // No request is awaited while another is under way: look again later.
            Some(_) if !awaited => (Instant::now() + self.header_timeout, Expired::Head),
            None if !awaited => (Instant::now() + IDLE, Expired::Idle),
            Some(since) => (since.max(self.quiet_since) + self.header_timeout, Expired::Head),
            None if self.fresh => (self.quiet_since + self.header_timeout, Expired::Idle),
            None => (self.quiet_since + IDLE, Expired::Idle),
        }
    }

    /// Ready when the timer fired, at `deadline` or, where it stood sooner, before.
    fn poll_timer(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.is_elapsed() || timer.deadline() > deadline {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(cx)
    }
}
