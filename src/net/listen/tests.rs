//! Over real sockets: what clients send, what they get.

mod agreement;
mod framing;
mod life;
mod proxied;
mod support;
mod time;
