//! Which certificate authorities are believed.

use std::path::Path;

use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};

use super::EgressError;

/// A file of PEM certificates.
#[derive(Debug, Clone, Copy)]
pub(super) struct CaFile<'a> {
    /// Where the configuration names it.
    pub key: &'static str,
    pub path: &'a Path,
}

impl CaFile<'_> {
    /// What is in it.
    pub fn read(self) -> Result<Vec<u8>, EgressError> {
        std::fs::read(self.path).map_err(|error| self.unreadable(pem::Error::Io(error)))
    }

    fn unreadable(self, source: pem::Error) -> EgressError {
        EgressError::CaFile { key: self.key, path: self.path.to_owned(), source }
    }
}

/// The system's, or Mozilla's where there are none (a container without ca-certificates), and those of
/// a CA file with its content.
pub(super) fn load(ca_file: Option<(CaFile<'_>, &[u8])>) -> Result<RootCertStore, EgressError> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::debug!(%error, "a certificate authority of the system cannot be loaded");
    }
    // Some systems carry certificates that rustls has no use for; the others serve.
    let (added, _) = roots.add_parsable_certificates(system.certs);
    if added == 0 {
        tracing::info!("the system has no certificate authorities; those built in are used");
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    if let Some((file, bundle)) = ca_file {
        add_file(&mut roots, file, bundle)?;
    }
    Ok(roots)
}

fn add_file(roots: &mut RootCertStore, file: CaFile<'_>, bundle: &[u8]) -> Result<(), EgressError> {
    let CaFile { key, path } = file;
    let mut number = 0;
    for certificate in CertificateDer::pem_slice_iter(bundle) {
        number += 1;
        let certificate = certificate.map_err(|error| file.unreadable(error))?;
        roots.add(certificate).map_err(|source| EgressError::CaCertificate {
            key,
            path: path.to_owned(),
            number,
            source,
        })?;
    }
    if number == 0 {
        return Err(EgressError::CaFileEmpty { key, path: path.to_owned() });
    }
    Ok(())
}
