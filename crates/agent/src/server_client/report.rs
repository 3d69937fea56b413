//! What goes up without being asked: how far the host is, and what happened to leases.

use super::{Conversation, RequestError};
use novanet_model::wire::Leases;
use novanet_reconcile::jitter;
use std::sync::Arc;
use tokio::sync::Notify;

/// Lease events sent at once.
const BATCH: usize = 500;

/// Says how far the host is after every round with changes, and as a heartbeat.
pub(super) async fn statuses(conversation: &Conversation) {
    let Conversation {
        client,
        engine,
        pace,
        ..
    } = conversation;
    let news = engine.news();
    let mut outage = conversation.outage();
    loop {
        let status = engine.status();
        if status.epoch.is_empty() {
            // Nothing is in force yet; the host's hello says that it is alive.
            news.notified().await;
            continue;
        }
        match client.status(&status).await {
            Ok(()) => {
                engine.reported(&status);
                outage.ended("status");
            }
            Err(error) => {
                outage.failed("status", &error).await;
                continue;
            }
        }
        tokio::select! {
            () = news.notified() => {}
            () = tokio::time::sleep(jitter(pace.heartbeat)) => {}
        }
    }
}

/// Says which addresses and routes the host has, when they change and to each server anew.
pub(super) async fn addresses(conversation: &Conversation, joined: &Notify) {
    let mut foreign = conversation.engine.foreign();
    let mut outage = conversation.outage();
    joined.notified().await;
    let mut said = None;
    loop {
        let seen = foreign.borrow_and_update().clone();
        let seen = seen.map(|foreign| foreign.addresses.clone());
        if let Some(addresses) = seen.filter(|seen| said.as_ref() != Some(seen)) {
            match conversation.client.addresses(&addresses).await {
                Ok(()) => outage.ended("addresses"),
                // A server that does not know the question, or not this host any more: it is asked
                // again after the next introduction.
                Err(error @ RequestError::Refused { .. }) => {
                    tracing::warn!(%error, "the server does not take the host's addresses");
                }
                Err(error) => {
                    outage.failed("addresses", &error).await;
                    continue;
                }
            }
            said = Some(addresses);
        }
        tokio::select! {
            changed = foreign.changed() => if changed.is_err() {
                return std::future::pending().await; // the engine has ended
            },
            () = joined.notified() => said = None,
        }
    }
}

/// Passes lease events on, oldest first, until the server has all of them.
pub(super) async fn leases(conversation: &Conversation) {
    let Some(source) = &conversation.leases else {
        return;
    };
    let changed = source.changed();
    let mut outage = conversation.outage();
    loop {
        if conversation.engine.held().is_some() {
            // They wait: the same addresses may be others' there.
            tokio::time::sleep(jitter(conversation.pace.heartbeat)).await;
            continue;
        }
        let journal = Arc::clone(source);
        let events = match blocking(move || journal.pending(BATCH)).await {
            Ok(events) => events,
            Err(error) => {
                outage.failed("lease journal", &error).await;
                continue;
            }
        };
        if events.is_empty() {
            changed.notified().await;
            continue;
        }
        let count = events.len();
        if let Err(error) = conversation.client.leases(&Leases { events }).await {
            outage.failed("leases", &error).await;
            continue;
        }
        outage.ended("leases");
        let journal = Arc::clone(source);
        if let Err(error) = blocking(move || journal.acknowledge(count)).await {
            outage.failed("lease journal", &error).await;
        }
    }
}

/// The journal is a file: not on the tasks that serve everything else.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(std::io::Error::other(error)))
}
