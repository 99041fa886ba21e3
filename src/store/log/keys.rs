//! Which events may have a key, in memory: eight bytes for each key of the window, and no look at a disk for
//! a key that is new.
//!
//! A slot has 32 bits of the key and 32 of the event's number, so what it says is a guess: the event itself,
//! from the log, has the whole key. There are many small tables rather than one, so that nobody waits for
//! long while one grows.

use std::collections::VecDeque;

use crate::store::{DuplicateKey, Seq};

const PARTS: usize = 64;
/// Most keys that are remembered (128 MiB, twice that while tables grow); of more the oldest are forgotten.
/// In a window of ten minutes it is 27,000 events a second.
pub(in crate::store) const MAX_KEYS: usize = 16 << 20;
const SMALLEST: usize = 16;
/// Between two marks there are so many numbers.
const STRIDE: u64 = 4096;

/// What stands for a key; 0 stands for none.
pub(in crate::store) fn print(key: &DuplicateKey) -> u64 {
    let (head, _) = key.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
    u64::from_le_bytes(*head).max(1)
}

/// Keys and their events.
#[derive(Debug)]
pub(in crate::store) struct Keys {
    parts: Vec<Part>,
    /// Numbers from which on events came at these times or earlier, for letting go of what is too old.
    marks: VecDeque<(Seq, i64)>,
    /// What stands before it is too old.
    cutoff: Seq,
    /// The number after the last one's.
    next: Seq,
    max_of_part: usize,
}

#[derive(Debug, Default)]
struct Part {
    slots: Box<[u64]>,
    used: usize,
}

impl Keys {
    pub fn new(max_keys: usize) -> Self {
        let parts = (0..PARTS).map(|_| Part::default()).collect();
        let max_of_part = (max_keys / PARTS).max(SMALLEST);
        Self { parts, marks: VecDeque::new(), cutoff: Seq(0), next: Seq(0), max_of_part }
    }

    /// Events that may have the key of that print.
    pub fn may_have(&self, print: u64) -> impl Iterator<Item = Seq> + use<'_> {
        let slots = &self.parts[part_of(print)].slots;
        let tag = print >> 32;
        probes(slots, tag)
            .map(|index| slots[index])
            .take_while(|slot| *slot != 0)
            .filter(move |slot| slot >> 32 == tag)
            .map(|slot| self.seq_of(slot))
            .filter(|seq| *seq >= self.cutoff)
    }

    /// Adds the key of event `seq`, which came at `at`. Numbers only grow.
    pub fn add(&mut self, print: u64, seq: Seq, at: i64, window: i64) {
        self.next = seq.next();
        match self.marks.back_mut() {
            Some((first, late)) if seq.0 - first.0 < STRIDE => *late = at.max(*late),
            _ => self.marks.push_back((seq, at)),
        }
        let part = part_of(print);
        if (self.parts[part].used + 1) * 8 > self.parts[part].slots.len() * 7 {
            self.forget_before(at.saturating_sub(window));
            self.remake(part);
        }
        self.parts[part].put((print >> 32) << 32 | (seq.0 & u64::from(u32::MAX)));
    }

    fn forget_before(&mut self, since: i64) {
        while self.marks.front().is_some_and(|(_, late)| *late < since) {
            self.marks.pop_front();
        }
        self.cutoff = self.marks.front().map_or(self.next, |(first, _)| *first).max(self.cutoff);
    }

    /// Lets go of what is too old, and makes room.
    fn remake(&mut self, part: usize) {
        let old = std::mem::take(&mut self.parts[part]).slots;
        let live = |cutoff: Seq| {
            let keys = &*self;
            old.iter().copied().filter(move |slot| *slot != 0 && keys.seq_of(*slot) >= cutoff)
        };
        let mut cutoff = self.cutoff;
        while live(cutoff).count() > self.max_of_part {
            // The older half of them.
            cutoff = Seq(cutoff.0.midpoint(self.next.0));
        }
        let mut remade = Part::of((live(cutoff).count() + 1) * 2);
        live(cutoff).for_each(|slot| remade.put(slot));
        self.parts[part] = remade;
    }

    /// A slot's number, which is not far from the latest one: if it is, the log knows better.
    fn seq_of(&self, slot: u64) -> Seq {
        let back = self.next.0.wrapping_sub(slot) & u64::from(u32::MAX);
        Seq(self.next.0.saturating_sub(back))
    }
}

impl Part {
    fn of(keys: usize) -> Self {
        let size = keys.next_power_of_two().max(SMALLEST);
        Self { slots: vec![0; size].into(), used: 0 }
    }

    fn put(&mut self, slot: u64) {
        // Of all slots one is like an empty one.
        let slot = slot.max(1);
        if let Some(index) = probes(&self.slots, slot >> 32).find(|index| self.slots[*index] == 0) {
            self.slots[index] = slot;
            self.used += 1;
        }
    }
}

fn part_of(print: u64) -> usize {
    usize::try_from(print % PARTS as u64).unwrap_or(0)
}

/// Where what has that tag may stand, from the likeliest place on.
fn probes(slots: &[u64], tag: u64) -> impl Iterator<Item = usize> + use<> {
    let size = slots.len();
    let mask = size.wrapping_sub(1);
    let start = usize::try_from(tag).unwrap_or(0);
    (0..size).map(move |step| start.wrapping_add(step) & mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: i64 = 1000;

    fn key(number: u64) -> u64 {
        let mut dice = fastrand::Rng::with_seed(number);
        dice.u64(1..)
    }

    fn has(keys: &Keys, number: u64) -> bool {
        keys.may_have(key(number)).any(|seq| seq == Seq(number))
    }

    #[test]
    fn each_key_of_the_window_leads_to_its_event() {
        let mut keys = Keys::new(MAX_KEYS);
        (1..=100_000).for_each(|number| keys.add(key(number), Seq(number), 5, WINDOW));
        assert!((1..=100_000).all(|number| has(&keys, number)));
        let guesses: usize = (100_001..200_000).map(|number| keys.may_have(key(number)).count()).sum();
        assert!(guesses < 10, "{guesses} of keys that are not there");
    }

    #[test]
    fn what_came_before_the_window_takes_no_room() {
        let mut keys = Keys::new(MAX_KEYS);
        for number in 1..=1_000_000 {
            keys.add(key(number), Seq(number), i64::try_from(number / 20).unwrap(), WINDOW);
        }
        assert!((990_000..=1_000_000).all(|number| has(&keys, number)));
        let slots: usize = keys.parts.iter().map(|part| part.slots.len()).sum();
        assert!(slots <= 1 << 17, "{slots} slots for 20,000 keys");
        assert!(keys.marks.len() < 16, "{} marks", keys.marks.len());
    }

    #[test]
    fn of_too_many_the_oldest_are_forgotten() {
        let mut keys = Keys::new(10_000);
        (1..=50_000).for_each(|number| keys.add(key(number), Seq(number), 5, WINDOW));
        assert!((47_000..=50_000).all(|number| has(&keys, number)));
        let slots: usize = keys.parts.iter().map(|part| part.slots.len()).sum();
        assert!(slots <= 1 << 16, "{slots} slots for 10,000 keys");
    }

    #[test]
    fn numbers_past_32_bits_are_whole() {
        let mut keys = Keys::new(MAX_KEYS);
        let base = 7 << 32;
        (base - 500..base + 500).for_each(|number| keys.add(key(number), Seq(number), 5, WINDOW));
        assert!((base - 500..base + 500).all(|number| has(&keys, number)));
    }
}
