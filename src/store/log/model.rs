//! The log on a file system that forgets: whatever was not synced may be lost at a crash, a sector at a
//! time, and files whose folder was not synced with them. Whatever happens, what was promised is read back,
//! and nothing that was never given.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use jiff::Timestamp;
use proptest::prelude::*;
use uuid::Uuid;

use super::append::Appender;
use super::disk::{Disk, DiskFile};
use super::recover::{Recovered, recover};
use super::shelf::Shelf;
use crate::store::{EventId, NewEvent, Seq, ShardId};
use crate::xinyao::callback::Kind;

const SECTOR: usize = 512;
const SEGMENT: u64 = 8 * 1024;

#[derive(Debug, Clone, Default)]
struct Content {
    synced: Vec<u8>,
    cached: Vec<u8>,
}

#[derive(Debug, Default)]
struct State {
    /// What the running process sees.
    names: BTreeMap<String, u64>,
    /// What the folder holds after a crash.
    synced_names: BTreeMap<String, u64>,
    files: BTreeMap<u64, Content>,
    room: Option<usize>,
    syncs_until_failure: Option<u32>,
    /// So many syncs from now the machine goes down: nothing more is done.
    syncs_until_down: Option<u32>,
}

impl State {
    fn up(&self) -> io::Result<()> {
        if self.syncs_until_down == Some(0) { Err(io::Error::other("the machine is down")) } else { Ok(()) }
    }
}

#[derive(Debug, Clone, Default)]
struct Forgetful(Arc<Mutex<State>>);

#[derive(Debug)]
struct Open {
    disk: Forgetful,
    file: u64,
}

impl Forgetful {
    /// The machine goes down: of what was not synced, chance keeps what it likes.
    fn crash(&self, chance: &mut fastrand::Rng) {
        let mut state = self.0.lock().unwrap();
        for content in state.files.values_mut() {
            content.crash(chance);
        }
        let mut names = state.synced_names.clone();
        let all: Vec<(String, u64)> =
            state.names.clone().into_iter().chain(state.synced_names.clone()).collect();
        for (name, file) in all {
            if state.names.contains_key(&name) != state.synced_names.contains_key(&name) {
                if chance.bool() {
                    names.insert(name, file);
                } else {
                    names.remove(&name);
                }
            }
        }
        state.names.clone_from(&names);
        state.synced_names = names;
        state.room = None;
        state.syncs_until_failure = None;
        state.syncs_until_down = None;
    }

    fn flip(&self, chance: &mut fastrand::Rng) -> bool {
        let mut state = self.0.lock().unwrap();
        let files: Vec<u64> = state.names.values().copied().collect();
        let Some(content) = chance.choice(files).and_then(|file| state.files.get_mut(&file)) else {
            return false;
        };
        if content.synced.len() <= 64 {
            return false;
        }
        let at = chance.usize(64..content.synced.len());
        content.cached[at] ^= 1 << chance.u8(0..8);
        content.synced = content.cached.clone();
        true
    }
}

impl Content {
    fn crash(&mut self, chance: &mut fastrand::Rng) {
        let (short, long) =
            (self.synced.len().min(self.cached.len()), self.synced.len().max(self.cached.len()));
        let mut left = vec![0; if short == long { long } else { chance.usize(short..=long) }];
        for (index, sector) in left.chunks_mut(SECTOR).enumerate() {
            let source = if chance.bool() { &self.synced } else { &self.cached };
            let from = source.get(index * SECTOR..).unwrap_or_default();
            let count = sector.len().min(from.len());
            sector[..count].copy_from_slice(&from[..count]);
        }
        *self = Self { synced: left.clone(), cached: left };
    }
}

