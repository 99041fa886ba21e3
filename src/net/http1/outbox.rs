//! A request on its way out.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::Method;
use http::header::{CONTENT_LENGTH, HeaderName, TRANSFER_ENCODING};
use http_body::Body;
use tokio::io::AsyncWrite;

use super::{Head, Payload};

/// Up to this size, data is copied behind what goes first: one piece costs less to write than two.
const SMALL: usize = 4 * 1024;
/// The first write is at most one record of TLS: when it fails, the server can't have read any of it.
const FIRST: usize = 16 * 1024;

/// What is to be written of a request.
#[derive(Debug)]
pub(super) struct Outbox<B> {
    front: BytesMut,
    data: Bytes,
    body: Option<B>,
    framing: Framing,
    written: bool,
    failed: Option<Failed>,
}

/// Why nothing more is written, for as long as anybody asks.
#[derive(Debug, Clone, Copy)]
enum Failed {
    Body,
    Io,
}

#[derive(Debug, Clone, Copy)]
enum Framing {
    /// So many bytes are left.
    Length(u64),
    /// The last chunk may want its end.
    Chunked { open: bool },
}

/// Why no more of it is written.
#[derive(Debug)]
pub(super) enum Stopped {
    /// Nothing was written at all.
    Unsent,
    /// Its body failed.
    Body,
    /// The connection failed.
    Io(io::Error),
}

