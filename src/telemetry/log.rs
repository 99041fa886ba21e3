//! Log lines on standard error.

use tracing::Subscriber;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt};

use super::{Format, Settings};

/// Target of the access log's lines.
pub const ACCESS: &str = "access";

/// Begins logging. A second call does nothing: the first one's choice stands.
pub fn start(settings: Settings) {
    let writer: Box<dyn Layer<Registry> + Send + Sync> = match settings.format {
        Format::Text => Box::new(lines()),
        Format::Json => Box::new(fmt::layer().json().flatten_event(true).with_writer(std::io::stderr)),
    };
    // Dependencies speak up from warnings on; what they have to say below that is not the operator's concern.
    let others = settings.level.min(LevelFilter::WARN);
    let access = if settings.access { settings.level } else { LevelFilter::OFF };
    let levels = Targets::new()
        .with_default(others)
        .with_target("xinyao_gateway", settings.level)
        .with_target(ACCESS, access);
    drop(tracing_subscriber::registry().with(writer.with_filter(levels)).try_init());
}

fn lines<S: Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>>() -> impl Layer<S> {
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    fmt::layer().with_ansi(colours).with_writer(std::io::stderr)
}
