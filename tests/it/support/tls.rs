//! TLS for upstreams and clients, from a certificate authority of the test's own.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ServerConfig, crypto::aws_lc_rs};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{Line, within};

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

    /// A certificate for `name`, and its key, as files.
    pub fn pair(&self, name: &str) -> Pair {
        self.pair_until(name, 2040)
    }

    /// One that runs out at the beginning of this year.
    pub fn pair_until(&self, name: &str, year: i32) -> Pair {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("chain.pem"), certificate.pem() + &self.pem).unwrap();
        std::fs::write(folder.path().join("key.pem"), key.serialize_pem()).unwrap();
        Pair(folder)
    }

    /// A client that trusts it, with a certificate of its own or none.
    pub fn client(&self, shown: Option<&Pair>) -> Client {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        let builder = rustls::ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match shown {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let chain = CertificateDer::pem_file_iter(pair.certificate()).unwrap().map(Result::unwrap);
                let key = PrivateKeyDer::from_pem_file(pair.key()).unwrap();
                builder.with_client_auth_cert(chain.collect(), key).unwrap()
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Client(TlsConnector::from(Arc::new(config)))
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

/// A certificate with its issuer's, and its key, as files.
pub struct Pair(tempfile::TempDir);

impl Pair {
    /// The certificate's file.
    pub fn certificate(&self) -> String {
        self.0.path().join("chain.pem").display().to_string()
    }

    /// The key's file.
    pub fn key(&self) -> String {
        self.0.path().join("key.pem").display().to_string()
    }

    /// What is in the latter.
    pub fn key_text(&self) -> String {
        std::fs::read_to_string(self.key()).unwrap()
    }

    /// Has its files hold what those of `other` do.
    pub fn replace(&self, other: &Self) {
        std::fs::copy(other.certificate(), self.certificate()).unwrap();
        std::fs::copy(other.key(), self.key()).unwrap();
    }
}

/// A client's side of TLS, for a server that is called `gateway.test`.
pub struct Client(TlsConnector);

impl Client {
    /// Connects to `address`.
    pub async fn connect(&self, address: SocketAddr) -> io::Result<Line> {
        self.connect_after(address, b"").await
    }

    /// Connects to `address`, and sends this before TLS begins.
    pub async fn connect_after(&self, address: SocketAddr, before: &[u8]) -> io::Result<Line> {
        let mut tcp = TcpStream::connect(address).await?;
        tcp.write_all(before).await?;
        let (local, peer) = (tcp.local_addr()?, tcp.peer_addr()?);
        let name = ServerName::try_from("gateway.test").unwrap();
        let stream = within(self.0.connect(name, tcp)).await?;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        Ok(Line::over_stream(Box::new(stream), local, peer))
    }
}
