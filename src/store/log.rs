//! The segment log: the truth about events.
//!
//! An append goes to the one writer ([`writer`]), which takes what waits, writes it as one group, syncs it
//! once, and answers everyone ([`append`] is its bookkeeping, [`keys`] tells it of duplicates). Segments ([`segment`]) are files of some
//! 128 MiB of [`record`]s; the latest events are in memory too ([`recent`]). [`read`] gives them back,
//! [`recover`] tells after a crash what is there: a torn tail is cut, since nobody was promised it; a record
//! that was promised and is damaged is told of, and read around. The file system is behind [`disk`], so that
//! [`model`] can run all of this on one that forgets what was not synced.

pub(super) mod append;
pub(super) mod disk;
pub(super) mod keys;
#[cfg(test)]
mod model;
mod read;
mod recent;
pub(super) mod record;
mod recover;
mod segment;
mod shelf;
pub(super) mod writer;

pub(super) use self::read::Run;
pub(super) use self::recent::Recent;
pub(super) use self::record::Stored;
pub use self::recover::Recovered;
pub(super) use self::recover::recover;
pub(super) use self::shelf::Shelf;
