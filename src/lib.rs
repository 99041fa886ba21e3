//! A gateway in front of the Xinyao (心耀) voice- and chat-bot SaaS: unsigned requests of internal
//! apps go out signed and from a whitelisted address, and what the SaaS pushes back is kept durably
//! and handed to any number of subscribers.
//!
//! # A request's way
//!
//! [`net::listen`] accepts a connection, in the clear or under TLS, on one of the worker threads, and [`proxy`] takes each
//! request through its stack, from the first line to the last: it gets an id, its app is told from
//! address and token, its path from the one table of [`xinyao::endpoint`], its limits admit it, its
//! body is capped and looked through for tenants, and held to the document ([`xinyao::checks`]). What
//! must not be sent twice is written down in [`store`] first; a task's `team_url` gives way to a callback
//! URL. Then, once per attempt, it is signed by [`xinyao::signature`] and sent by [`net::http1`] over a
//! pooled connection that [`net::connect`] made. What an outnum was answered with is written down for the
//! [`ledger`]; the answer's `code` is read as it streams by, and the record of it all is written when the
//! last byte has left.
//!
//! # A callback's way
//!
//! [`hub`] tells the app from the signed URL and the kind from the body ([`xinyao::callback`]), has
//! [`store`] sync it to disk, and only then acknowledges it. A loop per subscriber follows the log
//! from there; what fails is tried again, and what keeps failing becomes a dead letter. The [`ledger`] follows
//! it too, and adds up what came back of each batch.
//!
//! # The rooms
//!
//! | room | what it is | imports |
//! | --- | --- | --- |
//! | [`xinyao`] | the SaaS's contract, without IO | nothing of ours |
//! | [`net`] | sockets: listening, connecting, HTTP/1.1 to servers, headers | nothing of ours |
//! | [`telemetry`] | logs, metrics, traces, masking | nothing of ours |
//! | [`store`] | events and what became of them, requests, addresses and batches: a segment log and its index, or the PostgreSQL that replicas share | `xinyao` |
//! | [`proxy`] | the request's way | `xinyao`, `net`, `telemetry`, `store`'s traits |
//! | [`hub`] | the callback's way | `xinyao`, `net`, `telemetry`, `store`'s traits |
//! | [`ledger`] | batches: what was submitted against what came back | `xinyao`, `store`'s traits |
//! | [`admin`] | the operators' listener | `xinyao`, `telemetry`, `store`'s query traits, handles given by `app` |
//! | [`sandbox`] | a stand-in SaaS | `xinyao`, `net` |
//! | [`config`] | the file, and what it means | `xinyao`, each room's `Settings` |
//! | [`app`] | composition | all but `sandbox`, `cli` |
//! | [`cli`] | the command line | all but `ledger` |
//!
//! `tests/it/rooms.rs` holds the `use crate::` lines to this table.

pub mod admin;
pub mod app;
pub mod cli;
pub mod config;
pub mod hub;
pub mod ledger;
pub mod net;
pub mod proxy;
pub mod sandbox;
pub mod store;
pub mod telemetry;
pub mod xinyao;
