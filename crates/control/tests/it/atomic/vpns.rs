//! The use cases of projects' VPNs, tried like those of the table.

use super::Trial;
use crate::fake_host::FakeHost;
use crate::world::name;
use anyhow::Result;

pub(super) async fn all(
    t: &Trial<'_>,
    hosts: &mut [FakeHost; 2],
    tried_twice: &[&str],
) -> Result<()> {
    let shop = name("shop");
    t.several("run_vpn", tried_twice, async |c| {
        c.run_vpn(&shop, None).await
    })
    .await?;
    t.one("vpn_profile", async |c| c.vpn_profile(&shop, "ann").await)
        .await?;
    let elsewhere = "203.0.113.77".parse()?;
    t.one("change_vpn", async |c| {
        c.change_vpn(&shop, elsewhere, 1077).await
    })
    .await?;
    t.one("revoke_user", async |c| c.revoke_user("ann", None).await)
        .await?;
    t.one("stop_vpn", async |c| c.stop_vpn(&shop).await).await?;
    for host in hosts.iter_mut() {
        host.round().await;
    }
    t.w.scrub_project(&shop, true).await?;
    for host in hosts {
        host.round().await;
    }
    Ok(())
}
