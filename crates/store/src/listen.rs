//! Listens to PostgreSQL's notifications of changes by other processes (SQLite has none), and wakes
//! the hints. A notification can be lost with its connection, so followers poll the clock row too;
//! a notification only saves them the wait for the next poll.

use crate::{Db, Engine};
use sqlx::postgres::PgListener;
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::watch;

/// What [`Db::begin_planned`] notifies.
const CHANNEL: &str = "novanet";

/// Followers are not woken more often: a busy cloud commits hundreds of times a second, and each
/// look brings everything since the last.
const BREATH: Duration = Duration::from_millis(100);

/// First pause after a failure; doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Longest pause between two attempts.
const MAX_PAUSE: Duration = Duration::from_secs(5);

impl Db {
    /// Hears of other processes' changes and passes them on as hints, until it is dropped. It comes
    /// back by itself when its connection is lost. Does nothing on SQLite.
    pub async fn listen(&self) {
        if self.engine() == Engine::Sqlite {
            return std::future::pending().await;
        }
        let mut pause = FIRST_PAUSE;
        loop {
            let Err(error) = self.hear(&mut pause).await;
            if pause > FIRST_PAUSE {
                tracing::debug!(%error, "no notifications from PostgreSQL");
            } else {
                tracing::warn!(%error, "no notifications from PostgreSQL; polling goes on");
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }

    /// One listener's life. Its own coming back after a lost connection covers that alone: it fails
    /// on the words with which a server says goodbye, so what it says is not asked again.
    async fn hear(&self, pause: &mut Duration) -> sqlx::Result<Infallible> {
        let options = self.pool().connect_options();
        let mut listener = PgListener::connect(options.database_url.as_str()).await?;
        listener.listen(CHANNEL).await?;
        *pause = FIRST_PAUSE;
        // Notifications before the LISTEN are lost.
        self.hints().wake_all();
        let (newest, news) = watch::channel(0);
        let hearing = async {
            loop {
                match listener.try_recv().await? {
                    Some(told) => {
                        let version = told.payload().parse::<i64>().unwrap_or_default();
                        newest.send_modify(|last| *last = (*last).max(version));
                    }
                    // The connection was lost, and is there again.
                    None => self.hints().wake_all(),
                }
            }
        };
        tokio::select! {
            ended = hearing => ended,
            never = self.pass_on(news) => never,
        }
    }

    /// The first of many at once, the rest together.
    async fn pass_on<T>(&self, mut news: watch::Receiver<i64>) -> T {
        while news.changed().await.is_ok() {
            let version = *news.borrow_and_update();
            self.hints().tell_all(version);
            tokio::time::sleep(BREATH).await;
        }
        // The other side lives as long as this one.
        std::future::pending().await
    }
}
