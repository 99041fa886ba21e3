//! `app_id` in a multipart body (§6), read as it streams by.

mod boundary;
mod part;

use std::sync::Arc;

use http::HeaderValue;
use memchr::memmem;

use self::boundary::Delimiter;
use self::part::Part;
use super::{Denied, Tenants};

/// Most bytes of one part's headers.
const MAX_HEAD: usize = 8 * 1024;
/// Longest id of a tenant.
const MAX_ID: usize = 256;
/// Most parts; outnum has seven.
const MAX_PARTS: usize = 64;

/// Is told of a multipart body's parts while it streams by. What was told of a body that turns out to be
/// beyond us stays told; see [`MultipartScan::is_whole`].
pub trait Parts {
    /// A part begins.
    fn part(&mut self, name: &str, is_file: bool);
    /// Bytes of the part that began last, cut anywhere.
    fn data(&mut self, bytes: &[u8]);
}

/// Nobody.
impl Parts for () {
    fn part(&mut self, _: &str, _: bool) {}
    fn data(&mut self, _: &[u8]) {}
}

/// Follows a multipart body for the tenants that it names, and holds it to one reading.
///
/// A browser, curl and the usual HTTP libraries all write bodies that pass. Refused is what some reader
/// takes differently from another: anything around the parts, delimiters without CRLF or with something
/// behind them, the boundary inside a part, folded or repeated part headers, odd `Content-Disposition`s.
///
/// Feed each chunk *before* it is forwarded, hold the newest one back, and forward that when
/// [`MultipartScan::finish`] agrees; when either does not, break the upload off. So nobody receives the
/// whole of a body that was denied. Verdicts do not depend on how the body is cut into chunks. Memory is
/// bounded by the headers of a part (8 KiB), however long the body.
#[derive(Debug)]
pub struct MultipartScan {
    tenants: Arc<Tenants>,
    delimiter: Delimiter,
    stage: Stage,
    /// What the stage has read and not judged yet.
    pending: Vec<u8>,
    part: Part,
    /// Bytes of the part's body so far.
    part_bytes: u64,
    parts: usize,
    seen: bool,
    denied: Option<Denied>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// At the first delimiter.
    Start,
    /// Behind a delimiter: a line end, or the `--` of the last one.
    Delimited,
    /// In a part's headers.
    Head,
    /// In a part's body.
    Body,
    /// Behind the last delimiter.
    Epilogue,
    /// The body is beyond us, and the app bound to no tenants.
    Off,
}

impl MultipartScan {
    /// For a body of this content type.
    ///
    /// # Errors
    /// [`Denied::Unreadable`] unless it is `multipart/form-data` with one, plain boundary.
    pub fn new(content_type: &HeaderValue, tenants: Arc<Tenants>) -> Result<Self, Denied> {
        let (delimiter, stage) = match Delimiter::of(content_type.as_bytes()) {
            Ok(delimiter) => (delimiter, Stage::Start),
            Err(denied) => {
                tenants.excuse(denied)?;
                (Delimiter::default(), Stage::Off)
            }
        };
        Ok(Self {
            tenants,
            delimiter,
            stage,
            pending: Vec::new(),
            part: Part::default(),
            part_bytes: 0,
            parts: 0,
            seen: false,
            denied: None,
        })
    }

