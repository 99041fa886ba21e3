//! The end of a connection whose client may still be sending.
//!
//! A socket closed with bytes unread, or reached by bytes after it was closed, answers with a reset, and the
//! reset can overtake the answer that the client has yet to read (RFC 9112 §9.6).

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::early::Stream;

/// How long a client may go on sending. Many read no answer before they have sent all of their request.
const TIME: Duration = Duration::from_secs(10);
/// How long it may keep silent meanwhile.
const SILENCE: Duration = Duration::from_secs(2);
const BUFFER: usize = 16 << 10;

/// Tells the client that no more will come, and reads what it sends away until it closes too, within bounds.
pub(super) async fn linger(stream: Stream) {
    // An error is the client gone, the bound run out a client that does not listen; both end the wait.
    let _ = timeout(TIME, discard(stream)).await;
}

async fn discard(mut stream: Stream) -> io::Result<()> {
    // Where hyper has done it already, this does nothing.
    stream.shutdown().await?;
    let mut buffer = vec![0; BUFFER];
    // An end of the silence is an end like the client's own.
    while timeout(SILENCE, stream.read(&mut buffer)).await.unwrap_or(Ok(0))? > 0 {}
    Ok(())
}
