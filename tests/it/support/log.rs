//! What the gateway logs, kept for tests to look at.

use std::io;
use std::sync::{Mutex, Once};

use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, filter::Targets};

/// All tests of a process share it: look for what only one's own gateway can have written.
static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Begins to keep it.
pub fn capture() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let levels = Targets::new()
            .with_target("xinyao_gateway", tracing::Level::DEBUG)
            .with_target("access", tracing::Level::INFO);
        let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(Keep);
        drop(tracing_subscriber::registry().with(lines.with_filter(levels)).try_init());
    });
}

/// The lines so far in which all of `parts` occur.
pub fn logged(parts: &[&str]) -> Vec<String> {
    let lines = LINES.lock().unwrap();
    lines.iter().filter(|line| parts.iter().all(|part| line.contains(part))).cloned().collect()
}

struct Keep;

impl io::Write for Keep {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        LINES.lock().unwrap().push(String::from_utf8_lossy(line).into_owned());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Keep {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self
    }
}
