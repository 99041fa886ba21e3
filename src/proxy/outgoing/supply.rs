//! Where a streaming body's bytes come from.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, SizeHint};
use hyper::body::Incoming;
use tokio::fs::File;
use tokio::io::{AsyncRead, ReadBuf};

use super::Share;
use crate::proxy::refusal::Refusal;

/// Most bytes that are read of a spool at once.
const PIECE: usize = 64 * 1024;

/// Where bytes come from.
pub enum Supply {
    /// The client; some may have been read already.
    Client {
        /// What was.
        read: Option<Bytes>,
        /// What was not.
        rest: Incoming,
    },
    /// A file, where they have been put in the meantime.
    Spool(Spool),
}

/// A body in a file.
pub struct Spool {
    file: File,
    left: u64,
    piece: Vec<u8>,
    /// Its part of the room on disk, as long as the file is there.
    _share: Share,
}

impl Spool {
    /// The next `length` bytes of `file`.
    pub fn new(file: File, length: u64, share: Share) -> Self {
        Self { file, left: length, piece: Vec::new(), _share: share }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Refusal>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.piece.resize(PIECE, 0);
        let mut piece = ReadBuf::new(&mut self.piece);
        let read = ready!(Pin::new(&mut self.file).poll_read(cx, &mut piece));
        let data = piece.filled();
        if read.is_err() || data.is_empty() {
            return Poll::Ready(Some(Err(Refusal::Unspooled)));
        }
        let data = &data[..data.len().min(usize::try_from(self.left).unwrap_or(usize::MAX))];
        self.left -= data.len() as u64;
        Poll::Ready(Some(Ok(Bytes::copy_from_slice(data))))
    }
}

impl Supply {
    /// What nobody has read anything of.
    pub fn client(rest: Incoming) -> Self {
        Self::Client { read: None, rest }
    }

    /// The next bytes; trailers end at this hop.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Refusal>>> {
        let rest = match self {
            Self::Client { read, rest } => match read.take() {
                Some(read) => return Poll::Ready(Some(Ok(read))),
                None => rest,
            },
            Self::Spool(spool) => return spool.poll(cx),
        };
        loop {
            return match ready!(Pin::new(&mut *rest).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => Poll::Ready(Some(Ok(data))),
                    Err(_) => continue,
                },
                Some(Err(_)) => {
                    let broken = Refusal::Invalid("the body's framing is broken, or it ended early");
                    Poll::Ready(Some(Err(broken)))
                }
                None => Poll::Ready(None),
            };
        }
    }

    /// Whether none of it is to come from the client any more.
    pub fn is_here(&self) -> bool {
        matches!(self, Self::Spool(_))
    }

    /// How much there is.
    pub fn size_hint(&self) -> SizeHint {
        match self {
            Self::Client { read: None, rest } => rest.size_hint(),
            Self::Client { .. } => SizeHint::default(),
            Self::Spool(spool) => SizeHint::with_exact(spool.left),
        }
    }
}
