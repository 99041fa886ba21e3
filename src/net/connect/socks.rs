//! A tunnel through a SOCKS 5 proxy (RFC 1928), with user and password (RFC 1929) where there are any.

use std::net::IpAddr;

use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::ProxyFailure;

const VERSION: u8 = 5;
const LOGIN_VERSION: u8 = 1;
const NO_LOGIN: u8 = 0;
const USER_AND_PASSWORD: u8 = 2;
const NO_METHOD: u8 = 0xFF;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// Leaves `tcp` at the tunnel's first byte. A name is sent as a name: resolving it is the proxy's part.
pub(super) async fn tunnel(
    tcp: &mut TcpStream,
    host: &str,
    port: u16,
    login: Option<&(String, SecretString)>,
) -> Result<(), ProxyFailure> {
    let request = request(host, port)?;
    let offered: &[u8] = match login {
        Some(_) => &[VERSION, 2, NO_LOGIN, USER_AND_PASSWORD],
        None => &[VERSION, 1, NO_LOGIN],
    };
    tcp.write_all(offered).await?;
    let [version, method] = read(tcp).await?;
    match (version, method, login) {
        (VERSION, NO_LOGIN, _) => {}
        (VERSION, USER_AND_PASSWORD, Some((user, password))) => log_in(tcp, user, password).await?,
        (VERSION, NO_METHOD, _) => return Err(ProxyFailure::NoMethod),
        _ => return Err(ProxyFailure::NotSocks),
    }
    tcp.write_all(&request).await?;
    read_reply(tcp).await
}

async fn log_in(tcp: &mut TcpStream, user: &str, password: &SecretString) -> Result<(), ProxyFailure> {
    let mut message = vec![LOGIN_VERSION];
    push(&mut message, user, "user of egress.proxy")?;
    push(&mut message, password.expose_secret(), "password of egress.proxy")?;
    tcp.write_all(&message).await?;
    match read(tcp).await? {
        [LOGIN_VERSION, 0] => Ok(()),
        [LOGIN_VERSION, _] => Err(ProxyFailure::Login),
        _ => Err(ProxyFailure::NotSocks),
    }
}

fn request(host: &str, port: u16) -> Result<Vec<u8>, ProxyFailure> {
    let mut request = vec![VERSION, CONNECT, 0];
    match host.parse() {
        Ok(IpAddr::V4(address)) => {
            request.push(IPV4);
            request.extend_from_slice(&address.octets());
        }
        Ok(IpAddr::V6(address)) => {
            request.push(IPV6);
            request.extend_from_slice(&address.octets());
        }
        Err(_) => {
            request.push(NAME);
            push(&mut request, host, "host name")?;
        }
    }
    request.extend_from_slice(&port.to_be_bytes());
    Ok(request)
}

/// Appends the length in one byte, then the text.
fn push(message: &mut Vec<u8>, text: &str, what: &'static str) -> Result<(), ProxyFailure> {
    match u8::try_from(text.len()) {
        Ok(length @ 1..) => message.push(length),
        _ => return Err(ProxyFailure::Unfit { what }),
    }
    message.extend_from_slice(text.as_bytes());
    Ok(())
}

/// What the proxy is bound to is of no use, but must be read off.
async fn read_reply(tcp: &mut TcpStream) -> Result<(), ProxyFailure> {
    // A refusal may be cut short after its code, so that is judged before the rest is waited for.
    match read(tcp).await? {
        [VERSION, 0] => {}
        [VERSION, code] => return Err(ProxyFailure::Reply { code }),
        _ => return Err(ProxyFailure::NotSocks),
    }
    let [_reserved, kind] = read(tcp).await?;
    let address = match kind {
        IPV4 => 4,
        IPV6 => 16,
        NAME => usize::from(read::<1>(tcp).await?[0]),
        _ => return Err(ProxyFailure::NotSocks),
    };
    let mut rest = vec![0; address + 2];
    tcp.read_exact(&mut rest).await?;
    Ok(())
}

async fn read<const N: usize>(tcp: &mut TcpStream) -> Result<[u8; N], ProxyFailure> {
    let mut bytes = [0; N];
    tcp.read_exact(&mut bytes).await?;
    Ok(bytes)
}
