//! One batch: its calls and numbers as digests, and what they add up to.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::{Bytes, BytesMut};
use jiff::Timestamp;

use super::Name;
use super::part::{Line, lines};
use super::told::{Call, Degree, Told};
use crate::store::{BatchEntry, Event, LedgerKey};

/// Most bytes of a degree's name.
const MAX_DEGREE: usize = 64;
/// Most different degrees of a batch; the document's examples have letters.
const MAX_DEGREES: usize = 64;

/// What a batch takes without calls, in calls: its names, and its place among the others.
const SIZE: usize = 32;

/// A state that is told as no number.
const NO_STATE: i64 = i64::MIN;

/// A batch.
#[derive(Debug, Default)]
pub(super) struct Book {
    calls: HashMap<u64, (i64, bool)>,
    numbers: HashSet<u64>,
    degrees: HashMap<u64, String>,
    names: [Option<String>; 3],
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    /// What was told since the last entry.
    part: BytesMut,
    pub(super) touched: u64,
}

impl Book {
    /// As its parts say.
    pub(super) fn read(parts: &[Bytes]) -> Self {
        let mut book = Self::default();
        for line in parts.iter().flat_map(|part| lines(part)) {
            match line {
                Line::Call { call, num, state, connected } => {
                    book.call(call, num, state, connected);
                }
                Line::Degree { num, name } => {
                    book.degrees.insert(num, String::from_utf8_lossy(name).into_owned());
                }
            }
        }
        book
    }

    /// What it takes of the room at hand: calls, numbers and degrees, and itself.
    pub(super) fn size(&self) -> usize {
        SIZE + self.calls.len() + self.numbers.len() + self.degrees.len()
    }

    /// Books what an event tells.
    pub(super) fn enter(&mut self, told: &Told<'_>, event: &Event, key: &LedgerKey) {
        for (name, told) in self.names.iter_mut().zip([&told.task_id, &told.task_name, &told.call_sn_name]) {
            if let Some(told) = told.get() {
                *name = Some(told.chars().take(256).collect());
            }
        }
        let mut any = false;
        for call in told.calls.iter() {
            any |= self.enter_call(call, key).is_some();
        }
        for degree in told.degrees.iter() {
            self.enter_degree(degree, key);
        }
        if any {
            let at = event.received_at;
            self.first = Some(self.first.map_or(at, |first| first.min(at)));
            self.last = self.last.max(Some(at));
        }
    }

    fn enter_call(&mut self, call: &Call<'_>, key: &LedgerKey) -> Option<()> {
        let num = key.number(call.num.get()?.as_bytes());
        let call_digest = key.call(call.call_id.get()?);
        let state = call.state.get().and_then(|state| state.parse().ok()).unwrap_or(NO_STATE);
        let connected = call.answered_time.get().is_some();
        if self.call(call_digest, num, state, connected) {
            Line::Call { call: call_digest, num, state, connected }.write(&mut self.part);
        }
        Some(())
    }

    /// Whether that is new.
    fn call(&mut self, call: u64, num: u64, state: i64, connected: bool) -> bool {
        let new = self.numbers.insert(num);
        self.calls.insert(call, (state, connected)) != Some((state, connected)) || new
    }

    fn enter_degree(&mut self, degree: &Degree<'_>, key: &LedgerKey) -> Option<()> {
        let num = key.number(degree.num.get()?.as_bytes());
        let name = degree.degree_name.get()?;
        let end = (0..=name.len().min(MAX_DEGREE)).rev().find(|at| name.is_char_boundary(*at))?;
        let name = &name[..end];
        if self.degrees.get(&num).is_some_and(|known| known == name) {
            return None;
        }
        self.degrees.insert(num, name.to_owned());
        Line::Degree { num, name: name.as_bytes() }.write(&mut self.part);
        Some(())
    }

    /// What is to be entered.
    pub(super) fn entry(&mut self, (app, call_sn): &Name) -> BatchEntry {
        let mut by_state = BTreeMap::new();
        for (state, _) in self.calls.values().filter(|(state, _)| *state != NO_STATE) {
            *by_state.entry(*state).or_default() += 1;
        }
        let [task_id, task_name, call_sn_name] = self.names.clone();
        BatchEntry {
            app: app.to_string(),
            call_sn: call_sn.clone(),
            task_id,
            task_name,
            call_sn_name,
            returned: self.numbers.len() as u64,
            connected: self.calls.values().filter(|(_, connected)| *connected).count() as u64,
            by_state,
            by_degree: self.by_degree(),
            first_record_at: self.first.take(),
            last_record_at: self.last.take(),
            part: self.part.split().freeze(),
        }
    }

    fn by_degree(&self) -> BTreeMap<String, u64> {
        let mut by_degree = BTreeMap::<String, u64>::new();
        for name in self.degrees.values() {
            let room = by_degree.len() < MAX_DEGREES || by_degree.contains_key(name);
            *by_degree.entry(if room { name.clone() } else { "…".to_owned() }).or_default() += 1;
        }
        by_degree
    }
}
