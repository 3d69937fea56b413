//! Authorities and certificates.

use super::seed::{a_project, name};
use crate::engines::Fresh;
use anyhow::Result;
use novanet_model::Micros;
use novanet_store::certificates::{self, Authority, Certificate};
use novanet_store::projects;

both! {
    the_first_authority_of_a_project_stays,
    revoking_a_user_ends_its_certificates_once_in_the_projects_asked_for,
    a_project_takes_its_authority_along_and_its_other_certificates_are_revoked,
}

fn authority(project: &str, sealed: u8) -> Authority {
    Authority {
        project: project.to_owned(),
        certificate: format!("PEM {sealed}"),
        sealed_key: vec![sealed, 0, 255],
        not_after: Micros::new(i64::MAX),
    }
}

fn certificate(serial: &str, authority: &str, project: &str, user: &str) -> Certificate {
    Certificate {
        serial: serial.to_owned(),
        authority: authority.to_owned(),
        project: project.to_owned(),
        user: user.to_owned(),
        certificate: "PEM".to_owned(),
        not_before: Micros::new(1),
        not_after: Micros::new(100),
        revoked_at: None,
    }
}

async fn the_first_authority_of_a_project_stays(t: Fresh) -> Result<()> {
    let mut tx = t.begin_unplanned().await?;
    assert_eq!(certificates::authority(&mut tx, "").await?, None);
    for (project, sealed) in [("", 1), ("web", 2), ("", 3)] {
        certificates::insert_authority(&mut tx, &authority(project, sealed)).await?;
    }
    let root = certificates::authority(&mut tx, "").await?;
    assert!(root == Some(authority("", 1)));
    assert!(!format!("{root:?}").contains("255"));
    let web = certificates::authority(&mut tx, "web").await?;
    assert!(web == Some(authority("web", 2)));
    Ok(())
}

async fn revoking_a_user_ends_its_certificates_once_in_the_projects_asked_for(
    t: Fresh,
) -> Result<()> {
    let mut tx = t.begin_unplanned().await?;
    certificates::insert_authority(&mut tx, &authority("", 1)).await?;
    for (serial, project, user) in [
        ("01", "web", "john"),
        ("02", "shop", "john"),
        ("03", "web", "ann"),
        ("04", "web", ""),
    ] {
        certificates::insert(&mut tx, &certificate(serial, "", project, user)).await?;
    }
    let web = name("web");
    let revoked = certificates::revoke_user(&mut tx, "john", Some(&web)).await?;
    assert_eq!(revoked, ["web"]);
    let once = certificates::revoke_user(&mut tx, "john", Some(&web)).await?;
    assert!(once.is_empty(), "{once:?}");
    let listed = certificates::revoked(&mut tx, "", Micros::new(50)).await?;
    assert_eq!(listed, [("01".to_owned(), tx.now)]);
    let expired = certificates::revoked(&mut tx, "", Micros::new(100)).await?;
    assert!(expired.is_empty(), "{expired:?}");
    let elsewhere = certificates::revoked(&mut tx, "web", Micros::new(50)).await?;
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
    assert_eq!(
        certificates::revoke_user(&mut tx, "john", None).await?,
        ["shop"]
    );
    // A server's certificate has no user.
    assert!(
        certificates::revoke_user(&mut tx, "", None)
            .await?
            .is_empty()
    );
    let johns = certificates::of_user(&mut tx, "john").await?;
    let johns: Vec<_> = johns.iter().map(|c| (&*c.serial, &*c.project)).collect();
    assert_eq!(johns, [("01", "web"), ("02", "shop")]);
    let rows = certificates::of_project(&mut tx, &web).await?;
    let found: Vec<_> = rows.iter().map(|c| (&*c.serial, c.revoked_at)).collect();
    assert_eq!(found, [("01", Some(tx.now)), ("03", None), ("04", None)]);
    Ok(())
}

async fn a_project_takes_its_authority_along_and_its_other_certificates_are_revoked(
    t: Fresh,
) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let web = a_project(&mut tx, "web").await?;
    for project in ["", "web"] {
        certificates::insert_authority(&mut tx, &authority(project, 1)).await?;
    }
    for (serial, authority) in [("01", ""), ("02", "web")] {
        certificates::insert(&mut tx, &certificate(serial, authority, "web", "ann")).await?;
    }
    certificates::leave_project(&mut tx, &web).await?;
    projects::delete(&mut tx, &web).await?;
    assert_eq!(certificates::authority(&mut tx, "web").await?, None);
    let left = certificates::of_project(&mut tx, &web).await?;
    let left: Vec<_> = left.iter().map(|c| (&*c.serial, c.revoked_at)).collect();
    assert_eq!(left, [("01", Some(tx.now))]);
    assert!(certificates::authority(&mut tx, "").await?.is_some());
    assert!(!projects::exists(&mut tx, "web").await?);
    Ok(())
}