impl Disk for Forgetful {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().unwrap().names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.0.lock().unwrap();
        state.up()?;
        if state.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = state.files.len() as u64;
        state.files.insert(file, Content::default());
        state.names.insert(name.to_owned(), file);
        Ok(Arc::new(Open { disk: self.clone(), file }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = *self.0.lock().unwrap().names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(Open { disk: self.clone(), file }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.up()?;
        state.names.remove(name);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.up()?;
        state.synced_names = state.names.clone();
        Ok(())
    }
}

impl DiskFile for Open {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.0.lock().unwrap().files[&self.file].cached.len() as u64)
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.disk.0.lock().unwrap();
        let from = state.files[&self.file].cached.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
        let count = buffer.len().min(from.len());
        buffer[..count].copy_from_slice(&from[..count]);
        Ok(count)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.0.lock().unwrap();
        state.up()?;
        let count = state.room.unwrap_or(usize::MAX).min(bytes.len());
        state.room = state.room.map(|room| room - count);
        let content = state.files.get_mut(&self.file).unwrap();
        let start = usize::try_from(offset).unwrap();
        let end = content.cached.len().max(start + count);
        content.cached.resize(end, 0);
        content.cached[start..start + count].copy_from_slice(&bytes[..count]);
        if count < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.0.lock().unwrap();
        state.up()?;
        state.syncs_until_down = state.syncs_until_down.map(|left| left - 1);
        state.up()?;
        let fails = state.syncs_until_failure == Some(0);
        state.syncs_until_failure = state.syncs_until_failure.and_then(|left| left.checked_sub(1));
        let content = state.files.get_mut(&self.file).unwrap();
        if fails {
            // What was not written is dropped, and the next sync knows nothing of it.
            content.cached = content.synced.clone();
            return Err(io::Error::other("the disk said no"));
        }
        content.synced = content.cached.clone();
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.0.lock().unwrap();
        state.up()?;
        state.files.get_mut(&self.file).unwrap().cached.resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }
}

/// What happens to a log.
#[derive(Debug, Clone)]
enum Step {
    Append(Vec<usize>),
    SyncFails(u32),
    Full(usize),
    Room,
    Probe,
    Roll,
    Remove(usize),
    Crash(u64),
    CrashWriting(u64, u32, Vec<usize>),
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    let sizes = || proptest::collection::vec(prop_oneof![0..50_usize, 0..2000_usize, Just(5000)], 1..6);
    prop_oneof![
        8 => sizes().prop_map(Step::Append),
        1 => (0..4_u32).prop_map(Step::SyncFails),
        1 => (0..3000_usize).prop_map(Step::Full),
        1 => Just(Step::Room),
        1 => Just(Step::Probe),
        1 => Just(Step::Roll),
        1 => (0..40_usize).prop_map(Step::Remove),
        2 => any::<u64>().prop_map(Step::Crash),
        2 => (any::<u64>(), 1..4_u32, sizes())
            .prop_map(|(chance, syncs, sizes)| Step::CrashWriting(chance, syncs, sizes)),
        1 => Just(Step::Close),
    ]
}

struct Log {
    disk: Forgetful,
    shelf: Arc<Shelf>,
    appender: Appender,
    given: u64,
    promised: BTreeMap<u64, NewEvent>,
    tried: BTreeMap<u64, Vec<NewEvent>>,
}

impl Log {
    fn new() -> Self {
        let disk = Forgetful::default();
        let (shelf, appender, recovered) = Self::open(&disk);
        assert_eq!(recovered, Recovered::default());
        Self { disk, shelf, appender, given: 0, promised: BTreeMap::new(), tried: BTreeMap::new() }
    }

    fn open(disk: &Forgetful) -> (Arc<Shelf>, Appender, Recovered) {
        let (shelf, recovered) = recover(Arc::new(disk.clone()), ShardId(0), Seq(0)).unwrap();
        let appender = Appender::new(Arc::clone(&shelf), SEGMENT);
        (shelf, appender, recovered)
    }

    fn append(&mut self, sizes: &[usize]) {
        let first = self.shelf.tail().0;
        let events: Vec<NewEvent> = sizes.iter().map(|size| self.event(*size)).collect();
        for (event, seq) in events.iter().zip(first..) {
            self.tried.entry(seq).or_default().push(event.clone());
        }
        if self.appender.append(events.clone()).is_ok() {
            self.promised.extend((first..).zip(events));
        }
    }

    fn event(&mut self, size: usize) -> NewEvent {
        self.given += 1;
        NewEvent {
            id: EventId(Uuid::from_u128(self.given.into())),
            received_at: Timestamp::UNIX_EPOCH,
            app: "crm".into(),
            label: None,
            kind: Kind::CallRecord,
            task_id: None,
            call_sn: None,
            content_type: None,
            unless_since: None,
            body: Bytes::from(vec![u8::try_from(self.given % 251).unwrap(); size]),
        }
    }

