//! Notices when somebody else changes our tables: until that is repaired, the host may be open.
//!
//! The kernel tells every transaction to a multicast group: its messages, then the number of the
//! transaction. Our own are known by the netlink port that sent them (elements), or, as the `nft`
//! program has a port of its own, by their number: while it runs, verdicts wait.

use super::super::netlink::{Received, Socket, big};
use super::dump::{self, SUBSYSTEM};
use crate::room::RoomError;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::Notify;

/// `NFNLGRP_NFTABLES`, as a bit.
const GROUP: u32 = 1 << 6;
const NEW_GENERATION: u16 = SUBSYSTEM + 15;
const GENERATION_ID: u16 = 1;

/// A running watch; ends when dropped.
#[derive(Debug)]
pub(super) struct Watch {
    disturbed: Arc<Notify>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Transactions of ours by the `nft` program whose notification has not come yet.
    ours: Vec<u32>,
    /// The program is running: whose these are is not known yet.
    waiting: Option<Vec<u32>>,
}

impl Watch {
    /// Starts watching in the network namespace of the calling thread. What `port` sends is ours.
    pub(super) fn start(port: u32) -> Result<Self, RoomError> {
        let fail = |error| RoomError::kernel("watch nftables", error);
        let socket = Socket::open(GROUP).map_err(fail)?;
        let disturbed = Arc::new(Notify::new());
        let state = Arc::new(Mutex::new(State::default()));
        let watcher = Watcher {
            socket,
            port,
            disturbed: disturbed.clone(),
            state: Arc::downgrade(&state),
        };
        std::thread::Builder::new()
            .name("nft-watch".to_owned())
            .spawn(move || watcher.run())
            .map_err(fail)?;
        Ok(Self { disturbed, state })
    }

    /// What is notified.
    pub(super) fn disturbed(&self) -> Arc<Notify> {
        self.disturbed.clone()
    }

    /// Our program starts.
    pub(super) fn program_starts(&self) {
        lock(&self.state).waiting = Some(Vec::new());
    }

    /// Our program has ended; `own` is the transaction that is certainly its own.
    pub(super) fn program_ended(&self, own: Option<u32>) {
        let mut state = lock(&self.state);
        let mut seen = state.waiting.take().unwrap_or_default();
        if let Some(own) = own {
            let before = seen.len();
            seen.retain(|generation| *generation != own);
            if seen.len() == before {
                state.ours.push(own);
                // A notification that was lost must not be remembered for ever.
                let old = state.ours.len().saturating_sub(16);
                state.ours.drain(..old);
            }
        }
        if !seen.is_empty() {
            self.disturbed.notify_one();
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Watcher {
    socket: Socket,
    port: u32,
    disturbed: Arc<Notify>,
    /// The watch's; gone when the watch is.
    state: Weak<Mutex<State>>,
}

impl Watcher {
    /// Looks once a second (the socket's time limit) whether the watch is still there.
    fn run(mut self) {
        let mut touched = false;
        while let Some(state) = self.state.upgrade() {
            let mut ended = Vec::new();
            let port = self.port;
            let received = self
                .socket
                .receive(|m| see(m, port, &mut touched, &mut ended));
            match received {
                Ok(()) => ended.into_iter().for_each(|id| self.judge(&state, id)),
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

    /// A transaction of somebody's touched our tables.
    fn judge(&self, state: &Mutex<State>, generation: u32) {
        let mut state = lock(state);
        if let Some(at) = state.ours.iter().position(|own| *own == generation) {
            state.ours.remove(at);
        } else if let Some(waiting) = &mut state.waiting {
            waiting.push(generation);
        } else {
            drop(state);
            tracing::info!(generation, "somebody else changed our nftables tables");
            self.disturbed.notify_one();
        }
    }
}

/// Reads one notification: `touched` is whether the transaction so far was about our tables;
/// its end goes to `ended`, if it was, and if it did not come from `port`.
fn see(message: Received<'_>, port: u32, touched: &mut bool, ended: &mut Vec<u32>) {
    if message.kind != NEW_GENERATION {
        *touched |= dump::is_ours(message);
        return;
    }
    let was = std::mem::take(touched);
    if was && message.port != port {
        let id = message
            .attributes()
            .find(|(kind, _)| *kind == GENERATION_ID)
            .and_then(|(_, data)| big(data));
        ended.push(id.unwrap_or(0));
    }
}
