//! Sockets that both sides share: accepting, connecting, headers. It knows no business.

mod chunked;
pub mod client;
pub mod client_address;
pub mod connect;
mod gather;
pub mod hand_over;
pub mod headers;
pub mod http1;
pub mod listen;
pub mod networks;
pub mod resolve;
mod settings;
mod stream;

pub use networks::Networks;
pub use settings::{
    ClientCertificate, EgressProxy, EgressProxyKind, EgressSettings, Http2, ListenSettings, Origin, Scheme,
    SourceIps, TlsSettings,
};
