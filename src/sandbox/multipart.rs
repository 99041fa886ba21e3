//! Reading `multipart/form-data` (RFC 7578) that lies in memory whole.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use serde_json::Value;

use super::answer::Failure;
use super::exchange::Received;
use super::route::Fields;
use crate::xinyao::endpoint::{Field, Kind};

/// Most parts of a form.
const MAX_PARTS: usize = 32;
/// Longest value of a field that is no file.
const MAX_TEXT: usize = 4096;
/// Longest boundary (RFC 2046 §5.1.1).
const MAX_BOUNDARY: usize = 70;

/// A form: its text fields, and its file.
#[derive(Debug, Default)]
pub(super) struct Form {
    pub(super) fields: Fields,
    pub(super) file: Option<Bytes>,
}

/// The form that `request` carries; what `fields` call an integer becomes one where it can.
pub(super) fn parse(fields: &'static [Field], request: &Received) -> Result<Form, Failure> {
    let content_type = request.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let boundary = content_type
        .and_then(boundary)
        .ok_or(Failure::Malformed("multipart/form-data with a boundary expected"))?;
    let delimiter = format!("\r\n--{boundary}");
    let broken = Failure::Malformed("multipart body is broken");

    // The first delimiter has no line break before it when there is no preamble.
    let body = &request.body;
    let mut at = if body.starts_with(&delimiter.as_bytes()[2..]) {
        delimiter.len() - 2
    } else {
        find(body, delimiter.as_bytes()).ok_or_else(|| broken.clone())? + delimiter.len()
    };
    let mut form = Form::default();
    for _ in 0..MAX_PARTS {
        if body[at..].starts_with(b"--") {
            return Ok(form);
        }
        let length = find(&body[at..], delimiter.as_bytes()).ok_or_else(|| broken.clone())?;
        take(fields, &mut form, body.slice(at..at + length)).ok_or_else(|| broken.clone())?;
        at += length + delimiter.len();
    }
    Err(broken)
}

/// Adds one part to `form`: what follows its delimiter's boundary, up to the next delimiter.
fn take(fields: &'static [Field], form: &mut Form, part: Bytes) -> Option<()> {
    let head_end = find(&part, b"\r\n\r\n")?;
    let name = name(std::str::from_utf8(&part[..head_end]).ok()?)?;
    let value = part.slice(head_end + 4..);
    let kind = fields.iter().find(|field| field.name == name).map(|field| &field.kind);
    if matches!(kind, Some(Kind::File)) {
        form.file = Some(value);
        return Some(());
    }
    let text = std::str::from_utf8(&value).ok().filter(|text| text.len() <= MAX_TEXT)?;
    let value = match kind {
        Some(Kind::Int { .. }) => text.trim().parse::<i64>().map_or_else(|_| text.into(), Value::from),
        _ => text.into(),
    };
    form.fields.insert(name.to_owned(), value);
    Some(())
}

/// The `name` that a part's head gives it.
fn name(head: &str) -> Option<&str> {
    let line = head.split("\r\n").find(|line| {
        line.split_once(':').is_some_and(|(key, _)| key.eq_ignore_ascii_case("content-disposition"))
    })?;
    line.split(';').find_map(|item| item.trim().strip_prefix("name=")).map(|name| name.trim_matches('"'))
}

fn boundary(content_type: &str) -> Option<&str> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let boundary = parameters.split(';').find_map(|item| {
        let (key, value) = item.trim().split_once('=')?;
        key.eq_ignore_ascii_case("boundary").then(|| value.trim_matches('"'))
    })?;
    (1..=MAX_BOUNDARY).contains(&boundary.len()).then_some(boundary)
}

/// Where `needle`, which is not empty, first is in `hay`.
fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + hay[from..].iter().position(|byte| *byte == needle[0])?;
        if hay[at..].starts_with(needle) {
            return Some(at);
        }
        from = at + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xinyao::Endpoint;

    fn parsed(content_type: &str, body: &str) -> Result<Form, Failure> {
        let headers = [(CONTENT_TYPE, content_type.parse().unwrap())].into_iter().collect();
        let request = Received {
            method: http::Method::POST,
            uri: http::Uri::default(),
            headers,
            body: Bytes::from(body.to_owned()),
        };
        parse(Endpoint::Outnum.spec().fields, &request)
    }

    #[test]
    fn texts_integers_and_the_file_are_told_apart() {
        let body = "--b\r\nContent-Disposition: form-data; name=\"task_id\"\r\n\r\n12\r\n\
                    --b\r\ncontent-disposition: form-data; name=call_count\r\n\r\n12\r\n\
                    --b\r\nContent-Disposition: form-data; filename=\"name=x\"; name=\"file\"\r\n\
                    Content-Type: text/csv\r\n\r\nphone\r\n138\r\n\r\n--b--\r\n";
        let form = parsed("multipart/form-data; boundary=\"b\"", body).unwrap();
        assert_eq!(Value::Object(form.fields), serde_json::json!({ "task_id": "12", "call_count": 12 }));
        assert_eq!(form.file.unwrap(), "phone\r\n138\r\n");
    }

    #[test]
    fn what_is_broken_is_refused() {
        let part = "--b\r\nContent-Disposition: form-data; name=\"task_id\"\r\n\r\n12\r\n";
        let end = "--b--";
        assert!(parsed("multipart/form-data; boundary=b", &format!("{part}{end}")).is_ok());
        assert!(parsed("multipart/form-data; boundary=b", &format!("preamble\r\n{part}{end}")).is_ok());
        for (content_type, body) in [
            ("multipart/form-data", format!("{part}{end}")),
            ("application/json; boundary=b", format!("{part}{end}")),
            ("multipart/form-data; boundary=c", format!("{part}{end}")),
            ("multipart/form-data; boundary=b", part.to_owned()),
            ("multipart/form-data; boundary=b", part.repeat(MAX_PARTS + 1) + end),
            ("multipart/form-data; boundary=b", format!("--b\r\n\r\n12\r\n{end}")),
            ("multipart/form-data; boundary=b", String::new()),
        ] {
            assert!(
                matches!(parsed(content_type, &body), Err(Failure::Malformed(_))),
                "{content_type} {body}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(body in "(--b|\r\n|name=|content-disposition:|;|[a-z\"]){0,40}") {
            drop(parsed("multipart/form-data; boundary=b", &body));
        }
    }
}