impl<B> Default for Outbox<B> {
    fn default() -> Self {
        Self {
            front: BytesMut::new(),
            data: Bytes::new(),
            body: None,
            framing: Framing::Length(0),
            written: false,
            failed: None,
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Outbox<B> {
    pub(super) fn begin(&mut self, head: &Head<'_>, payload: Payload<B>) {
        self.written = false;
        self.framing = match &payload {
            Payload::Whole(bytes) => Framing::Length(bytes.len() as u64),
            Payload::Stream(body) => {
                body.size_hint().exact().map_or(Framing::Chunked { open: false }, Framing::Length)
            }
        };
        self.put_head(head);
        match payload {
            Payload::Whole(bytes) => self.put_data(bytes),
            Payload::Stream(body) => self.body = Some(body),
        }
    }

    pub(super) fn take_body(&mut self) -> Option<B> {
        self.body.take()
    }

    pub(super) fn is_done(&self) -> bool {
        self.body.is_none() && self.is_flushed() && self.failed.is_none()
    }

    fn is_flushed(&self) -> bool {
        self.front.is_empty() && self.data.is_empty()
    }

    /// Writes on; ready when all is written.
    pub(super) fn poll<T: AsyncWrite + Unpin>(
        &mut self,
        io: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Stopped>> {
        if self.is_done() {
            return Poll::Ready(Ok(()));
        }
        match self.failed {
            None => {}
            Some(Failed::Body) => return Poll::Ready(Err(Stopped::Body)),
            Some(Failed::Io) => return Poll::Ready(Err(Stopped::Io(io::ErrorKind::BrokenPipe.into()))),
        }
        let stopped = ready!(self.poll_write_all(io, cx));
        self.failed = match &stopped {
            Ok(()) => None,
            Err(Stopped::Body) => Some(Failed::Body),
            Err(Stopped::Unsent | Stopped::Io(_)) => Some(Failed::Io),
        };
        Poll::Ready(stopped)
    }

    fn poll_write_all<T: AsyncWrite + Unpin>(
        &mut self,
        io: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Stopped>> {
        loop {
            while !self.is_flushed() {
                match ready!(self.poll_write(io, cx)) {
                    Ok(0) => return Poll::Ready(Err(Stopped::Io(io::ErrorKind::WriteZero.into()))),
                    Ok(count) => self.wrote(count),
                    Err(_) if !self.written => return Poll::Ready(Err(Stopped::Unsent)),
                    Err(error) => return Poll::Ready(Err(Stopped::Io(error))),
                }
            }
            // Only now is a stream touched: until something was written, it can be sent another way.
            let Some(body) = &mut self.body else { break };
            let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) else {
                ready!(Pin::new(io).poll_flush(cx)).map_err(Stopped::Io)?;
                return Poll::Pending;
            };
            match frame.map(|frame| frame.map(http_body::Frame::into_data)) {
                Some(Ok(Ok(data))) => self.put_frame(data)?,
                // Trailers end at this hop.
                Some(Ok(Err(_))) => {}
                Some(Err(_)) => return Poll::Ready(Err(Stopped::Body)),
                None => self.end()?,
            }
        }
        Pin::new(io).poll_flush(cx).map_err(Stopped::Io)
    }

    fn poll_write<T: AsyncWrite + Unpin>(&self, io: &mut T, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let io = Pin::new(io);
        let at_most = if self.written { usize::MAX } else { FIRST };
        if self.data.is_empty() {
            return io.poll_write(cx, &self.front[..self.front.len().min(at_most)]);
        }
        if self.front.is_empty() {
            return io.poll_write(cx, &self.data);
        }
        let front = &self.front[..self.front.len().min(at_most)];
        let data = &self.data[..self.data.len().min(at_most - front.len())];
        io.poll_write_vectored(cx, &[IoSlice::new(front), IoSlice::new(data)])
    }

    fn wrote(&mut self, count: usize) {
        self.written = true;
        let of_front = count.min(self.front.len());
        if of_front == self.front.len() {
            // Not `advance`, which would give up the room in front.
            self.front.clear();
        } else {
            self.front.advance(of_front);
        }
        self.data.advance(count - of_front);
    }

    fn put_frame(&mut self, data: Bytes) -> Result<(), Stopped> {
        match &mut self.framing {
            _ if data.is_empty() => {}
            Framing::Length(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(Stopped::Body)?;
                self.put_data(data);
            }
            Framing::Chunked { open } => {
                let end = if *open { "\r\n" } else { "" };
                self.front.extend_from_slice(format!("{end}{:x}\r\n", data.len()).as_bytes());
                // The end of a large one goes with the head of the next.
                *open = data.len() > SMALL;
                let small = !*open;
                self.put_data(data);
                if small {
                    self.front.extend_from_slice(b"\r\n");
                }
            }
        }
        Ok(())
    }

    fn put_data(&mut self, data: Bytes) {
        if data.len() <= SMALL {
            self.front.extend_from_slice(&data);
        } else {
            self.data = data;
        }
    }

    fn end(&mut self) -> Result<(), Stopped> {
        self.body = None;
        match self.framing {
            Framing::Length(0) => Ok(()),
            Framing::Length(_) => Err(Stopped::Body),
            Framing::Chunked { open } => {
                self.front.extend_from_slice(if open { &b"\r\n0\r\n\r\n"[..] } else { b"0\r\n\r\n" });
                Ok(())
            }
        }
    }

    fn put_head(&mut self, head: &Head<'_>) {
        if self.front.capacity() > FIRST {
            self.front = BytesMut::new();
        }
        self.front.clear();
        self.front.reserve(512);
        for part in [head.method.as_str(), " ", head.target, " HTTP/1.1\r\n"] {
            self.front.extend_from_slice(part.as_bytes());
        }
        for (name, value) in head.set {
            self.put_field(name, value);
        }
        for (name, value) in head.fields {
            if name != CONTENT_LENGTH
                && name != TRANSFER_ENCODING
                && !head.set.iter().any(|(set, _)| set == name)
            {
                self.put_field(name, value.as_bytes());
            }
        }
        match self.framing {
            Framing::Chunked { .. } => self.front.extend_from_slice(b"transfer-encoding: chunked\r\n"),
            // Of these methods a server expects a body, if only to be told that there is none (RFC 9110 §8.6).
            Framing::Length(0) if ![Method::POST, Method::PUT, Method::PATCH].contains(head.method) => {}
            Framing::Length(length) => {
                self.front.extend_from_slice(b"content-length: ");
                self.front.extend_from_slice(length.to_string().as_bytes());
                self.front.extend_from_slice(b"\r\n");
            }
        }
        self.front.extend_from_slice(b"\r\n");
    }

    fn put_field(&mut self, name: &HeaderName, value: &[u8]) {
        for part in [name.as_str().as_bytes(), b": ", value, b"\r\n"] {
            self.front.extend_from_slice(part);
        }
    }
}
