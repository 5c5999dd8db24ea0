//! One connection's life, and when it is over.
//!
//! ```text
//! New, Idle ──a byte arrives──▶ Head ──head complete──▶ Busy ──answered──▶ Idle
//! Busy ──a body is awaited──▶ Body ──it is complete──▶ Busy
//! New, Head, Body, Idle ──room is needed──▶ Evicted
//! ```
//!
//! Each phase has a deadline. hyper has none for an idle connection other than for a slow head, and none for a
//! client that never reads its answer; watching the phase costs a request two atomic writes and no timer.
//!
//! Known gap: half a head that came along with the request before it lies in hyper's buffer, where no byte is
//! seen to arrive. Such a connection counts as idle; it is closed after 60 s instead of 5, or to make room.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

/// How long the head of a request may take, from accept or from its first byte.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a request may take, from the first byte of its head to its answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a connection may stay open between requests; also how long an answer may take to be read.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// The same once the server stops: long enough for a request that was already on its way.
const IDLE_TIMEOUT_STOPPING: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    New,
    Head,
    Busy,
    Body,
    Idle,
    Evicted,
}

/// What a connection is doing, and since when. Shared by its task and by the front, which may evict it.
pub(in crate::http) struct Activity {
    opened: Instant,
    /// Milliseconds since `opened`, times eight, plus the phase.
    state: AtomicU64,
    stopping: AtomicBool,
}

impl Activity {
    /// A connection that was just accepted.
    pub(in crate::http) fn begin() -> Self {
        Self {
            opened: Instant::now(),
            state: AtomicU64::new(Phase::New as u64),
            stopping: AtomicBool::new(false),
        }
    }

    fn state(&self) -> (Phase, Instant) {
        let state = self.state.load(Ordering::Acquire);
        let phase = match state % 8 {
            0 => Phase::New,
            1 => Phase::Head,
            2 => Phase::Busy,
            3 => Phase::Body,
            4 => Phase::Idle,
            _ => Phase::Evicted,
        };
        (phase, self.opened + Duration::from_millis(state / 8))
    }

    fn pack(&self, phase: Phase, since: Instant) -> u64 {
        let millis = since.duration_since(self.opened).as_millis();
        u64::try_from(millis).unwrap_or_default().wrapping_mul(8) + phase as u64
    }

    /// Moves on, unless the connection has been evicted meanwhile.
    fn enter(&self, next: impl Fn(Phase, Instant) -> Option<(Phase, Instant)>) -> bool {
        let (mut phase, mut since) = self.state();
        loop {
            let Some(to) = next(phase, since) else {
                return false;
            };
            let from = self.pack(phase, since);
            match self.state.compare_exchange(
                from,
                self.pack(to.0, to.1),
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return true,
                Err(_) => (phase, since) = self.state(),
            }
        }
    }

    fn byte_arrived(&self) {
        self.enter(|phase, since| match phase {
            Phase::New => Some((Phase::Head, since)), // a client may not dawdle twice
            Phase::Idle => Some((Phase::Head, Instant::now())),
            Phase::Head | Phase::Busy | Phase::Body | Phase::Evicted => None,
        });
    }

    /// A request has arrived; its time counts from the first byte of its head. `false`: too late, the
    /// connection is being closed.
    pub(in crate::http) fn request_begins(&self) -> bool {
        self.enter(|phase, since| match phase {
            Phase::New | Phase::Head | Phase::Busy | Phase::Body => Some((Phase::Busy, since)),
            Phase::Idle => Some((Phase::Busy, Instant::now())), // it had been read along with the one before
            Phase::Evicted => None,
        })
    }

    /// Nothing has been done for the request yet; its body comes first.
    pub(in crate::http) fn body_awaited(&self) {
        self.enter(|phase, since| (phase == Phase::Busy).then_some((Phase::Body, since)));
    }

    /// The body is there. `false`: too late, the connection is being closed.
    pub(in crate::http) fn body_complete(&self) -> bool {
        self.request_begins()
    }

    /// The request has its answer.
    pub(in crate::http) fn request_ends(&self) {
        self.enter(|phase, _| {
            matches!(phase, Phase::Busy | Phase::Body).then(|| (Phase::Idle, Instant::now()))
        });
    }

    /// Since when nothing has been under way but the client's own sending; nothing while something is.
    pub(in crate::http) fn waiting_since(&self) -> Option<Instant> {
        match self.state() {
            (Phase::New | Phase::Head | Phase::Body | Phase::Idle, since) => Some(since),
            (Phase::Busy | Phase::Evicted, _) => None,
        }
    }

    /// Closes the connection if nothing is under way.
    pub(in crate::http) fn evict(&self) -> bool {
        self.enter(|phase, since| match phase {
            Phase::New | Phase::Head | Phase::Body | Phase::Idle => Some((Phase::Evicted, since)),
            Phase::Busy | Phase::Evicted => None,
        })
    }

    /// From now on the connection is not kept for further requests; one that is on its way is still answered.
    pub(in crate::http) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.enter(|phase, _| match phase {
            Phase::New | Phase::Idle => Some((Phase::Idle, Instant::now())),
            Phase::Head | Phase::Busy | Phase::Body | Phase::Evicted => None,
        });
    }

    pub(in crate::http) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    fn deadline(&self) -> Instant {
        match self.state() {
            (Phase::New | Phase::Head, since) => since + HEAD_TIMEOUT,
            (Phase::Busy | Phase::Body, since) => since + REQUEST_TIMEOUT,
            (Phase::Idle, since) if self.is_stopping() => since + IDLE_TIMEOUT_STOPPING,
            (Phase::Idle, since) => since + IDLE_TIMEOUT,
            (Phase::Evicted, since) => since,
        }
    }

    /// Drives `connection` to its end or to its deadline, whichever comes first.
    pub(in crate::http) async fn drive(&self, connection: impl Future) {
        let mut connection = pin!(connection);
        let mut alarm = pin!(sleep_until(self.deadline()));
        std::future::poll_fn(|cx| {
            if connection.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            loop {
                // The alarm may ring too early, which costs one look, but never too late.
                let deadline = self.deadline();
                if deadline < alarm.deadline() {
                    alarm.as_mut().reset(deadline);
                }
                ready!(alarm.as_mut().poll(cx));
                let deadline = self.deadline();
                if deadline <= Instant::now() {
                    return Poll::Ready(());
                }
                alarm.as_mut().reset(deadline);
            }
        })
        .await;
    }
}

/// A stream that tells when bytes arrive.
pub(in crate::http) struct Watched {
    stream: TcpStream,
    activity: Arc<Activity>,
}

impl Watched {
    pub(in crate::http) fn new(stream: TcpStream, activity: Arc<Activity>) -> Self {
        Self { stream, activity }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.activity.byte_arrived();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
