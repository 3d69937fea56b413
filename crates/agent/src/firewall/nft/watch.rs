//! Notices changes of our tables by other programs: until the agent repairs them, the host may be
//! open. Depends on nfnetlink.
//!
//! The kernel sends every transaction to a multicast group: its messages, then its number. The
//! sender's netlink port tells ours from foreign ones. The port of the `nft` program is its process
//! number: the kernel gives a process's first socket that port. If the port is taken, it gives
//! another one; then the program's transaction counts as foreign, and the agent writes once more.
//! Counting transactions would not do: a script that changes nothing makes none.

use super::families::Families;
use crate::netlink::nf_tables::{GENERATION_ID, NEW_GENERATION};
use crate::netlink::nfnetlink::{Received, Socket, big};
use novanet_reconcile::SubsystemError;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::Notify;

/// `NFNLGRP_NFTABLES`, as a bit.
const GROUP: u32 = 1 << 6;

/// How long a notification of a finished transaction may take: the watcher only has to read it.
const NOTIFICATION_TIMEOUT: Duration = Duration::from_secs(1);

/// A running watch; ends when dropped.
#[derive(Debug)]
pub(super) struct Watch {
    changed_externally: Arc<Notify>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The last transaction that the kernel announced, of any program and about any table.
    last: u32,
    /// The port of our program while it runs.
    program: Option<u32>,
    /// The program's transaction, if it was about our tables.
    own: Option<u32>,
    /// The last transaction of another program that touched our tables.
    foreign: Option<u32>,
    /// The socket overran: the next transaction may be one of many, and of any program.
    lost: bool,
}

/// The moment after which only our own transactions may have touched our tables: then their content
/// is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Since {
    /// The program's own transaction: it replaced everything.
    Itself,
    /// This transaction, after which the tables were as novanet wrote them.
    Number(u32),
    /// They were not certainly ours before.
    Unknown,
}

impl Watch {
    /// Starts a thread in the network namespace of the caller. Transactions from `port` are ours.
    pub(super) fn start(port: u32, families: Families) -> Result<Self, SubsystemError> {
        let fail = |error| SubsystemError::kernel("watch nftables", error);
        let socket = Socket::open(GROUP).map_err(fail)?;
        let changed_externally = Arc::new(Notify::new());
        let shared = Arc::new(Shared::default());
        let watcher = Watcher {
            socket,
            port,
            families,
            changed_externally: changed_externally.clone(),
            shared: Arc::downgrade(&shared),
        };
        std::thread::Builder::new()
            .name("nft-watch".to_owned())
            .spawn(move || watcher.run())
            .map_err(fail)?;
        Ok(Self {
            changed_externally,
            shared,
        })
    }

    /// Notified when another program changed our tables.
    pub(super) fn changed_externally(&self) -> Arc<Notify> {
        self.changed_externally.clone()
    }

    /// Our program has started; this is its process number.
    pub(super) fn program_starts(&self, process: u32) {
        let mut state = self.shared.lock();
        (state.program, state.own) = (Some(process), None);
    }

    /// Our program has failed, and changed nothing.
    pub(super) fn program_failed(&self) {
        let mut state = self.shared.lock();
        (state.program, state.own) = (None, None);
    }

    /// A program of another backend has made its transactions, if it had anything to do. Returns
    /// when the watcher has read about them.
    pub(super) fn other_program_done(&self, until: u32) {
        let mut state = self.shared.read_until(until);
        (state.program, state.own) = (None, None);
    }

    /// Our program has made its transaction, if it had anything to do. `true`: no other program
    /// touched our tables between `since` and `until`.
    pub(super) fn program_done(&self, since: Since, until: u32) -> bool {
        let mut state = self.shared.read_until(until);
        let complete = !is_before(state.last, until);
        let certain = complete && state.is_alone(since);
        if complete && since == Since::Itself && state.own.is_none() {
            tracing::warn!(
                "what nft wrote came from another process: if nft is a wrapper here, let it `exec` the program"
            );
        }
        (state.program, state.own) = (None, None);
        drop(state);
        if !certain {
            self.changed_externally.notify_one();
        }
        certain
    }
}

impl State {
    fn is_alone(&self, since: Since) -> bool {
        let since = match since {
            Since::Itself => self.own,
            Since::Number(number) => Some(number),
            Since::Unknown => None,
        };
        let touched = |since| self.foreign.is_some_and(|other| is_before(since, other));
        since.is_some_and(|since| !touched(since))
    }

