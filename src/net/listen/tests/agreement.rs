//! The guard and hyper must read a connection alike: what the guard lets by, hyper takes, and both see it end
//! at the same byte.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use crate::net::listen::body::Body;
use crate::net::listen::head::{Framing, Head, HeadCheck, Limits};

const LIMITS: Limits = Limits { max_headers: 20, max_bytes: 4096 };
/// Answered with its own mark, when it is read as a request.
const NEXT: &str = "GET /next HTTP/1.0\r\n\r\n";

fn checked(head: &[u8]) -> Option<Head> {
    HeadCheck::default().advance(head, LIMITS).ok().flatten()
}

async fn echo(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let body = match request.into_body().collect().await {
        _ if path == "/next" => "<next>".into(),
        Ok(_) => "<whole>".into(),
        Err(_) => "<broken>".into(),
    };
    Ok(Response::new(Full::new(body)))
}

/// What hyper alone makes of `bytes`.
fn hypers_answer(bytes: &[u8]) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (mut near, far) = duplex(1 << 16);
        near.write_all(bytes).await.unwrap();
        near.shutdown().await.unwrap();
        let server = Builder::new().half_close(true).serve_connection(TokioIo::new(far), service_fn(echo));
        let mut answer = String::new();
        let (_, read) = tokio::join!(server, near.read_to_string(&mut answer));
        read.unwrap();
        answer
    })
}

fn head() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        4 => Just("GET / HTTP/1.1".to_owned()),
        1 => "[A-Za-z!|]{1,5} [ -~é]{1,12} HTTP/1\\.[01]",
        2 => "GET /[!-~é]{0,12} HTTP/1\\.[01]",
        1 => "GET http://[!-~]{0,12} HTTP/1\\.1",
    ];
    let field = prop_oneof![
        3 => Just("host: a".to_owned()),
        1 => "[ -~]{1,4}:[ -~\t\u{7f}é]{0,8}",
        2 => "[a-z!|~]{1,8}:[ -~\té]{0,8}",
        1 => "(content-length|transfer-encoding|host|connection|expect|upgrade): ?[0-9a-z, +]{0,8}",
        1 => Just("transfer-encoding: chunked".to_owned()),
        1 => Just("content-length: 0".to_owned()),
    ];
    (line, prop::collection::vec(field, 0..4)).prop_map(|(line, fields)| {
        fields.iter().fold(line + "\r\n", |head, field| head + field + "\r\n") + "\r\n"
    })
}

fn chunks() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        8 => "[1-3]\r\n[a-z]{1,3}\r\n",
        4 => (0usize..20).prop_map(|len| format!("{len:x}\r\n{}\r\n", "z".repeat(len))),
        2 => "[0-3][ \t;a-z=\n]{0,3}\r\n[a-z]{1,3}\r\n",
        6 => Just("0\r\n\r\n".to_owned()),
        2 => "0\r\n[a-z:\n\r ]{0,6}\r\n\r\n",
        1 => "[0-9a-fx \r\n]{0,5}",
    ];
    prop::collection::vec(part, 0..4).prop_map(|parts| parts.concat())
}

/// Most heads are refused by the guard, which says nothing of hyper: enough are tried that some are not.
fn patient() -> ProptestConfig {
    let config = ProptestConfig::default();
    ProptestConfig { max_global_rejects: config.cases * 100, ..config }
}

proptest! {
    #![proptest_config(patient())]

    #[test]
    fn hyper_takes_what_the_guard_lets_by(head in head()) {
        prop_assume!(checked(head.as_bytes()).is_some());
        let answer = hypers_answer(head.as_bytes());
        prop_assert!(answer.contains(" 200 OK") || answer.starts_with("HTTP/1.1 100 "), "{head:?}: {answer:?}");
    }

    #[test]
    fn both_see_chunks_end_at_the_same_byte(chunks in chunks()) {
        let mut body = Body::new(Framing::Chunked);
        let len = body.advance(chunks.as_bytes());
        prop_assume!(len.is_ok() && body.is_over());
        let bytes = ["POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n", &chunks[..len.unwrap()], NEXT];
        let answer = hypers_answer(bytes.concat().as_bytes());
        let broken = answer.contains("<broken>") && !answer.contains("<next>");
        prop_assert!(broken || answer.contains("<whole>") && answer.ends_with("<next>"), "{chunks:?}: {answer:?}");
    }

    #[test]
    fn a_body_is_read_alike_in_pieces(chunks in chunks(), cut: prop::sample::Index) {
        let mut whole = Body::new(Framing::Chunked);
        let expected = whole.advance(chunks.as_bytes());
        let (first, second) = chunks.as_bytes().split_at(cut.index(chunks.len() + 1));
        let mut pieces = Body::new(Framing::Chunked);
        let got = pieces.advance(first).and_then(|len| Ok(len + pieces.advance(second)?));
        prop_assert_eq!(got, expected);
    }

    #[test]
    fn a_head_is_read_alike_in_pieces(head in head(), cut: prop::sample::Index) {
        let expected = HeadCheck::default().advance(head.as_bytes(), LIMITS);
        let mut pieces = HeadCheck::default();
        let first = pieces.advance(&head.as_bytes()[..cut.index(head.len())], LIMITS);
        let got = first.and_then(|_| pieces.advance(head.as_bytes(), LIMITS));
        prop_assert_eq!(got, expected);
    }
}
