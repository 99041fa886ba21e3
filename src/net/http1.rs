//! One HTTP/1.1 connection to a server (RFC 9112), polled along by whoever waits for the answer.
//!
//! Nothing runs in the background and nothing is handed from task to task: a request's head is written from
//! where it stands, with a short body in the same write, and the answer is read in place. It is no more
//! lenient than the client that it stands in for: `tests` hold it to hyper's reading of the same bytes, and
//! what could be read in two ways breaks the connection off.

mod answer;
mod inbox;
mod outbox;
#[cfg(test)]
mod tests;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Response};
use http_body::Body;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use self::inbox::Inbox;
use self::outbox::{Outbox, Stopped};

/// A request's head, where it stands.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// Its method; not `CONNECT`.
    pub method: &'a Method,
    /// Path and query.
    pub target: &'a str,
    /// Its fields. Those that frame the body are left out: they follow from the body.
    pub fields: &'a HeaderMap,
    /// Fields that stand in place of those of the same name.
    pub set: &'a [(HeaderName, &'a [u8])],
}

/// A request's body.
#[derive(Debug)]
pub enum Payload<B> {
    /// All there already; may be empty.
    Whole(Bytes),
    /// Still to come.
    Stream(B),
}

/// Why an exchange ended early. The connection is of no more use.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection had been closed before anything of the request was written.
    #[error("the connection was closed already")]
    Unsent,
    /// The request's body failed.
    #[error("the request's body ended early")]
    Body,
    /// The server closed the connection.
    #[error("the server closed the connection")]
    Closed,
    /// The connection failed.
    #[error("the connection broke off")]
    Io(#[source] io::Error),
    /// What came is no answer, or could be read in two ways.
    #[error("the answer is malformed: {0}")]
    Malformed(&'static str),
}

/// One connection; one exchange at a time.
#[derive(Debug)]
pub struct Connection<T, B> {
    io: T,
    outbox: Outbox<B>,
    inbox: Inbox,
}

impl<T: AsyncRead + AsyncWrite + Unpin, B: Body<Data = Bytes> + Unpin> Connection<T, B> {
    /// Begins to speak HTTP over `io`.
    pub fn new(io: T) -> Self {
        Self { io, outbox: Outbox::default(), inbox: Inbox::default() }
    }

    /// Takes the next request, of which nothing moves before [`poll_head`](Self::poll_head). The exchange before
    /// must be [over](Self::is_reusable).
    pub fn begin(&mut self, head: &Head<'_>, payload: Payload<B>) {
        self.outbox.begin(head, payload);
        self.inbox.begin(*head.method == Method::HEAD);
    }

    /// The body of a request that was not sent.
    pub fn take_body(&mut self) -> Option<B> {
        self.outbox.take_body()
    }

    /// Moves the request along, and reads the answer's head. Interim answers are passed over.
    ///
    /// # Errors
    /// There will be no answer. What was written may have been acted upon, but for [`Error::Unsent`].
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<()>, Error>> {
        match self.poll_request(cx) {
            Poll::Ready(Err(error @ (Error::Unsent | Error::Body))) => return Poll::Ready(Err(error)),
            // A server may answer before it has read all, and close; the answer is still there to be read.
            Poll::Ready(_) | Poll::Pending => {}
        }
        loop {
            if let Some(head) = self.inbox.head()? {
                return Poll::Ready(Ok(head));
            }
            match ready!(self.inbox.poll_fill(&mut self.io, cx)) {
                Ok(0) => return Poll::Ready(Err(Error::Closed)),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(Error::Io(error))),
            }
        }
    }

    /// Moves the request along; ready when all of it was written.
    ///
    /// # Errors
    /// No more of it can be written.
    pub fn poll_request(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.outbox.poll(&mut self.io, cx).map_err(|stopped| match stopped {
            Stopped::Unsent => Error::Unsent,
            Stopped::Body => Error::Body,
            Stopped::Io(error) => Error::Io(error),
        })
    }

    /// Moves the request along, and reads the next part of the answer's body; `None` at its end.
    ///
    /// # Errors
    /// The body ended early, or its framing is broken. It stays so: whoever only looks ahead loses no error.
    pub fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        let data = ready!(self.poll_next_data(cx));
        if let Some(Err(_)) = &data {
            self.inbox.break_off();
        }
        Poll::Ready(data)
    }

    fn poll_next_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        if let Poll::Ready(Err(Error::Body)) = self.poll_request(cx) {
            return Poll::Ready(Some(Err(Error::Body)));
        }
        loop {
            match self.inbox.data() {
                Ok(Some(data)) => return Poll::Ready(Some(Ok(data))),
                Ok(None) if self.inbox.is_over() => return Poll::Ready(None),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
            match ready!(self.inbox.poll_fill(&mut self.io, cx)) {
                Ok(0) if self.inbox.may_close() => return Poll::Ready(None),
                Ok(0) => return Poll::Ready(Some(Err(Error::Closed))),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Some(Err(Error::Io(error)))),
            }
        }
    }

    /// Whether all of the answer's body was read.
    pub fn is_end_stream(&self) -> bool {
        self.inbox.is_over()
    }

    /// How much of the answer's body is left, where that is known.
    pub fn left(&self) -> Option<u64> {
        self.inbox.left()
    }

    /// Whether all of the request was written.
    pub fn is_sent(&self) -> bool {
        self.outbox.is_done()
    }

    /// Whether the exchange is over and the server takes another one.
    pub fn is_reusable(&self) -> bool {
        self.is_sent() && self.inbox.is_reusable()
    }

    /// Whether it is reusable still: the server has not closed it, nor sent what nobody asked for.
    pub fn is_usable(&mut self) -> bool {
        let mut byte = [0; 1];
        let mut cx = Context::from_waker(Waker::noop());
        self.is_reusable()
            && Pin::new(&mut self.io).poll_read(&mut cx, &mut ReadBuf::new(&mut byte)).is_pending()
    }
}
