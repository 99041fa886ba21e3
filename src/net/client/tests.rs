use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn post(address: SocketAddr) -> Request<Bytes> {
    Request::post(format!("http://{address}/hook?x=1")).body(Bytes::from_static(b"{}")).unwrap()
}

/// Reads one request of two bytes of body.
async fn request(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n{}") {
        let mut byte = [0];
        if stream.read(&mut byte).await.unwrap() == 0 {
            break;
        }
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn a_connection_is_used_again_and_a_closed_one_replaced() {
    let (listener, address) = listener().await;
    let server = tokio::spawn(async move {
        let (mut first, _) = listener.accept().await.unwrap();
        let text = request(&mut first).await;
        assert!(text.starts_with("POST /hook?x=1 HTTP/1.1\r\n"), "{text}");
        assert!(text.contains(&format!("host: {address}\r\n")), "{text}");
        first.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        // A moment later it has had enough.
        drop(first);
        let (mut second, _) = listener.accept().await.unwrap();
        request(&mut second).await;
        second.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
    });
    let client = Client::new().unwrap();
    let mut reply = client.send(post(address)).await.unwrap();
    assert!(reply.read(1024).await.unwrap());
    assert_eq!((reply.status.as_u16(), reply.begun()), (200, &b"ok"[..]));
    let mut reply = client.send(post(address)).await.unwrap();
    assert!(reply.read(1024).await.unwrap());
    assert_eq!((reply.status.as_u16(), reply.begun()), (204, &b""[..]));
    server.await.unwrap();
}

#[tokio::test]
async fn what_was_written_is_not_sent_again() {
    let (listener, address) = listener().await;
    let server = tokio::spawn(async move {
        let (mut kept, _) = listener.accept().await.unwrap();
        request(&mut kept).await;
        kept.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        // It reads the second, and resets the connection.
        assert!(!request(&mut kept).await.is_empty());
        kept.set_zero_linger().unwrap();
        drop(kept);
        listener
    });
    let client = Client::new().unwrap();
    assert!(client.send(post(address)).await.unwrap().read(1024).await.unwrap());
    let sending = client.send(post(address));
    let reset =
        tokio::time::timeout(Duration::from_secs(10), sending).await.expect("nobody answers a second");
    assert!(matches!(reset, Err(ClientError::Exchange(_))), "{reset:?}");
    // A second POST would have connected by now.
    let another = server.await.unwrap().into_std().unwrap().accept();
    assert!(another.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
}

#[tokio::test]
async fn no_more_is_read_than_asked_for() {
    let (listener, address) = listener().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        while stream.write_all(&[b'x'; 4096]).await.is_ok() {}
    });
    let client = Client::new().unwrap();
    let mut reply = client.send(post(address)).await.unwrap();
    assert!(!reply.read(10_000).await.unwrap());
    assert_eq!(reply.begun().len(), 10_001);
    drop(reply);
    // The server is told by its connection's end.
    server.await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_reached_is_said_to_be() {
    let (listener, address) = listener().await;
    drop(listener);
    let client = Client::new().unwrap();
    assert!(client.send(post(address)).await.unwrap_err().is_unreachable());
    let nowhere = Request::post("ftp://h/").body(Bytes::new()).unwrap();
    assert!(matches!(client.send(nowhere).await, Err(ClientError::Url)));
}

#[tokio::test]
async fn one_within_networks_connects_nowhere_else() {
    let (listener, address) = listener().await;
    let asked = |client: &Client, host: &str| {
        let uri = format!("http://{host}:{}/", address.port());
        let request = Request::post(uri).body(Bytes::from_static(b"{}")).unwrap();
        let client = client.clone();
        async move { client.send(request).await }
    };
    let of = |network: &str| Client::within([network.parse().unwrap()].into_iter().collect()).unwrap();
    let elsewhere = of("127.0.0.2/32");
    // Whatever the name or number, it is the address that counts.
    for host in ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "0.0.0.0"] {
        let refused = asked(&elsewhere, host).await;
        assert!(matches!(refused, Err(ClientError::Outside(_))), "{host}: {refused:?}");
    }
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        request(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    });
    assert_eq!(asked(&of("127.0.0.1/32"), "127.0.0.1").await.unwrap().status, 200);
    server.await.unwrap();
}
