use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, Method, Response};
use http_body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::{Connection, Error, Head, Payload};

/// A server that says what it has to say, piece by piece, and hangs up.
#[derive(Debug, Default)]
pub struct Script {
    pub says: VecDeque<Vec<u8>>,
    pub hears: Vec<u8>,
    /// How many bytes each write may take; none left: writing fails.
    pub takes: VecDeque<usize>,
    /// Whether it waits, after its last piece, instead of hanging up.
    pub waits: bool,
    /// Whether it fails, once, before it hangs up.
    pub fails: bool,
    /// Whether it waits to be asked.
    pub polite: Option<Waker>,
}

impl Script {
    pub fn saying(answer: &[u8]) -> Self {
        Self {
            says: VecDeque::from([answer.to_vec()]),
            takes: VecDeque::from([usize::MAX; 64]),
            ..Self::default()
        }
    }

    pub fn in_pieces(answer: &[u8], cuts: &[usize]) -> Self {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (answer.len() + 1)).collect();
        cuts.extend([0, answer.len()]);
        cuts.sort_unstable();
        let says =
            cuts.windows(2).map(|cut| answer[cut[0]..cut[1]].to_vec()).filter(|piece| !piece.is_empty());
        Self { says: says.collect(), ..Self::saying(b"") }
    }

    pub fn polite(mut self) -> Self {
        self.polite = Some(Waker::noop().clone());
        self
    }

    pub fn waiting(mut self) -> Self {
        self.waits = true;
        self
    }
}

impl AsyncRead for Script {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Some(waker) = this.polite.as_mut().filter(|_| this.hears.is_empty()) {
            waker.clone_from(cx.waker());
            return Poll::Pending;
        }
        let Some(mut piece) = this.says.pop_front() else {
            if std::mem::take(&mut this.fails) {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            return if this.waits { Poll::Pending } else { Poll::Ready(Ok(())) };
        };
        let rest = piece.split_off(piece.len().min(buf.remaining()));
        buf.put_slice(&piece);
        if !rest.is_empty() {
            this.says.push_front(rest);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Script {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let takes = this.takes.pop_front().ok_or(io::ErrorKind::ConnectionReset)?;
        let taken = &buf[..buf.len().min(takes)];
        this.hears.extend_from_slice(taken);
        this.polite.iter().for_each(Waker::wake_by_ref);
        Poll::Ready(Ok(taken.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A body that comes in these parts; `None` is where it has to be waited for.
#[derive(Debug)]
pub struct Parts {
    pub parts: VecDeque<Option<Bytes>>,
    pub length: Option<u64>,
}

impl Parts {
    pub fn of(parts: &[&'static [u8]], length: Option<u64>) -> Self {
        Self { parts: parts.iter().map(|part| Some(Bytes::from_static(part))).collect(), length }
    }
}

impl Body for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut().parts.pop_front() {
            Some(Some(part)) => Poll::Ready(Some(Ok(Frame::data(part)))),
            Some(None) => Poll::Pending,
            None => Poll::Ready(None),
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// A connection to `script`, with a request on it.
pub fn asked(script: Script, method: &Method, payload: Payload<Parts>) -> Connection<Script, Parts> {
    let mut connection = Connection::new(script);
    let fields = HeaderMap::new();
    connection.begin(&Head { method, target: "/", fields: &fields, set: &[] }, payload);
    connection
}

/// An answer that was read to its end.
#[derive(Debug, PartialEq, Eq)]
pub struct Read {
    pub status: u16,
    pub fields: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

impl Read {
    pub fn new<T>(head: &Response<T>, body: Vec<u8>) -> Self {
        let fields = head.headers().iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
        let mut fields: Vec<_> = fields.collect();
        // A length that is there several times is there once from here on.
        fields.dedup_by(|one, other| one == other && one.0 == "content-length");
        Self { status: head.status().as_u16(), fields, body }
    }
}

/// Reads one answer to its end.
pub fn read(connection: &mut Connection<Script, Parts>) -> Result<Read, Error> {
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(head) = connection.poll_head(&mut cx) else { panic!("the head is waited for") };
    let head = head?;
    let mut body = Vec::new();
    loop {
        match connection.poll_data(&mut cx) {
            Poll::Ready(Some(data)) => body.extend_from_slice(&data?),
            Poll::Ready(None) => return Ok(Read::new(&head, body)),
            Poll::Pending => panic!("the body is waited for"),
        }
    }
}
