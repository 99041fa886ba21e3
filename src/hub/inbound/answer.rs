//! What the SaaS is told to say (§9.4).

use std::borrow::Cow;

use bytes::Bytes;
use http::HeaderValue;
use serde::Deserialize;
use serde_json::json;

/// Nobody answered, and there is nothing else to say.
const UNANSWERED: i32 = -50402;

/// What the SaaS is told to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its `Content-Type`.
    pub content_type: HeaderValue,
    /// Its body.
    pub body: Bytes,
    /// How it is counted: `answered`, `fallback` or `unanswered`.
    pub outcome: &'static str,
}

/// What must be there. What else there is, is the responder's and the SaaS's business.
#[derive(Deserialize)]
struct Envelope<'t> {
    code: f64,
    #[serde(borrow, rename = "prompt")]
    _prompt: Cow<'t, str>,
}

impl Answer {
    /// A responder's answer, as it was given, if it is a good one: a JSON object with a `code` of 0 and a
    /// `prompt` that is text.
    ///
    /// # Errors
    /// It is not, and why.
    pub fn check(content_type: Option<&HeaderValue>, body: &[u8]) -> Result<Self, &'static str> {
        let text = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
        let envelope: Envelope<'_> =
            serde_json::from_slice(text).map_err(|_| "is no JSON object with a code and a prompt")?;
        if envelope.code != 0.0 {
            return Err("has a code other than 0");
        }
        Ok(Self {
            content_type: content_type.cloned().unwrap_or(JSON),
            body: Bytes::copy_from_slice(body),
            outcome: "answered",
        })
    }

    /// What is said when nobody answers in time; without a prompt it is that nobody did.
    pub fn fallback(prompt: &str, transfer: &str) -> Self {
        if prompt.is_empty() {
            let msg = "no responder gave an answer in time, and inbound_query.fallback has no prompt";
            return Self::of(&json!({ "code": UNANSWERED, "msg": msg }), "unanswered");
        }
        let mut envelope = json!({ "code": 0, "msg": "success", "prompt": prompt });
        if !transfer.is_empty() {
            envelope["transfer"] = transfer.into();
        }
        Self::of(&envelope, "fallback")
    }

    fn of(envelope: &serde_json::Value, outcome: &'static str) -> Self {
        Self { content_type: JSON, body: Bytes::from(envelope.to_string()), outcome }
    }
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_answer_has_code_0_and_a_prompt() {
        for good in [
            r#"{"code":0,"prompt":"您好"}"#,
            r#"{"code":0.0,"msg":"success","prompt":"a\"b","transfer":"01055667788","more":[{}]}"#,
            "\u{feff}{\"prompt\":\"\",\"code\":0}\n",
        ] {
            let answer = Answer::check(None, good.as_bytes()).unwrap();
            assert_eq!((&answer.body[..], answer.outcome), (good.as_bytes(), "answered"));
            assert_eq!(answer.content_type, "application/json");
        }
        for bad in [
            "",
            "ok",
            "[]",
            "{}",
            r#"{"code":0}"#,
            r#"{"prompt":"x"}"#,
            r#"{"code":7,"prompt":"x"}"#,
            r#"{"code":"0","prompt":"x"}"#,
            r#"{"code":null,"prompt":"x"}"#,
            r#"{"code":0,"prompt":null}"#,
            r#"{"code":0,"prompt":7}"#,
            r#"{"code":0,"code":0,"prompt":"x"}"#,
            r#"{"code":0,"prompt":"x"} x"#,
        ] {
            assert!(Answer::check(None, bad.as_bytes()).is_err(), "{bad}");
        }
        let deep = format!(r#"{{"code":0,"prompt":"x","y":{}1{}}}"#, "[".repeat(30_000), "]".repeat(30_000));
        assert!(Answer::check(None, deep.as_bytes()).is_ok());
        let html = HeaderValue::from_static("application/json;charset=UTF-8");
        assert_eq!(Answer::check(Some(&html), br#"{"code":0,"prompt":"x"}"#).unwrap().content_type, html);
    }

    #[test]
    fn the_fallback_says_what_is_configured() {
        let json = |answer: Answer| serde_json::from_slice::<serde_json::Value>(&answer.body).unwrap();
        let full = Answer::fallback("请稍后再拨", "01055667788");
        assert_eq!(full.outcome, "fallback");
        assert_eq!(
            json(full),
            json!({ "code": 0, "msg": "success", "prompt": "请稍后再拨", "transfer": "01055667788" })
        );
        assert_eq!(json(Answer::fallback("x", "")).get("transfer"), None);
        let none = Answer::fallback("", "01055667788");
        assert_eq!(none.outcome, "unanswered");
        let none = json(none);
        assert_eq!(none["code"], UNANSWERED);
        assert!(none["msg"].is_string() && none.get("prompt").is_none());
    }
}
