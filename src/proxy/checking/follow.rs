//! Follows an upload, and judges it at its end.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};

use crate::proxy::outgoing::{Observer, Room, Share};
use crate::proxy::refusal::Refusal;
use crate::proxy::tenant::Parts;
use crate::xinyao::Endpoint;
use crate::xinyao::checks::{Failure, Form};
use crate::xinyao::number_file;

/// How many workbooks are read at a time; more would only take each other's time.
static WORKBOOKS: Semaphore = Semaphore::const_new(2);
/// How long an answer that is there waits for the verdict on a workbook.
const REPORT_WITHIN: Duration = Duration::from_secs(2);
/// How long a request waits for it.
const ENFORCE_WITHIN: Duration = Duration::from_secs(30);

/// Follows an upload.
pub struct Follow {
    form: Option<Form>,
    /// Where workbooks are copied to while they stream by; they can be read only when they are whole.
    folder: PathBuf,
    room: Room,
    copy: Copy,
    verdict: Arc<Mutex<State>>,
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
    /// Follows an upload to `endpoint`; workbooks are copied into `folder`, as far as there is room.
    pub fn new(endpoint: Endpoint, folder: PathBuf, room: Room) -> (Self, Verdict) {
        let (state, verdict) = Verdict::new();
        let form = Some(Form::new(endpoint));
        (Self { form, folder, room, copy: Copy::None, verdict: state }, verdict)
    }

    /// The upload has ended.
    pub fn end(mut self, whole: bool) {
        self.judge(whole);
    }

    fn judge(&mut self, whole: bool) {
        let Some(form) = self.form.take() else { return };
        let state = match std::mem::replace(&mut self.copy, Copy::None) {
            Copy::Begun(file, share) if whole && form.wants_xlsx() => State::Reading(read(form, file, share)),
            Copy::Failed if whole => State::Uncopied,
            _ => State::Found(form.finish(whole, None)),
        };
        if let Ok(mut verdict) = self.verdict.lock() {
            *verdict = state;
        }
    }

    /// To a file that has no name, and is gone when it is closed. It goes to the system's cache, which does
    /// not wait for the disk.
    fn keep(&mut self, bytes: &[u8]) {
        let written = match &mut self.copy {
            Copy::None => tempfile::tempfile_in(&self.folder).and_then(|mut file| {
                let mut share = self.room.share();
                share.grow(bytes.len())?;
                file.write_all(bytes)?;
                self.copy = Copy::Begun(file, share);
                Ok(())
            }),
            Copy::Begun(file, share) => share.grow(bytes.len()).and_then(|()| file.write_all(bytes)),
            Copy::Failed => return,
        };
        if let Err(error) = written {
            tracing::warn!(%error, folder = %self.folder.display(), "an upload can't be copied to be checked");
            self.copy = Copy::Failed;
        }
    }
}

/// Reads a workbook, on a thread that may be busy.
fn read(form: Form, file: File, share: Share) -> oneshot::Receiver<Vec<Failure>> {
    let (mut found, finding) = oneshot::channel();
    tokio::spawn(async move {
        // The file goes when nobody waits for it any more: else those that wait here would have no bound.
        let permit = tokio::select! {
            () = found.closed() => return,
            permit = WORKBOOKS.acquire() => permit,
        };
        if permit.is_err() || found.is_closed() {
            return;
        }
        let verdict = tokio::task::spawn_blocking(move || (number_file::xlsx(file), share)).await;
        // Nobody may be waiting any more.
        drop(found.send(form.finish(true, verdict.ok().map(|(verdict, _)| verdict))));
    });
    finding
}

impl Parts for Follow {
    fn part(&mut self, name: &str, is_file: bool) {
        if let Some(form) = &mut self.form {
            form.part(name, is_file);
        }
    }

    fn data(&mut self, bytes: &[u8]) {
        let Some(mut form) = self.form.take() else { return };
        for kept in form.data(bytes).into_iter().filter(|kept| !kept.is_empty()) {
            self.keep(kept);
        }
        self.form = Some(form);
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

    #[tokio::test]
    async fn a_workbook_is_copied_as_far_as_there_is_room() {
        let folder = tempfile::tempdir().unwrap();
        let room = Room::of(100);
        let follow = |size: usize| {
            let (mut follow, verdict) = Follow::new(Endpoint::Outnum, folder.path().into(), room.clone());
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
        let share = Room::of(0).share();
        let finding = read(Form::new(Endpoint::Outnum), OwnedFd::from(file).into(), share);
        tokio::task::yield_now().await;
        drop(finding);
        let mut other = tokio::net::UnixStream::from_std(other).unwrap();
        let closed = tokio::time::timeout(Duration::from_secs(10), other.read(&mut [0])).await;
        assert_eq!(closed.expect("it is closed").unwrap(), 0);
    }
}
