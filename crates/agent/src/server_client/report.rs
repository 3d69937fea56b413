//! Reports to the server: the host's progress, its addresses and routes, and lease events. Depends
//! on the engine and on the journal of leases.

use super::{Conversation, RequestError};
use novanet_model::wire::Leases;
use novanet_reconcile::jitter;
use std::sync::Arc;
use tokio::sync::Notify;

/// The most lease events in one request.
const BATCH: usize = 500;

/// Reports the host's progress after every round with changes, and as a heartbeat.
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
            // No object is in force yet; the introduction serves as a heartbeat.
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

/// Reports the host's addresses and routes after each change and after each introduction.
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
                // The server knows the request or this host no longer: again after the next
                // introduction.
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

/// Sends lease events, oldest first, until the server has all of them.
pub(super) async fn leases(conversation: &Conversation) {
    let Some(source) = &conversation.leases else {
        return;
    };
    let changed = source.changed();
    let mut outage = conversation.outage();
    loop {
        if conversation.engine.held().is_some() {
            // In another database the same addresses may belong to other instances.
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

/// Runs work on files on a thread where it blocks no other task.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(std::io::Error::other(error)))
}
