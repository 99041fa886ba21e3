//! Follows an upload, collects its numbers, and judges it at its end.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};

use crate::proxy::numbers::Collect;
use crate::proxy::outgoing::{Observer, Room, Share};
use crate::proxy::refusal::Refusal;
use crate::proxy::tenant::Parts;
use crate::store::Unseen;
use crate::xinyao::Endpoint;
use crate::xinyao::checks::{Failure, Form};
use crate::xinyao::number_file;

/// How many workbooks are read at a time; more would only take each other's time.
static WORKBOOKS: Semaphore = Semaphore::const_new(2);
/// And of those that nobody checks, which are not to keep the others waiting.
static UNCHECKED: Semaphore = Semaphore::const_new(1);
/// How long an answer that is there waits for the verdict on a workbook.
const REPORT_WITHIN: Duration = Duration::from_secs(2);
/// How long a request waits for it.
const ENFORCE_WITHIN: Duration = Duration::from_secs(30);

/// Follows an upload.
pub struct Follow {
    reading: Option<(Form, Collect)>,
    copies: Copies,
    copy: Copy,
    verdict: Arc<Mutex<State>>,
}

/// Where workbooks are copied to while they stream by; they can be read only when they are whole.
#[derive(Clone)]
pub struct Copies {
    /// The folder.
    folder: PathBuf,
    room: Room,
    turns: &'static Semaphore,
}

impl Copies {
    /// In `folder`, as far as there is room; of those that are `checked`, or of others.
    pub fn new(folder: PathBuf, room: Room, checked: bool) -> Self {
        Self { folder, room, turns: if checked { &WORKBOOKS } else { &UNCHECKED } }
    }
}

enum Copy {
    None,
    Begun(File, Share),
    Failed,
}

/// What will be found.
pub struct Verdict(Arc<Mutex<State>>);

/// How far it is.
pub enum State {
    /// The upload has not ended.
    Streaming,
    /// The workbook is being read.
    Reading(oneshot::Receiver<Vec<Failure>>),
    /// It is there.
    Found(Vec<Failure>),
    /// The workbook could not be copied.
    Uncopied,
}

impl Follow {
    /// Follows an upload to `endpoint`.
    pub fn new(endpoint: Endpoint, copies: Copies, collect: Collect) -> (Self, Verdict) {
        let (state, verdict) = Verdict::new();
        let reading = Some((Form::new(endpoint), collect));
        (Self { reading, copies, copy: Copy::None, verdict: state }, verdict)
    }

    /// The upload has ended.
    pub fn end(mut self, whole: bool) {
        self.judge(whole);
    }

    fn judge(&mut self, whole: bool) {
        let Some((form, mut collect)) = self.reading.take() else { return };
        let state = match std::mem::replace(&mut self.copy, Copy::None) {
            Copy::Begun(file, share) if whole && form.wants_xlsx() => {
                State::Reading(read(form, collect, (file, share), self.copies.turns))
            }
            Copy::Failed if whole => {
                collect.give_up(Unseen::NoRoom);
                collect.finish();
                State::Uncopied
            }
            _ => {
                let failures = form.finish(whole, None, &mut collect);
                collect.finish();
                State::Found(failures)
            }
        };
        if let Ok(mut verdict) = self.verdict.lock() {
            *verdict = state;
        }
    }

    /// To a file that has no name, and is gone when it is closed. It goes to the system's cache, which does
    /// not wait for the disk.
    fn keep(&mut self, bytes: &[u8]) {
        let written = match &mut self.copy {
            Copy::None => tempfile::tempfile_in(&self.copies.folder).and_then(|mut file| {
                let mut share = self.copies.room.share();
                share.grow(bytes.len())?;
                file.write_all(bytes)?;
                self.copy = Copy::Begun(file, share);
                Ok(())
            }),
            Copy::Begun(file, share) => share.grow(bytes.len()).and_then(|()| file.write_all(bytes)),
            Copy::Failed => return,
        };
        if let Err(error) = written {
            let folder = self.copies.folder.display();
            tracing::warn!(%error, %folder, "an upload can't be copied to be looked into");
            self.copy = Copy::Failed;
        }
    }
}

