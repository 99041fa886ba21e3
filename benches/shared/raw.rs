//! What the disk can do: appends to a file, one `fdatasync` a group, then an answer to each.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use tokio::sync::oneshot;

type Waiting = (Bytes, oneshot::Sender<()>);

/// A file that is appended to.
pub struct Raw {
    waiting: Option<Sender<Waiting>>,
    thread: Option<JoinHandle<()>>,
    path: PathBuf,
}

/// Appends to it.
#[derive(Clone)]
pub struct Appender(Sender<Waiting>);

impl Raw {
    /// A file in `folder`.
    pub fn new(folder: &Path) -> Self {
        let path = folder.join("raw");
        let (sender, receiver) = channel();
        let file = File::create(&path).unwrap();
        let thread = thread::spawn(move || write(file, &receiver));
        Self { waiting: Some(sender), thread: Some(thread), path }
    }

    /// What appends to it.
    pub fn appender(&self) -> Appender {
        Appender(self.waiting.clone().unwrap())
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        drop(self.waiting.take());
        drop(self.thread.take().unwrap().join());
        fs::remove_file(&self.path).ok();
    }
}

impl Appender {
    /// Ready when `body` is on the disk.
    pub async fn append(&self, body: Bytes) {
        let (answer, answered) = oneshot::channel();
        self.0.send((body, answer)).unwrap();
        answered.await.unwrap();
    }
}

fn write(mut file: File, waiting: &Receiver<Waiting>) {
    let mut buffer = Vec::new();
    while let Ok(first) = waiting.recv() {
        let group: Vec<Waiting> = std::iter::once(first).chain(waiting.try_iter().take(511)).collect();
        buffer.clear();
        for (body, _) in &group {
            buffer.extend_from_slice(body);
        }
        file.write_all(&buffer).unwrap();
        file.sync_data().unwrap();
        for (_, answer) in group {
            answer.send(()).unwrap();
        }
    }
}
