//! Any bytes as an upstream's answer: nothing panics, and it makes no difference where they are cut.
#![no_main]

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::Empty;
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use xinyao_gateway::net::http1::{Connection, Error, Head, Payload};

/// Takes any request, says its pieces, and hangs up.
struct Server<'a>(Vec<&'a [u8]>);

impl AsyncRead for Server<'_> {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let pieces = &mut self.get_mut().0;
        while let Some(piece) = pieces.pop() {
            let (now, later) = piece.split_at(piece.len().min(buf.remaining()));
            if !later.is_empty() {
                pieces.push(later);
            }
            if !now.is_empty() {
                buf.put_slice(now);
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Server<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Status, fields and body, and whether the connection takes another request.
type Read = (u16, HeaderMap, Vec<u8>, bool);

fn read(method: &Method, mut pieces: Vec<&[u8]>) -> Option<Read> {
    pieces.reverse();
    let mut connection = Connection::<_, Empty<Bytes>>::new(Server(pieces));
    let fields = HeaderMap::new();
    connection.begin(&Head { method, target: "/", fields: &fields, set: &[] }, Payload::Whole(Bytes::new()));
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(head) = connection.poll_head(&mut cx) else { panic!("nothing is to be waited for") };
    let (head, ()) = head.ok()?.into_parts();
    let mut body = Vec::new();
    loop {
        match connection.poll_data(&mut cx) {
            Poll::Ready(Some(Ok(data))) => body.extend_from_slice(&data),
            Poll::Ready(Some(Err(Error::Closed | Error::Malformed(_)))) => return None,
            Poll::Ready(Some(Err(error))) => panic!("{error}"),
            Poll::Ready(None) => break,
            Poll::Pending => panic!("nothing is to be waited for"),
        }
    }
    Some((head.status.as_u16(), head.headers, body, connection.is_reusable()))
}

fuzz_target!(|input: (bool, u16, &[u8])| {
    let (head, cut, bytes) = input;
    let method = if head { Method::HEAD } else { Method::GET };
    let (first, second) = bytes.split_at(bytes.len().min(cut.into()));
    let (whole, pieces) = (read(&method, vec![bytes]), read(&method, vec![first, second]));
    // What comes after the answer is seen, or is still on its way.
    let seen = |read: Option<Read>| read.map(|(status, fields, body, _)| (status, fields, body));
    assert_eq!(seen(whole), seen(pieces), "it matters where the bytes are cut");
});
