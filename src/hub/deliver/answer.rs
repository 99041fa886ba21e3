//! What an answer means.

use std::borrow::Cow;
use std::collections::HashMap;

use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use serde_json::value::RawValue;

use crate::hub::delivery_state::Outcome;
use crate::hub::schedule::retry_after;

/// Most characters of an envelope's `msg` in an error.
const MESSAGE: usize = 200;

/// What a whole answer means.
pub(super) fn judge(status: StatusCode, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Outcome {
    let number = status.as_u16();
    match (number, retry_after(headers, now)) {
        (200..=299, _) => envelope(body),
        (410, _) => Outcome::Gone,
        (429 | 503, Some(retry_after)) => Outcome::Busy { status: number, retry_after },
        (300..=399, _) => Outcome::Redirected { status: number },
        (_, _) => Outcome::Failed { status: number },
    }
}

/// A JSON object with a numeric `code` other than 0 is a failure; anything else was taken.
fn envelope(body: &[u8]) -> Outcome {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let Ok(fields) = serde_json::from_slice::<HashMap<Cow<'_, str>, &RawValue>>(body) else {
        return Outcome::Delivered;
    };
    let Some(code) = fields.get("code").map(|code| code.get()) else { return Outcome::Delivered };
    match code.parse::<f64>() {
        Ok(number) if number != 0.0 => {
            let message = fields.get("msg").and_then(|msg| serde_json::from_str::<String>(msg.get()).ok());
            let message = message.map(|message| message.chars().take(MESSAGE).collect());
            Outcome::Refused { code: code.chars().take(40).collect(), message }
        }
        Ok(_) | Err(_) => Outcome::Delivered,
    }
}

#[cfg(test)]
mod tests {
    use http::header::RETRY_AFTER;
    use proptest::prelude::*;

    use super::*;

    fn judged(status: u16, body: &str) -> Outcome {
        let status = StatusCode::from_u16(status).unwrap();
        judge(status, &HeaderMap::new(), body.as_bytes(), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn an_envelope_with_another_code_than_0_is_a_failure() {
        for taken in [
            "",
            "ok",
            "[7]",
            "7",
            "{}",
            "{\"code\":0}",
            "{\"code\":-0.0}",
            "{\"code\":\"7\"}",
            "{\"code\":null}",
            "{\"code\":7",
            "{\"a\":{\"code\":7}}",
            "{\"code\":7,\"code\":0}",
            "{\"code\":true}",
        ] {
            assert_eq!(judged(200, taken), Outcome::Delivered, "{taken}");
        }
        let refused = |code: &str, message: Option<&str>| Outcome::Refused {
            code: code.into(),
            message: message.map(Into::into),
        };
        assert_eq!(judged(200, "{\"code\":7,\"msg\":\"no\"}"), refused("7", Some("no")));
        assert_eq!(judged(204, "\u{feff} {\"code\" : -50001 }"), refused("-50001", None));
        assert_eq!(judged(200, "{\"code\":1e999}"), refused("1e999", None));
        assert_eq!(judged(500, "{\"code\":0}"), Outcome::Failed { status: 500 });
    }

    #[test]
    fn statuses_mean_what_they_say() {
        assert_eq!(judged(410, ""), Outcome::Gone);
        assert_eq!(judged(307, ""), Outcome::Redirected { status: 307 });
        assert_eq!(judged(503, ""), Outcome::Failed { status: 503 });
        for status in [429, 503, 500] {
            let headers = [(RETRY_AFTER, "7".parse().unwrap())].into_iter().collect();
            let answered = StatusCode::from_u16(status).unwrap();
            let outcome = judge(answered, &headers, b"", Timestamp::UNIX_EPOCH);
            match status {
                500 => assert_eq!(outcome, Outcome::Failed { status }),
                _ => assert!(
                    matches!(outcome, Outcome::Busy { retry_after, .. } if retry_after.as_secs() == 7)
                ),
            }
        }
    }

    proptest! {
        #[test]
        fn every_answer_means_something(status in 100_u16..1000, body in prop::collection::vec(any::<u8>(), 0..60)) {
            let status = StatusCode::from_u16(status).unwrap();
            let outcome = judge(status, &HeaderMap::new(), &body, Timestamp::UNIX_EPOCH);
            prop_assert!(!outcome.is_answer() || status.is_success() || status == StatusCode::GONE);
        }
    }
}
