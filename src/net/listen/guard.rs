//! What stands between a connection's socket and hyper.
//!
//! A read goes straight into hyper's buffer and is looked at there; only a head that is not whole yet is taken
//! out again and kept until it is. So hyper sees whole heads that have been checked, or nothing.

use std::io::{self, IoSlice, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::answer::UnderWay;
use super::body::Body;
use super::early::Stream;
use super::head::{HeadCheck, Limits};
use super::patience::{Expired, Patience};
use super::refusal;
use super::{Drain, Rejected};
use crate::net::chunked::BadChunk;

/// How many empty lines may precede a request (RFC 9112 §2.2 asks for one).
const MAX_BLANK_LINES: u8 = 4;

pub(super) struct Guard {
    stream: Stream,
    limits: Limits,
    patience: Patience,
    under_way: Arc<UnderWay>,
    drain: Drain,
    phase: Phase,
    /// What has come of a head that is not whole yet.
    held: BytesMut,
    /// What may go on, and did not come in the read that hyper asked for.
    passing: BytesMut,
    /// The client has closed its half, or was given up.
    gone: bool,
}

/// What comes next from the client.
enum Phase {
    /// A head, after this many empty lines.
    Head(HeadCheck, u8),
    Body(Body),
    /// Nothing that matters: the last head was refused, and hyper has or has not been given the refusal.
    Refused(Option<Rejected>),
    /// Nothing that could be made sense of.
    Broken,
}

impl Phase {
    fn head() -> Self {
        Self::Head(HeadCheck::default(), 0)
    }
}

impl Guard {
    /// `early` is what has been read of the stream already.
    pub(super) fn new(
        stream: Stream,
        early: BytesMut,
        limits: Limits,
        patience: Patience,
        under_way: Arc<UnderWay>,
        drain: Drain,
    ) -> Self {
        let (held, passing) = (early, BytesMut::new());
        let mut guard = Self {
            stream,
            limits,
            patience,
            under_way,
            drain,
            phase: Phase::head(),
            held,
            passing,
            gone: false,
        };
        guard.screen_held();
        guard
    }

    /// The stream, when the client may be sending things that nobody will read.
    pub(super) fn unfinished(self) -> Option<Stream> {
        let between_requests = matches!(self.phase, Phase::Head(..)) && self.held.is_empty();
        (!self.gone && !between_requests).then_some(self.stream)
    }

    /// How many of `bytes`, the next of the connection, may go on. The rest, if any, is the beginning of a
    /// head, or after what was refused.
    fn screen(&mut self, bytes: &[u8]) -> usize {
        let mut passed = 0;
        while passed < bytes.len() {
            match self.screen_part(&bytes[passed..]) {
                0 => break,
                part => passed += part,
            }
        }
        passed
    }

    fn screen_part(&mut self, bytes: &[u8]) -> usize {
        match &mut self.phase {
            // An empty line before a head is taken out, which cannot be done here in hyper's buffer.
            Phase::Head(check, _) if check.is_fresh() && bytes[0] == b'\r' => 0,
            Phase::Head(check, _) => match check.advance(bytes, self.limits) {
                Ok(Some(head)) => {
                    let body = Body::new(head.framing);
                    self.phase = if body.is_over() { Phase::head() } else { Phase::Body(body) };
                    self.patience.head_ended();
                    head.len
                }
                Ok(None) => 0,
                Err(rejected) => {
                    self.phase = Phase::Refused(Some(rejected));
                    0
                }
            },
            Phase::Body(body) => match body.advance(bytes) {
                Ok(part) => {
                    if body.is_over() {
                        self.phase = Phase::head();
                    }
                    part
                }
                Err(_) => {
                    self.phase = Phase::Broken;
                    0
                }
            },
            Phase::Refused(_) | Phase::Broken => 0,
        }
    }

    fn screen_held(&mut self) {
        let mut held = std::mem::take(&mut self.held);
        loop {
            self.skip_blank_lines(&mut held);
            match self.screen(&held) {
                0 => break,
                passed => self.passing.unsplit(held.split_to(passed)),
            }
        }
        self.hold(&held);
    }

    /// Left to hyper, they would keep it from noticing that the client is gone.
    fn skip_blank_lines(&mut self, held: &mut BytesMut) {
        let Phase::Head(check, skipped) = &mut self.phase else { return };
        while check.is_fresh() && held.starts_with(b"\r\n") && *skipped <= MAX_BLANK_LINES {
            *skipped += 1;
            held.advance(2);
        }
        if *skipped > MAX_BLANK_LINES || (check.is_fresh() && held.len() > 1 && held[0] == b'\r') {
            self.phase = Phase::Refused(Some(Rejected::Malformed));
        }
    }

    /// Keeps the beginning of a head, if any, for later.
    fn hold(&mut self, rest: &[u8]) {
        if matches!(self.phase, Phase::Head(..)) && !rest.is_empty() {
            self.held.extend_from_slice(rest);
            self.patience.head_began();
        } else {
            self.patience.no_head_began();
        }
    }

    /// Screens what the last read put behind the first `before` bytes of `buf`, and takes out what may not
    /// go on.
    fn screen_read(&mut self, buf: &mut ReadBuf<'_>, before: usize) {
        let bytes = &buf.filled()[before..];
        if self.held.is_empty() {
            let passed = self.screen(bytes);
            let rest = &bytes[passed..];
            if rest.first() == Some(&b'\r') {
                self.held.extend_from_slice(rest);
                self.screen_held();
            } else {
                self.hold(rest);
            }
            buf.set_filled(before + passed);
        } else {
            self.held.extend_from_slice(bytes);
            self.screen_held();
            buf.set_filled(before);
        }
    }

    /// What hyper reads before, or instead of, anything from the socket.
    fn instead(&mut self, buf: &mut ReadBuf<'_>) -> Option<Poll<io::Result<()>>> {
        if self.passing.is_empty() {
            match &mut self.phase {
                Phase::Head(..) | Phase::Body(_) => return None,
                Phase::Broken => {
                    return Some(Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, BadChunk))));
                }
                Phase::Refused(rejected) => match rejected.take() {
                    Some(rejected) => self.passing.extend_from_slice(refusal::head(rejected)),
                    // The write of the refusal wakes the task from here on.
                    None => return Some(Poll::Pending),
                },
            }
        }
        let len = self.passing.len().min(buf.remaining());
        buf.put_slice(&self.passing[..len]);
        self.passing.advance(len);
        Some(Poll::Ready(Ok(())))
    }

    /// While draining, also what has come and the runtime has not heard of yet: a connection that seems idle
    /// is about to be closed, and a request must not be lost in it.
    fn poll_stream(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if polled.is_ready() || !self.drain.is_started() {
            return polled;
        }
        // Under TLS, what has come is not yet what was sent: the last call is all there is.
        let Stream::Plain(tcp) = &self.stream else { return polled };
        match (&*SockRef::from(tcp)).read(buf.initialize_unfilled()) {
            Ok(read) => {
                buf.advance(read);
                Poll::Ready(Ok(()))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<Expired> {
        let awaited = matches!(self.phase, Phase::Head(..)) && !self.under_way.is();
        self.patience.poll_read(cx, awaited)
    }

    fn wrote(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if result.is_ready() {
            self.patience.wrote();
            return result;
        }
        ready!(self.patience.poll_write(cx));
        self.gone = true;
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Guard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let guard = &mut *self;
        let before = buf.filled().len();
        loop {
            if let Some(instead) = guard.instead(buf) {
                return instead;
            }
            match guard.poll_stream(cx, buf) {
                Poll::Ready(Ok(())) if buf.filled().len() > before => guard.screen_read(buf, before),
                Poll::Ready(end) => {
                    guard.gone = true;
                    return Poll::Ready(end);
                }
                Poll::Pending => match ready!(guard.poll_expired(cx)) {
                    Expired::Head => {
                        guard.held.clear();
                        guard.phase = Phase::Refused(Some(Rejected::HeadTooSlow));
                    }
                    // To hyper it looks as though the client had closed the connection.
                    Expired::Idle => {
                        guard.gone = true;
                        return Poll::Ready(Ok(()));
                    }
                },
            }
            if buf.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for Guard {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.wrote(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
