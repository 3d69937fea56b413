//! Provider rules.

use crate::engines::Fresh;
use anyhow::Result;
use novanet_model::rule::{Ports, Traffic};
use novanet_store::blocks;

both! { provider_rules_come_back_as_they_were_written, }

async fn provider_rules_come_back_as_they_were_written(t: Fresh) -> Result<()> {
    let mut tx = t.begin_planned().await?;
    let mail = Traffic::Tcp(Ports { from: 25, to: 25 });
    let one = blocks::insert(&mut tx, Traffic::Any, "192.0.2.0/24".parse()?).await?;
    let two = blocks::insert(&mut tx, mail, "0.0.0.0/0".parse()?).await?;
    assert_eq!(blocks::all(&mut tx).await?, [one.clone(), two.clone()]);
    assert_eq!(blocks::ids(&mut tx).await?, [one.id, two.id]);
    blocks::delete(&mut tx, one.id).await?;
    assert_eq!(blocks::by_id(&mut tx, one.id).await?, None);
    assert_eq!(blocks::by_id(&mut tx, two.id).await?, Some(two.clone()));
    let three = blocks::insert(&mut tx, mail, "192.0.2.7/32".parse()?).await?;
    assert!(three.id > two.id, "a rule's id is never another's");
    Ok(())
}
