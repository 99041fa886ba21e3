//! Follows an upload, and judges it at its end.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};

use crate::proxy::outgoing::Observer;
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
    copy: Copy,
    verdict: Arc<Mutex<State>>,
}

enum Copy {
    None,
    Begun(File),
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
    /// Follows an upload to `endpoint`; workbooks are copied into `folder`.
    pub fn new(endpoint: Endpoint, folder: PathBuf) -> (Self, Verdict) {
        let (state, verdict) = Verdict::new();
        (Self { form: Some(Form::new(endpoint)), folder, copy: Copy::None, verdict: state }, verdict)
    }

    /// The upload has ended.
    pub fn end(mut self, whole: bool) {
        self.judge(whole);
    }

    fn judge(&mut self, whole: bool) {
        let Some(form) = self.form.take() else { return };
        let state = match std::mem::replace(&mut self.copy, Copy::None) {
            Copy::Begun(file) if whole && form.wants_xlsx() => State::Reading(read(form, file)),
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
                file.write_all(bytes)?;
                self.copy = Copy::Begun(file);
                Ok(())
            }),
            Copy::Begun(file) => file.write_all(bytes),
            Copy::Failed => return,
        };
        if let Err(error) = written {
            tracing::warn!(%error, folder = %self.folder.display(), "an upload can't be copied to be checked");
            self.copy = Copy::Failed;
        }
    }
}

/// Reads a workbook, on a thread that may be busy.
fn read(form: Form, file: File) -> oneshot::Receiver<Vec<Failure>> {
    let (found, finding) = oneshot::channel();
    tokio::spawn(async move {
        let Ok(_permit) = WORKBOOKS.acquire().await else { return };
        let verdict = tokio::task::spawn_blocking(move || number_file::xlsx(file)).await;
        // Nobody may be waiting any more.
        drop(found.send(form.finish(true, verdict.ok())));
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
