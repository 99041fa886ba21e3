//! What is read of a callback's body when it comes in: its kind, and the ids that it is found by.
//!
//! The body is passed over once, and nothing is built of it. The SaaS pushes a record four times and then
//! forgets it, so nothing is refused here: what is not understood is of kind `unknown`.

use std::borrow::Cow;
use std::fmt;

use serde::Deserializer as _;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Kind;

/// Longest id that is kept, bytes; the document's have 20 to 40.
const MAX_ID: usize = 256;

/// What is read of a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heading {
    /// What it is.
    pub kind: Kind,
    /// `task_id`, a number as it is written; none over 256 bytes.
    pub task_id: Option<String>,
    /// `call_sn`, likewise.
    pub call_sn: Option<String>,
}

/// Reads `body`. A field that is `null` is as good as not there; of a field that is there twice, the last
/// counts. A byte order mark, bytes that are no UTF-8 inside strings, and any depth are tolerated; anything
/// but one whole JSON object is `unknown`, and has no ids.
pub fn read(body: &[u8]) -> Heading {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let text = String::from_utf8_lossy(body);
    let mut fields = Fields::default();
    let mut json = serde_json::Deserializer::from_str(&text);
    match json.deserialize_map(&mut fields).and_then(|()| json.end()) {
        Ok(()) => {
            let Fields { kind, task_id, call_sn } = fields;
            Heading { kind: kind.unwrap_or(Kind::Unknown), task_id, call_sn }
        }
        Err(_) => Heading { kind: Kind::Unknown, task_id: None, call_sn: None },
    }
}

#[derive(Default)]
struct Fields {
    kind: Option<Kind>,
    task_id: Option<String>,
    call_sn: Option<String>,
}

/// The kind that a field tells: §9 alone has `caller`, §8 `degrees` and §7 `calls`; and of §7 and §8 it is §7
/// that has `bot_id`, in a record without calls too.
fn told_by(name: &str) -> Option<Kind> {
    match name {
        "caller" => Some(Kind::InboundQuery),
        "degrees" => Some(Kind::IntentResult),
        "calls" | "bot_id" => Some(Kind::CallRecord),
        _ => None,
    }
}

impl Fields {
    /// What is told by more than one field is the rarer kind.
    fn told(&mut self, kind: Kind) {
        let rank = |kind: Kind| match kind {
            Kind::Unknown => 0,
            Kind::CallRecord => 1,
            Kind::IntentResult => 2,
            Kind::InboundQuery => 3,
        };
        if self.kind.is_none_or(|known| rank(known) < rank(kind)) {
            self.kind = Some(kind);
        }
    }

    fn id(&mut self, name: &str) -> Option<&mut Option<String>> {
        match name {
            "task_id" => Some(&mut self.task_id),
            "call_sn" => Some(&mut self.call_sn),
            _ => None,
        }
    }
}

