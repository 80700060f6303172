//! The netlink socket, up to messages.

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_recv_buffer_size_force};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recvfrom, sendto};
use rustix::time::Timespec;

use super::message::{GROUP, Message, Notice, listen_request};
use crate::error::SourceError;

/// Room for messages that wait to be read. The kernel takes the memory only as it is needed; each
/// message takes about 1 KiB of it.
const RECEIVE_BUFFER: usize = 32 << 20;

/// How long the kernel's answer may take. It answers within the request or never.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// Sent by the kernel itself.
const KERNEL_PORT: u32 = 0;

const NEEDED: &str = "before Linux 6.6 the proc connector needs CAP_NET_ADMIN";

/// A socket that receives the events of all processes.
#[derive(Debug)]
pub(super) struct Socket {
    socket: OwnedFd,
}

/// What a read gave.
#[derive(Clone, Copy, Debug)]
pub(super) enum Received {
    /// A message.
    Message(Message),
    /// The kernel had to drop messages, since there was no room for them.
    Overrun,
    /// There is nothing to read now.
    Nothing,
}

impl Socket {
    /// Opens the socket and waits until the kernel has agreed to send events.
    pub(super) fn subscribe() -> Result<Self, SourceError> {
        let socket = Self { socket: open()? };
        socket.enlarge_buffer();
        let group = SocketAddrNetlink::new(0, GROUP);
        rustix::net::bind(&socket.socket, &group).map_err(|errno| refused("join the group", errno))?;
        // Other listeners may ask at the same time, and all hear all answers.
        let token = std::process::id();
        let kernel = SocketAddrNetlink::new(KERNEL_PORT, 0);
        sendto(&socket.socket, listen_request(token).as_ref(), SendFlags::empty(), &kernel)
            .map_err(|errno| refused("subscribe to", errno))?;
        socket.await_answer(token)?;
        Ok(socket)
    }

    #[cfg(test)]
    pub(super) fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.socket)
    }

    /// Waits until there is something to read. `false`: there was nothing within `timeout`.
    pub(super) fn wait(&self, timeout: Duration) -> Result<bool, SourceError> {
        let timeout = Timespec::try_from(timeout).ok();
        let mut socket = [PollFd::new(&self.socket, PollFlags::IN)];
        match poll(&mut socket, timeout.as_ref()) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(false),
            Err(errno) => Err(failed("wait for events of the proc connector", errno)),
        }
    }

    /// Reads without waiting. Datagrams that are not from the proc connector are passed over.
    pub(super) fn receive(&self) -> Result<Received, SourceError> {
        let mut datagram = [0; 256];
        loop {
            match recvfrom(&self.socket, &mut datagram, RecvFlags::DONTWAIT) {
                Ok((len, _, sender)) => {
                    let sender = sender.and_then(|sender| SocketAddrNetlink::try_from(sender).ok());
                    let from_kernel = sender.is_some_and(|sender| sender.pid() == KERNEL_PORT);
                    if let Some(message) = Message::parse(&datagram[..len]).filter(|_| from_kernel) {
                        return Ok(Received::Message(message));
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(Received::Nothing),
                Err(Errno::NOBUFS) => return Ok(Received::Overrun),
                Err(errno) => return Err(failed("read from the proc connector", errno)),
            }
        }
    }

    /// A smaller buffer works too, and loses more, which is counted: so failure is no error.
    fn enlarge_buffer(&self) {
        if set_socket_recv_buffer_size_force(&self.socket, RECEIVE_BUFFER).is_err() {
            let _ = set_socket_recv_buffer_size(&self.socket, RECEIVE_BUFFER);
        }
    }

    /// Waits for the kernel's answer. What comes before it is not needed: nobody has looked yet.
    fn await_answer(&self, token: u32) -> Result<(), SourceError> {
        let deadline = Instant::now() + ANSWER_WITHIN;
        while self.wait(deadline.saturating_duration_since(Instant::now()))? {
            if let Received::Message(message) = self.receive()?
                && let Notice::Answer { token: answered, errno } = message.notice
                && answered == token
            {
                return agreed(errno);
            }
        }
        Err(SourceError::Unsupported {
            what: "the proc connector does not answer: it serves the initial pid and user namespaces \
                   only, in kernels with CONFIG_PROC_EVENTS"
                .into(),
        })
    }
}

fn open() -> Result<OwnedFd, SourceError> {
    let family = AddressFamily::NETLINK;
    let socket =
        rustix::net::socket_with(family, SocketType::DGRAM, SocketFlags::CLOEXEC, Some(netlink::CONNECTOR));
    socket.map_err(|errno| refused("open a socket for", errno))
}

fn agreed(errno: u32) -> Result<(), SourceError> {
    match i32::try_from(errno) {
        Ok(0) => Ok(()),
        Ok(errno) => Err(refused("subscribe to", Errno::from_raw_os_error(errno))),
        Err(_) => Err(refused("subscribe to", Errno::INVAL)),
    }
}

fn refused(operation: &str, errno: Errno) -> SourceError {
    match errno {
        Errno::PERM | Errno::ACCESS => SourceError::NotPermitted { what: NEEDED },
        Errno::PROTONOSUPPORT => SourceError::Unsupported { what: "CONFIG_CONNECTOR is missing".into() },
        Errno::CONNREFUSED => SourceError::Unsupported {
            what: "the proc connector serves the initial network namespace only".into(),
        },
        errno => failed(&format!("{operation} the proc connector"), errno),
    }
}

fn failed(operation: &str, errno: Errno) -> SourceError {
    SourceError::io(operation)(io::Error::from(errno))
}
