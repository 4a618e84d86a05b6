//! Bodies that know when they have been sent.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use brimful_sim::Chunk;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::Open;

/// Why a connection ends in the middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Interrupted {
    #[error("the connection is to be reset")]
    Reset,
    #[error("the answer is to break off here")]
    BrokenOff,
    #[error("the client left in the middle of its request")]
    ClientGone,
}

/// The body of a response.
#[derive(Debug)]
pub(super) enum ReplyBody {
    /// In one piece; `None` once it was handed over.
    Whole(Option<(Bytes, Option<Open>)>),
    /// Piece by piece.
    Pieces(Box<Pieces>),
}

#[derive(Debug)]
pub(super) struct Pieces {
    chunks: std::vec::IntoIter<Chunk>,
    /// The piece that waits for its time.
    next: Option<(Bytes, Pin<Box<Sleep>>)>,
    /// When the last piece was due, not when it was sent: lateness does not add up.
    due: Instant,
    /// Whether the body ends properly.
    complete: bool,
    /// Whether the transport had a turn to flush before the break.
    flushed: bool,
    /// `None` once the end was reached.
    open: Option<Open>,
}

impl ReplyBody {
    pub(super) const fn whole(bytes: Bytes, open: Option<Open>) -> Self {
        Self::Whole(Some((bytes, open)))
    }

    pub(super) fn pieces(chunks: Vec<Chunk>, complete: bool, open: Open) -> Self {
        Self::Pieces(Box::new(Pieces {
            chunks: chunks.into_iter(),
            next: None,
            due: Instant::now(),
            complete,
            flushed: false,
            open: Some(open),
        }))
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Interrupted;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Interrupted>>> {
        match self.get_mut() {
            Self::Whole(content) => Poll::Ready(content.take().map(|(bytes, open)| {
                // The client cannot have seen the answer before this, so that its next request
                // finds the slot free.
                if let Some(open) = open {
                    open.sent();
                }
                Ok(Frame::data(bytes))
            })),
            Self::Pieces(pieces) => pieces.poll_piece(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(content) => {
                let bytes = content.as_ref().map_or(0, |(bytes, _)| bytes.len());
                SizeHint::with_exact(bytes as u64)
            }
            Self::Pieces(_) => SizeHint::default(),
        }
    }
}

impl Pieces {
    fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Interrupted>>> {
        if self.next.is_none() {
            let Some(Chunk { delay, bytes }) = self.chunks.next() else {
                return self.poll_end(cx);
            };
            if delay.is_zero() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            self.due += delay;
            self.next = Some((bytes, Box::pin(sleep_until(self.due))));
        }
        if let Some((_, sleep)) = &mut self.next {
            ready!(sleep.as_mut().poll(cx));
        }
        Poll::Ready(self.next.take().map(|(bytes, _)| Ok(Frame::data(bytes))))
    }

    fn poll_end(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Interrupted>>> {
        if !self.complete && !self.flushed {
            // An error drops what is buffered: let it out first.
            self.flushed = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(open) = self.open.take() {
            open.sent();
        }
        Poll::Ready((!self.complete).then_some(Err(Interrupted::BrokenOff)))
    }
}
