//! An answer on its way in.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use http::{Response, StatusCode};
use memchr::memmem;
use tokio::io::AsyncRead;
use tokio_util::io::poll_read_buf;

use super::Error;
use super::answer::{self, Framing};
use crate::net::chunked::{self, Chunked};

/// Longest head of an answer.
const MAX_HEAD: usize = 128 * 1024;
/// How much is read at a time, to begin with and at most.
const MIN_READ: usize = 8 * 1024;
const MAX_READ: usize = 64 * 1024;

/// What has been read of an answer, and what is to come.
#[derive(Debug)]
pub(super) struct Inbox {
    buffer: BytesMut,
    /// So much of the head was looked through for its end.
    searched: usize,
    read: usize,
    is_head: bool,
    rest: Rest,
    persists: bool,
}

/// What is to come of a body.
#[derive(Debug)]
enum Rest {
    /// All of it, and the head before it.
    Head,
    Length(u64),
    Chunked(Chunked),
    Close,
    /// Nothing: it broke off.
    Broken,
}

impl Default for Inbox {
    fn default() -> Self {
        Self {
            buffer: BytesMut::new(),
            searched: 0,
            read: MIN_READ,
            is_head: false,
            rest: Rest::Length(0),
            persists: true,
        }
    }
}

impl Inbox {
    pub(super) fn begin(&mut self, is_head: bool) {
        self.is_head = is_head;
        self.searched = 0;
        self.rest = Rest::Head;
    }

    /// Reads what has come; 0: it is over.
    pub(super) fn poll_fill<T: AsyncRead + Unpin>(
        &mut self,
        io: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.buffer.reserve(self.read);
        let outcome = poll_read_buf(Pin::new(io), cx, &mut self.buffer);
        if let Poll::Ready(Ok(count)) = &outcome
            && *count >= self.read
        {
            self.read = (self.read * 2).min(MAX_READ);
        }
        outcome
    }

    /// The answer's head, once it is there.
    pub(super) fn head(&mut self) -> Result<Option<Response<()>>, Error> {
        while let Some(len) = self.head_len()? {
            let head = answer::read(self.buffer.split_to(len), self.is_head)?;
            self.searched = 0;
            match head.response.status() {
                StatusCode::SWITCHING_PROTOCOLS => {
                    return Err(Error::Malformed("it switches protocols, which nobody asked for"));
                }
                status if status.is_informational() => continue,
                _ => {}
            }
            self.persists = head.persists;
            self.rest = match head.framing {
                Framing::Length(length) => Rest::Length(length),
                Framing::Chunked => Rest::Chunked(Chunked::Start),
                Framing::Close => Rest::Close,
            };
            return Ok(Some(head.response));
        }
        Ok(None)
    }

    fn head_len(&mut self) -> Result<Option<usize>, Error> {
        let from = self.searched.saturating_sub(3);
        let end = memmem::find(&self.buffer[from..], b"\r\n\r\n").map(|at| from + at + 4);
        self.searched = self.buffer.len();
        if end.unwrap_or(self.searched) > MAX_HEAD {
            return Err(Error::Malformed("its head is too long"));
        }
        Ok(end)
    }

    /// The next part of the body, of what has been read.
    pub(super) fn data(&mut self) -> Result<Option<Bytes>, Error> {
        let data = self.next_data()?;
        // What a long body has made grow is not kept for a connection that may be idle from now on.
        if self.read > MIN_READ && self.is_reusable() {
            self.buffer = BytesMut::new();
            self.read = MIN_READ;
        }
        Ok(data)
    }

    fn next_data(&mut self) -> Result<Option<Bytes>, Error> {
        let data = match &mut self.rest {
            Rest::Head => 0,
            Rest::Broken => return Err(Error::Closed),
            Rest::Length(left) => chunked::take(left, self.buffer.len()),
            Rest::Close => self.buffer.len(),
            Rest::Chunked(chunked) => {
                let data = pass(chunked, &mut self.buffer).map_err(|_| Error::Malformed("its chunks"))?;
                let data = self.buffer.split_to(data);
                // Whether it ends here is told now, if it can be: the last part goes out as such.
                let mut ahead = *chunked;
                if let Ok((framing, 0)) = ahead.next_data(&self.buffer) {
                    *chunked = ahead;
                    self.buffer.advance(framing);
                }
                return Ok(Some(data.freeze()).filter(|data| !data.is_empty()));
            }
        };
        Ok(Some(self.buffer.split_to(data).freeze()).filter(|data| !data.is_empty()))
    }

    pub(super) fn break_off(&mut self) {
        self.rest = Rest::Broken;
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.rest, Rest::Length(0) | Rest::Chunked(Chunked::Over))
    }

    pub(super) fn may_close(&self) -> bool {
        matches!(self.rest, Rest::Close)
    }

    pub(super) fn left(&self) -> Option<u64> {
        match self.rest {
            Rest::Length(left) => Some(left),
            Rest::Chunked(Chunked::Over) => Some(0),
            Rest::Head | Rest::Chunked(_) | Rest::Close | Rest::Broken => None,
        }
    }

    pub(super) fn is_reusable(&self) -> bool {
        self.persists && self.is_over() && self.buffer.is_empty()
    }
}

/// Passes over what frames the data at the front of `buffer`, and tells how much data there is.
fn pass(chunked: &mut Chunked, buffer: &mut BytesMut) -> Result<usize, chunked::BadChunk> {
    let (framing, data) = chunked.next_data(buffer)?;
    buffer.advance(framing);
    Ok(data)
}
