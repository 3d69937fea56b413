//! The user data of instances lies in the database sealed, and only the key opens it.

use crate::world::{World, both, launch};
use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use novanet_control::instances::Launch;
use novanet_control::{ControlError, PkiError};
use novanet_model::ImageId;

const SECRET: &[u8] = b"#!/bin/sh\npassword=s3cret\n";

fn secret() -> Launch {
    Launch {
        user_data: Some(SECRET.to_vec()),
        ..launch(ImageId(1))
    }
}

/// Both columns of all instances: what an earlier version wrote, and what is sealed.
async fn columns(w: &World) -> Result<Vec<(Option<Vec<u8>>, Option<Vec<u8>>)>> {
    let sql = "SELECT user_data, user_data_sealed FROM instances ORDER BY id";
    let mut tx = w.db().read().await?;
    Ok(sqlx::query_as(sql).fetch_all(&mut *tx).await?)
}

async fn by_hand(w: &World, sql: &'static str, data: &[u8]) -> Result<()> {
    let mut tx = w.db().begin_unplanned().await?;
    sqlx::query(sql).bind(data).execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(())
}

#[test]
fn user_data_lies_in_the_database_sealed_and_that_of_an_earlier_version_is_sealed_at_a_start() {
    both(async |w| {
        let web = w.project("web").await;
        w.image().await;
        w.network("10.0.0.0/24").await;
        let mut host = w.host("h1").await;
        let (ids, _) = w.run_instances(&web, &secret()).await?;
        host.round().await;
        let told = async || -> Result<Vec<u8>> {
            let told = w.metadata("h1", ids[0]).await?;
            Ok(STANDARD.decode(told.user_data.unwrap())?)
        };
        let is_sealed = async || -> Result<bool> {
            let (plain, sealed) = columns(w).await?.remove(0);
            let sealed = sealed.unwrap_or_default();
            let shown = sealed.windows(6).any(|part| part == b"s3cret");
            Ok(plain.is_none() && !sealed.is_empty() && !shown)
        };
        assert!(is_sealed().await?);
        assert_eq!(told().await?, SECRET);
        assert_eq!(w.seal_user_data().await?, 0);
        // A row of a version that did not seal it.
        let old = "UPDATE instances SET user_data = $1, user_data_sealed = NULL";
        by_hand(w, old, SECRET).await?;
        assert_eq!(told().await?, SECRET);
        assert_eq!(w.seal_user_data().await?, 1);
        assert!(is_sealed().await?);
        assert_eq!(told().await?, SECRET);
        // One instance's is no use in another's row.
        let (more, _) = w.run_instances(&web, &secret()).await?;
        host.round().await;
        let first = columns(w).await?.remove(0).1.unwrap();
        let all = "UPDATE instances SET user_data_sealed = $1";
        by_hand(w, all, &first).await?;
        let refused = w.metadata("h1", more[0]).await;
        let damaged = matches!(refused, Err(ControlError::Vault(PkiError::Damaged(_))));
        assert!(damaged, "{refused:?}");
        // Without the key nothing is written that could not be read.
        let refused = w.without_key().await.run_instances(&web, &secret()).await;
        assert!(
            matches!(refused, Err(ControlError::Unavailable(_))),
            "{refused:?}"
        );
        assert_eq!(columns(w).await?.len(), 2);
        Ok(())
    });
}
