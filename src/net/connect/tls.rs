//! TLS to the origin.

use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{
    self, AlertDescription, CertificateError, ClientConfig, InvalidMessage, RootCertStore,
};

use super::sessions::Sessions;
use super::{ConnectError, Connected, EgressError, Protocol, Stream};
use crate::net::Http2;

const HTTP_2: &[u8] = b"h2";
const HTTP_1: &[u8] = b"http/1.1";

pub(super) fn config(roots: RootCertStore) -> Result<ClientConfig, EgressError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(config.map_err(EgressError::Tls)?.with_root_certificates(roots).with_no_client_auth())
}

pub(super) fn connector(roots: RootCertStore, http2: Http2) -> Result<TlsConnector, EgressError> {
    let mut config = config(roots)?;
    config.alpn_protocols = match http2 {
        Http2::Auto => vec![HTTP_2.to_vec(), HTTP_1.to_vec()],
        Http2::Never => vec![HTTP_1.to_vec()],
    };
    config.resumption = Resumption::store(Arc::new(Sessions::new()));
    // Early data can be replayed, and a replayed call is a second call.
    config.enable_early_data = false;
    Ok(TlsConnector::from(Arc::new(config)))
}

pub(super) async fn handshake(
    connector: &TlsConnector,
    tcp: TcpStream,
    host: &str,
) -> Result<Connected, ConnectError> {
    let failed = |reason| ConnectError::Tls { host: host.to_owned(), reason };
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| failed(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
    let stream = connector.connect(name, tcp).await.map_err(failed)?;
    let protocol = match stream.get_ref().1.alpn_protocol() {
        Some(HTTP_2) => Protocol::Http2,
        _ => Protocol::Http1,
    };
    Ok(Connected { stream: Stream::Tls(Box::new(stream)), protocol })
}

/// The way out of the common failures.
pub(super) fn hint(failure: &io::Error) -> &'static str {
    use AlertDescription as Alert;
    use CertificateError as Certificate;
    let rustls_error = failure.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match rustls_error {
        Some(rustls::Error::InvalidCertificate(Certificate::UnknownIssuer)) => {
            "; if a private authority signed its certificate, name that authority's file in upstream.ca_file"
        }
        Some(rustls::Error::InvalidCertificate(
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. },
        )) => "; the certificate is another host's: check the host of the URL, and what its name resolves to",
        Some(rustls::Error::InvalidCertificate(
            Certificate::Expired
            | Certificate::ExpiredContext { .. }
            | Certificate::NotValidYet
            | Certificate::NotValidYetContext { .. },
        )) => "; is this host's clock right?",
        Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            "; the server does not speak TLS on this port: should the URL begin with http://?"
        }
        Some(rustls::Error::AlertReceived(Alert::ProtocolVersion | Alert::HandshakeFailure)) => {
            "; the server refused: it may want TLS older than 1.2"
        }
        Some(rustls::Error::AlertReceived(Alert::UnrecognisedName)) => {
            "; the server knows no host of this name: check the host of the URL"
        }
        Some(_) => "",
        None if failure.kind() == io::ErrorKind::UnexpectedEof => "; the server closed the connection",
        None => "",
    }
}