/// Reads a workbook, on a thread that may be busy.
fn read(
    form: Form,
    mut collect: Collect,
    (file, share): (File, Share),
    turns: &'static Semaphore,
) -> oneshot::Receiver<Vec<Failure>> {
    let (mut found, finding) = oneshot::channel();
    tokio::spawn(async move {
        // The file goes when nobody waits for it any more: else those that wait here would have no bound.
        let permit = tokio::select! {
            () = async { tokio::join!(found.closed(), collect.unwanted()); } => return,
            permit = turns.acquire() => permit,
        };
        if permit.is_err() || (found.is_closed() && collect.is_unwanted()) {
            return;
        }
        let judging = tokio::task::spawn_blocking(move || {
            let verdict = number_file::xlsx(file, &mut collect);
            let failures = form.finish(true, Some(verdict), &mut collect);
            collect.finish();
            drop(share);
            failures
        });
        if let Ok(failures) = judging.await {
            // Nobody may be waiting any more.
            drop(found.send(failures));
        }
    });
    finding
}

impl Parts for Follow {
    fn part(&mut self, name: &str, is_file: bool) {
        if let Some((form, _)) = &mut self.reading {
            form.part(name, is_file);
        }
    }

    fn data(&mut self, bytes: &[u8]) {
        let Some((mut form, mut collect)) = self.reading.take() else { return };
        for kept in form.data(bytes, &mut collect).into_iter().filter(|kept| !kept.is_empty()) {
            self.keep(kept);
        }
        self.reading = Some((form, collect));
    }
}

impl Observer for Follow {
    fn poll_end(&mut self, whole: bool, _: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        self.judge(whole);
        Poll::Ready(Ok(()))
    }
}

impl Verdict {
    /// None yet, and where it is to be put.
    pub fn new() -> (Arc<Mutex<State>>, Self) {
        let state = Arc::new(Mutex::new(State::Streaming));
        (Arc::clone(&state), Self(state))
    }

    fn take(self) -> State {
        self.0.lock().map_or(State::Streaming, |mut state| std::mem::replace(&mut *state, State::Streaming))
    }

    /// What is wrong, as far as that is known by the time of the answer.
    pub async fn reported(self) -> Option<Vec<Failure>> {
        match self.take() {
            State::Found(failures) => Some(failures),
            State::Reading(finding) => tokio::time::timeout(REPORT_WITHIN, finding).await.ok()?.ok(),
            State::Streaming | State::Uncopied => None,
        }
    }

    /// What is wrong with an upload that has come whole.
    pub async fn enforced(self) -> Result<Vec<Failure>, Refusal> {
        match self.take() {
            State::Found(failures) => Ok(failures),
            State::Reading(finding) => {
                let found = tokio::time::timeout(ENFORCE_WITHIN, finding).await;
                found.ok().and_then(Result::ok).ok_or(Refusal::Overloaded)
            }
            State::Streaming | State::Uncopied => Err(Refusal::Unspooled),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::proxy::numbers::Numbers;
    use crate::store::LedgerKey;

    /// For whom there is no room.
    fn collect() -> (Collect, Numbers) {
        Collect::new(Some(LedgerKey([0; 32])), &Room::of(0))
    }

    #[tokio::test]
    async fn a_workbook_is_copied_as_far_as_there_is_room() {
        let folder = tempfile::tempdir().unwrap();
        let room = Room::of(100);
        let follow = |size: usize| {
            let copies = Copies::new(folder.path().into(), room.clone(), true);
            let (mut follow, verdict) = Follow::new(Endpoint::Outnum, copies, collect().0);
            follow.part("file", true);
            for piece in [b"PK\x03\x04".repeat(5), vec![b'x'; size]] {
                follow.data(&piece);
            }
            (follow, verdict)
        };
        let (mut fits, verdict) = follow(70);
        let (mut over, unfound) = follow(20);
        over.judge(true);
        assert!(matches!(unfound.enforced().await, Err(Refusal::Unspooled)));
        fits.judge(true);
        assert!(!verdict.enforced().await.unwrap().is_empty(), "it is no workbook");
        // There is room again.
        let (mut over, unfound) = follow(90);
        over.judge(true);
        assert_eq!(unfound.reported().await, None);
        assert!(room.share().grow(100).is_ok());
    }

    #[tokio::test]
    async fn a_workbook_that_nobody_waits_for_is_let_go() {
        let _busy = WORKBOOKS.acquire_many(2).await.unwrap();
        let (file, other) = UnixStream::pair().unwrap();
        other.set_nonblocking(true).unwrap();
        let mut other = tokio::net::UnixStream::from_std(other).unwrap();
        let (collect, numbers) = collect();
        let file = (OwnedFd::from(file).into(), Room::of(0).share());
        let finding = read(Form::new(Endpoint::Outnum), collect, file, &WORKBOOKS);
        drop(finding);
        drop(numbers);
        let closed = tokio::time::timeout(Duration::from_secs(10), other.read(&mut [0])).await;
        assert_eq!(closed.expect("it is closed").unwrap(), 0);
    }
}
