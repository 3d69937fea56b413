//! Provider rules: the operator's, for all instances of the cloud. They drop before anything
//! accepts; depends on the plan for all hosts.

use crate::caller::operator;
use crate::{Cloud, ControlError, Kind, Result};
use novanet_model::Ipv4Net;
use novanet_model::rows::Block;
use novanet_model::rule::{Source, Traffic};
use novanet_store::{Committed, PlanOwner, Tx, audit, blocks};

impl Cloud {
    /// From now on no instance hears this traffic.
    pub async fn block(&self, traffic: Traffic, source: Ipv4Net) -> Result<Committed> {
        let mut tx = self.db().begin_planned().await?;
        if find(&mut tx, traffic, source).await?.is_some() {
            return Err(ControlError::exists(Kind::Rule, describe(traffic, source)));
        }
        let block = blocks::insert(&mut tx, traffic, source.trunc()).await?;
        self.plan(&mut tx, [PlanOwner::Block(block.id)]).await?;
        record(&mut tx, "firewall.block", &block).await?;
        Ok(tx.commit().await?)
    }

    /// Takes such a rule away.
    pub async fn unblock(&self, traffic: Traffic, source: Ipv4Net) -> Result<Committed> {
        let mut tx = self.db().begin_planned().await?;
        let Some(block) = find(&mut tx, traffic, source).await? else {
            return Err(ControlError::not_found(
                Kind::Rule,
                describe(traffic, source),
            ));
        };
        blocks::delete(&mut tx, block.id).await?;
        self.plan(&mut tx, [PlanOwner::Block(block.id)]).await?;
        record(&mut tx, "firewall.unblock", &block).await?;
        Ok(tx.commit().await?)
    }

    /// All provider rules.
    pub async fn blocks(&self) -> Result<Vec<Block>> {
        let mut tx = self.db().read().await?;
        Ok(blocks::all(&mut tx).await?)
    }

    /// A new host gets them all.
    pub(crate) async fn plan_blocks(&self, tx: &mut Tx) -> Result<()> {
        let ids = blocks::ids(tx).await?;
        self.plan(tx, ids.into_iter().map(PlanOwner::Block)).await?;
        Ok(())
    }
}

async fn find(tx: &mut Tx, traffic: Traffic, source: Ipv4Net) -> Result<Option<Block>> {
    let source = source.trunc();
    let mut all = blocks::all(tx).await?.into_iter();
    Ok(all.find(|block| block.traffic == traffic && block.source == source))
}

async fn record(tx: &mut Tx, action: &str, block: &Block) -> Result<()> {
    let detail = describe(block.traffic, block.source);
    audit::record(
        tx,
        &operator(),
        action,
        None,
        &block.id.to_string(),
        &detail,
    )
    .await?;
    Ok(())
}

fn describe(traffic: Traffic, source: Ipv4Net) -> String {
    crate::group_ref::describe(traffic, Source::Cidr(source.trunc()))
}
