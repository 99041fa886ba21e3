//! A listener's settings while it listens.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::net::ListenSettings;

/// Settings that may change; clones share them. Where it listens stays as it was when it was bound.
#[derive(Debug, Clone)]
pub struct Live(Arc<ArcSwap<ListenSettings>>);

impl Live {
    /// These, until others take their place.
    pub fn new(settings: ListenSettings) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(settings)))
    }

    /// Holds connections that come from now on to other settings.
    pub fn change(&self, settings: ListenSettings) {
        self.0.store(Arc::new(settings));
    }

    /// Those that hold at present.
    pub(super) fn now(&self) -> Arc<ListenSettings> {
        self.0.load_full()
    }
}
