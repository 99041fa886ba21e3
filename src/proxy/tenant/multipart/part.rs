//! The headers of a part.

use memchr::memmem;

use super::super::params::{self, Param, is_token};
use super::super::{Denied, Tenants};
use super::Parts;

/// What a part's headers say.
#[derive(Debug, Default)]
pub(super) struct Part {
    /// Whether it names the tenant.
    pub tenant: bool,
    /// How long it says its body is (okhttp does); a reader might believe it.
    pub length: Option<u64>,
}

/// The headers that readers go by.
#[derive(Default)]
struct Known<'a> {
    disposition: Option<&'a [u8]>,
    encoding: Option<&'a [u8]>,
    kind: Option<&'a [u8]>,
    length: Option<&'a [u8]>,
}

impl Part {
    /// From the header lines, each with its CRLF.
    pub(super) fn read(
        head: &[u8],
        needle: &[u8],
        tenants: &Tenants,
        parts: &mut dyn Parts,
    ) -> Result<Self, Denied> {
        if memmem::find(head, needle).is_some() {
            return Err(Denied::Unreadable("the boundary stands in a part's headers; use another boundary"));
        }
        let known = Known::read(head)?;
        known.check_reading()?;
        let tenant = known.names_tenant(tenants, parts)?;
        let length = known.length.map(number).transpose()?;
        Ok(Self { tenant, length })
    }
}

impl<'a> Known<'a> {
    fn read(head: &'a [u8]) -> Result<Self, Denied> {
        let mut known = Self::default();
        for line in head.split_inclusive(|&byte| byte == b'\n') {
            let (name, value) = field(line).ok_or(Denied::Unreadable(
                "a part's header is no 'name: value' on one line that ends in CRLF",
            ))?;
            let slot = match name.to_ascii_lowercase().as_slice() {
                b"content-disposition" => &mut known.disposition,
                b"content-transfer-encoding" => &mut known.encoding,
                b"content-type" => &mut known.kind,
                b"content-length" => &mut known.length,
                _ => continue,
            };
            if slot.replace(value).is_some() {
                return Err(Denied::Unreadable("a part has one of its headers twice"));
            }
        }
        Ok(known)
    }

    /// That the part's body is its bytes as they stand: not encoded, nor a multipart of its own.
    fn check_reading(&self) -> Result<(), Denied> {
        let plain = |coding: &[u8]| {
            [&b"binary"[..], b"8bit", b"7bit"].iter().any(|known| coding.eq_ignore_ascii_case(known))
        };
        if !self.encoding.is_none_or(plain) {
            return Err(Denied::Unreadable("a part has a Content-Transfer-Encoding; send it as it is"));
        }
        let kind = self.kind.unwrap_or_default().to_ascii_lowercase();
        if kind.starts_with(b"multipart") || kind.starts_with(b"message") {
            return Err(Denied::Unreadable("a part is a message of its own; send its files one by one"));
        }
        Ok(())
    }

    fn names_tenant(&self, tenants: &Tenants, parts: &mut dyn Parts) -> Result<bool, Denied> {
        let disposition = self.disposition.and_then(Disposition::read).ok_or(Denied::Unreadable(
            "a part's Content-Disposition is not form-data; name=\"…\", with filename=\"…\" for a file",
        ))?;
        parts.part(disposition.name, disposition.file);
        let tenant = tenants.named_by(disposition.name);
        if tenant && disposition.file {
            Err(Denied::Unreadable("app_id is sent as a file; send it as a text field"))
        } else {
            Ok(tenant)
        }
    }
}

/// `name: value` without the blanks around the value; `None` where readers could differ.
fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let line = line.strip_suffix(b"\r\n")?;
    let (name, rest) = line.split_at(memchr::memchr(b':', line)?);
    let sound = !name.is_empty()
        && name.iter().copied().all(is_token)
        && !rest.iter().any(|&byte| byte.is_ascii_control() && byte != b'\t');
    sound.then(|| (name, rest[1..].trim_ascii()))
}

fn number(digits: &[u8]) -> Result<u64, Denied> {
    let digits = digits.iter().all(u8::is_ascii_digit).then_some(digits);
    digits
        .and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok())
        .ok_or(Denied::Unreadable("a part's Content-Length is no number; leave it out"))
}

/// `form-data; name="…"; filename="…"; filename*=…`.
struct Disposition<'a> {
    name: &'a str,
    file: bool,
}

impl<'a> Disposition<'a> {
    /// The name comes first, as everyone writes it: whoever searches for `name="` finds it before `filename="`.
    fn read(value: &'a [u8]) -> Option<Self> {
        let (kind, params) = params::split(value)?;
        let (name, rest) = params.split_first()?;
        if !kind.eq_ignore_ascii_case(b"form-data") || !name.is("name") {
            return None;
        }
        let files = |kind| rest.iter().filter(|param| param.is(kind)).count();
        let (plain, extended) = (files("filename"), files("filename*"));
        let sound = plain <= 1 && extended <= 1 && plain + extended == rest.len();
        if !sound || rest.iter().any(hides_name) {
            return None;
        }
        Some(Self { name: plain_name(name.value)?, file: !rest.is_empty() })
    }
}

/// Whoever cuts at each `;` would find another name in such a file's.
fn hides_name(param: &Param<'_>) -> bool {
    memmem::find(&param.value.to_ascii_lowercase(), b"name=").is_some()
}

/// A name that nobody unescapes: no `\`, no `%`, no `=?…?=` (RFC 2047), nothing to cut at.
fn plain_name(name: &[u8]) -> Option<&str> {
    let name = std::str::from_utf8(name).ok()?;
    (!name.contains(['\\', '%', '=', '?', ';', '&']) && !name.contains(char::is_control)).then_some(name)
}
