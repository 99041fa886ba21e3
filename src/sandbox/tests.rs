//! The sandbox as its clients see it, over real sockets.

mod campaigns;
mod endpoints;
mod faults;
mod support;
