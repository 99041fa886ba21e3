//! What is made of answers.

use bytes::Bytes;
use http::Method;
use hyper::ext::ReasonPhrase;
use proptest::prelude::*;
use std::task::{Context, Poll, Waker};

use super::super::{Connection, Error, Payload};
use super::script::{Parts, Script, asked, read};

fn answered(answer: &[u8], method: &Method) -> Connection<Script, Parts> {
    asked(Script::saying(answer), method, Payload::Whole(Bytes::new()))
}

/// The body of this answer, and whether the connection takes another request.
fn body(answer: &str) -> (String, bool) {
    let mut connection = answered(answer.as_bytes(), &Method::POST);
    let read = read(&mut connection).unwrap();
    (String::from_utf8(read.body).unwrap(), connection.is_reusable())
}

fn is_malformed(answer: &str) {
    let outcome = read(&mut answered(answer.as_bytes(), &Method::POST));
    assert!(matches!(outcome, Err(Error::Malformed(_))), "{answer:?}: {outcome:?}");
}

fn is_cut_off(answer: &str) {
    let outcome = read(&mut answered(answer.as_bytes(), &Method::POST));
    assert!(matches!(outcome, Err(Error::Closed)), "{answer:?}: {outcome:?}");
}

#[test]
fn a_body_ends_where_its_head_says() {
    let cases = [
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", "{}", true),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconTent-Length: 2\r\n\r\n{}", "{}", true),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: x, Close\r\n\r\n{}", "{}", false),
        ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}surplus", "{}", false),
        ("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}", "{}", false),
        ("HTTP/1.0 200 OK\r\ncontent-length: 2\r\nconnection: keep-alive\r\n\r\n{}", "{}", true),
        ("HTTP/1.1 200 OK\r\n\r\nto the end", "to the end", false),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n1\r\n{\r\n1;x=y\r\n}\r\n0\r\nx: y\r\n\r\n",
            "{}",
            true,
        ),
        ("HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\n", "", true),
        ("HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\n\r\n", "", true),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 X\r\na: b\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1",
            "1",
            true,
        ),
    ];
    for (answer, expected, reusable) in cases {
        assert_eq!(body(answer), (expected.to_owned(), reusable), "{answer:?}");
    }
}

#[test]
fn an_answer_to_head_has_no_body() {
    for framing in ["content-length: 5", "transfer-encoding: chunked", "x: y"] {
        let answer = format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n");
        let mut connection = answered(answer.as_bytes(), &Method::HEAD);
        assert_eq!(read(&mut connection).unwrap().body, b"");
        assert!(connection.is_reusable());
    }
}

#[test]
fn what_could_be_read_in_two_ways_is_malformed() {
    for fields in [
        "content-length: 2\r\ncontent-length: 3",
        "content-length: 2, 2",
        "content-length: +2",
        "content-length: -2",
        "content-length: 0x2",
        "content-length: 2 2",
        "content-length:",
        "content-length: 99999999999999999999",
        "content-length: 2\r\ntransfer-encoding: chunked",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        "transfer-encoding: gzip, chunked",
        "transfer-encoding: chunked, identity",
        "transfer-encoding: identity",
        "transfer-encoding:",
        "x-a: 1\r\n folded",
        "x-a : 1",
        " x-a: 1",
        ": 1",
        "x-a",
        "x a: 1",
        "x-a: \0",
        "x-a: 1\n\nx-b: 2",
    ] {
        is_malformed(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n{{}}"));
    }
    for answer in [
        "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 000 OK\r\n\r\n",
        "ICY 200 OK\r\n\r\n",
        "\r\n\r\n",
    ] {
        is_malformed(answer);
    }
}

#[test]
fn broken_chunks_are_malformed() {
    for chunks in [
        "x",
        "-1\r\n",
        "1\n{\r\n",
        "1\r\n{}\r\n",
        "fffffffffffffffff\r\n",
        "1\r\n{\n",
        "0\r\nx\n\r\n",
        "1;\n\r\n",
    ] {
        is_malformed(&format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}"));
    }
}

#[test]
fn what_ends_early_is_told_from_what_ends() {
    for answer in [
        "",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
    ] {
        is_cut_off(answer);
    }
}

#[test]
fn a_body_that_broke_off_stays_broken() {
    let mut cx = Context::from_waker(Waker::noop());
    for framing in ["content-length: 2\r\n\r\n{", "transfer-encoding: chunked\r\n\r\n1\r\n{\r\nx", "\r\n{"] {
        let mut script = Script::saying(format!("HTTP/1.1 200 OK\r\n{framing}").as_bytes());
        script.fails = true;
        let mut connection = asked(script, &Method::POST, Payload::Whole(Bytes::new()));
        assert!(connection.poll_head(&mut cx).is_ready());
        assert!(matches!(connection.poll_data(&mut cx), Poll::Ready(Some(Ok(_)))));
        for _ in 0..3 {
            assert!(matches!(connection.poll_data(&mut cx), Poll::Ready(Some(Err(_)))), "{framing:?}");
        }
        assert!(!connection.is_reusable());
    }
}

#[test]
fn heads_have_bounds() {
    is_malformed(&format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(251)));
    is_malformed(&format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(128 * 1024)));
    assert_eq!(body(&format!("HTTP/1.1 204 OK\r\n{}\r\n", "x: y\r\n".repeat(250))).0, "");
}