impl<'de> Visitor<'de> for &mut Fields {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            if let Some(kind) = told_by(&name) {
                if map.next_value::<Option<IgnoredAny>>()?.is_some() {
                    self.told(kind);
                }
            } else if let Some(id) = self.id(&name) {
                let value: &RawValue = map.next_value()?;
                *id = text(value.get()).or(id.take());
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

/// A string's text, or a number as it is written.
fn text(raw: &str) -> Option<String> {
    let text = match raw.as_bytes().first()? {
        b'"' => serde_json::from_str(raw).ok()?,
        b'-' | b'0'..=b'9' => raw.to_owned(),
        _ => return None,
    };
    (!text.is_empty() && text.len() <= MAX_ID).then_some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kind(body: impl AsRef<[u8]>) -> Kind {
        read(body.as_ref()).kind
    }

    #[test]
    fn the_kind_is_told_by_the_fields() {
        for (body, expected) in [
            (r#"{"caller":"13515525820"}"#, Kind::InboundQuery),
            (r#"{"calls":[],"caller":1}"#, Kind::InboundQuery),
            (r#"{"task_id":"1","degrees":[{"num":"1"}],"bot_id":"1"}"#, Kind::IntentResult),
            (r#"{"degrees":[],"calls":[]}"#, Kind::IntentResult),
            (r#"{"calls":[]}"#, Kind::CallRecord),
            (r#"{"bot_id":"7"}"#, Kind::CallRecord),
            (r#"{"caller":null,"degrees":null,"bot_id":7}"#, Kind::CallRecord),
            (r#"{"caller":null,"caller":"1"}"#, Kind::InboundQuery),
            (r#"{"c\u0061ller":"1"}"#, Kind::InboundQuery),
            (r#"{"x":{"caller":"1"}}"#, Kind::Unknown),
            (r#"{"Caller":"1"}"#, Kind::Unknown),
            ("{}", Kind::Unknown),
        ] {
            assert_eq!(kind(body), expected, "{body}");
        }
    }

    #[test]
    fn what_is_no_whole_object_is_unknown() {
        let bodies: [&[u8]; 10] = [
            b"",
            b"null",
            b"[{\"caller\":1}]",
            b"{\"caller\":1",
            b"{\"caller\":1}x",
            b"{\"caller\":1,}",
            b"caller=1",
            b"\xff\xfe{\0",
            b"\xef\xbb\xbf",
            b"{\"task_id\":\"1\",\"calls\":[}",
        ];
        for body in bodies {
            let nothing = Heading { kind: Kind::Unknown, task_id: None, call_sn: None };
            assert_eq!(read(body), nothing, "{}", body.escape_ascii());
        }
    }

    #[test]
    fn ids_are_text_or_numbers_and_the_last_counts() {
        let ids = |body: &str| {
            let heading = read(body.as_bytes());
            (heading.task_id.unwrap_or_default(), heading.call_sn.unwrap_or_default())
        };
        let pair = |task: &str, batch: &str| (task.to_owned(), batch.to_owned());
        assert_eq!(
            ids(r#"{"task_id":"a\u0062","call_sn":56827924535459840001}"#),
            pair("ab", "56827924535459840001")
        );
        assert_eq!(ids(r#"{"task_id":"1","task_id":2,"task_id":null,"call_sn":{"x":1}}"#), pair("2", ""));
        assert_eq!(ids(r#"{"task_id":"","call_sn":true,"x":{"task_id":"9"}}"#), pair("", ""));
        let long = "9".repeat(MAX_ID + 1);
        assert_eq!(ids(&format!(r#"{{"task_id":"{long}","call_sn":"\ud800"}}"#)), pair("", ""));
    }

    #[test]
    fn marks_and_broken_encodings_are_tolerated() {
        assert_eq!(kind(b"\xef\xbb\xbf {\"caller\":\"1\"}"), Kind::InboundQuery);
        let gbk =
            read(b"{\"task_name\":\"\xc8\xce\xce\xf1\",\"task_id\":\"5\",\"calls\":[{\"x\":\"\xff\"}]}");
        assert_eq!((gbk.kind, gbk.task_id.as_deref()), (Kind::CallRecord, Some("5")));
    }

    #[test]
    fn depth_costs_no_stack() {
        for open in ["[", "{\"x\":"] {
            let close = if open == "[" { "]" } else { "}" };
            let (deep, end) = (open.repeat(1 << 20), close.repeat(1 << 20));
            assert_eq!(kind(format!("{{\"calls\":{deep}1{end},\"bot_id\":{deep}1{end}}}")), Kind::CallRecord);
            assert_eq!(kind(deep), Kind::Unknown);
        }
    }

    proptest! {
        #[test]
        fn nothing_panics(body in prop::collection::vec(any::<u8>(), 0..200)) {
            read(&body);
        }

        #[test]
        fn a_cut_body_is_unknown(cut in 0_usize..60) {
            let whole = r#"{"task_id":"1","calls":[{"state":775,"x":"\ud83d\ude00"}]}"#;
            prop_assert_eq!(kind(&whole[..cut.min(whole.len() - 1)]), Kind::Unknown);
        }

        #[test]
        fn serde_json_finds_the_same(
            names in prop::collection::btree_set("caller|degrees|calls|bot_id|task_id|call_sn|x", 0..7),
            value in prop_oneof![Just(serde_json::json!(null)), Just(serde_json::json!("7")), Just(serde_json::json!([{"a": 1}]))],
        ) {
            let object: serde_json::Map<_, _> = names.into_iter().map(|name| (name, value.clone())).collect();
            let has = |name: &str| object.get(name).is_some_and(|value| !value.is_null());
            let expected = if has("caller") { Kind::InboundQuery }
                else if has("degrees") { Kind::IntentResult }
                else if has("calls") || has("bot_id") { Kind::CallRecord }
                else { Kind::Unknown };
            let found = read(&serde_json::to_vec(&object).unwrap());
            prop_assert_eq!(found.kind, expected);
            prop_assert_eq!(found.task_id, object.get("task_id").and_then(|id| id.as_str()).map(str::to_owned));
        }
    }
}
