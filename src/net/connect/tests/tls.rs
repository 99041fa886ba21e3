//! TLS: who is believed, what is spoken, and what failures say.

use std::io::Write;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::NamedTempFile;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::rustls::{HandshakeKind, ServerConfig};

use super::*;

const H2_AND_H1: &[&str] = &["h2", "http/1.1"];

/// A certificate authority of the test's own.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn file(&self) -> NamedTempFile {
        file(&self.0.pem())
    }

    /// What a server of these names needs.
    fn acceptor(&self, names: &[&str], alpn: &[&str]) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.0).unwrap();
        let mut config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.into()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn believing(file: &NamedTempFile, http2: Http2) -> Connector {
    let ca_file = Some(file.path().to_owned());
    Connector::new(&EgressSettings { http2, ca_file, ..settings() }).unwrap()
}

/// Connects to a server that greets whoever completes the handshake.
async fn meet(connector: &Connector, acceptor: TlsAcceptor, host: &str) -> Result<Connected, ConnectError> {
    let (listener, address) = listen().await;
    tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        if let Ok(mut tls) = acceptor.accept(tcp).await {
            tls.write_all(b"hello").await.unwrap();
            tls.shutdown().await.unwrap();
        }
    });
    connector.connect(&origin(Scheme::Https, host, address.port()), address, None).await
}

#[tokio::test]
async fn the_authorities_of_ca_file_are_believed() {
    let authority = Authority::new("ours");
    let connector = believing(&authority.file(), Http2::Auto);
    let acceptor = authority.acceptor(&["api.test"], &[]);
    let mut made = meet(&connector, acceptor, "api.test").await.unwrap();
    assert_eq!(made.protocol, Protocol::Http1, "the server has no ALPN");
    let mut greeting = String::new();
    made.stream.read_to_string(&mut greeting).await.unwrap();
    assert_eq!(greeting, "hello");
}

#[tokio::test]
async fn the_protocol_is_what_alpn_chose() {
    let authority = Authority::new("ours");
    let cases = [
        (Http2::Auto, H2_AND_H1, Protocol::Http2),
        (Http2::Auto, &["http/1.1"][..], Protocol::Http1),
        (Http2::Never, H2_AND_H1, Protocol::Http1),
    ];
    for (http2, alpn, protocol) in cases {
        let connector = believing(&authority.file(), http2);
        let made = meet(&connector, authority.acceptor(&["api.test"], alpn), "api.test").await.unwrap();
        assert_eq!(made.protocol, protocol, "{http2:?} and {alpn:?}");
        let Stream::Tls(tls) = &made.stream else { panic!("in the clear") };
        let chosen = if protocol == Protocol::Http2 { b"h2".as_slice() } else { b"http/1.1" };
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(chosen));
    }
}

#[tokio::test]
async fn connections_made_at_once_have_short_handshakes_with_a_server_met_before() {
    let authority = Authority::new("ours");
    let connector = believing(&authority.file(), Http2::Auto);
    let acceptor = authority.acceptor(&["api.test"], &[]);
    for _ in 0..30 {
        let mut made = meet(&connector, acceptor.clone(), "api.test").await.unwrap();
        // Tickets come with what is read.
        made.stream.read_to_string(&mut String::new()).await.unwrap();
    }
    let at_once = (0..30).map(|_| meet(&connector, acceptor.clone(), "api.test"));
    for made in futures_util::future::join_all(at_once).await {
        let Stream::Tls(stream) = made.unwrap().stream else { panic!() };
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Resumed));
    }
}

#[tokio::test]
async fn a_server_without_a_common_protocol_is_a_failure() {
    let authority = Authority::new("ours");
    let connector = believing(&authority.file(), Http2::Never);
    let error = meet(&connector, authority.acceptor(&["api.test"], &["h2"]), "api.test").await.unwrap_err();
    assert!(matches!(error, ConnectError::Tls { .. }), "{error}");
}

#[tokio::test]
async fn an_address_is_believed_when_the_certificate_names_it() {
    let authority = Authority::new("ours");
    let connector = believing(&authority.file(), Http2::Auto);
    for host in ["192.0.2.7", "2001:db8::7"] {
        let named = authority.acceptor(&["api.test", host], H2_AND_H1);
        assert!(meet(&connector, named, host).await.is_ok(), "{host}");
        let error = meet(&connector, authority.acceptor(&["api.test"], H2_AND_H1), host).await.unwrap_err();
        assert!(error.to_string().contains("another host's"), "{error}");
    }
}

