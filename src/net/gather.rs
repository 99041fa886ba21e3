//! Small writes in one piece: a head and a short body in two slices cost the kernel more to collect than they
//! cost us to put together.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

/// Up to this many bytes are put together.
const SMALL: usize = 2048;

/// Writes `slices`, put together where they are small.
pub fn poll_write(
    stream: &mut TcpStream,
    cx: &mut Context<'_>,
    slices: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    let total: usize = slices.iter().map(|slice| slice.len()).sum();
    if slices.len() < 2 || total > SMALL {
        return Pin::new(stream).poll_write_vectored(cx, slices);
    }
    let mut whole = [0; SMALL];
    let mut end = 0;
    for slice in slices {
        whole[end..end + slice.len()].copy_from_slice(slice);
        end += slice.len();
    }
    Pin::new(stream).poll_write(cx, &whole[..end])
}
