//! Ends a use case at its n-th statement, as the death of its process or of its client does.
//!
//! The store's driver says for every statement when it is through: on SQLite its thread enters and
//! leaves the span of whoever sent the statement, on PostgreSQL it writes an event. So a cut is not a
//! guess about how often a future has to be polled: it is counted, and it is known to have happened.
//!
//! * SQLite: the n-th statement is executed, nobody hears the answer, the next is not sent.
//! * PostgreSQL: the answer to the n-th was heard, the next is not sent: a panic that nobody sees ends
//!   the poll right there. (Dropping the future when it waits would be later: on a busy machine the
//!   answers to some statements are there before anybody has to wait for them.)

use std::cell::Cell;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Level, Metadata, Subscriber};
use tracing_core::span::Current;

thread_local! {
    /// Set while this thread polls a use case: what happens on other threads is its statements.
    static POLLING: Cell<bool> = const { Cell::new(false) };
}

/// Cuts, one at a time.
pub(crate) struct Knife {
    dispatch: Dispatch,
    /// While a process has one subscriber only, `tracing` asks the subscriber of the thread that gets
    /// first to a place whether events there are wanted, and remembers its no for all threads.
    _other: Dispatch,
    watch: Watch,
}

#[derive(Clone, Default)]
struct Watch {
    count: Arc<Mutex<Count>>,
    /// Held while the use case is polled, so that it cannot go on behind the back of the last statement.
    gate: Arc<Mutex<()>>,
}

/// Ends a poll.
struct Cut;

#[derive(Default)]
struct Count {
    /// The span of this cut; news of an earlier one is ignored.
    span: u64,
    metadata: Option<&'static Metadata<'static>>,
    /// After how many statements to cut.
    at: usize,
    begun: usize,
    ended: usize,
    waker: Option<Waker>,
}

impl Knife {
    pub(crate) fn new() -> Self {
        let watch = Watch::default();
        Self {
            dispatch: Dispatch::new(watch.clone()),
            _other: Dispatch::new(Watch::default()),
            watch,
        }
    }

    /// Lets `work` through; how many statements that took.
    pub(crate) async fn count<F: Future>(&self, work: F) -> (F::Output, usize) {
        let done = self.within(usize::MAX, work).await;
        let done = done.expect("nobody has so many statements");
        (done, self.watch.count().begun)
    }

    /// Drops `work` when `at` statements of it are through; `None`: it was dropped.
    pub(crate) async fn within<F: Future>(&self, at: usize, work: F) -> Option<F::Output> {
        let span = self.watch.count().span + 1;
        *self.watch.count() = Count {
            span,
            at,
            ..Count::default()
        };
        // Only for its metadata: what the driver takes along as the current span is made of that.
        tracing::dispatcher::with_default(&self.dispatch, || {
            drop(tracing::debug_span!(target: "knife", "use case"));
        });
        let mut work = Some(Box::pin(work));
        poll_fn(|cx| self.poll(cx, &mut work)).await
    }

    fn poll<F: Future>(
        &self,
        cx: &mut Context<'_>,
        work: &mut Option<Pin<Box<F>>>,
    ) -> Poll<Option<F::Output>> {
        let gate = self.watch.gate.lock().unwrap();
        if self.watch.count().listen(cx) {
            // Now, while the last statement is executed: SQLite's thread waits with the end of a
            // transaction until somebody has heard of it or nobody will.
            *work = None;
        }
        let polled = work.as_mut().map(|work| {
            POLLING.set(true);
            let poll =
                || tracing::dispatcher::with_default(&self.dispatch, || work.as_mut().poll(cx));
            let polled = catch_unwind(AssertUnwindSafe(poll));
            POLLING.set(false);
            polled.unwrap_or_else(|end| match end.downcast::<Cut>() {
                Ok(_) => Poll::Pending,
                Err(other) => resume_unwind(other),
            })
        });
        drop(gate);
        let count = self.watch.count();
        match polled {
            Some(Poll::Ready(done)) => Poll::Ready(Some(done)),
            _ if count.ended >= count.at => {
                drop(count);
                *work = None;
                Poll::Ready(None)
            }
            _ => Poll::Pending,
        }
    }
}

impl Watch {
    fn count(&self) -> MutexGuard<'_, Count> {
        self.count.lock().unwrap()
    }

    fn is_mine(&self, span: &Id) -> bool {
        !POLLING.get() && self.count().span == span.into_u64()
    }
}

impl Count {
    /// Wakes this task from now on. Whether the last statement has begun.
    fn listen(&mut self, cx: &Context<'_>) -> bool {
        self.waker = Some(cx.waker().clone());
        self.begun >= self.at
    }

    fn is_next_last(&self) -> bool {
        self.begun + 1 == self.at
    }

    fn begin(&mut self) {
        self.begun += 1;
        self.tell(self.begun);
    }

    fn end(&mut self) {
        self.ended += 1;
        self.tell(self.ended);
    }

    fn tell(&self, reached: usize) {
        if reached == self.at
            && let Some(waker) = &self.waker
        {
            waker.wake_by_ref();
        }
    }
}

impl Subscriber for Watch {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "knife"
            || metadata.target() == "sqlx::query" && *metadata.level() <= Level::DEBUG
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut count = self.count();
        count.metadata = Some(span.metadata());
        Id::from_u64(count.span)
    }

    fn current_span(&self) -> Current {
        let count = self.count();
        match count.metadata {
            Some(metadata) if POLLING.get() => Current::new(Id::from_u64(count.span), metadata),
            _ => Current::none(),
        }
    }

    /// SQLite's thread begins a statement.
    fn enter(&self, span: &Id) {
        if self.is_mine(span) {
            let last = self.count().is_next_last();
            let _gate = last.then(|| self.gate.lock().unwrap());
            self.count().begin();
        }
    }

    /// SQLite's thread is through with it.
    fn exit(&self, span: &Id) {
        if self.is_mine(span) {
            self.count().end();
        }
    }

    /// PostgreSQL's answer to a statement was read. It is read while the use case is polled.
    fn event(&self, event: &Event<'_>) {
        if POLLING.get() && event.metadata().target() == "sqlx::query" {
            let mut count = self.count();
            count.begun += 1;
            count.ended += 1;
            if count.ended == count.at {
                drop(count);
                resume_unwind(Box::new(Cut));
            }
        }
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
}