#[test]
fn a_reason_of_the_servers_own_is_kept() {
    let mut cx = Context::from_waker(Waker::noop());
    for (line, own) in [("200 OK", None), ("200 Fine", Some("Fine")), ("299 ", Some(""))] {
        let answer = format!("HTTP/1.1 {line}\r\ncontent-length: 0\r\n\r\n");
        let mut connection = answered(answer.as_bytes(), &Method::POST);
        let Poll::Ready(Ok(head)) = connection.poll_head(&mut cx) else { panic!("no head") };
        let reason = head.extensions().get::<ReasonPhrase>();
        assert_eq!(reason.map(ReasonPhrase::as_bytes), own.map(str::as_bytes));
    }
}

#[test]
fn the_end_is_known_with_the_last_part() {
    let mut cx = Context::from_waker(Waker::noop());
    for framing in ["content-length: 2\r\n\r\n{}", "transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"] {
        let mut connection = answered(format!("HTTP/1.1 200 OK\r\n{framing}").as_bytes(), &Method::POST);
        assert!(connection.poll_head(&mut cx).is_ready());
        assert!(matches!(connection.poll_data(&mut cx), Poll::Ready(Some(Ok(data))) if data == "{}"));
        assert!(connection.is_end_stream());
    }
}

#[test]
fn a_connection_that_was_closed_or_spoke_unasked_is_not_usable() {
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    let mut closed = answered(ANSWER, &Method::POST);
    read(&mut closed).unwrap();
    assert!(closed.is_reusable() && !closed.is_usable());
    let script = Script::in_pieces(&[ANSWER, b"?"].concat(), &[ANSWER.len()]).waiting();
    let mut unasked = asked(script, &Method::POST, Payload::Whole(Bytes::new()));
    read(&mut unasked).unwrap();
    assert!(unasked.is_reusable() && !unasked.is_usable());
}

proptest! {
    #[test]
    fn it_makes_no_difference_where_the_bytes_are_cut(
        framing in "(content-length: [0-9]\r\n|transfer-encoding: chunked\r\n|)", body in "([1-5]\r\n[a-c]{1,5}\r\n|0\r\n\r\n|[a-c]{0,9}){0,5}",
        cuts in prop::collection::vec(any::<usize>(), 0..8),
    ) {
        let answer = format!("HTTP/1.1 200 OK\r\nx: y\r\n{framing}\r\n{body}");
        let outcome = |script| {
            let mut connection = asked(script, &Method::POST, Payload::Whole(Bytes::new()));
            read(&mut connection).map_err(|error| error.to_string())
        };
        let whole = outcome(Script::saying(answer.as_bytes()));
        prop_assert_eq!(outcome(Script::in_pieces(answer.as_bytes(), &cuts)), whole);
    }
}
