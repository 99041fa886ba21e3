//! Which requests get to the service, and which are refused.

use super::support::{Server, settings};

/// What a client gets who sends each; `400` stands for the refusal.
const REQUESTS: &[(&str, &str, &str)] = &[
    ("plain", "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", "<>"),
    ("HTTP/1.0 without Host", "GET / HTTP/1.0\r\n\r\n", "<>"),
    ("empty lines before", "\r\n\r\nGET / HTTP/1.0\r\n\r\n", "<>"),
    ("length", "POST / HTTP/1.0\r\ncontent-length: 2\r\n\r\nhi", "<hi>"),
    (
        "chunks",
        "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: Chunked \r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        "<hi>",
    ),
    (
        "chunks, extended and trailed",
        "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n2 ;x=\"y\"\r\nhi\r\n0\r\nt: u\r\n\r\n",
        "<hi>",
    ),
    ("absolute form", "GET http://a/b HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", "<>"),
    ("asterisk", "OPTIONS * HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", "<>"),
    ("raw text in the query", "GET /{心}?q={心} HTTP/1.0\r\n\r\n", "<>"),
    ("bytes in a value", "GET / HTTP/1.0\r\nx: \t 心\t y \r\n\r\n", "<>"),
    (
        "two lengths that differ",
        "POST / HTTP/1.0\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nhi!",
        "400",
    ),
    ("two equal lengths", "POST / HTTP/1.0\r\ncontent-length: 2\r\nContent-Length: 2\r\n\r\nhi", "400"),
    ("a list of lengths", "POST / HTTP/1.0\r\ncontent-length: 2, 2\r\n\r\nhi", "400"),
    ("a signed length", "POST / HTTP/1.0\r\ncontent-length: +2\r\n\r\nhi", "400"),
    ("a negative length", "POST / HTTP/1.0\r\ncontent-length: -2\r\n\r\nhi", "400"),
    ("a hexadecimal length", "POST / HTTP/1.0\r\ncontent-length: 0x2\r\n\r\nhi", "400"),
    ("an empty length", "POST / HTTP/1.0\r\ncontent-length:\r\n\r\nhi", "400"),
    ("a huge length", "POST / HTTP/1.0\r\ncontent-length: 18446744073709551615\r\n\r\nhi", "400"),
    (
        "length, then chunks",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 12\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        "400",
    ),
    (
        "chunks, then length",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 12\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        "400",
    ),
    (
        "two encodings",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "400",
    ),
    ("another encoding", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: identity\r\n\r\n", "400"),
    ("nearly chunked", "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n", "400"),
    (
        "chunked by a vertical tab",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: \u{b}chunked\r\n\r\n0\r\n\r\n",
        "400",
    ),
    (
        "chunked twice",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "400",
    ),
    ("chunks in HTTP/1.0", "POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "400"),
    ("a folded line", "GET / HTTP/1.0\r\nx: a\r\n b\r\n\r\n", "400"),
    ("a blank before the first field", "GET / HTTP/1.0\r\n x: a\r\n\r\n", "400"),
    ("a blank before the colon", "GET / HTTP/1.0\r\ncontent-length : 2\r\n\r\nhi", "400"),
    ("no colon", "GET / HTTP/1.0\r\nx\r\n\r\n", "400"),
    ("no name", "GET / HTTP/1.0\r\n: x\r\n\r\n", "400"),
    ("a name that is no token", "GET / HTTP/1.0\r\nx(y): z\r\n\r\n", "400"),
    ("a bare CR", "GET / HTTP/1.0\r\nx: a\rb\r\n\r\n", "400"),
    ("a bare LF after the request line", "GET / HTTP/1.0\nx: a\r\n\r\n", "400"),
    ("a bare LF after a field", "GET / HTTP/1.0\r\nx: a\n\r\n", "400"),
    ("a bare LF at the end", "GET / HTTP/1.0\r\nx: a\r\n\n", "400"),
    ("bare LFs only", "GET / HTTP/1.1\nhost: a\n\n", "400"),
    ("NUL", "GET / HTTP/1.0\r\nx: a\0b\r\n\r\n", "400"),
    ("DEL", "GET / HTTP/1.0\r\nx: a\x7fb\r\n\r\n", "400"),
    ("NUL in the target", "GET /\0 HTTP/1.0\r\n\r\n", "400"),
    ("a fragment", "GET /a#b HTTP/1.0\r\n\r\n", "400"),
    ("no slash", "GET a HTTP/1.0\r\n\r\n", "400"),
    ("authority form", "GET a:80 HTTP/1.0\r\n\r\n", "400"),
    ("CONNECT", "CONNECT a:80 HTTP/1.1\r\nhost: a\r\n\r\n", "400"),
    (
        "CONNECT as the guard sends it",
        "CONNECT refused:1 HTTP/1.1\r\nhost: -\r\nconnection: close\r\n\r\n",
        "400",
    ),
    ("no Host", "GET / HTTP/1.1\r\n\r\n", "400"),
    ("two Hosts", "GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n", "400"),
    ("a list of Hosts", "GET / HTTP/1.1\r\nhost: a, b\r\n\r\n", "400"),
    ("two blanks", "GET  / HTTP/1.0\r\n\r\n", "400"),
    ("a blank at the end", "GET / HTTP/1.0 \r\n\r\n", "400"),
    ("no method", " / HTTP/1.0\r\n\r\n", "400"),
    ("HTTP/0.9", "GET /\r\n", "400"),
    ("HTTP/2.0", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "400"),
    ("HTTP/1.2", "GET / HTTP/1.2\r\nhost: a\r\n\r\n", "400"),
    ("lower-case http", "GET / http/1.1\r\nhost: a\r\n\r\n", "400"),
    ("TLS", "\x16\x03\x01\x02", "400"),
    ("a PROXY header of a stranger", "PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\nGET / HTTP/1.0\r\n\r\n", "400"),
    ("too many empty lines", "\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.0\r\n\r\n", "400"),
    (
        "no size of a chunk",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\r\nhi\r\n0\r\n\r\n",
        "<bad body>",
    ),
    (
        "a signed size",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n+2\r\nhi\r\n0\r\n\r\n",
        "<bad body>",
    ),
    (
        "a size with 0x",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0x2\r\nhi\r\n0\r\n\r\n",
        "<bad body>",
    ),
    (
        "a huge size",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n10000000000000002\r\nhi\r\n0\r\n\r\n",
        "<bad body>",
    ),
    (
        "a size line ended by LF",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\nhi\r\n0\r\n\r\n",
        "<bad body>",
    ),
    (
        "LF in an extension",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2;a\nb\r\nhi\r\n0\r\n\r\n",
        "<bad body>",
    ),
    (
        "a chunk longer than its size",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\nhi\r\n0\r\n\r\n",
        "<bad body>",
    ),
    (
        "LF in the trailers",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\na: b\n\r\n\r\n",
        "<bad body>",
    ),
];

fn check(name: &str, expected: &str, answer: &str) {
    if expected == "400" {
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{name}: {answer:?}");
        assert!(answer.ends_with("\r\n\r\n<Malformed>"), "{name}: {answer:?}");
        assert!(answer.contains("\r\nconnection: close\r\n"), "{name}: {answer:?}");
    } else {
        assert!(answer.contains(" 200 OK\r\n") && answer.ends_with(expected), "{name}: {answer:?}");
    }
}

#[tokio::test]
async fn each_request_gets_what_it_should() {
    let server = Server::start(settings());
    for (name, request, expected) in REQUESTS {
        check(name, expected, &server.exchange(request).await);
    }
}

#[tokio::test]
async fn the_second_request_of_a_connection_is_looked_at_no_less() {
    let server = Server::start(settings());
    let firsts = [
        "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi",
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\nh\r\n1\r\ni\r\n0\r\nt: u\r\n\r\n",
    ];
    for (at, (name, request, expected)) in REQUESTS.iter().enumerate() {
        let answers = server.exchange([firsts[at % 3], request].concat()).await;
        let (_, second) = answers.split_at(answers.rfind("HTTP/1.").unwrap());
        check(name, expected, second);
        assert_eq!(answers.matches("HTTP/1.").count(), 2, "{name}: {answers:?}");
    }
}

#[tokio::test]
async fn requests_in_pieces_are_the_same_requests() {
    let server = Server::start(settings());
    for (name, request, expected) in REQUESTS {
        let mut client = server.client().await;
        client.0.set_nodelay(true).unwrap();
        for byte in request.as_bytes() {
            // One refused early is answered, and what follows it read away.
            client.send([*byte]).await;
            tokio::task::yield_now().await;
        }
        check(name, expected, &client.rest().await);
    }
}

#[tokio::test]
async fn heads_are_held_to_their_limits() {
    let server = Server::start(settings());
    let target = |len: usize| format!("GET /{} HTTP/1.0\r\n\r\n", "a".repeat(len - 1));
    let fields = |count: usize| format!("GET / HTTP/1.0\r\n{}\r\n", "x: y\r\n".repeat(count));
    let field = |len: usize| format!("GET / HTTP/1.0\r\nx: {}\r\n\r\n", "y".repeat(len));
    for (request, status, body) in [
        (target(8 << 10), "200", "<>"),
        (target((8 << 10) + 1), "414", "<TargetTooLong>"),
        (target(1 << 20), "414", "<TargetTooLong>"),
        (fields(20), "200", "<>"),
        (fields(21), "431", "<HeadTooLarge>"),
        (field(11 << 10), "200", "<>"),
        (field(12 << 10), "431", "<HeadTooLarge>"),
        (field(1 << 20), "431", "<HeadTooLarge>"),
    ] {
        let answer = server.exchange(&request).await;
        assert!(answer[9..].starts_with(status) && answer.ends_with(body), "{}: {answer}", request.len());
    }
}

#[tokio::test]
async fn more_fields_than_hyper_takes_by_itself() {
    let server = Server::start(crate::net::ListenSettings { max_headers: 300, ..settings() });
    let fields = |count: usize| format!("GET / HTTP/1.0\r\n{}\r\n", "x: y\r\n".repeat(count));
    assert!(server.exchange(fields(300)).await.contains(" 200 OK"));
    assert!(server.exchange(fields(301)).await.ends_with("<HeadTooLarge>"));
}
