//! What is taken for an answer here, hyper takes for the same answer.

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;

use super::super::Payload;
use super::script::{Read, Script, asked, read};

fn hypers(answer: &[u8], method: &Method) -> hyper::Result<Read> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(Script::saying(answer).polite())).await?;
        tokio::spawn(connection);
        let request = Request::builder().method(method).uri("/").body(Empty::<Bytes>::new()).unwrap();
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes().to_vec();
        Ok(Read::new(&http::Response::from_parts(head, ()), body))
    })
}

fn line() -> impl Strategy<Value = String> {
    "HTTP/1\\.[01] (100|103|200|204|304|404|2[0-9]{2}|[0-9]{1,4})( |  |)(OK|Not Found|)(\r\n|\n|\r\n\r\n)"
}

fn field() -> impl Strategy<Value = String> {
    "(content-length: ?[0-9]{1,2}|content-length: 2, 2|transfer-encoding: ?(chunked|gzip|gzip, chunked)|connection: (close|keep-alive)|[a-c]{1,3} ?: ?[ -~\t\u{80}]{0,6}| x| fold)(\r\n|\r\n|\r\n|\n)"
}

fn body() -> impl Strategy<Value = String> {
    "(([1-9a-f]|0[12])(;x|;x=\"y\"| |)\r\n[a-c]{1,9}\r\n|0\r\n(x: y\r\n|)\r\n|[a-c]{0,9}|\n){0,4}"
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn what_is_accepted_is_what_hyper_reads(
        line in line(), fields in prop::collection::vec(field(), 0..4), body in body(), head: bool,
    ) {
        let answer = format!("{line}{}\r\n{body}", fields.concat());
        let method = if head { Method::HEAD } else { Method::POST };
        let mut connection = asked(Script::saying(answer.as_bytes()), &method, Payload::Whole(Bytes::new()));
        if let Ok(ours) = read(&mut connection) {
            let theirs = hypers(answer.as_bytes(), &method);
            prop_assert!(theirs.as_ref().is_ok_and(|theirs| *theirs == ours), "{answer:?}: {ours:?}, {theirs:?}");
        }
    }
}
