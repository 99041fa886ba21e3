//! What parts are separated by.

use memchr::memmem::Finder;

use super::super::{Denied, params};

const MALFORMED: Denied = Denied::Unreadable(
    "Content-Type is not multipart/form-data with a boundary of letters, digits and -_.+' (at most 70)",
);

/// `CRLF--boundary`, and how to find it.
///
/// What is looked for, the needle, is `--boundary` without the line end: readers that make do with a
/// bare LF, or with the boundary inside a line, would see a delimiter where the rest of us see content.
/// If the boundary was quoted, the needle is the bare boundary, for the sake of a reader that takes the
/// quotes for a part of it. Wherever the needle occurs, the lead has to stand before it.
#[derive(Debug)]
pub(super) struct Delimiter {
    whole: Vec<u8>,
    lead: usize,
    finder: Finder<'static>,
}

impl Default for Delimiter {
    fn default() -> Self {
        Self::new(b"", false)
    }
}

impl Delimiter {
    /// As a request's content type gives it.
    pub(super) fn of(content_type: &[u8]) -> Result<Self, Denied> {
        let (kind, params) = params::split(content_type).ok_or(MALFORMED)?;
        if !kind.eq_ignore_ascii_case(b"multipart/form-data") {
            return Err(MALFORMED);
        }
        let mut boundary = None;
        for param in params {
            match param {
                param if param.is("boundary") && boundary.is_none() => boundary = Some(param),
                param if param.is("charset") && param.value.eq_ignore_ascii_case(b"utf-8") => {}
                _ => return Err(MALFORMED),
            }
        }
        match boundary {
            Some(param) if plain(param.value, param.quoted) => Ok(Self::new(param.value, param.quoted)),
            _ => Err(MALFORMED),
        }
    }

    fn new(boundary: &[u8], quoted: bool) -> Self {
        let whole = [b"\r\n--", boundary].concat();
        let lead = if quoted { 4 } else { 2 };
        let finder = Finder::new(&whole[lead..]).into_owned();
        Self { whole, lead, finder }
    }

    /// All of it.
    pub(super) fn whole(&self) -> &[u8] {
        &self.whole
    }

    /// What has to stand before the needle.
    pub(super) fn lead(&self) -> &[u8] {
        &self.whole[..self.lead]
    }

    /// What is looked for; never empty.
    pub(super) fn needle(&self) -> &[u8] {
        &self.whole[self.lead..]
    }

    /// Where the needle first occurs.
    pub(super) fn find(&self, text: &[u8]) -> Option<usize> {
        self.finder.find(text)
    }
}

/// Whether all readers agree on where the boundary ends (PHP ends an unquoted one at a comma). One of
/// dashes alone could not be told from the dashes around it.
fn plain(boundary: &[u8], quoted: bool) -> bool {
    let allowed = |byte: u8| {
        byte.is_ascii_alphanumeric() || b"'+-._".contains(&byte) || (quoted && b"=:/?".contains(&byte))
    };
    (1..=70).contains(&boundary.len())
        && boundary.iter().copied().all(allowed)
        && boundary.iter().any(u8::is_ascii_alphanumeric)
}
