//! The `code` of an answer (§5.4), read as the answer streams by.
//!
//! Nothing is held back, built or changed: metrics, log and outcome get to know what the SaaS said, and
//! the client gets its bytes as they came. The usual answer begins with `{"code":0`, and there the
//! reading ends.

mod inflate;
mod scan;

use http::HeaderValue;

use self::inflate::Inflater;
use self::scan::Scanner;

/// Most text that is looked through, and most compressed bytes.
const MAX_BYTES: usize = 64 * 1024;

/// Looks for the top-level `code` in an answer's body.
#[derive(Debug)]
pub struct CodeReader {
    scanner: Scanner,
    coding: Coding,
}

#[derive(Debug)]
enum Coding {
    Identity,
    Compressed(Box<Inflater>),
    /// Nothing more to read, or beyond reading.
    Closed,
}

impl CodeReader {
    /// For a body of this content coding: none, gzip or deflate. Of others nothing is read.
    pub fn new(content_encoding: Option<&HeaderValue>) -> Self {
        let is = |value: &HeaderValue, name: &str| value.as_bytes().eq_ignore_ascii_case(name.as_bytes());
        let coding = match content_encoding {
            None => Coding::Identity,
            Some(value) if value.is_empty() || is(value, "identity") => Coding::Identity,
            Some(value) if is(value, "gzip") || is(value, "x-gzip") => {
                Coding::Compressed(Box::new(Inflater::gzip(MAX_BYTES)))
            }
            Some(value) if is(value, "deflate") => Coding::Compressed(Box::new(Inflater::deflate(MAX_BYTES))),
            Some(_) => Coding::Closed,
        };
        Self { scanner: Scanner::new(MAX_BYTES), coding }
    }

    /// Reads the next bytes of the body, as sent.
    pub fn feed(&mut self, chunk: &[u8]) {
        let more = match &mut self.coding {
            Coding::Identity => self.scanner.feed(chunk),
            Coding::Compressed(inflater) => inflater.feed(chunk, |text| self.scanner.feed(text)),
            Coding::Closed => return,
        };
        if !more {
            self.coding = Coding::Closed;
        }
    }

    /// The code, once it has been found: an integer, or one written as a string.
    pub fn code(&self) -> Option<i64> {
        self.scanner.code()
    }

    /// Whether the rest of the body makes no difference.
    pub fn done(&self) -> bool {
        matches!(self.coding, Coding::Closed)
    }
}

#[cfg(test)]
mod tests;
