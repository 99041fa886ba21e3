//! Any bytes as a multipart body: the verdict on them must not depend on how they are cut.
#![no_main]

use std::sync::Arc;

use http::HeaderValue;
use libfuzzer_sys::fuzz_target;
use xinyao_gateway::proxy::tenant::{Denied, MultipartScan, Tenants};

fn verdict(quoted: bool, chunks: impl IntoIterator<Item = impl AsRef<[u8]>>) -> (Result<(), Denied>, bool) {
    let boundary =
        if quoted { "multipart/form-data; boundary=\"XbX\"" } else { "multipart/form-data; boundary=XbX" };
    let tenants = Arc::new(Tenants::new(&["1".to_owned(), "22".to_owned()]));
    let mut scan = match MultipartScan::new(&HeaderValue::from_static(boundary), tenants) {
        Ok(scan) => scan,
        Err(denied) => return (Err(denied), false),
    };
    let fed = chunks.into_iter().try_for_each(|chunk| scan.feed(chunk.as_ref()));
    let finished = scan.finish();
    assert!(fed.is_ok() || fed == finished, "a verdict stands");
    (finished, scan.seen())
}

/// `body` in pieces as long as `lengths` says, the last as long as it may be.
fn cut<'a>(mut body: &'a [u8], lengths: &[u8]) -> Vec<&'a [u8]> {
    let mut chunks = Vec::new();
    for &length in lengths {
        let (chunk, rest) = body.split_at(body.len().min(usize::from(length)));
        chunks.push(chunk);
        body = rest;
    }
    chunks.push(body);
    chunks
}

fuzz_target!(|input: (bool, Vec<u8>, Vec<u8>)| {
    let (quoted, lengths, body) = input;
    let whole = verdict(quoted, [&body]);
    assert_eq!(whole, verdict(quoted, cut(&body, &lengths)));
    assert_eq!(whole, verdict(quoted, body.chunks(1)));
});
