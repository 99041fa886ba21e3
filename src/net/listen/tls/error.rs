//! Why files can't be used for TLS, and what to do about it.

use std::io;
use std::path::PathBuf;

use tokio_rustls::rustls;

/// Why files can't be used for TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// One can't be read.
    #[error("{key} {}: {source}", path.display())]
    Unreadable {
        /// Which key names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is nothing of that kind in it.
    #[error("{key} {} has no {what} in it (PEM, as in `-----BEGIN {begin}-----`)", path.display())]
    Nothing {
        /// Which key names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is missing.
        what: &'static str,
        /// How it begins.
        begin: &'static str,
    },
    /// It is no PEM, or broken.
    #[error("{key} {} is no sound PEM: {reason}", path.display())]
    Malformed {
        /// Which key names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Certificate and key do not go together.
    #[error("key_file {} is not the key of certificate_file {}: the first certificate in it must be the server's own, its issuers after it", key.display(), certificate.display())]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// rustls has no use for them.
    #[error("certificate_file {} and key_file {} can't be used: {source}", certificate.display(), key.display())]
    Unusable {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why not.
        source: rustls::Error,
    },
    /// The authorities of clients can't be used.
    #[error("client_ca_file {} can't be used: {reason}", path.display())]
    ClientCa {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
}
