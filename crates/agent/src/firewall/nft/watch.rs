//! Notices when somebody else changes our tables: until that is repaired, the host may be open.
//!
//! The kernel tells every transaction to a multicast group: its messages, then the number of the
//! transaction. Our own are known by the netlink port that sent them (elements). The `nft` program
//! has a port of its own, so while it runs verdicts wait: if one transaction at the most touched our
//! tables meanwhile, it was the program's, whatever others did to theirs. (None, where the script
//! asked for what was so already: emptying an empty chain is no transaction.)

use super::super::netlink::{Received, Socket, big};
use super::dump::{self, SUBSYSTEM};
use crate::room::RoomError;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::Notify;

/// `NFNLGRP_NFTABLES`, as a bit.
const GROUP: u32 = 1 << 6;
const NEW_GENERATION: u16 = SUBSYSTEM + 15;
const GENERATION_ID: u16 = 1;

/// How long the notification of a transaction that is done may take: it only has to be read.
const LATE: Duration = Duration::from_secs(1);

/// A running watch; ends when dropped.
#[derive(Debug)]
pub(super) struct Watch {
    disturbed: Arc<Notify>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The last transaction that was told of, whoever's and whatever it was about.
    last: u32,
    /// The program is running; these touched our tables meanwhile.
    waiting: Option<Vec<u32>>,
}

impl Watch {
    /// Starts watching in the network namespace of the calling thread. What `port` sends is ours.
    pub(super) fn start(port: u32) -> Result<Self, RoomError> {
        let fail = |error| RoomError::kernel("watch nftables", error);
        let socket = Socket::open(GROUP).map_err(fail)?;
        let disturbed = Arc::new(Notify::new());
        let shared = Arc::new(Shared::default());
        let watcher = Watcher {
            socket,
            port,
            disturbed: disturbed.clone(),
            shared: Arc::downgrade(&shared),
        };
        std::thread::Builder::new()
            .name("nft-watch".to_owned())
            .spawn(move || watcher.run())
            .map_err(fail)?;
        Ok(Self { disturbed, shared })
    }

    /// What is notified.
    pub(super) fn disturbed(&self) -> Arc<Notify> {
        self.disturbed.clone()
    }

    /// Our program starts.
    pub(super) fn program_starts(&self) {
        self.shared.lock().waiting = Some(Vec::new());
    }

    /// Our program has failed, and changed nothing.
    pub(super) fn program_failed(&self) {
        let seen = self.shared.lock().waiting.take();
        if seen.is_some_and(|seen| !seen.is_empty()) {
            self.disturbed.notify_one();
        }
    }

    /// Our program has made its transaction, if it had anything to do. Whether nobody else's after
    /// `before`, and up to `until`, touched our tables.
    pub(super) fn program_done(&self, before: u32, until: u32) -> bool {
        let (mut state, _) = self
            .shared
            .news
            .wait_timeout_while(self.shared.lock(), LATE, |state| {
                is_before(state.last, until)
            })
            .unwrap_or_else(PoisonError::into_inner);
        let complete = !is_before(state.last, until);
        let seen = state.waiting.take().unwrap_or_default();
        drop(state);
        // The news of what was before may come as late as after the program's start.
        let (mine, others): (Vec<_>, Vec<_>) = seen
            .into_iter()
            .partition(|id| is_before(before, *id) && !is_before(until, *id));
        let alone = complete && mine.len() <= 1;
        if !alone || !others.is_empty() {
            self.disturbed.notify_one();
        }
        alone
    }
}

/// Numbers of transactions wrap round.
fn is_before(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() < 0
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Watcher {
    socket: Socket,
    port: u32,
    disturbed: Arc<Notify>,
    /// The watch's; gone when the watch is.
    shared: Weak<Shared>,
}

impl Watcher {
    /// Looks once a second (the socket's time limit) whether the watch is still there.
    fn run(mut self) {
        let mut touched = false;
        while let Some(shared) = self.shared.upgrade() {
            let mut ended = Vec::new();
            let port = self.port;
            let received = self
                .socket
                .receive(|m| ended.extend(see(m, port, &mut touched)));
            match received {
                Ok(()) => ended.into_iter().for_each(|end| self.judge(&shared, end)),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
                // Overrun: what was lost may have been anything.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    touched = false;
                    self.disturbed.notify_one();
                }
                Err(error) => {
                    tracing::error!(%error, "nftables notifications ended; changes by others are found at the next round only");
                    return;
                }
            }
        }
    }

    fn judge(&self, shared: &Shared, end: End) {
        let mut state = shared.lock();
        state.last = end.id;
        if let (true, Some(waiting)) = (end.touched, &mut state.waiting) {
            waiting.push(end.id);
        } else if end.touched {
            tracing::info!(
                transaction = end.id,
                "somebody else changed our nftables tables"
            );
            self.disturbed.notify_one();
        }
        drop(state);
        shared.news.notify_all();
    }
}

/// The end of a transaction.
#[derive(Clone, Copy)]
struct End {
    id: u32,
    /// It was about our tables, and did not come from our own socket.
    touched: bool,
}

/// Reads one notification: `touched` is whether the transaction so far was about our tables.
fn see(message: Received<'_>, port: u32, touched: &mut bool) -> Option<End> {
    if message.kind != NEW_GENERATION {
        *touched |= dump::is_ours(message);
        return None;
    }
    let was = std::mem::take(touched);
    let id = message
        .attributes()
        .find(|(kind, _)| *kind == GENERATION_ID)
        .and_then(|(_, data)| big(data))?;
    Some(End {
        id,
        touched: was && message.port != port,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_are_ordered_also_where_their_numbers_wrap() {
        assert!(is_before(1, 2) && !is_before(2, 2) && !is_before(3, 2));
        assert!(is_before(u32::MAX, 1) && !is_before(1, u32::MAX));
    }
}
