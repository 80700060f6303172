//! A connection that was let in.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

use super::counters::OpenConnection;

/// The place that a connection takes.
#[derive(Debug)]
pub(super) struct Admission {
    pub(super) counted: OpenConnection,
    pub(super) _place: OwnedSemaphorePermit,
}

/// A connection that was let in, with its place. It has until a deadline to say that it speaks HTTP/2.
pub(super) struct Connection {
    stream: Stream,
    opening: Option<Opening>,
    /// The deadline, once nothing more is to be said.
    lingering: Option<Pin<Box<Sleep>>>,
    admission: Admission,
}

pub(super) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

struct Opening {
    /// Bytes that are still to come.
    left: usize,
    deadline: Pin<Box<Sleep>>,
}

/// What every client says first: the preface, and a frame of settings. After that, pings tell whether
/// it is alive.
const OPENING_BYTES: usize = 24 + 9;

/// How long the other side may take to read the last that was said. Were it closed at once, what the other
/// side says meanwhile would fail, and with it the connection, the rest of it unread.
const LINGERING: Duration = Duration::from_secs(5);

impl Connection {
    pub(super) fn new(stream: Stream, admission: Admission, deadline: Instant) -> Self {
        let opening = Opening { left: OPENING_BYTES, deadline: Box::pin(sleep_until(deadline)) };
        Self { stream, opening: Some(opening), lingering: None, admission }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(stream) => stream.as_fd(),
            Self::Tcp(stream) => stream.as_fd(),
            Self::Tls(stream) => stream.get_ref().0.as_fd(),
        }
    }
}

impl Stream {
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }

    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl Opening {
    /// Takes note of what a read brought. False: it is over without success.
    fn note(&mut self, cx: &mut Context<'_>, is_waiting: bool, bytes: usize) -> bool {
        self.left = self.left.saturating_sub(bytes);
        !is_waiting || self.deadline.as_mut().poll(cx).is_pending()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = self.stream.poll_read(cx, buf);
        if let Some(opening) = &mut self.opening {
            if !opening.note(cx, polled.is_pending(), buf.filled().len() - before) {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            if opening.left == 0 {
                self.opening = None;
            }
        }
        polled
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Stream::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Unix(stream) => stream.is_write_vectored(),
            Stream::Tcp(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.lingering.is_none() {
            ready!(self.stream.poll_shutdown(cx))?;
            self.lingering = Some(Box::pin(sleep(LINGERING)));
        }
        let Self { stream, lingering: Some(deadline), .. } = &mut *self else { return Poll::Ready(Ok(())) };
        let mut unread = [0; 1024];
        while deadline.as_mut().poll(cx).is_pending() {
            let mut unread = ReadBuf::new(&mut unread);
            let read = ready!(stream.poll_read(cx, &mut unread));
            if read.is_err() || unread.filled().is_empty() {
                break;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.opening.is_some() {
            self.admission.counted.failed();
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}
