//! `kind; name=value; name="value"`, as Content-Type and Content-Disposition are written.

/// One parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Param<'a> {
    /// As written; compare it with [`Param::is`].
    pub name: &'a [u8],
    /// Without quotes, escapes left in.
    pub value: &'a [u8],
    /// Whether it was quoted.
    pub quoted: bool,
}

impl Param<'_> {
    /// Whether this is its name.
    pub(super) fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }
}

/// The kind and its parameters; `None` where readers could differ.
pub(super) fn split(value: &[u8]) -> Option<(&[u8], Vec<Param<'_>>)> {
    let end = memchr::memchr(b';', value).unwrap_or(value.len());
    let (kind, mut rest) = value.split_at(end);
    let mut params = Vec::new();
    while let Some(text) = rest.strip_prefix(b";") {
        let (param, after) = param(text.trim_ascii_start())?;
        params.push(param);
        rest = after.trim_ascii_start();
    }
    rest.is_empty().then_some((kind.trim_ascii(), params))
}

fn param(text: &[u8]) -> Option<(Param<'_>, &[u8])> {
    let (name, rest) = text.split_at(memchr::memchr(b'=', text)?);
    if name.is_empty() || !name.iter().copied().all(is_token) {
        return None;
    }
    let text = &rest[1..];
    if let Some(text) = text.strip_prefix(b"\"") {
        let end = closing_quote(text)?;
        return Some((Param { name, value: &text[..end], quoted: true }, &text[end + 1..]));
    }
    // beyond a token's characters those of UTF-8, for `filename*=UTF-8''号码名单.xlsx` as in §6.3
    let end = text.iter().position(|&byte| !is_token(byte) && byte < 0x80).unwrap_or(text.len());
    (end > 0).then_some((Param { name, value: &text[..end], quoted: false }, &text[end..]))
}

/// Where a quoted string ends, both for who takes `\` as an escape and for who takes it as itself.
///
/// A `\` behind a byte of a character of several bytes may, in GBK, be that character's second half.
fn closing_quote(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        match *text.get(at)? {
            b'"' => return Some(at),
            b'\\' if text.get(at + 1) == Some(&b'"') => return None,
            b'\\' if at > 0 && text[at - 1] >= 0x80 => return None,
            b'\\' => at += 2,
            byte if byte.is_ascii_control() && byte != b'\t' => return None,
            _ => at += 1,
        }
    }
}

/// RFC 9110 §5.6.2.
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