    fn reopen(&mut self) {
        let (shelf, appender, recovered) = Self::open(&self.disk);
        assert_eq!(recovered.damaged, []);
        (self.shelf, self.appender) = (shelf, appender);
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Append(sizes) => self.append(sizes),
            Step::SyncFails(after) => self.disk.0.lock().unwrap().syncs_until_failure = Some(*after),
            Step::Full(room) => self.disk.0.lock().unwrap().room = Some(*room),
            Step::Room => self.disk.0.lock().unwrap().room = None,
            Step::Probe => _ = self.appender.probe(),
            Step::Roll => _ = self.appender.roll(),
            Step::Remove(count) => self.remove(*count as u64),
            Step::Crash(chance) => {
                self.disk.crash(&mut fastrand::Rng::with_seed(*chance));
                self.reopen();
            }
            Step::CrashWriting(chance, syncs, sizes) => {
                self.disk.0.lock().unwrap().syncs_until_down = Some(*syncs);
                self.append(sizes);
                self.disk.crash(&mut fastrand::Rng::with_seed(*chance));
                self.reopen();
            }
            Step::Close => self.reopen(),
        }
    }

    fn remove(&mut self, count: u64) {
        let until = Seq((self.shelf.first().0 + count).min(self.shelf.tail().0));
        self.shelf.remove_before(until).unwrap();
        let first = self.shelf.first().0;
        assert!(first <= until.0.max(1));
        self.promised.retain(|seq, _| *seq >= first);
    }

    /// What is read is what was promised, and what lies between or behind was at least given.
    fn check(&self) {
        let (mut next, tail) = (self.shelf.first(), self.shelf.tail());
        assert!(self.promised.keys().next_back().is_none_or(|last| *last < tail.0));
        let mut read = BTreeMap::new();
        while next < tail {
            let run = self.shelf.read(next, 3, 3000).unwrap();
            assert_eq!(run.gap, None);
            assert!(run.next > next);
            next = run.next;
            read.extend(run.events.into_iter().map(|stored| (stored.event.place.seq.0, stored.event)));
        }
        for (seq, event) in &self.promised {
            assert_eq!((read[seq].id, &read[seq].body), (event.id, &event.body));
        }
        for (seq, event) in &read {
            assert!(self.tried[seq].iter().any(|tried| tried.id == event.id && tried.body == event.body));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn what_was_promised_is_read_back(steps in proptest::collection::vec(step(), 1..40)) {
        let mut log = Log::new();
        for step in &steps {
            log.take(step);
            log.check();
        }
    }

    #[test]
    fn damage_is_told_and_read_around(groups in proptest::collection::vec(1..5_usize, 2..20), chance: u64) {
        let mut log = Log::new();
        for size in groups {
            log.append(&vec![700; size]);
        }
        let tail = log.shelf.tail();
        // The last group proves nothing of itself.
        log.append(&[1]);
        let mut chance = fastrand::Rng::with_seed(chance);
        prop_assume!(log.disk.flip(&mut chance));
        let (shelf, _, recovered) = Log::open(&log.disk);
        let lost: u64 = recovered.damaged.iter().map(|gap| gap.until.0 - gap.from.0).sum();
        prop_assert!(lost <= 1, "{:?}", recovered);
        prop_assert!(shelf.tail() >= tail);
        let mut next = Seq(1);
        let mut found = 0;
        while next < tail {
            let run = shelf.read(next, 100, 100_000).unwrap();
            prop_assert!(run.next > next);
            for stored in run.events.iter().filter(|stored| stored.event.place.seq < tail) {
                let event = &log.promised[&stored.event.place.seq.0];
                prop_assert_eq!((stored.event.id, &stored.event.body), (event.id, &event.body));
                found += 1;
            }
            next = run.next;
        }
        prop_assert!(found + 2 >= tail.0, "{} of {:?}", found, tail);
    }
}

#[test]
fn a_failed_sync_is_final_for_its_segment() {
    let mut log = Log::new();
    log.append(&[10]);
    log.disk.0.lock().unwrap().syncs_until_failure = Some(0);
    log.append(&[20]);
    assert_eq!(log.promised.len(), 1);
    log.append(&[30]);
    assert_eq!(log.promised.len(), 2);
    assert_eq!(log.shelf.all().len(), 2);
    log.check();
    log.reopen();
    log.check();
}

#[test]
fn a_full_disk_refuses_and_takes_again() {
    let mut log = Log::new();
    log.append(&[10]);
    log.disk.0.lock().unwrap().room = Some(100);
    let event = log.event(500);
    assert!(matches!(log.appender.append(vec![event]), Err(crate::store::StoreError::Full(_))));
    assert!(matches!(log.appender.probe(), Err(crate::store::StoreError::Full(_))));
    log.disk.0.lock().unwrap().room = None;
    assert!(log.appender.probe().is_ok());
    log.append(&[30]);
    assert_eq!((log.promised.len(), log.shelf.all().len()), (2, 1));
    log.check();
    log.reopen();
    log.check();
}
