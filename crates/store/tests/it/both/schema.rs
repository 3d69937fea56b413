//! The schema's version, and whose database it is.

use crate::both::seed::{
    a_network, a_project, an_instance, insert, insert_instance, insert_network, interface, ip,
    mac_of,
};
use crate::engines::Fresh;
use anyhow::Result;
use novanet_model::plan::CloudSettings;
use novanet_store::{Db, Engine, PlanOwner, StoreError, interfaces, plan};

both! {
    bringing_the_schema_up_to_date_twice_does_nothing,
    an_upgrade_plans_instances_with_several_ports_again,
    an_older_schema_is_refused_with_the_command_that_helps,
    an_empty_database_is_version_0,
    a_newer_schema_is_refused_and_not_touched,
    a_schema_that_another_program_made_is_refused,
    a_schema_whose_making_was_cut_off_is_refused,
    novas_own_database_is_named_and_left_as_it_is,
    a_database_of_something_else_is_named_and_left_as_it_is,
    objects_of_instances_of_an_older_release_get_their_disk_size_and_are_not_planned_again,
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

async fn an_upgrade_plans_instances_with_several_ports_again(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let project = a_project(&mut tx, "web").await?;
    let network = insert_network(&mut tx, a_network("10.0.0.0/24")).await?;
    let other = insert_network(&mut tx, a_network("10.0.1.0/24")).await?;
    let one = insert_instance(&mut tx, &project, &[], None).await?;
    let two = insert_instance(&mut tx, &project, &[], None).await?;
    let ports = [
        interface(one, &network, 0, mac_of(ip("10.0.0.2"))),
        interface(two, &network, 0, mac_of(ip("10.0.0.3"))),
        interface(two, &other, 1, mac_of(ip("10.0.1.3"))),
    ];
    interfaces::insert(&mut tx, &ports).await?;
    tx.commit().await?;
    t.by_hand("DELETE FROM dirty").await?;
    t.by_hand("DELETE FROM _sqlx_migrations WHERE description = 'several ports'")
        .await?;
    t.migrate().await?;
    let mut tx = t.begin_planned().await?;
    assert_eq!(
        plan::take_dirty(&mut tx).await?,
        [PlanOwner::Instance(two)].into()
    );
    Ok(())
}

/// Every table with its number of rows.
async fn contents(t: &Fresh) -> Result<Vec<(String, i64)>> {
    let mut tx = t.read().await?;
    let mut all = vec![];
    for name in tables(t).await? {
        let count = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {name}"));
        all.push((name, sqlx::query_scalar(count).fetch_one(&mut *tx).await?));
    }
    Ok(all)
}

async fn tables(t: &Fresh) -> Result<Vec<String>> {
    let sql = match t.engine() {
        Engine::Sqlite => "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name",
        Engine::Postgres => {
            "SELECT CAST(tablename AS TEXT) FROM pg_tables \
             WHERE schemaname = current_schema() ORDER BY 1"
        }
    };
    Ok(sqlx::query_scalar(sql)
        .fetch_all(&mut *t.read().await?)
        .await?)
}

/// The error of every call that opens it, with the database's name as `DB`. Changes nothing.
async fn refusal(t: &Fresh) -> Result<String> {
    let before = contents(t).await?;
    let mut texts: Vec<StoreError> = vec![];
    texts.extend(Db::open(&t.url()).await.err());
    for done in [
        t.migrate().await,
        t.require_schema().await,
        t.schema_version().await.map(|_| ()),
    ] {
        texts.extend(done.err());
    }
    assert!(texts.len() >= 2, "{texts:?}");
    assert!(
        texts.iter().all(|e| matches!(e, StoreError::Refused(_))),
        "{texts:?}"
    );
    let text = texts[0].to_string();
    assert!(texts.iter().all(|e| e.to_string() == text), "{texts:?}");
    assert_eq!(contents(t).await?, before);
    Ok(text.replace(t.name(), "DB"))
}

async fn novas_own_database_is_named_and_left_as_it_is(t: Fresh) -> Result<()> {
    t.by_hand("DROP TABLE _sqlx_migrations").await?;
    t.by_hand("CREATE TABLE migrate_version (version BIGINT)")
        .await?;
    let text = refusal(&t).await?;
    insta::allow_duplicates! { insta::assert_snapshot!(text, @"database DB: is of nova itself, which kept other things in tables of the same names (it is left as it is: name an empty one with --sql_connection, or another --state_path)"); }
    Ok(())
}

async fn a_database_of_something_else_is_named_and_left_as_it_is(t: Fresh) -> Result<()> {
    // With a list of steps, as every program that uses the same library has one.
    for sql in [
        "UPDATE _sqlx_migrations SET version = 20240101000000 WHERE version = 1",
        "DELETE FROM _sqlx_migrations WHERE version <> 20240101000000",
    ] {
        t.by_hand(sql).await?;
    }
    let text = refusal(&t).await?;
    insta::allow_duplicates! { insta::assert_snapshot!(text, @"database DB: has tables that novanet did not make: _sqlx_migrations, accepted_epochs, address_cursors, … (it is left as it is: name an empty one with --sql_connection, or another --state_path)"); }
    t.by_hand("DELETE FROM _sqlx_migrations").await?;
    assert_eq!(refusal(&t).await?, text);
    t.by_hand("DROP TABLE _sqlx_migrations").await?;
    let text = refusal(&t).await?;
    assert!(text.contains("tables that novanet did not make"), "{text}");
    Ok(())
}

async fn a_schema_whose_making_was_cut_off_is_refused(t: Fresh) -> Result<()> {
    t.by_hand("UPDATE _sqlx_migrations SET success = FALSE WHERE version = 1")
        .await?;
    let text = refusal(&t).await?;
    insta::allow_duplicates! { insta::assert_snapshot!(text, @"database DB: step 1 of its schema was cut off in the middle (restore it from a backup; it is left as it is: name an empty one with --sql_connection, or another --state_path)"); }
    Ok(())
}

async fn a_schema_that_another_program_made_is_refused(t: Fresh) -> Result<()> {
    t.by_hand("UPDATE _sqlx_migrations SET checksum = '' WHERE version = 1")
        .await?;
    let text = refusal(&t).await?;
    insta::allow_duplicates! { insta::assert_snapshot!(text, @"database DB: was made by another program: step 1 of its schema differs (use the novanet that made it; it is left as it is: name an empty one with --sql_connection, or another --state_path)"); }
    Ok(())
}

async fn an_older_schema_is_refused_with_the_command_that_helps(t: Fresh) -> Result<()> {
    // A step that this program has and the database has not.
    t.by_hand(
        "DELETE FROM _sqlx_migrations WHERE version = (SELECT max(version) FROM _sqlx_migrations)",
    )
    .await?;
    let (have, want) = t.schema_version().await?;
    assert!(have < want, "{have} of {want}");
    let error = t.require_schema().await.unwrap_err();
    assert!(matches!(error, StoreError::Refused(_)), "{error:?}");
    assert_eq!(
        error.to_string(),
        format!(
            "database {}: its schema is version {have}, this program needs {want} \
             (run: nova-manage db sync)",
            t.name()
        )
    );
    Ok(())
}

async fn an_empty_database_is_version_0(t: Fresh) -> Result<()> {
    let file = t.file().map(|file| file.with_extension("empty"));
    let db = if let Some(file) = &file {
        Db::open(&crate::engines::sqlite_url(file)).await?
    } else {
        // Nothing but an empty list of steps counts as empty, too.
        let reset = "DROP SCHEMA public CASCADE; CREATE SCHEMA public; \
                     CREATE TABLE _sqlx_migrations (version BIGINT, success BOOLEAN, \
                     description TEXT, checksum BYTEA, execution_time BIGINT)";
        let mut tx = t.begin_unplanned().await?;
        sqlx::raw_sql(reset).execute(&mut *tx).await?;
        tx.commit().await?;
        t.again().await?
    };
    assert_eq!(db.schema_version().await?.0, 0);
    let text = db.require_schema().await.unwrap_err().to_string();
    assert!(text.contains("nova-manage db sync"), "{text}");
    db.migrate().await?;
    db.require_schema().await?;
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

async fn objects_of_instances_of_an_older_release_get_their_disk_size_and_are_not_planned_again(
    t: Fresh,
) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let project = a_project(&mut tx, "web").await?;
    let mut owners = vec![];
    for size in novanet_model::instance_type::INSTANCE_TYPES {
        let mut row = an_instance(&mut tx, &project, &[]).await?;
        row.host = Some("h1".to_owned());
        row.instance_type = size.name.to_owned();
        (row.memory_mb, row.vcpus) = (size.memory_mb, size.vcpus);
        insert(&mut tx, &row, &[]).await?;
        owners.push(PlanOwner::Instance(row.id));
    }
    let settings = CloudSettings::default();
    plan::replan(&mut tx, &settings, owners.clone()).await?;
    // As the older release wrote them.
    for size in ["20", "40", "80", "160"] {
        let part = format!(",\"disk_gb\":{size},");
        let cut = sqlx::query("UPDATE host_objects SET body = replace(body, $1, ',')")
            .bind(part)
            .execute(&mut *tx);
        cut.await?;
    }
    sqlx::query("DELETE FROM _sqlx_migrations WHERE description = 'disk gb'")
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;

    t.migrate().await?;
    let mut tx = t.begin_planned().await?;
    let changed = plan::replan(&mut tx, &settings, owners).await?;
    assert_eq!(changed, 0);
    Ok(())
}
