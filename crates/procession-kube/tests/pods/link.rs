//! The way to a server, which can be cut, blocked and mended: what happens to a server or a
//! network, whichever server it is.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::task::JoinSet;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Everything passes.
    Open,
    /// Connections stay, and nothing passes.
    Blocked,
    /// Connections are broken, and none is accepted.
    Cut,
}

/// A way to a server that runs until it is dropped.
pub(crate) struct Link {
    pub(crate) port: u16,
    way: watch::Sender<Way>,
    /// Keeps the port while nobody listens: a socket that is bound to it and never listens itself. Others who
    /// ask for any port are not given this one.
    _keeper: TcpSocket,
}

impl Link {
    /// A way to `server`. Nothing is accepted before it is [mended](Self::mend).
    pub(crate) fn new(server: SocketAddr) -> io::Result<Self> {
        let keeper = TcpSocket::new_v4()?;
        // So that the link can listen beside it.
        keeper.set_reuseaddr(true)?;
        keeper.bind((Ipv4Addr::LOCALHOST, 0).into())?;
        let port = keeper.local_addr()?.port();
        let (way, changes) = watch::channel(Way::Cut);
        thread::Builder::new().name("link".to_owned()).spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(run(port, server, changes));
        })?;
        Ok(Self { port, way, _keeper: keeper })
    }

    /// Returns when it is open.
    pub(crate) fn mend(&self) {
        self.way.send_replace(Way::Open);
        self.wait_for(true);
    }

    /// Returns when connections are accepted, which then wait.
    pub(crate) fn block(&self) {
        self.way.send_replace(Way::Blocked);
        self.wait_for(true);
    }

    /// Returns when it is cut.
    pub(crate) fn cut(&self) {
        self.way.send_replace(Way::Cut);
        self.wait_for(false);
    }

    fn wait_for(&self, is_accepting: bool) {
        while std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok() != is_accepting {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

async fn run(port: u16, server: SocketAddr, mut way: watch::Receiver<Way>) {
    // An error here says that the link was dropped.
    while way.wait_for(|way| *way != Way::Cut).await.is_ok() {
        // What is declared last goes first: when nothing is accepted any more, nothing passes.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        let mut connections = JoinSet::new();
        let passing = way.clone();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    connections.spawn(pass(accepted.unwrap().0, server, passing.clone()));
                }
                cut = way.wait_for(|way| *way == Way::Cut) => match cut {
                    Ok(_) => break,
                    Err(_) => return,
                },
            }
        }
    }
}

async fn pass(client: TcpStream, server: SocketAddr, way: watch::Receiver<Way>) -> Option<()> {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = TcpStream::connect(server).await.ok()?.into_split();
    tokio::select! {
        end = copy(from_client, to_server, way.clone()) => end,
        end = copy(from_server, to_client, way) => end,
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut way: watch::Receiver<Way>) -> Option<()> {
    let mut buffer = [0; 16 * 1024];
    loop {
        let length = from.read(&mut buffer).await.ok().filter(|length| *length > 0)?;
        way.wait_for(|way| *way == Way::Open).await.ok()?;
        to.write_all(&buffer[..length]).await.ok()?;
    }
}
