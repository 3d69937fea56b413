//! The schema's version.

use crate::engines::Fresh;
use anyhow::Result;
use novanet_store::StoreError;

both! {
    bringing_the_schema_up_to_date_twice_does_nothing,
    an_older_schema_is_refused_with_the_command_that_helps,
    an_empty_database_is_version_0,
    a_newer_schema_is_refused_and_not_touched,
    a_schema_that_another_program_made_is_refused,
}

async fn bringing_the_schema_up_to_date_twice_does_nothing(t: Fresh) -> Result<()> {
    let (have, want) = t.schema_version().await?;
    assert_eq!(have, want);
    let before = novanet_store::clock::read(&mut *t.read().await?).await?;
    t.migrate().await?;
    t.require_schema().await?;
    let after = novanet_store::clock::read(&mut *t.read().await?).await?;
    assert_eq!(after, before, "the same epoch");
    Ok(())
}

async fn an_older_schema_is_refused_with_the_command_that_helps(t: Fresh) -> Result<()> {
    // A step in the middle that this program has and the database has not.
    t.by_hand("DELETE FROM _sqlx_migrations WHERE version = 1")
        .await?;
    let (have, want) = t.schema_version().await?;
    assert_eq!(have, want - 1);
    let error = t.require_schema().await.unwrap_err();
    assert!(matches!(error, StoreError::Refused(_)), "{error:?}");
    assert_eq!(
        error.to_string(),
        format!(
            "the database's schema is version {have}, this program needs {want} \
             (run: nova-manage db sync)"
        )
    );
    Ok(())
}

async fn an_empty_database_is_version_0(t: Fresh) -> Result<()> {
    t.by_hand("DROP TABLE _sqlx_migrations").await?;
    assert_eq!(t.schema_version().await?.0, 0);
    let text = t.require_schema().await.unwrap_err().to_string();
    assert!(text.contains("nova-manage db sync"), "{text}");
    Ok(())
}

async fn a_newer_schema_is_refused_and_not_touched(t: Fresh) -> Result<()> {
    t.by_hand(
        "INSERT INTO _sqlx_migrations SELECT 77, description, installed_on, success, checksum, \
         execution_time FROM _sqlx_migrations WHERE version = 1",
    )
    .await?;
    for result in [t.require_schema().await, t.migrate().await] {
        let error = result.unwrap_err();
        assert!(matches!(error, StoreError::Refused(_)), "{error:?}");
        assert!(
            error.to_string().ends_with("(use the newer novanet)"),
            "{error}"
        );
    }
    Ok(())
}

async fn a_schema_that_another_program_made_is_refused(t: Fresh) -> Result<()> {
    t.by_hand("UPDATE _sqlx_migrations SET checksum = '' WHERE version = 1")
        .await?;
    let error = t.migrate().await.unwrap_err();
    assert!(matches!(error, StoreError::Refused(_)), "{error:?}");
    assert!(error.to_string().ends_with("step 1 differs"), "{error}");
    Ok(())
}
