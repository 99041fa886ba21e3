//! Reaching an address, or not.

use socket2::{Domain, SockRef, Socket, Type};

use super::*;

#[tokio::test]
async fn a_connection_is_watched_and_sends_at_once() {
    let (_listener, address) = listen().await;
    let origin = origin(Scheme::Http, "api.test", address.port());
    let made = Connector::new(&settings()).unwrap().connect(&origin, address, None).await.unwrap();
    let tcp = SockRef::from(made.stream.tcp());
    assert!(tcp.keepalive().unwrap());
    assert!(tcp.tcp_nodelay().unwrap());
}

#[tokio::test]
async fn a_refusal_is_told() {
    let (listener, address) = listen().await;
    drop(listener);
    let origin = origin(Scheme::Http, "api.test", address.port());
    let error = Connector::new(&settings()).unwrap().connect(&origin, address, None).await.unwrap_err();
    assert!(matches!(&error, ConnectError::Tcp(io) if io.kind() == std::io::ErrorKind::ConnectionRefused));
    assert!(error.to_string().starts_with("cannot connect: Connection refused"), "{error}");
    assert!(!error.request_sent());
}

#[tokio::test(start_paused = true)]
async fn an_address_that_never_answers_is_given_up() {
    // The kernel drops what comes while the queue of those to be accepted is over its length.
    let full = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    full.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    full.listen(0).unwrap();
    let address = full.local_addr().unwrap().as_socket().unwrap();
    let _queued = std::net::TcpStream::connect(address).unwrap();

    let origin = origin(Scheme::Http, "api.test", address.port());
    let settings = EgressSettings { connect_timeout: Duration::from_secs(3), ..settings() };
    let error = Connector::new(&settings).unwrap().connect(&origin, address, None).await.unwrap_err();
    assert_eq!(error.to_string(), "no connection within 3s: still waiting for the TCP connection");
}

#[test]
fn what_is_dialled_is_the_origin_or_the_proxy() {
    let origin = origin(Scheme::Https, "api.test", 8443);
    let direct = Connector::new(&settings()).unwrap();
    assert_eq!(direct.dial(&origin), ("api.test".to_owned(), 8443));
    let proxy = SocketAddr::from((Ipv4Addr::LOCALHOST, 3128));
    let proxied = Connector::new(&through(EgressProxyKind::Connect, proxy, None)).unwrap();
    assert_eq!(proxied.dial(&origin), ("127.0.0.1".to_owned(), 3128));
}
