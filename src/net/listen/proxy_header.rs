//! The PROXY protocol, versions 1 and 2: how a balancer says for whom it connects.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use ppp::{v1, v2};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest header of version 1, its line end included.
const V1_MAX: usize = 107;
const V1_PREFIX: &[u8] = b"PROXY ";
/// The part of a version 2 header that tells how long the rest is, and the longest rest.
const V2_FIXED: usize = 16;
const V2_MAX_REST: usize = 4 << 10;

/// For whom a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// For who connected: a health check, or a client that the balancer cannot name.
    Local,
    /// For this client.
    Source(SocketAddr),
}

/// Why bytes are no PROXY header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// They begin otherwise.
    #[error("the connection does not begin with a PROXY header")]
    Absent,
    /// They begin like one.
    #[error("the PROXY header is malformed")]
    Malformed,
    /// They are one that is over 107 bytes (version 1) or 16 + 4096 (version 2).
    #[error("the PROXY header is too long")]
    TooLong,
}

/// Why no PROXY header was received.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReceiveError {
    #[error("no PROXY header came in time")]
    Late,
    #[error("no PROXY header could be read")]
    Read(#[from] io::Error),
    #[error("no PROXY header was understood")]
    Header(#[from] HeaderError),
}

/// Reads the PROXY header that `bytes` begin with, and its length; `None` when it goes on.
///
/// # Errors
///
/// When they begin with none, whatever follows.
pub fn parse(bytes: &[u8]) -> Result<Option<(Header, usize)>, HeaderError> {
    if begin_alike(bytes, v2::PROTOCOL_PREFIX) {
        parse_v2(bytes)
    } else if begin_alike(bytes, V1_PREFIX) {
        parse_v1(bytes)
    } else {
        Err(HeaderError::Absent)
    }
}

fn begin_alike(bytes: &[u8], prefix: &[u8]) -> bool {
    let len = bytes.len().min(prefix.len());
    bytes[..len] == prefix[..len]
}

fn parse_v1(bytes: &[u8]) -> Result<Option<(Header, usize)>, HeaderError> {
    let Some(end) = bytes.iter().take(V1_MAX).position(|byte| *byte == b'\n') else {
        return if bytes.len() < V1_MAX { Ok(None) } else { Err(HeaderError::TooLong) };
    };
    let line = &bytes[..=end];
    let header = v1::Header::try_from(line).map_err(|_| HeaderError::Malformed)?;
    if header.header.len() != line.len() {
        return Err(HeaderError::Malformed);
    }
    let header = match header.addresses {
        v1::Addresses::Unknown => Header::Local,
        v1::Addresses::Tcp4(pair) => Header::Source((pair.source_address, pair.source_port).into()),
        v1::Addresses::Tcp6(pair) => Header::Source((pair.source_address, pair.source_port).into()),
    };
    Ok(Some((header, line.len())))
}

fn parse_v2(bytes: &[u8]) -> Result<Option<(Header, usize)>, HeaderError> {
    let Some(fixed) = bytes.first_chunk::<V2_FIXED>() else { return Ok(None) };
    let rest = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if rest > V2_MAX_REST {
        return Err(HeaderError::TooLong);
    }
    let header = match v2::Header::try_from(bytes) {
        Ok(header) => header,
        Err(v2::ParseError::Incomplete(_) | v2::ParseError::Partial(..)) => return Ok(None),
        Err(_) => return Err(HeaderError::Malformed),
    };
    let source = match (header.command, &header.addresses) {
        (v2::Command::Proxy, v2::Addresses::IPv4(pair)) => {
            Header::Source((pair.source_address, pair.source_port).into())
        }
        (v2::Command::Proxy, v2::Addresses::IPv6(pair)) => {
            Header::Source((pair.source_address, pair.source_port).into())
        }
        _ => Header::Local,
    };
    Ok(Some((source, V2_FIXED + rest)))
}

/// Reads the PROXY header off `stream`; with it comes what was read behind it.
pub(super) async fn receive(
    stream: &mut TcpStream,
    limit: Duration,
) -> Result<(Header, BytesMut), ReceiveError> {
    timeout(limit, read(stream)).await.unwrap_or(Err(ReceiveError::Late))
}

async fn read(stream: &mut TcpStream) -> Result<(Header, BytesMut), ReceiveError> {
    let mut bytes = BytesMut::with_capacity(512);
    loop {
        // It ends: no header is longer than its bound, and each read brings something.
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        if let Some((header, len)) = parse(&bytes)? {
            return Ok((header, bytes.split_off(len)));
        }
    }
}
