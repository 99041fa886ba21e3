//! The PROXY header of a connection: no bytes may panic it, and what it reads it must read alike however
//! the bytes arrive.

#![no_main]

use libfuzzer_sys::fuzz_target;
use xinyao_gateway::net::listen::proxy_header::parse;

fuzz_target!(|bytes: &[u8]| {
    let whole = parse(bytes);
    if let Ok(Some((_, len))) = whole {
        assert!(len <= bytes.len());
        assert_eq!(parse(&bytes[..len]), whole, "what follows the header changed it");
        for end in 0..len {
            assert_eq!(parse(&bytes[..end]), Ok(None), "a header was read before its end");
        }
    }
});
