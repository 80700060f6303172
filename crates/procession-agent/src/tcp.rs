//! Listening on TCP.

use std::io;

use tokio::net::TcpListener;

use crate::holder::holder_of_port;

/// Listens on `host:port`. Without a host: on all addresses, of both families where there are both.
///
/// Who has the port already is named.
pub(crate) async fn bind(address: &str) -> io::Result<TcpListener> {
    let bound = bind_to_all(address).await;
    bound.map_err(|error| match address.rsplit_once(':').map(|(_, port)| port.parse()) {
        Some(Ok(port)) if error.kind() == io::ErrorKind::AddrInUse => {
            let holder = holder_of_port(port);
            let text = format!("another program listens there{holder}; stop it or choose another port");
            io::Error::new(error.kind(), text)
        }
        _ => error,
    })
}

async fn bind_to_all(address: &str) -> io::Result<TcpListener> {
    let Some(port) = address.strip_prefix(':') else { return TcpListener::bind(address).await };
    match TcpListener::bind(format!("[::]:{port}")).await {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            TcpListener::bind(format!("0.0.0.0:{port}")).await
        }
        bound => bound,
    }
}
