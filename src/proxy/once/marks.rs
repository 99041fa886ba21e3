//! What a body is known by, worked out while it passes.
//!
//! A multipart body is known by its parts: whoever sends one again draws another boundary. The numbers of an
//! outnum are its file, or files, whatever stands around them.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::request::Parts as Head;
use sha2::{Digest, Sha256};

use crate::proxy::tenant::{MultipartScan, Parts, Tenants};
use crate::store::{self, Marks};
use crate::xinyao::Endpoint;

/// The fields of §6 that say who is called, and for what.
const FILE: &str = "file";
const TASK: &str = "task_id";
/// Most bytes of a task's id that are shown to people.
const MAX_SHOWN: usize = 64;

/// Takes in a body, part by part and byte by byte.
pub struct Marker {
    path: Sha256,
    content_type: Option<HeaderValue>,
    numbered: bool,
    bytes: Sha256,
    parts: Sha256,
    part: Option<Part>,
    files: Option<Sha256>,
    task: Sha256,
    task_id: Option<Vec<u8>>,
}

struct Part {
    kind: Kind,
    data: Sha256,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    File,
    Task,
    Other,
}

impl Marker {
    /// Of a request with this head.
    pub fn new(head: &Head, endpoint: Endpoint) -> Self {
        let target = head.uri.path_and_query().map_or("", |target| target.as_str());
        Self {
            path: Sha256::new().chain_update(target).chain_update([0]),
            content_type: head.headers.get(header::CONTENT_TYPE).cloned(),
            numbered: endpoint == Endpoint::Outnum,
            bytes: Sha256::new(),
            parts: Sha256::new(),
            part: None,
            files: None,
            task: Sha256::new(),
            task_id: None,
        }
    }

    /// Further bytes of the body, as they came.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.bytes.update(bytes);
    }

    /// Of a body that is there.
    pub fn of(mut self, body: &Bytes) -> Marks {
        let mut whole = false;
        // Whom it names is somebody else's question.
        let scan = self.content_type.as_ref().map(|kind| MultipartScan::new(kind, Tenants::default().into()));
        if let Some(Ok(mut scan)) = scan {
            whole = scan.feed_to(body, &mut self).and_then(|()| scan.finish()).is_ok() && scan.is_whole();
        }
        self.bytes(body);
        self.take(whole)
    }

    /// What the body is known by. If `whole`, it was multipart, and all of its parts were told.
    pub fn take(&mut self, whole: bool) -> Marks {
        self.end_part();
        let form: &[u8] = if whole { b"parts" } else { b"bytes" };
        let body = std::mem::take(if whole { &mut self.parts } else { &mut self.bytes }).finalize();
        let fingerprint = std::mem::take(&mut self.path).chain_update(form).chain_update(body);
        let numbers = match self.files.take() {
            Some(files) if whole => {
                let task = std::mem::take(&mut self.task).finalize();
                Some(Sha256::new().chain_update(task).chain_update(files.finalize()).finalize())
            }
            None if whole => None,
            // Its parts can't be told; the whole of it is what may be the same.
            _ => self.is_multipart().then_some(body),
        };
        let task_id = self.task_id.take().filter(|_| whole);
        Marks {
            fingerprint: fingerprint.finalize().into(),
            content: numbers.filter(|_| self.numbered).map(store::Digest::from),
            task_id: task_id.map(|id| String::from_utf8_lossy(&id).into_owned()),
        }
    }

    fn is_multipart(&self) -> bool {
        let kind = self.content_type.as_ref().map(HeaderValue::as_bytes).unwrap_or_default();
        kind.get(..10).is_some_and(|kind| kind.eq_ignore_ascii_case(b"multipart/"))
    }

    fn end_part(&mut self) {
        let Some(Part { kind, data }) = self.part.take() else { return };
        let digest = data.finalize();
        self.parts.update(digest);
        match kind {
            Kind::File => self.files.get_or_insert_default().update(digest),
            Kind::Task => self.task.update(digest),
            Kind::Other => {}
        }
    }
}

impl Parts for Marker {
    fn part(&mut self, name: &str, is_file: bool) {
        self.end_part();
        self.parts.update((name.len() as u64).to_be_bytes());
        self.parts.update(name);
        self.parts.update([u8::from(is_file)]);
        let kind = match name {
            FILE => Kind::File,
            _ if is_file => Kind::File,
            TASK => Kind::Task,
            _ => Kind::Other,
        };
        self.part = Some(Part { kind, data: Sha256::new() });
    }

    fn data(&mut self, bytes: &[u8]) {
        let Some(part) = &mut self.part else { return };
        part.data.update(bytes);
        if part.kind == Kind::Task {
            let shown = self.task_id.get_or_insert_default();
            let room = MAX_SHOWN.saturating_sub(shown.len());
            shown.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }
}
