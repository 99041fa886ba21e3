//! A listening socket.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// How many connections may wait to be accepted. The kernel caps it at `net.core.somaxconn`, 4096 as well
/// where nobody changed it.
const BACKLOG: i32 = 4096;

/// Listens on `address`. With `reuse_port`, several sockets may listen on it, and the kernel spreads new
/// connections over them.
///
/// # Errors
///
/// When the address is not this host's, is taken, or the port needs a privilege.
pub fn bind(address: SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // A restart need not wait for the last process's connections to time out.
    socket.set_reuse_address(true)?;
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
