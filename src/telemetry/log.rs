//! Log lines on standard error.

use std::backtrace::BacktraceStatus;
use std::panic::PanicHookInfo;
use std::sync::OnceLock;

use tracing::Subscriber;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt};

use super::{Format, Settings};

/// Target of the access log's lines.
pub const ACCESS: &str = "access";

/// What a line of [`Format::Json`] is like: a JSON Schema, draft 2020-12.
pub const SCHEMA: &str = include_str!("log.schema.json");

/// The levels of the log that was begun: there is one for the whole process.
static LEVELS: OnceLock<Handle<Targets, Registry>> = OnceLock::new();

/// Begins logging. A second call does nothing: the first one's choice stands.
pub fn start(settings: Settings) {
    let writer: Box<dyn Layer<Registry> + Send + Sync> = match settings.format {
        Format::Text => Box::new(lines()),
        Format::Json => Box::new(objects(std::io::stderr)),
    };
    let (filter, handle) = reload::Layer::new(levels(settings));
    if tracing_subscriber::registry().with(writer.with_filter(filter)).try_init().is_ok() {
        drop(LEVELS.set(handle));
    }
    if settings.format == Format::Json {
        std::panic::set_hook(Box::new(tell_panic));
    }
}

/// Writes what other settings let through from now on. How lines look stays as it is.
pub fn change(settings: Settings) {
    let changed = LEVELS.get().map(|handle| handle.reload(levels(settings)));
    if let Some(Err(error)) = changed {
        tracing::warn!(%error, "the log's level stays as it was");
    }
}

fn levels(settings: Settings) -> Targets {
    // Dependencies speak up from warnings on; what they have to say below that is not the operator's concern.
    let others = settings.level.min(LevelFilter::WARN);
    let access = if settings.access { settings.level } else { LevelFilter::OFF };
    Targets::new()
        .with_default(others)
        .with_target("xinyao_gateway", settings.level)
        .with_target(ACCESS, access)
}

/// A panic as a line like all others, so that whoever reads them can.
fn tell_panic(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(tracing::field::display);
    let thread = std::thread::current();
    let error = panic.payload_as_str().unwrap_or_default();
    let backtrace = std::backtrace::Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(thread = thread.name(), place, error, backtrace, "a thread panicked");
}

fn objects<S, W>(writer: W) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    fmt::layer().json().flatten_event(true).with_writer(writer)
}

fn lines<S: Subscriber + for<'a> LookupSpan<'a>>() -> impl Layer<S> {
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    fmt::layer().with_ansi(colours).with_writer(std::io::stderr)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_panic_is_a_line_as_the_schema_says() {
        let kept = Kept::default();
        let writer = kept.clone();
        let subscriber = tracing_subscriber::registry().with(objects(move || writer.clone()));
        tracing::subscriber::with_default(subscriber, || {
            let usual = std::panic::take_hook();
            std::panic::set_hook(Box::new(tell_panic));
            let panicked = std::panic::catch_unwind(|| panic!("number {}", 7));
            std::panic::set_hook(usual);
            assert!(panicked.is_err());
        });
        let line: serde_json::Value = serde_json::from_slice(&kept.0.lock().unwrap()).unwrap();
        let schema = serde_json::from_str(SCHEMA).unwrap();
        assert!(jsonschema::is_valid(&schema, &line), "{line}");
        assert_eq!((&line["level"], &line["error"]), (&"ERROR".into(), &"number 7".into()));
        assert!(line["place"].as_str().unwrap().contains("log.rs"), "{line}");
    }
}
