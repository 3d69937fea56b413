//! Aborts a use case at its n-th statement, as the death of its process or of its client does.
//! Depends on the tracing events and spans of sqlx.
//!
//! sqlx reports the end of every statement: SQLite's thread enters and leaves the span of the task
//! that sent the statement, PostgreSQL's driver writes an event. So the injector counts statements
//! instead of polls, and knows that the abort has happened.
//!
//! * SQLite: the database executes the n-th statement, the use case does not receive the answer,
//!   and sends no other statement.
//! * PostgreSQL: the use case receives the answer to the n-th statement and sends no other: a
//!   caught panic ends the poll right there. (Dropping the future at its next wait would be too
//!   late: on a busy machine the answers to some statements arrive before the future has to wait
//!   for them.)

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
    /// Set while this thread polls a use case: other threads execute its statements.
    static POLLING: Cell<bool> = const { Cell::new(false) };
}

/// Aborts use cases, one at a time.
pub(crate) struct AbortInjector {
    dispatch: Dispatch,
    /// With only one subscriber in the process, `tracing` would cache the first thread's answer
    /// whether a call site is enabled for all threads.
    _other: Dispatch,
    watch: Watch,
}

#[derive(Clone, Default)]
struct Watch {
    count: Arc<Mutex<Count>>,
    /// Locked during a poll, so that the use case cannot continue while its last statement runs.
    gate: Arc<Mutex<()>>,
}

/// The panic that ends a poll.
struct Abort;

#[derive(Default)]
struct Count {
    /// The span of this abort; the injector ignores events of earlier ones.
    span: u64,
    metadata: Option<&'static Metadata<'static>>,
    /// Abort after this many statements.
    at: usize,
    begun: usize,
    ended: usize,
    waker: Option<Waker>,
}

impl AbortInjector {
    pub(crate) fn new() -> Self {
        let watch = Watch::default();
        Self {
            dispatch: Dispatch::new(watch.clone()),
            _other: Dispatch::new(Watch::default()),
            watch,
        }
    }

    /// Runs `work` to its end. Answers with its number of statements.
    pub(crate) async fn count<F: Future>(&self, work: F) -> (F::Output, usize) {
        let done = self.within(usize::MAX, work).await;
        let done = done.expect("no use case has so many statements");
        (done, self.watch.count().begun)
    }

    /// Drops `work` after `at` of its statements; `None`: it was dropped.
    pub(crate) async fn within<F: Future>(&self, at: usize, work: F) -> Option<F::Output> {
        let span = self.watch.count().span + 1;
        *self.watch.count() = Count {
            span,
            at,
            ..Count::default()
        };
        // Only for its metadata: the span that sqlx takes as the current one is made of it.
        tracing::dispatcher::with_default(&self.dispatch, || {
            drop(tracing::debug_span!(target: "aborts", "use case"));
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
            // Now, during the last statement: SQLite's thread ends a transaction only after its
            // client has received the answer or was dropped.
            *work = None;
        }
        let polled = work.as_mut().map(|work| {
            POLLING.set(true);
            let poll =
                || tracing::dispatcher::with_default(&self.dispatch, || work.as_mut().poll(cx));
            let polled = catch_unwind(AssertUnwindSafe(poll));
            POLLING.set(false);
            polled.unwrap_or_else(|end| match end.downcast::<Abort>() {
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
    /// Wakes this task from now on. `true`: the last statement has begun.
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
        metadata.target() == "aborts"
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

    /// SQLite's thread ends it.
    fn exit(&self, span: &Id) {
        if self.is_mine(span) {
            self.count().end();
        }
    }

    /// sqlx has read PostgreSQL's answer to a statement, during a poll of the use case.
    fn event(&self, event: &Event<'_>) {
        if POLLING.get() && event.metadata().target() == "sqlx::query" {
            let mut count = self.count();
            count.begun += 1;
            count.ended += 1;
            if count.ended == count.at {
                drop(count);
                resume_unwind(Box::new(Abort));
            }
        }
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
}
