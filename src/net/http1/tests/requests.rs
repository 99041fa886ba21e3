//! What is written.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, Method};
use proptest::prelude::*;

use super::super::{Connection, Error, Head, Payload};
use super::script::{Parts, Script, asked, read};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

fn written(method: &Method, payload: Payload<Parts>) -> String {
    let mut connection = asked(Script::saying(OK), method, payload);
    read(&mut connection).unwrap();
    String::from_utf8(connection.io.hears).unwrap()
}

#[test]
fn a_head_has_what_is_set_in_place_of_what_was_there() {
    let mut fields = HeaderMap::new();
    for (name, value) in
        [("host", "a"), ("x-a", "1"), ("content-length", "9"), ("x-a", "2"), ("authorization", "b")]
    {
        fields.append(name, value.parse().unwrap());
    }
    let mut connection = Connection::<_, Parts>::new(Script::saying(OK));
    let set: &[(_, &[u8])] = &[(HOST, b"saas"), (AUTHORIZATION, b"k:1:m")];
    let head = Head { method: &Method::POST, target: "/a?b=c", fields: &fields, set };
    connection.begin(&head, Payload::Whole(Bytes::from_static(b"{}")));
    read(&mut connection).unwrap();
    assert_eq!(
        String::from_utf8(connection.io.hears).unwrap(),
        "POST /a?b=c HTTP/1.1\r\nhost: saas\r\nauthorization: k:1:m\r\nx-a: 1\r\nx-a: 2\r\ncontent-length: 2\r\n\r\n{}"
    );
}

#[test]
fn no_body_is_told_where_one_is_expected() {
    let none = || Payload::Whole(Bytes::new());
    assert_eq!(written(&Method::GET, none()), "GET / HTTP/1.1\r\n\r\n");
    assert_eq!(written(&Method::POST, none()), "POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n");
}

#[test]
fn a_stream_of_known_length_is_not_chunked() {
    let body = Parts::of(&[b"abc", b"", b"de"], Some(5));
    assert_eq!(
        written(&Method::POST, Payload::Stream(body)),
        "POST / HTTP/1.1\r\ncontent-length: 5\r\n\r\nabcde"
    );
}

#[test]
fn a_stream_that_is_not_as_long_as_it_said_fails() {
    for parts in [&[&b"abc"[..]][..], &[b"abc", b"def"]] {
        let mut connection =
            asked(Script::saying(OK), &Method::POST, Payload::Stream(Parts::of(parts, Some(5))));
        assert!(matches!(read(&mut connection), Err(Error::Body)));
    }
}

#[test]
fn a_stream_of_unknown_length_is_chunked() {
    let body = Parts::of(&[b"abc", b"0123456789abcdef0"], None);
    assert_eq!(
        written(&Method::POST, Payload::Stream(body)),
        "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n11\r\n0123456789abcdef0\r\n0\r\n\r\n"
    );
}

#[test]
fn a_body_that_failed_fails_the_answer_whoever_asked_first() {
    let body = Parts { parts: VecDeque::from([None]), length: Some(3) };
    let mut connection = asked(Script::saying(OK).waiting(), &Method::POST, Payload::Stream(body));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(connection.poll_head(&mut cx).is_ready());
    assert!(matches!(connection.poll_request(&mut cx), Poll::Ready(Err(Error::Body))));
    assert!(matches!(connection.poll_data(&mut cx), Poll::Ready(Some(Err(Error::Body)))));
}

#[test]
fn what_was_not_written_comes_back() {
    let body = Parts::of(&[b"abc"], Some(3));
    let script = Script { takes: VecDeque::new(), ..Script::saying(b"") };
    let mut connection = asked(script, &Method::POST, Payload::Stream(body));
    assert!(matches!(read(&mut connection), Err(Error::Unsent)));
    assert_eq!(connection.take_body().unwrap().parts.len(), 1);
    assert!(!connection.is_usable());
}

#[test]
fn a_byte_that_was_written_makes_it_sent() {
    let script = Script { takes: VecDeque::from([1]), ..Script::saying(b"") };
    let mut connection = asked(script, &Method::POST, Payload::Whole(Bytes::from_static(b"{}")));
    assert!(matches!(read(&mut connection), Err(Error::Closed)));
}

#[test]
fn an_answer_is_read_although_the_request_can_not_be_written_on() {
    let script = Script { takes: VecDeque::from([5]), ..Script::saying(OK) };
    let mut connection = asked(script, &Method::POST, Payload::Whole(Bytes::from_static(b"{}")));
    assert_eq!(read(&mut connection).unwrap().body, b"{}");
    assert!(!connection.is_reusable());
}

#[test]
fn an_answer_may_come_before_the_body() {
    let body = Parts { parts: VecDeque::from([None, Some(Bytes::from_static(b"abc"))]), length: Some(3) };
    let mut connection = asked(Script::saying(OK).waiting(), &Method::POST, Payload::Stream(body));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(matches!(connection.poll_head(&mut cx), Poll::Ready(Ok(_))));
    assert!(!connection.is_sent());
    assert_eq!(read_rest(&mut connection), b"{}");
    assert!(connection.is_usable());
}

fn read_rest(connection: &mut Connection<Script, Parts>) -> Vec<u8> {
    let mut cx = Context::from_waker(Waker::noop());
    let mut body = Vec::new();
    while let Poll::Ready(Some(data)) = connection.poll_data(&mut cx) {
        body.extend_from_slice(&data.unwrap());
    }
    body
}

proptest! {
    #[test]
    fn all_is_written_however_little_is_taken_at_a_time(
        parts in prop::collection::vec(0usize..9000, 0..5), takes in prop::collection::vec(1usize..5000, 1..20), sized: bool,
    ) {
        let data: Vec<Bytes> = parts.iter().map(|len| (0..*len).map(|at| at.to_le_bytes()[0]).collect()).collect();
        let whole: Vec<u8> = data.concat();
        let length = sized.then_some(whole.len() as u64);
        let takes = takes.into_iter().chain([usize::MAX; 64]).collect();
        let script = Script { takes, ..Script::saying(OK) };
        let body = Parts { parts: data.into_iter().map(Some).collect(), length };
        let mut connection = asked(script, &Method::POST, Payload::Stream(body));
        read(&mut connection).unwrap();
        prop_assert!(connection.is_reusable());
        let hears = connection.io.hears;
        let head = memchr::memmem::find(&hears, b"\r\n\r\n").unwrap() + 4;
        let body = if sized { hears[head..].to_vec() } else { unchunked(&hears[head..]) };
        prop_assert!(body == whole);
    }
}

fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut chunked = crate::net::chunked::Chunked::Start;
    let mut whole = Vec::new();
    while chunked != crate::net::chunked::Chunked::Over {
        let (framing, data) = chunked.next_data(bytes).unwrap();
        whole.extend_from_slice(&bytes[framing..framing + data]);
        bytes = &bytes[framing + data..];
    }
    assert!(bytes.is_empty());
    whole
}
