//! The files: read, and made sense of.

use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::{Error, InconsistentKeys, RootCertStore, ServerConfig};

use super::{TlsError, expiry};
use crate::net::{ClientCertificate, TlsSettings};

const CERTIFICATE: &str = "certificate_file";
const KEY: &str = "key_file";
const CLIENT_CA: &str = "client_ca_file";

/// What the files hold.
pub(super) struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

/// What tells one state of the files from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Contents {
    Digest([u8; 32]),
    Unreadable(String),
}

impl Contents {
    pub(super) fn unreadable(error: &TlsError) -> Self {
        Self::Unreadable(error.to_string())
    }
}

impl Files {
    pub(super) fn read(settings: &TlsSettings) -> Result<Self, TlsError> {
        let read = |key, path: &Path| {
            std::fs::read(path).map_err(|source| TlsError::Unreadable { key, path: path.to_owned(), source })
        };
        let client_ca = settings.client_ca_file.as_deref().map(|path| read(CLIENT_CA, path));
        Ok(Self {
            certificate: read(CERTIFICATE, &settings.certificate_file)?,
            key: read(KEY, &settings.key_file)?,
            client_ca: client_ca.transpose()?,
        })
    }

    pub(super) fn contents(&self) -> Contents {
        let files = [Some(&self.certificate), Some(&self.key), self.client_ca.as_ref()];
        let whole = files.into_iter().flatten().fold(Sha256::new(), |digest, file| {
            digest.chain_update((file.len() as u64).to_be_bytes()).chain_update(file)
        });
        Contents::Digest(whole.finalize().into())
    }

    /// What they mean, and when the certificate runs out, in Unix seconds.
    pub(super) fn understand(&self, settings: &TlsSettings) -> Result<(Arc<ServerConfig>, i64), TlsError> {
        let chain = certificates(CERTIFICATE, &settings.certificate_file, &self.certificate)?;
        let key = self.key(&settings.key_file)?;
        let (certificate_path, key_path) = (&settings.certificate_file, &settings.key_file);
        let unusable = |source| match source {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                TlsError::Mismatch { certificate: certificate_path.clone(), key: key_path.clone() }
            }
            source => {
                TlsError::Unusable { certificate: certificate_path.clone(), key: key_path.clone(), source }
            }
        };
        let not_after =
            chain.first().and_then(|own| expiry::not_after(own)).ok_or_else(|| TlsError::Malformed {
                key: CERTIFICATE,
                path: certificate_path.clone(),
                reason: "its first certificate does not say how long it is valid".into(),
            })?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(unusable)?;
        let builder = match self.client_verifier(settings, provider)? {
            Some(verifier) => builder.with_client_cert_verifier(verifier),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(unusable)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Sessions go on without anything being kept here; whoever has a ticket of the files before has to begin anew.
        config.ticketer = aws_lc_rs::Ticketer::new().map_err(unusable)?;
        Ok((Arc::new(config), not_after))
    }

    fn key(&self, path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| match error {
            pem::Error::NoItemsFound => TlsError::Nothing {
                key: KEY,
                path: path.to_owned(),
                what: "private key",
                begin: "PRIVATE KEY",
            },
            error => malformed(KEY, path, error),
        })
    }

    fn client_verifier(
        &self,
        settings: &TlsSettings,
        provider: Arc<CryptoProvider>,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
        let (Some(path), Some(bundle)) = (&settings.client_ca_file, &self.client_ca) else { return Ok(None) };
        let unusable = |reason: String| TlsError::ClientCa { path: path.clone(), reason };
        let mut roots = RootCertStore::empty();
        for certificate in certificates(CLIENT_CA, path, bundle)? {
            roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
        }
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let builder = match settings.client_certificate {
            ClientCertificate::Required => builder,
            ClientCertificate::Optional => builder.allow_unauthenticated(),
        };
        builder.build().map(Some).map_err(|error| unusable(error.to_string()))
    }
}

fn certificates(
    key: &'static str,
    path: &Path,
    bundle: &[u8],
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bundle).collect();
    let certificates = read.map_err(|error| malformed(key, path, error))?;
    if certificates.is_empty() {
        let (path, what, begin) = (path.to_owned(), "certificate", "CERTIFICATE");
        return Err(TlsError::Nothing { key, path, what, begin });
    }
    Ok(certificates)
}

fn malformed(key: &'static str, path: &Path, error: pem::Error) -> TlsError {
    TlsError::Malformed { key, path: path.to_owned(), reason: error.to_string() }
}
