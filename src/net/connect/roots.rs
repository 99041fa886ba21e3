//! Which certificate authorities are believed.

use std::path::Path;

use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};

use super::EgressError;

/// What is in `ca_file`.
pub(super) fn read(ca_file: &Path) -> Result<Vec<u8>, EgressError> {
    let read = std::fs::read(ca_file);
    read.map_err(|error| EgressError::CaFile { path: ca_file.to_owned(), source: pem::Error::Io(error) })
}

/// The system's, or Mozilla's where there are none (a container without ca-certificates), and those of
/// a CA file with its content.
pub(super) fn load(ca_file: Option<(&Path, &[u8])>) -> Result<RootCertStore, EgressError> {
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
    if let Some((path, bundle)) = ca_file {
        add_file(&mut roots, path, bundle)?;
    }
    Ok(roots)
}

fn add_file(roots: &mut RootCertStore, path: &Path, bundle: &[u8]) -> Result<(), EgressError> {
    let unreadable = |source| EgressError::CaFile { path: path.to_owned(), source };
    let mut number = 0;
    for certificate in CertificateDer::pem_slice_iter(bundle) {
        number += 1;
        let certificate = certificate.map_err(unreadable)?;
        roots.add(certificate).map_err(|source| EgressError::CaCertificate {
            path: path.to_owned(),
            number,
            source,
        })?;
    }
    if number == 0 {
        return Err(EgressError::CaFileEmpty { path: path.to_owned() });
    }
    Ok(())
}
