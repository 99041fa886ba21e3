//! The head of a request: no bytes may panic its check, it must say the same of them however they arrive, and
//! what it lets by ends where it says, whatever follows.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xinyao_gateway::net::listen::head::{HeadCheck, Limits};

const LIMITS: Limits = Limits { max_headers: 20, max_bytes: 4096 };

fuzz_target!(|input: (u16, &[u8])| {
    let (cut, bytes) = input;
    let whole = HeadCheck::default().advance(bytes, LIMITS);
    let mut pieces = HeadCheck::default();
    let first = pieces.advance(&bytes[..bytes.len().min(cut.into())], LIMITS);
    let in_pieces = match first {
        Ok(None) => pieces.advance(bytes, LIMITS),
        settled => settled,
    };
    assert_eq!(in_pieces, whole, "it matters where the bytes are cut");
    if let Ok(Some(head)) = whole {
        assert!(head.len <= bytes.len() && bytes[..head.len].ends_with(b"\r\n\r\n"));
        assert_eq!(HeadCheck::default().advance(&bytes[..head.len], LIMITS), whole, "what follows matters");
    }
});
