//! Whether a request's head may go on to the service, told from its bytes.
//!
//! It is stricter than the parser behind it, for two reasons. Where a head can be read in more than one way,
//! another server on the way may have read it in the other, and requests can be smuggled (RFC 9112 §11.2).
//! And as nothing gets by that the parser would refuse, the parser never answers on its own account.

use http::Uri;
use memchr::memchr;

use super::Rejected;

/// Longest target of a request.
const MAX_TARGET: usize = 8 << 10;
/// What is around the target in a request line, generously: the method and the version.
const AROUND_TARGET: usize = 64;
/// The parser behind cannot take names of 64 KiB or longer.
const MAX_NAME: usize = 32 << 10;

/// What a head is held to.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most fields.
    pub max_headers: usize,
    /// It must end before this many bytes.
    pub max_bytes: usize,
}

/// Where a request's body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// After this many bytes.
    Length(u64),
    /// Where its chunks say.
    Chunked,
}

/// A head that may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its length, the empty line included.
    pub len: usize,
    /// How the body behind it is framed.
    pub framing: Framing,
}

/// The check of one head, which may be given in pieces.
#[derive(Debug, Default)]
pub struct HeadCheck {
    /// Where the line begins that has yet to end.
    line: usize,
    /// How far its end has been looked for.
    searched: usize,
    version: Option<Version>,
    headers: usize,
    host: bool,
    length: Option<u64>,
    chunked: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

impl HeadCheck {
    /// Whether it has been given nothing yet.
    pub fn is_fresh(&self) -> bool {
        self.searched == 0
    }

    /// Looks at `bytes`, which begin with the head and with whatever was given before; `None` when the head
    /// does not end in them.
    ///
    /// # Errors
    /// It must not go on.
    pub fn advance(&mut self, bytes: &[u8], limits: Limits) -> Result<Option<Head>, Rejected> {
        while let Some(offset) = memchr(b'\n', &bytes[self.searched..]) {
            let end = self.searched + offset;
            if end >= limits.max_bytes {
                return Err(self.too_long());
            }
            let [line @ .., b'\r'] = &bytes[self.line..end] else { return Err(Rejected::Malformed) };
            self.line = end + 1;
            self.searched = self.line;
            if self.version.is_none() {
                self.version = Some(request_line(line)?);
            } else if line.is_empty() {
                return self.whole().map(Some);
            } else {
                self.field(line, limits)?;
            }
        }
        self.searched = bytes.len();
        self.unfinished(bytes, limits).map(|()| None)
    }

    fn too_long(&self) -> Rejected {
        if self.version.is_none() { Rejected::TargetTooLong } else { Rejected::HeadTooLarge }
    }

    /// What can be said already of a head that goes on.
    fn unfinished(&self, bytes: &[u8], limits: Limits) -> Result<(), Rejected> {
        let endless_target = self.version.is_none() && bytes.len() > MAX_TARGET + AROUND_TARGET;
        if endless_target || bytes.len() >= limits.max_bytes {
            return Err(self.too_long());
        }
        // Such as the first byte of a TLS handshake: no need to wait for the rest of it.
        if bytes.first().is_some_and(|byte| !is(*byte, TOKEN)) {
            return Err(Rejected::Malformed);
        }
        Ok(())
    }

    fn field(&mut self, line: &[u8], limits: Limits) -> Result<(), Rejected> {
        let colon = memchr(b':', line).ok_or(Rejected::Malformed)?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        // A folded line begins with a blank, and a blank before the colon ends the name: neither is a token.
        if name.is_empty() || !all(name, TOKEN) || !is_value(value) {
            return Err(Rejected::Malformed);
        }
        self.headers += 1;
        if self.headers > limits.max_headers || name.len() > MAX_NAME {
            return Err(Rejected::HeadTooLarge);
        }
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.host(value),
            14 if name.eq_ignore_ascii_case(b"content-length") => self.content_length(value),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.transfer_encoding(value),
            _ => Ok(()),
        }
    }

