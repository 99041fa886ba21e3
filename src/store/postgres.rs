//! The store that replicas share: PostgreSQL.
//!
//! Each process that serves has a row of its own in `replica`, whose key is its fencing epoch, and writes events to
//! a shard of its own; what it writes it writes under that row, so that one whose lease another has ended writes
//! nothing more. While PostgreSQL is away events wait in the embedded store of the host, and follow later in order.

mod database;
mod schema;

#[cfg(test)]
#[path = "../../tests/support/postgres.rs"]
mod server;
