//! A record: an event as bytes.
//!
//! ```text
//! magic 4 | payload's length 4 | where its group begins in the segment 4 | CRC-32 4 | payload
//! payload: version 1 | kind 1 | has 1 | seq 8 | received_at 8 (ns) | id 16 | [key 16]
//!          | app | [label] | [task_id] | [call_sn] | [content_type]: each length 4 + bytes | body
//! ```
//! Numbers are little-endian. The CRC covers everything but magic and itself, and begins with the segment's
//! salt, so that a body that holds the bytes of a record is never taken for one.
//!
//! Why the group: a group is written only once all before it is synced. So a good record proves that what
//! stands before its group was on the disk, and recovery can tell a torn tail, which nobody was promised,
//! from a record that was lost.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use uuid::Uuid;

use crate::store::{DuplicateKey, Event, EventId, NewEvent, Place, Seq, ShardId};
use crate::xinyao::callback::Kind;

pub(super) const MAGIC: [u8; 4] = *b"XYev";
pub(super) const HEAD: usize = 16;
/// What stands at the beginning of each payload, as far as its length is fixed.
const FIXED: usize = 1 + 1 + 1 + 8 + 8 + 16;
/// So much of a payload tells the number.
pub(super) const PEEK: usize = 11;
const VERSION: u8 = 1;
/// Longer payloads are none: bodies end at `callbacks.max_body`.
pub(super) const MAX_PAYLOAD: usize = 1 << 30;

const KEY: u8 = 1;
const LABEL: u8 = 2;
const TASK: u8 = 4;
const CALL: u8 = 8;
const CONTENT_TYPE: u8 = 16;

/// An event as it stands in the log, with what only the index needs.
#[derive(Debug, Clone)]
pub(in crate::store) struct Stored {
    pub event: Arc<Event>,
    pub key: Option<DuplicateKey>,
}

/// Nanoseconds of the epoch; a time beyond the year 2262 is the last that there is.
pub(in crate::store) fn nanos(at: Timestamp) -> i64 {
    i64::try_from(at.as_nanosecond()).unwrap_or(if at < Timestamp::UNIX_EPOCH { i64::MIN } else { i64::MAX })
}

/// The time of that nanosecond.
pub(in crate::store) fn time(nanos: i64) -> Timestamp {
    Timestamp::from_nanosecond(nanos.into()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Adds the record of `event` to `buffer`.
pub(super) fn encode(buffer: &mut Vec<u8>, event: &NewEvent, seq: Seq, group: u32, salt: u32) {
    let start = buffer.len();
    buffer.extend_from_slice(&MAGIC);
    buffer.extend_from_slice(&[0; HEAD - MAGIC.len()]);
    payload(buffer, event, seq);
    let length = u32::try_from(buffer.len() - start - HEAD).unwrap_or(u32::MAX);
    buffer[start + 4..start + 8].copy_from_slice(&length.to_le_bytes());
    buffer[start + 8..start + 12].copy_from_slice(&group.to_le_bytes());
    let sum = crc(salt, &buffer[start + 4..start + 12], &buffer[start + HEAD..]);
    buffer[start + 12..start + HEAD].copy_from_slice(&sum.to_le_bytes());
}

fn payload(buffer: &mut Vec<u8>, event: &NewEvent, seq: Seq) {
    let texts = [
        (0, Some(event.app.as_bytes())),
        (LABEL, event.label.as_deref().map(str::as_bytes)),
        (TASK, event.task_id.as_deref().map(str::as_bytes)),
        (CALL, event.call_sn.as_deref().map(str::as_bytes)),
        (CONTENT_TYPE, event.content_type.as_deref()),
    ];
    let key = event.unless_since.map(|(key, _)| key);
    let has = texts.iter().filter(|(_, text)| text.is_some()).fold(0, |has, (bit, _)| has | bit);
    buffer.extend_from_slice(&[VERSION, code(event.kind), has | if key.is_some() { KEY } else { 0 }]);
    buffer.extend_from_slice(&seq.0.to_le_bytes());
    buffer.extend_from_slice(&nanos(event.received_at).to_le_bytes());
    buffer.extend_from_slice(event.id.0.as_bytes());
    buffer.extend_from_slice(key.as_ref().map_or(&[], |key| &key[..]));
    for text in texts.iter().filter_map(|(_, text)| *text) {
        buffer.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
        buffer.extend_from_slice(text);
    }
    buffer.extend_from_slice(&event.body);
}

/// The head of a record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub length: usize,
    pub group: u32,
    crc: u32,
}

impl Head {
    /// The head that `bytes` begin with.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let head = bytes.get(..HEAD)?;
        let number = |at: usize| Some(u32::from_le_bytes(head.get(at..at + 4)?.try_into().ok()?));
        let length = number(4)? as usize;
        let sound = head.starts_with(&MAGIC) && (FIXED..=MAX_PAYLOAD).contains(&length);
        if sound { Some(Self { length, group: number(8)?, crc: number(12)? }) } else { None }
    }

    /// Bytes of the whole record.
    pub fn size(&self) -> usize {
        HEAD + self.length
    }

    /// Whether `record` (head and payload) is what was written.
    pub fn holds(&self, record: &[u8], salt: u32) -> bool {
        record.len() == self.size() && crc(salt, &record[4..12], &record[HEAD..]) == self.crc
    }
}

/// The number of the event whose payload this is.
pub(super) fn seq_of(payload: &[u8]) -> Option<Seq> {
    Some(Seq(u64::from_le_bytes(payload.get(3..11)?.try_into().ok()?)))
}

/// When the event came whose payload this is.
pub(super) fn at_of(payload: &[u8]) -> Option<i64> {
    Some(i64::from_le_bytes(payload.get(11..19)?.try_into().ok()?))
}

