//! A request's body on its way to the upstream.

mod progress;
mod room;
mod supply;
mod watched;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

pub use self::progress::Progress;
pub use self::room::{Room, Share};
pub use self::supply::{Spool, Supply};
pub use self::watched::{Observer, Rules, Watched};
use crate::net::http1::Payload;

/// A body, from where nobody has touched it to where it has gone.
pub enum Outgoing {
    /// As it came.
    Raw(Incoming),
    /// Read whole, or none.
    Whole(Bytes),
    /// Watched while it streams by.
    Watched(Box<Watched>),
}

impl Default for Outgoing {
    fn default() -> Self {
        Self::Whole(Bytes::new())
    }
}

impl Outgoing {
    /// Whether nothing of it is left to be read from the client.
    pub fn is_taken(&self) -> bool {
        match self {
            Self::Raw(incoming) => incoming.is_end_stream(),
            Self::Whole(_) => true,
            Self::Watched(watched) => watched.is_here(),
        }
    }

    /// What is sent: a copy of the bytes where they are at hand, else the body itself, of which nothing stays.
    pub fn payload(&mut self) -> Payload<Self> {
        match self {
            Self::Whole(bytes) => Payload::Whole(bytes.clone()),
            Self::Raw(incoming) if incoming.is_end_stream() => Payload::Whole(Bytes::new()),
            Self::Raw(_) | Self::Watched(_) => Payload::Stream(std::mem::take(self)),
        }
    }

    /// Has `observer` follow the body from its beginning. Only a streaming one is followed; of others, the
    /// bytes are at hand, or nobody looks at them.
    pub fn observe(&mut self, observer: Box<dyn Observer>) {
        if let Self::Watched(watched) = self {
            watched.observe(observer);
        }
    }

    /// How a streaming body fares.
    pub fn progress(&self) -> Option<Arc<Progress>> {
        match self {
            Self::Watched(watched) => Some(watched.progress()),
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
                Poll::Ready(Some(std::mem::take(bytes)).filter(|b| !b.is_empty()).map(|b| Ok(Frame::data(b))))
            }
            Self::Watched(watched) => {
                watched.poll_data(cx).map(|data| data.map(|data| data.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Raw(incoming) => incoming.is_end_stream(),
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Watched(watched) => watched.is_ended(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Raw(incoming) => incoming.size_hint(),
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Watched(watched) => watched.size_hint(),
        }
    }
}
