//! Recordings of simulated calls: a tone as long as the call, as WAV (8 kHz, 8 bit, mono).

use std::f64::consts::TAU;
use std::ops::RangeInclusive;

use bytes::Bytes;
use http::header::{ACCEPT_RANGES, CONTENT_RANGE, CONTENT_TYPE, HeaderValue, RANGE};
use http::{HeaderMap, Response, StatusCode};

use super::answer::{Answer, AnswerBody, Failure};
use super::house::House;

const RATE: u32 = 8000;
/// Longer calls have the beginning only.
const LONGEST_SECONDS: u32 = 120;
const TONE_HZ: f64 = 440.0;

/// The recording at `path`, or the part that `Range` asks for (RFC 9110 §14).
pub(super) fn get(house: &House, path: &str, headers: &HeaderMap) -> Result<Answer, Failure> {
    let file = path.rsplit('/').next().unwrap_or_default();
    let call_id = file.strip_suffix(".wav").ok_or(Failure::NoRecording)?;
    let seconds = {
        let memory = house.memory();
        let call = memory.calls.get(call_id).filter(|call| call.record_url.as_deref() == Some(path));
        call.ok_or(Failure::NoRecording)?.talk_seconds
    };
    let recording = wav(seconds.min(LONGEST_SECONDS));
    let size = recording.len();
    match headers.get(RANGE).and_then(|range| range.to_str().ok()).and_then(|range| wanted(range, size)) {
        None => Ok(answer(StatusCode::OK, recording, None)),
        Some(None) => Err(Failure::Range(size)),
        Some(Some(range)) => {
            let place = format!("bytes {}-{}/{size}", range.start(), range.end());
            Ok(answer(StatusCode::PARTIAL_CONTENT, recording.slice(range), Some(&place)))
        }
    }
}

fn answer(status: StatusCode, body: Bytes, place: Option<&str>) -> Answer {
    let mut answer = Response::new(AnswerBody::whole(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("audio/wav"));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Some(place) = place.and_then(|place| HeaderValue::from_str(place).ok()) {
        headers.insert(CONTENT_RANGE, place);
    }
    answer
}

/// The one range of bytes that `range` asks for, of `size` in all: `None` if it is to be ignored, as
/// several at once are; `Some(None)` if there are no such bytes.
#[expect(clippy::option_option, reason = "three things that a range can be")]
fn wanted(range: &str, size: usize) -> Option<Option<RangeInclusive<usize>>> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let (first, last) = if first.is_empty() {
        let count: usize = last.parse().ok()?;
        (if count == 0 { size } else { size.saturating_sub(count) }, size - 1)
    } else {
        let first: usize = first.parse().ok()?;
        let last = if last.is_empty() { usize::MAX } else { last.parse().ok()? };
        if last < first {
            return None;
        }
        (first, last.min(size - 1))
    };
    Some((first < size).then_some(first..=last))
}

fn wav(seconds: u32) -> Bytes {
    let samples = seconds * RATE;
    let mut file = Vec::with_capacity(44 + samples as usize);
    file.extend_from_slice(b"RIFF");
    file.extend_from_slice(&(36 + samples).to_le_bytes());
    file.extend_from_slice(b"WAVEfmt ");
    file.extend_from_slice(&16_u32.to_le_bytes());
    // PCM, one channel.
    file.extend_from_slice(&[1, 0, 1, 0]);
    file.extend_from_slice(&RATE.to_le_bytes());
    file.extend_from_slice(&RATE.to_le_bytes());
    // One byte a frame, eight bits a sample.
    file.extend_from_slice(&[1, 0, 8, 0]);
    file.extend_from_slice(b"data");
    file.extend_from_slice(&samples.to_le_bytes());
    // 200 samples are eleven whole waves, so one stretch of them can be repeated.
    let stretch: Vec<u8> = (0..200).map(sample).collect();
    file.extend(stretch.iter().cycle().take(samples as usize));
    file.into()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 98 and 158")]
fn sample(index: u32) -> u8 {
    (128.0 + 30.0 * (TAU * TONE_HZ * f64::from(index) / f64::from(RATE)).sin()) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_rfc_has_them() {
        for (range, expected) in [
            ("bytes=0-9", Some(Some(0..=9))),
            ("bytes=90-", Some(Some(90..=99))),
            ("bytes=90-200", Some(Some(90..=99))),
            ("bytes=-5", Some(Some(95..=99))),
            ("bytes=-500", Some(Some(0..=99))),
            ("bytes=-0", Some(None)),
            ("bytes=100-", Some(None)),
            ("bytes=5-4", None),
            ("bytes=0-1,4-5", None),
            ("lines=0-1", None),
            ("bytes=-", None),
        ] {
            assert_eq!(wanted(range, 100), expected, "{range}");
        }
    }

    #[test]
    fn a_second_is_a_second() {
        let file = wav(1);
        assert_eq!(file.len(), 8044);
        assert_eq!(&file[40..44], 8000_u32.to_le_bytes());
    }
}
