//! What the gateway promises, held to from outside: over real sockets, through the front door.
//!
//! Each module is one theme, each test one promise. A test says what is particular to it; the rest is in
//! [`support`], which also looks at what tests forget: that no thread of the gateway panicked, and that it
//! still answers `/healthz` when the test is over.

mod admission;
mod answers;
mod backup;
mod batches;
mod callbacks;
mod checks;
mod clock;
mod cluster;
mod command_line;
mod config;
mod console;
mod console_pictures;
mod deliveries;
mod demo;
mod deploying;
mod doctor;
mod documents;
mod durability;
mod egress;
mod failover;
mod fair_share;
mod first_hour;
mod framing;
mod inbound;
mod limits;
mod logs;
mod missing;
mod monitoring;
mod once;
mod once_kill;
mod operating;
mod operators;
mod process;
mod reload;
mod reload_under_way;
mod replicas;
mod restart;
mod retries;
mod rights;
mod rooms;
mod rotation;
mod shared_limits;
mod signing;
mod smoke;
mod store_kill;
mod streaming;
mod support;
mod team_url;
mod tls;
mod tracing;