    /// Reads the next bytes of the body.
    ///
    /// # Errors
    /// What is wrong with the body up to here; the same again on any later call.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<(), Denied> {
        self.feed_to(chunk, &mut ())
    }

    /// Reads the next bytes of the body, and tells `parts` of what is in them.
    ///
    /// # Errors
    /// As [`feed`](Self::feed).
    pub fn feed_to(&mut self, chunk: &[u8], parts: &mut dyn Parts) -> Result<(), Denied> {
        match self.denied {
            Some(denied) => Err(denied),
            None => self.walk(chunk, parts).or_else(|denied| self.deny(denied)),
        }
    }

    /// The body has ended.
    ///
    /// # Errors
    /// What is wrong with it, its last delimiter being absent included.
    pub fn finish(&mut self) -> Result<(), Denied> {
        let ended = self.stage == Stage::Epilogue && matches!(&self.pending[..], b"" | b"\r\n");
        match self.denied {
            Some(denied) => Err(denied),
            None if ended || self.stage == Stage::Off => Ok(()),
            None => self
                .deny(Denied::Unreadable("the multipart body ends before its last delimiter; send it whole")),
        }
    }

    /// Whether the body was read to its end, so that all of its parts were told.
    pub fn is_whole(&self) -> bool {
        self.stage == Stage::Epilogue
    }

    /// Whether an `app_id` was read, and allowed.
    pub fn seen(&self) -> bool {
        self.seen
    }

    fn deny(&mut self, denied: Denied) -> Result<(), Denied> {
        self.stage = Stage::Off;
        self.pending = Vec::new();
        let verdict = self.tenants.excuse(denied);
        self.denied = verdict.err();
        verdict
    }

    fn walk(&mut self, mut chunk: &[u8], parts: &mut dyn Parts) -> Result<(), Denied> {
        while !chunk.is_empty() {
            let used = match self.stage {
                Stage::Start => self.start(chunk)?,
                Stage::Delimited => self.delimited(chunk)?,
                Stage::Head => self.head(chunk, parts)?,
                Stage::Body => self.body(chunk, parts)?,
                Stage::Epilogue => self.epilogue(chunk)?,
                Stage::Off => return Ok(()),
            };
            chunk = &chunk[used..];
        }
        Ok(())
    }

    fn enter(&mut self, stage: Stage) {
        self.stage = stage;
        self.pending.clear();
    }

    /// The first delimiter, at the very beginning or behind one CRLF. RFC 2046 would have readers skip a
    /// preamble, which they find the end of in different ways.
    fn start(&mut self, chunk: &[u8]) -> Result<usize, Denied> {
        for (at, &byte) in chunk.iter().enumerate() {
            self.pending.push(byte);
            let whole = self.delimiter.whole();
            let expected = if self.pending[0] == b'\r' { whole } else { &whole[2..] };
            if !expected.starts_with(&self.pending) {
                return Err(Denied::Unreadable("the multipart body does not begin with its boundary"));
            }
            if expected.len() == self.pending.len() {
                self.enter(Stage::Delimited);
                return Ok(at + 1);
            }
        }
        Ok(chunk.len())
    }

    fn delimited(&mut self, chunk: &[u8]) -> Result<usize, Denied> {
        let used = chunk.len().min(2 - self.pending.len());
        self.pending.extend_from_slice(&chunk[..used]);
        match &self.pending[..] {
            [_] => {}
            b"--" => self.enter(Stage::Epilogue),
            b"\r\n" if self.parts == MAX_PARTS => {
                return Err(Denied::Unreadable("the multipart body has more than 64 parts"));
            }
            b"\r\n" => {
                self.parts += 1;
                self.enter(Stage::Head);
            }
            _ => {
                return Err(Denied::Unreadable(
                    "a line begins with the boundary and goes on; use another boundary",
                ));
            }
        }
        Ok(used)
    }

    fn head(&mut self, chunk: &[u8], parts: &mut dyn Parts) -> Result<usize, Denied> {
        let kept = self.pending.len();
        let used = chunk.len().min(MAX_HEAD - kept);
        self.pending.extend_from_slice(&chunk[..used]);
        let from = kept.saturating_sub(3);
        let Some(end) = memmem::find(&self.pending[from..], b"\r\n\r\n").map(|at| from + at + 4) else {
            return match self.pending.len() {
                MAX_HEAD => Err(Denied::Unreadable("the headers of a part are over 8 KiB")),
                _ => Ok(used),
            };
        };
        self.part = Part::read(&self.pending[..end - 2], self.delimiter.needle(), &self.tenants, parts)?;
        // the first one was allowed, or this would not be read
        if self.part.tenant && self.seen {
            return Err(Denied::Twice);
        }
        self.part_bytes = 0;
        self.enter(Stage::Body);
        Ok(end - kept)
    }

    /// Looks for the boundary: in what is kept of the chunks before with the head of this one, then in
    /// the rest of this one, which is not copied.
    fn body(&mut self, chunk: &[u8], parts: &mut dyn Parts) -> Result<usize, Denied> {
        let needle = self.delimiter.needle().len();
        let kept = self.pending.len();
        let joint = chunk.len().min(needle - 1);
        let from = kept.saturating_sub(needle - 1);
        self.pending.extend_from_slice(&chunk[..joint]);
        if let Some(at) = self.delimiter.find(&self.pending[from..]).map(|at| from + at) {
            // `kept` bytes of `part_bytes` are in `pending`
            self.part_bytes = self.part_bytes + at as u64 - kept as u64;
            self.pending.truncate(at);
            self.end_part(parts)?;
            return Ok(at + needle - kept);
        }
        self.pending.truncate(kept);
        let found = self.delimiter.find(chunk);
        let before = &chunk[..found.unwrap_or(chunk.len())];
        self.part_bytes += before.len() as u64;
        self.keep(before, parts);
        match found {
            Some(at) => self.end_part(parts).map(|()| at + needle),
            None if self.part.tenant && self.part_bytes > (MAX_ID + self.delimiter.whole().len()) as u64 => {
                Err(LONG_ID)
            }
            None => Ok(chunk.len()),
        }
    }

    /// Keeps of the part's body what may still be asked for: an id whole, of anything else as much as a
    /// delimiter could begin in.
    fn keep(&mut self, bytes: &[u8], parts: &mut dyn Parts) {
        let reach = self.delimiter.whole().len();
        let most = if self.part.tenant { MAX_ID + 2 * reach } else { reach };
        let (passed, bytes) = bytes.split_at(bytes.len().saturating_sub(most));
        let surplus = (self.pending.len() + bytes.len()).saturating_sub(most);
        parts.data(&self.pending[..surplus]);
        parts.data(passed);
        self.pending.drain(..surplus);
        self.pending.extend_from_slice(bytes);
    }

    /// The boundary was found; `pending` ends right before it.
    fn end_part(&mut self, parts: &mut dyn Parts) -> Result<(), Denied> {
        let lead = self.delimiter.lead();
        if self.part.tenant && self.part_bytes > (MAX_ID + lead.len()) as u64 {
            return Err(LONG_ID);
        }
        let Some(id) = self.pending.strip_suffix(lead) else {
            return Err(Denied::Unreadable(
                "the boundary stands inside a part; use another boundary, and CRLF line ends",
            ));
        };
        let length = self.part_bytes - lead.len() as u64;
        if self.part.length.is_some_and(|said| said != length) {
            return Err(Denied::Unreadable("a part's Content-Length is not its length; leave it out"));
        }
        if self.part.tenant {
            let allowed = std::str::from_utf8(id).is_ok_and(|id| self.tenants.allows(id));
            if !allowed && !self.tenants.is_empty() {
                return Err(Denied::Foreign);
            }
            self.seen = true;
        }
        parts.data(id);
        self.enter(Stage::Delimited);
        Ok(())
    }

    /// At most one CRLF.
    fn epilogue(&mut self, chunk: &[u8]) -> Result<usize, Denied> {
        let used = chunk.len().min(3 - self.pending.len());
        self.pending.extend_from_slice(&chunk[..used]);
        if b"\r\n".starts_with(&self.pending) {
            Ok(used)
        } else {
            Err(Denied::Unreadable("something follows the multipart body's last delimiter"))
        }
    }
}

const LONG_ID: Denied = Denied::Unreadable("app_id is longer than 256 bytes");

#[cfg(test)]
mod tests;
