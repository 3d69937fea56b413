//! In which networks instances get their addresses: named ones, the project's own, a free VLAN
//! network, all shared flat ones.

use crate::fake_host::FakeHost;
use crate::world::{World, assert_refused, both, both_with, launch, refused};
use anyhow::Result;
use novanet_control::instances::Launch;
use novanet_control::{Caller, ControlError};
use novanet_model::carve::Request;
use novanet_model::{ImageId, NetworkId, NetworkKind};

async fn able(w: &World) -> FakeHost {
    let mut host = FakeHost::new(w.cloud.clone(), "h1");
    host.kinds.push(NetworkKind::Vlan);
    host.hello().await;
    host
}

async fn network(w: &World, kind: NetworkKind, range: &str, project: Option<&Caller>) -> NetworkId {
    let mut request = Request::new(kind, "n", range.parse().unwrap());
    request.bridge = match kind {
        NetworkKind::Flat => Some("br200".parse().unwrap()),
        NetworkKind::FlatDhcp => Some("br300".parse().unwrap()),
        NetworkKind::Vlan => None,
    };
    request.project = project.map(|caller| caller.project.clone());
    w.create_networks(&request).await.unwrap().networks[0].id
}

/// The networks of a new instance, by interface.
async fn launched(w: &World, caller: &Caller, named: &[NetworkId]) -> Result<Vec<NetworkId>> {
    let launch = Launch {
        networks: named.to_vec(),
        ..launch(ImageId(1))
    };
    let (ids, _) = w.run_instances(caller, &launch).await?;
    let ports = w.instance(caller, ids[0]).await?.ports;
    Ok(ports.iter().map(|port| port.network).collect())
}

#[test]
fn a_project_takes_a_free_vlan_network_with_its_first_instance_only() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let (web, mail) = (w.project("web").await, w.project("mail").await);
        let host = able(w).await;
        let flat = network(w, NetworkKind::Flat, "10.8.0.0/24", None).await;
        let dhcp = network(w, NetworkKind::FlatDhcp, "10.9.0.0/24", None).await;
        assert_eq!(launched(w, &mail, &[]).await?, [flat, dhcp]);
        let vlan = network(w, NetworkKind::Vlan, "10.1.0.0/24", None).await;
        assert_eq!(
            launched(w, &mail, &[]).await?,
            [flat, dhcp],
            "has an instance"
        );
        assert_eq!(launched(w, &web, &[]).await?, [vlan]);
        network(w, NetworkKind::Vlan, "10.2.0.0/24", None).await;
        assert_eq!(launched(w, &web, &[]).await?, [vlan], "its own");
        let own = network(w, NetworkKind::FlatDhcp, "10.7.0.0/24", Some(&mail)).await;
        assert_eq!(launched(w, &mail, &[]).await?, [own], "its own");
        w.assert_planned().await;
        drop(host);
        Ok(())
    });
}

#[test]
fn without_vlan_manager_or_a_host_that_has_802_1q_the_shared_networks_come_first() {
    let flat_manager = |config: &mut novanet_control::CloudConfig| {
        config.network_manager = NetworkKind::FlatDhcp;
    };
    both_with(flat_manager, async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let host = able(w).await;
        network(w, NetworkKind::Vlan, "10.1.0.0/24", None).await;
        let dhcp = network(w, NetworkKind::FlatDhcp, "10.9.0.0/24", None).await;
        assert_eq!(launched(w, &web, &[]).await?, [dhcp]);
        drop(host);
        Ok(())
    });
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let web = w.project("web").await;
        let host = w.host("h1").await;
        network(w, NetworkKind::Vlan, "10.1.0.0/24", None).await;
        let dhcp = network(w, NetworkKind::FlatDhcp, "10.9.0.0/24", None).await;
        assert_eq!(launched(w, &web, &[]).await?, [dhcp], "no host runs VLANs");
        drop(host);
        Ok(())
    });
}

#[test]
fn a_request_names_the_networks_of_the_interfaces() {
    both(async |w: &World| -> Result<()> {
        w.image().await;
        let (web, mail) = (w.project("web").await, w.project("mail").await);
        let host = able(w).await;
        let own = network(w, NetworkKind::Vlan, "10.1.0.0/24", Some(&web)).await;
        let foreign = network(w, NetworkKind::Vlan, "10.2.0.0/24", Some(&mail)).await;
        let free = network(w, NetworkKind::Vlan, "10.3.0.0/24", None).await;
        let flat = network(w, NetworkKind::Flat, "10.8.0.0/24", None).await;
        let dhcp = network(w, NetworkKind::FlatDhcp, "10.9.0.0/24", None).await;
        assert_eq!(launched(w, &web, &[dhcp, own]).await?, [dhcp, own]);
        assert_eq!(launched(w, &web, &[flat]).await?, [flat]);
        for hidden in [foreign, free, NetworkId(99)] {
            let refused = launched(w, &web, &[own, hidden]).await;
            let error = refused.unwrap_err().downcast::<ControlError>()?;
            let name = format!("network subnet-{:08x} not found", hidden.0);
            assert_refused!(Err::<(), _>(error), ControlError::NotFound { .. }, &name);
        }
        let twice = Launch {
            networks: vec![own, own],
            ..launch(ImageId(1))
        };
        let text = refused(w.run_instances(&web, &twice).await);
        assert!(text.contains("is named twice"), "{text}");
        assert_eq!(w.instances(&web).await?.len(), 2);
        w.assert_planned().await;
        drop(host);
        Ok(())
    });
}
