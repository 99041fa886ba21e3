//! An upload on its way to a file, from which it is sent when it has been judged.

use std::future::poll_fn;
use std::io;
use std::path::{Path, PathBuf};

use tokio::fs::File;
use tokio::io::{AsyncSeekExt, AsyncWriteExt};

use crate::proxy::outgoing::{Room, Spool, Supply, Watched};
use crate::proxy::refusal::Refusal;

/// Reads `watched` to its end, into a file without a name in `folder`, as far as there is room.
pub async fn fill(watched: &mut Watched, folder: &Path, room: &Room) -> Result<Supply, Refusal> {
    let unspooled = |error: io::Error| {
        tracing::warn!(%error, folder = %folder.display(), "an upload can't be spooled");
        Refusal::Unspooled
    };
    let mut file = create(folder.to_owned()).await.map_err(unspooled)?;
    let (mut length, mut share) = (0, room.share());
    while let Some(data) = poll_fn(|cx| watched.poll_data(cx)).await {
        let data = data.map_err(|_| {
            let broken = Refusal::Invalid("the body's framing is broken, or it ended early");
            watched.progress().fault().unwrap_or(broken)
        })?;
        length += data.len() as u64;
        share.grow(data.len()).map_err(unspooled)?;
        file.write_all(&data).await.map_err(unspooled)?;
    }
    file.flush().await.map_err(unspooled)?;
    file.rewind().await.map_err(unspooled)?;
    Ok(Supply::Spool(Spool::new(file, length, share)))
}

async fn create(folder: PathBuf) -> io::Result<File> {
    let created = tokio::task::spawn_blocking(move || tempfile::tempfile_in(folder)).await;
    created.map_err(io::Error::other)?.map(File::from_std)
}