    fn host(&mut self, value: &[u8]) -> Result<(), Rejected> {
        if self.host || !all(value.trim_ascii(), HOST) {
            return Err(Rejected::Malformed);
        }
        self.host = true;
        Ok(())
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), Rejected> {
        let digits = value.trim_ascii();
        // 19 digits cannot overflow; leading zeros would be a matter of taste.
        if self.length.is_some() || self.chunked || digits.is_empty() || digits.len() > 19 {
            return Err(Rejected::Malformed);
        }
        let length = digits.iter().try_fold(0u64, |sum, digit| {
            digit.is_ascii_digit().then(|| sum * 10 + u64::from(digit - b'0')).ok_or(Rejected::Malformed)
        })?;
        self.length = Some(length);
        Ok(())
    }

    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Rejected> {
        let known = value.trim_ascii().eq_ignore_ascii_case(b"chunked");
        if !known || self.chunked || self.length.is_some() || self.version == Some(Version::Http10) {
            return Err(Rejected::Malformed);
        }
        self.chunked = true;
        Ok(())
    }

    fn whole(&self) -> Result<Head, Rejected> {
        if !self.host && self.version == Some(Version::Http11) {
            return Err(Rejected::Malformed);
        }
        let framing = if self.chunked { Framing::Chunked } else { Framing::Length(self.length.unwrap_or(0)) };
        Ok(Head { len: self.line, framing })
    }
}

fn request_line(line: &[u8]) -> Result<Version, Rejected> {
    let method_end = memchr(b' ', line).ok_or(Rejected::Malformed)?;
    let (method, rest) = (&line[..method_end], &line[method_end + 1..]);
    let target_end = memchr(b' ', rest).ok_or(Rejected::Malformed)?;
    let (target, version) = (&rest[..target_end], &rest[target_end + 1..]);
    let version = match version {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        _ => return Err(Rejected::Malformed),
    };
    // Nobody is tunnelled here; and that no CONNECT gets by is what marks the guard's own (see `refusal`).
    if method.is_empty() || !all(method, TOKEN) || method == b"CONNECT" {
        return Err(Rejected::Malformed);
    }
    if target.len() > MAX_TARGET {
        return Err(Rejected::TargetTooLong);
    }
    if is_target(target) { Ok(version) } else { Err(Rejected::Malformed) }
}

/// A path and query as RFC 3986 has it, or else whatever the parser behind takes but a bare authority, which
/// is CONNECT's, and a fragment, which it would drop.
fn is_target(target: &[u8]) -> bool {
    if target.first() == Some(&b'/') && all(target, TARGET) {
        return true;
    }
    !target.contains(&b'#')
        && Uri::try_from(target)
            .is_ok_and(|uri| target == b"*" || target[0] == b'/' || uri.scheme().is_some())
}

/// Without a way out early, so that it compiles to a few vector instructions.
#[expect(clippy::unnecessary_fold, reason = "`all` would leave at the first")]
fn is_value(value: &[u8]) -> bool {
    value.iter().fold(true, |so_far, &byte| so_far && ((byte >= b' ') && (byte != 0x7f) || (byte == b'\t')))
}

const TOKEN: u8 = 1;
const TARGET: u8 = 2;
const HOST: u8 = 4;

fn is(byte: u8, class: u8) -> bool {
    CLASSES[usize::from(byte)] & class != 0
}

fn all(bytes: &[u8], class: u8) -> bool {
    bytes.iter().fold(class, |so_far, byte| so_far & CLASSES[usize::from(*byte)]) != 0
}

/// Which bytes may stand where: `tchar` of RFC 9110 §5.6.2, path and query of RFC 3986 §3.3, host and port.
static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut classes = mark([0; 256], b"!#$%&'*+-.^_`|~", TOKEN);
    classes = mark(classes, b"-._~!$&'()*+,;=:@/?%", TARGET);
    classes = mark(classes, b"-._~!$&'()*+;=:[]%", HOST);
    let mut byte = 0_u8;
    while byte < 128 {
        if byte.is_ascii_alphanumeric() {
            classes[byte as usize] = TOKEN | TARGET | HOST;
        }
        byte += 1;
    }
    classes
}

const fn mark(mut classes: [u8; 256], bytes: &[u8], class: u8) -> [u8; 256] {
    let mut at = 0;
    while at < bytes.len() {
        classes[bytes[at] as usize] |= class;
        at += 1;
    }
    classes
}
