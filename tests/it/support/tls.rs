//! TLS for upstreams, from a certificate authority of the test's own.

use std::sync::Arc;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, crypto::aws_lc_rs};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::Line;

/// A certificate authority.
pub struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    /// Its certificate, for `ca_file`.
    pub pem: String,
    folder: tempfile::TempDir,
}

impl Authority {
    /// A new one, that nobody knows yet.
    pub fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), &pem).unwrap();
        Self { issuer: rcgen::Issuer::new(params, key), pem, folder }
    }

    /// The file with its certificate.
    pub fn file(&self) -> String {
        self.folder.path().join("ca.pem").display().to_string()
    }

    /// A server's side, with a certificate for `name`, that offers these protocols.
    pub fn acceptor(&self, name: &str, protocols: &[&str]) -> Acceptor {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Acceptor(TlsAcceptor::from(Arc::new(config)))
    }
}

/// A server's side of TLS.
#[derive(Clone)]
pub struct Acceptor(pub TlsAcceptor);

impl Acceptor {
    /// Over `stream`; `None` when the other end does not want to.
    pub async fn accept(&self, stream: TcpStream) -> Option<Line> {
        let (local, peer) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
        let stream = self.0.accept(stream).await.ok()?;
        Some(Line::over_stream(Box::new(stream), local, peer))
    }
}
