//! The listener: connections with a number, without Nagle's delay, that can be cut on purpose.

use axum::{
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};

const OPEN: u8 = 0;
const CUT: u8 = 1;
const TRUNCATE: u8 = 2;

/// What a request handler knows of its connection.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Counts from 1, in the order of accepting.
    pub id: u64,
    mode: Arc<AtomicU8>,
}

impl Connection {
    /// Closes the connection at the next write, before a byte of the answer is sent.
    pub fn cut(&self) {
        self.mode.store(CUT, Ordering::SeqCst);
    }

    /// Sends the head of the next answer and half of its body, then closes the connection.
    pub fn truncate(&self) {
        self.mode.store(TRUNCATE, Ordering::SeqCst);
    }
}

/// Accepts connections for a world.
pub struct WorldListener {
    listener: TcpListener,
    accepted: AtomicU64,
}

impl WorldListener {
    /// Wraps a bound listener.
    pub fn new(listener: TcpListener) -> Self {
        Self { listener, accepted: AtomicU64::new(0) }
    }
}

impl Listener for WorldListener {
    type Io = WorldStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (WorldStream, SocketAddr) {
        loop {
            if let Ok((stream, addr)) = self.listener.accept().await {
                // A delayed acknowledgement costs 40 ms, which would drown every measurement.
                let _ = stream.set_nodelay(true);
                let id = self.accepted.fetch_add(1, Ordering::SeqCst) + 1;
                let connection = Connection { id, mode: Arc::new(AtomicU8::new(OPEN)) };
                return (WorldStream { stream, connection, remaining: None }, addr);
            }
            // Out of file descriptors, most likely: give others time to close theirs.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Connected<IncomingStream<'_, WorldListener>> for Connection {
    fn connect_info(stream: IncomingStream<'_, WorldListener>) -> Self {
        stream.io().connection.clone()
    }
}

/// A TCP stream that its [`Connection`] can cut.
pub struct WorldStream {
    stream: TcpStream,
    connection: Connection,
    /// Bytes that may still be written of a truncated answer.
    remaining: Option<usize>,
}

/// How many bytes of a written buffer a truncated answer keeps: the head and half of the body.
fn kept(buf: &[u8]) -> usize {
    let head = buf.windows(4).position(|window| window == b"\r\n\r\n").map_or(0, |at| at + 4);
    head + (buf.len() - head) / 2
}

impl AsyncRead for WorldStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for WorldStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let mode = self.connection.mode.load(Ordering::SeqCst);
        if mode == OPEN {
            return Pin::new(&mut self.stream).poll_write(cx, buf);
        }
        let allowed = if mode == CUT { 0 } else { self.remaining.unwrap_or_else(|| kept(buf)) };
        if allowed == 0 {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, &buf[..allowed.min(buf.len())]);
        let count = if let Poll::Ready(Ok(count)) = &written { *count } else { 0 };
        self.remaining = Some(allowed - count);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
