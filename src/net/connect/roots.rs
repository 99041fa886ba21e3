//! Which certificate authorities are believed.

use std::path::Path;

use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

use super::EgressError;

/// The system's, or Mozilla's where there are none (a container without ca-certificates), and those of
/// `ca_file`.
pub(super) fn load(ca_file: Option<&Path>) -> Result<RootCertStore, EgressError> {
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
    if let Some(path) = ca_file {
        add_file(&mut roots, path)?;
    }
    Ok(roots)
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), EgressError> {
    let unreadable = |source| EgressError::CaFile { path: path.to_owned(), source };
    let mut number = 0;
    for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
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