    /// Records a transaction; `true`: another program's, about our tables.
    fn take(&mut self, end: End) -> bool {
        self.last = end.id;
        let ours = Some(end.port) == self.program;
        if end.touched && ours {
            self.own = Some(end.id);
        }
        let is_foreign = std::mem::take(&mut self.lost) || (end.touched && !ours);
        if is_foreign {
            self.foreign = Some(end.id);
        }
        is_foreign
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

    /// Waits until the watcher has read about the transaction `until`, at most for
    /// [`NOTIFICATION_TIMEOUT`].
    fn read_until(&self, until: u32) -> MutexGuard<'_, State> {
        let unread = |state: &mut State| is_before(state.last, until);
        let waited = self
            .news
            .wait_timeout_while(self.lock(), NOTIFICATION_TIMEOUT, unread);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

struct Watcher {
    socket: Socket,
    port: u32,
    families: Families,
    changed_externally: Arc<Notify>,
    /// Dropped together with the [`Watch`]; then the thread ends.
    shared: Weak<Shared>,
}

impl Watcher {
    /// Checks once a second (the socket's time limit) whether the watch still exists.
    fn run(mut self) {
        let mut touched = false;
        while let Some(shared) = self.shared.upgrade() {
            let mut ended = Vec::new();
            let (port, families) = (self.port, self.families);
            let received = self
                .socket
                .receive(|m| ended.extend(see(m, (port, families), &mut touched)));
            match received {
                Ok(()) => ended.into_iter().for_each(|end| self.record(&shared, end)),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
                // Overrun: the lost transactions may have been foreign.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    touched = false;
                    shared.lock().lost = true;
                    self.changed_externally.notify_one();
                }
                Err(error) => {
                    tracing::error!(%error, "nftables notifications ended; changes by others are found at the next round only");
                    return;
                }
            }
        }
    }

    fn record(&self, shared: &Shared, end: End) {
        if shared.lock().take(end) {
            tracing::info!(
                transaction = end.id,
                "somebody else changed our nftables tables"
            );
            self.changed_externally.notify_one();
        }
        shared.news.notify_all();
    }
}

/// The end of a transaction.
#[derive(Clone, Copy)]
struct End {
    id: u32,
    /// Netlink port of the sender.
    port: u32,
    /// It was about our tables, and did not come from our own socket.
    touched: bool,
}

/// Reads one notification: `touched` is whether the transaction so far was about our tables.
fn see(
    message: Received<'_>,
    (port, families): (u32, Families),
    touched: &mut bool,
) -> Option<End> {
    if message.kind != NEW_GENERATION {
        *touched |= families.concerns_us(message);
        return None;
    }
    let was = std::mem::take(touched);
    let id = message
        .attributes()
        .find(|(kind, _)| *kind == GENERATION_ID)
        .and_then(|(_, data)| big(data))?;
    Some(End {
        id,
        port: message.port,
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

    fn end(id: u32, port: u32) -> End {
        End {
            id,
            port,
            touched: true,
        }
    }

    #[test]
    fn only_what_the_program_alone_made_since_then_is_ours() {
        let mut state = State {
            program: Some(7),
            ..State::default()
        };
        assert!(state.take(end(10, 9)), "a stranger's");
        assert!(!state.take(end(11, 7)), "the program's");
        assert!(state.is_alone(Since::Itself) && state.is_alone(Since::Number(10)));
        assert!(!state.is_alone(Since::Number(9)) && !state.is_alone(Since::Unknown));
        state.take(end(12, 9));
        assert!(!state.is_alone(Since::Itself) && !state.is_alone(Since::Number(11)));
    }

    #[test]
    fn a_program_that_had_nothing_to_do_does_not_lend_its_name() {
        let mut state = State {
            program: Some(7),
            ..State::default()
        };
        state.take(end(11, 9));
        assert!(!state.is_alone(Since::Itself) && !state.is_alone(Since::Number(10)));
    }

    #[test]
    fn after_an_overrun_nothing_is_certain() {
        let mut state = State {
            program: Some(7),
            lost: true,
            ..State::default()
        };
        state.take(end(11, 7));
        assert!(!state.is_alone(Since::Number(10)));
    }
}
