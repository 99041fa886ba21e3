//! Looks whether the file, or one that it names, has changed.
//!
//! What they hold is looked at, by name and anew each time: so a symlink that is swapped (a Kubernetes volume), a
//! file that is renamed into place and one on a network's file system are all the same.

use std::sync::Arc;
use std::time::Duration;

use super::{Reloads, Trigger};
use crate::config::{Contents, Source};

/// How often.
const POLL: Duration = Duration::from_secs(1);
/// Whoever writes gets so long for the rest of it.
const SETTLE: Duration = Duration::from_millis(200);

/// Has the configuration reloaded whenever what it is made of has changed, and stays so for a moment.
pub(in crate::app) async fn watch(reloads: Arc<Reloads>) {
    let Some(source) = reloads.source.clone() else { return };
    let mut seen: Option<Contents> = None;
    loop {
        tokio::time::sleep(if seen.is_some() { SETTLE } else { POLL }).await;
        let now = changed(&source).await;
        if now.is_some() && now == seen {
            seen = None;
            reloads.reload(Trigger::File).await;
        } else {
            seen = now;
        }
    }
}

/// What the files hold, if that is something else than when they were last read.
async fn changed(source: &Source) -> Option<Contents> {
    let source = source.clone();
    let looking = tokio::task::spawn_blocking(move || (source.known(), source.look()));
    let (known, now) = looking.await.ok()?;
    (now != known).then_some(now)
}