#[tokio::test]
async fn a_strange_authority_is_not_believed() {
    let connector = believing(&Authority::new("ours").file(), Http2::Auto);
    let acceptor = Authority::new("another's").acceptor(&["api.test"], H2_AND_H1);
    let error = meet(&connector, acceptor, "api.test").await.unwrap_err().to_string();
    assert_eq!(
        error,
        "TLS with api.test: invalid peer certificate: UnknownIssuer; if a private authority signed its \
         certificate, name that authority's file in upstream.ca_file"
    );
}

#[tokio::test]
async fn another_hosts_certificate_is_not_believed() {
    let authority = Authority::new("ours");
    let connector = believing(&authority.file(), Http2::Auto);
    let acceptor = authority.acceptor(&["other.test"], H2_AND_H1);
    let error = meet(&connector, acceptor, "api.test").await.unwrap_err().to_string();
    assert!(error.starts_with("TLS with api.test: ") && error.contains("\"api.test\""), "{error}");
    assert!(error.ends_with("check the host of the URL, and what its name resolves to"), "{error}");
}

#[tokio::test]
async fn tls_goes_through_the_tunnel() {
    let authority = Authority::new("ours");
    let acceptor = authority.acceptor(&["api.test"], H2_AND_H1);
    let request = "CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n";
    let (address, tunnel) = proxy(vec![(request.len(), b"HTTP/1.1 200 OK\r\n\r\n".to_vec())]).await;
    tokio::spawn(async move { acceptor.accept(tunnel.await.unwrap().1).await.unwrap() });
    let ca = authority.file();
    let settings = EgressSettings {
        ca_file: Some(ca.path().to_owned()),
        ..through(EgressProxyKind::Connect, address, None)
    };
    let target = origin(Scheme::Https, "api.test", 443);
    let made = Connector::new(&settings).unwrap().connect(&target, address, None).await.unwrap();
    assert_eq!(made.protocol, Protocol::Http2);
}

#[tokio::test]
async fn a_server_in_the_clear_is_told() {
    let (address, _heard) = proxy(vec![(1, b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec())]).await;
    let target = origin(Scheme::Https, "api.test", address.port());
    let error = Connector::new(&settings()).unwrap().connect(&target, address, None).await.unwrap_err();
    assert!(error.to_string().contains("should the URL begin with http://?"), "{error}");
    assert!(!error.request_sent());
}

#[tokio::test]
async fn what_the_server_refuses_for_is_told() {
    for (alert, way_out) in [
        (70, "it may want TLS older than 1.2"),
        (112, "the server knows no host of this name: check the host of the URL"),
    ] {
        let (address, _heard) = proxy(vec![(1, vec![21, 3, 3, 0, 2, 2, alert])]).await;
        let target = origin(Scheme::Https, "api.test", address.port());
        let error = Connector::new(&settings()).unwrap().connect(&target, address, None).await.unwrap_err();
        assert!(error.to_string().ends_with(way_out), "{error}");
    }
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_given_up() {
    let (listener, address) = listen().await;
    let connector = Connector::new(&settings()).unwrap();
    let silent = async {
        let (mut tcp, _) = listener.accept().await.unwrap();
        tcp.read_u8().await.unwrap();
        tokio::time::pause();
        tcp
    };
    let target = origin(Scheme::Https, "api.test", address.port());
    let (_held, outcome) = tokio::join!(silent, connector.connect(&target, address, None));
    assert_eq!(
        outcome.unwrap_err().to_string(),
        "no connection within 60s: still waiting for the TLS handshake"
    );
}

#[tokio::test]
async fn a_host_that_no_certificate_could_name_is_a_failure() {
    let (_listener, address) = listen().await;
    let target = origin(Scheme::Https, "not a name", address.port());
    let error = Connector::new(&settings()).unwrap().connect(&target, address, None).await.unwrap_err();
    assert!(error.to_string().starts_with("TLS with not a name: "), "{error}");
}

#[test]
fn a_ca_file_is_judged_when_it_is_loaded() {
    let refusal = |ca_file: std::path::PathBuf| {
        Connector::new(&EgressSettings { ca_file: Some(ca_file), ..settings() }).err().unwrap()
    };
    let empty = file("no certificate\n");
    assert!(matches!(refusal(empty.path().to_owned()), EgressError::CaFileEmpty { .. }));
    let broken = file("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n");
    assert!(matches!(refusal(broken.path().to_owned()), EgressError::CaFile { .. }));
    let senseless = file("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    assert!(matches!(refusal(senseless.path().to_owned()), EgressError::CaCertificate { number: 1, .. }));
    let missing = refusal("/nowhere/ca.pem".into());
    assert_eq!(
        missing.to_string(),
        "cannot read upstream.ca_file /nowhere/ca.pem; it must be a file of PEM certificates"
    );
}
