//! Where a request's body ends, told from its bytes as they go by.

use super::head::Framing;
use crate::net::chunked::{self, BadChunk, Chunked};

/// What of a body is still to come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// This many bytes.
    Length(u64),
    /// More chunks, from the middle of one.
    Chunked(Chunked),
}

impl Body {
    pub(super) fn new(framing: Framing) -> Self {
        match framing {
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Chunked::Start),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunked::Over))
    }

    /// How many of `bytes` are of this body: all of them, unless it ends before.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Result<usize, BadChunk> {
        match self {
            Self::Length(left) => Ok(chunked::take(left, bytes.len())),
            Self::Chunked(chunked) => chunked.advance(bytes),
        }
    }
}