/// The event whose payload this is. The body is a copy, so that an event that is kept keeps nothing else.
pub(in crate::store) fn decode(payload: &[u8], shard: ShardId) -> Option<Stored> {
    let (&[version, kind, has], mut rest) = payload.split_first_chunk::<3>()?;
    if version != VERSION {
        return None;
    }
    let rest = &mut rest;
    let seq = Seq(u64::from_le_bytes(take(rest, 8)?.try_into().ok()?));
    let received_at = time(i64::from_le_bytes(take(rest, 8)?.try_into().ok()?));
    let id = EventId(Uuid::from_bytes(take(rest, 16)?.try_into().ok()?));
    let key = if has & KEY == 0 { None } else { Some(take(rest, 16)?.try_into().ok()?) };
    let app = text(rest)?;
    let mut optional = |bit| if has & bit == 0 { Some(None) } else { text(rest).map(Some) };
    let (label, task_id, call_sn) = (optional(LABEL)?, optional(TASK)?, optional(CALL)?);
    let content_type = if has & CONTENT_TYPE == 0 { None } else { Some(bytes(rest)?) };
    let event = Event {
        place: Place { shard, seq },
        id,
        received_at,
        app: app.into(),
        label: label.map(Into::into),
        kind: kind_of(kind)?,
        task_id: task_id.map(str::to_owned),
        call_sn: call_sn.map(str::to_owned),
        content_type: content_type.map(Bytes::copy_from_slice),
        body: Bytes::copy_from_slice(rest),
    };
    Some(Stored { event: Arc::new(event), key })
}

/// The payload of an event that is kept beyond its segment.
pub(in crate::store) fn keep(event: &Event) -> Vec<u8> {
    let mut buffer = Vec::with_capacity(event.body.len() + 256);
    let Event { place, id, received_at, app, label, kind, task_id, call_sn, content_type, body } =
        event.clone();
    let unless_since = None;
    let new =
        NewEvent { id, received_at, app, label, kind, task_id, call_sn, content_type, unless_since, body };
    payload(&mut buffer, &new, place.seq);
    buffer
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(count)?;
    *rest = left;
    Some(taken)
}

fn bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u32::from_le_bytes(take(rest, 4)?.try_into().ok()?);
    take(rest, length as usize)
}

fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(bytes(rest)?).ok()
}

fn crc(salt: u32, head: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(salt);
    hasher.update(head);
    hasher.update(payload);
    hasher.finalize()
}

/// What stands for a kind, here and in the index. Never to be changed.
pub(in crate::store) fn code(kind: Kind) -> u8 {
    match kind {
        Kind::CallRecord => 1,
        Kind::IntentResult => 2,
        Kind::InboundQuery => 3,
        Kind::Unknown => 4,
    }
}

pub(in crate::store) fn kind_of(number: u8) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| code(*kind) == number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn new(task_id: Option<String>, key: Option<DuplicateKey>, body: Vec<u8>) -> NewEvent {
        NewEvent {
            id: EventId(Uuid::from_u128(9)),
            received_at: Timestamp::from_nanosecond(1_700_000_000_123_456_789).unwrap(),
            app: "crm".into(),
            label: None,
            kind: Kind::IntentResult,
            task_id,
            call_sn: Some(String::new()),
            content_type: Some(Bytes::from_static(b"\xff")),
            unless_since: key.map(|key| (key, Timestamp::UNIX_EPOCH)),
            body: body.into(),
        }
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(task in proptest::option::of(".{0,40}"), key: Option<[u8; 16]>, body: Vec<u8>) {
            let given = new(task, key, body);
            let mut buffer = Vec::new();
            encode(&mut buffer, &given, Seq(77), 64, 5);
            let head = Head::of(&buffer).unwrap();
            prop_assert!(head.holds(&buffer, 5) && !head.holds(&buffer, 6));
            prop_assert_eq!(head.group, 64);
            prop_assert_eq!((seq_of(&buffer[HEAD..]), at_of(&buffer[HEAD..])), (Some(Seq(77)), Some(nanos(given.received_at))));
            let stored = decode(&buffer[HEAD..], ShardId(3)).unwrap();
            prop_assert_eq!(stored.key, key);
            prop_assert_eq!(&stored.event.task_id, &given.task_id);
            prop_assert_eq!(&stored.event.call_sn, &given.call_sn);
            prop_assert_eq!(&stored.event.content_type, &given.content_type);
            prop_assert_eq!(&stored.event.body, &given.body);
            prop_assert_eq!(stored.event.received_at, given.received_at);
            let again = decode(&keep(&stored.event), ShardId(3)).unwrap();
            prop_assert_eq!(&again.event.body, &given.body);
        }

        #[test]
        fn a_changed_bit_is_seen(body: Vec<u8>, bit: proptest::sample::Index) {
            let mut buffer = Vec::new();
            encode(&mut buffer, &new(None, None, body), Seq(1), 0, 5);
            let bit = bit.index(buffer.len() * 8);
            buffer[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!Head::of(&buffer).is_some_and(|head| head.holds(&buffer, 5)));
        }

        #[test]
        fn any_bytes_are_an_event_or_none(bytes: Vec<u8>) {
            decode(&bytes, ShardId(0));
            Head::of(&bytes);
        }
    }

    #[test]
    fn codes_of_kinds_stay() {
        assert_eq!(Kind::ALL.map(code), [1, 2, 3, 4]);
        assert_eq!(Kind::ALL.map(|kind| kind_of(code(kind))), Kind::ALL.map(Some));
        assert_eq!(kind_of(0), None);
    }
}
