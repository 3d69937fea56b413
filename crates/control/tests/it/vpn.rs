//! Projects' VPNs: one Cloudpipe at its address, outside of quotas, whose payload follows the
//! revocation list.

use crate::fake_host::FakeHost;
use crate::world::{World, both, both_with, caller, launch, name, refused};
use anyhow::Result;
use novanet_control::{Caller, CloudConfig, ControlError, Controllers};
use novanet_model::carve::Request;
use novanet_model::{ImageId, Micros, NetworkKind};
use std::net::Ipv4Addr;
use std::time::Duration;

/// A cloud with a project `web`, a network, an image for VPNs and a host `h1`.
fn with_vpn(promise: impl AsyncFn(&World, &mut FakeHost) -> Result<()>) {
    with_image("ami-00000001", promise);
}

fn with_image(image: &str, promise: impl AsyncFn(&World, &mut FakeHost) -> Result<()>) {
    let configure = |config: &mut CloudConfig| {
        image.clone_into(&mut config.vpn_image);
        config.quotas.instances = Some(1);
    };
    both_with(configure, async |w| {
        let mut host = w.host("h1").await;
        w.network("10.0.0.0/24").await;
        w.image().await;
        w.project("web").await;
        promise(w, &mut host).await
    });
}

fn boss() -> Caller {
    caller("boss-of-web", "web", true)
}

#[test]
fn two_runs_at_once_start_one_cloudpipe_at_the_reserved_address() {
    with_vpn(async |w, host| {
        let web = name("web");
        let (one, two) = tokio::join!(w.run_vpn(&web, None), w.run_vpn(&web, Some("boss-of-web")));
        let (one, two) = (one?, two?);
        assert_eq!(one.instance, two.instance);
        let _ = host;
        let boss = boss();
        let view = w.instance(&boss, one.instance).await?;
        assert_eq!(view.ports[0].address, one.vpn.private_address);
        assert_eq!(view.row.key_name.as_deref(), Some("web-vpn"));
        assert_eq!(view.groups[0].name, "web-vpn");
        // The quota is one instance, and the Cloudpipe is none of them.
        let (ids, _) = w.run_instances(&boss, &launch(ImageId(1))).await?;
        let address = w.instance(&boss, ids[0]).await?.ports[0].address;
        let vpn = &one.vpn;
        assert_ne!(address, vpn.private_address);
        assert!(!(vpn.clients.first..=vpn.clients.last).contains(&address));
        let refused = w.unreserve_fixed_ips(&[vpn.clients.first]).await;
        assert!(
            matches!(refused, Err(ControlError::InUse { .. })),
            "{refused:?}"
        );
        Ok(())
    });
}

#[test]
fn the_payload_is_the_same_until_a_certificate_is_revoked() {
    with_vpn(async |w, host| {
        let web = name("web");
        let id = w.run_vpn(&web, None).await?.instance;
        let payload = async || w.metadata(&host.name, id).await.map(|m| m.user_data);
        let first = payload().await?;
        assert!(first.is_some());
        assert_eq!(payload().await?, first);
        w.issue_certificate(&web, "boss-of-web").await?;
        assert_eq!(payload().await?, first);
        assert_eq!(w.revoke_user("boss-of-web", None).await?, ["web"]);
        let second = payload().await?;
        assert_ne!(second, first);
        // Twice is once.
        assert_eq!(w.revoke_user("boss-of-web", Some(&web)).await?, [""; 0]);
        assert_eq!(payload().await?, second);
        let unknown = w.revoke_user("nemo", None).await;
        assert!(matches!(unknown, Err(ControlError::NotFound { .. })));
        Ok(())
    });
}

#[test]
fn a_project_with_a_vpn_is_deleted_after_a_scrub_only() {
    with_vpn(async |w, host| {
        let web = name("web");
        let run = w.run_vpn(&web, None).await?;
        let refused = w.delete_project(&web).await;
        assert!(
            matches!(refused, Err(ControlError::InUse { .. })),
            "{refused:?}"
        );
        w.scrub_project(&web, false).await?;
        // Its host has not let go yet: the addresses stay away from others.
        let again = w.run_vpn(&web, None).await;
        assert!(
            matches!(again, Err(ControlError::InUse { .. })),
            "{again:?}"
        );
        host.round().await;
        host.round().await;
        assert!(w.vpns().await?.is_empty());
        let all = w.fixed_ips(None).await?;
        assert!(
            all.iter().all(|f| !f.reserved && f.instance.is_none()),
            "{all:?}"
        );
        let next = w.run_vpn(&web, None).await?;
        assert_ne!(next.instance, run.instance);
        assert_eq!(next.vpn.private_address, run.vpn.private_address);
        Ok(())
    });
}

#[test]
fn a_scrub_that_is_refused_leaves_the_vpn_as_it_is() {
    with_vpn(async |w, host| {
        let web = name("web");
        let run = w.run_vpn(&web, None).await?;
        let boss = boss();
        let (ids, _) = w.run_instances(&boss, &launch(ImageId(1))).await?;
        w.floats("203.0.113.200/31").await;
        let float = w.allocate_address(&boss, None).await?;
        let to = novanet_control::floating_ips::Association::to(ids[0]);
        w.associate_address(&boss, float.address.into(), &to)
            .await?;
        let said = refused(w.scrub_project(&web, false).await);
        assert!(said.contains("floating IP 203.0.113.200"), "{said}");
        host.round().await;
        assert_eq!(w.run_vpn(&web, None).await?.instance, run.instance);
        w.scrub_project(&web, true).await?;
        host.round().await;
        assert!(w.vpns().await?.is_empty());
        Ok(())
    });
}

#[test]
fn a_changed_public_side_is_the_hosts_and_nothing_elses() {
    with_vpn(async |w, host| {
        let web = name("web");
        w.run_vpn(&web, None).await?;
        let at = "203.0.113.77".parse()?;
        let (vpn, _) = w.change_vpn(&web, at, 2000).await?;
        assert_eq!((vpn.public_address, vpn.public_port), (at, 2000));
        host.round().await;
        let keys = host.objects.keys().map(ToString::to_string);
        let forwards: Vec<String> = keys.filter(|key| key.starts_with("vpn/")).collect();
        assert_eq!(forwards, ["vpn/203.0.113.77/2000"]);
        // The next VPN gets another port; no port is given twice.
        w.project("shop").await;
        let shop = name("shop");
        let next = w.run_vpn(&shop, None).await?.vpn;
        let said = refused(w.change_vpn(&shop, at, 2000).await);
        assert!(said.contains("the VPN of project web"), "{said}");
        assert_eq!(w.vpn(&shop).await?.public_port, next.public_port);
        w.floats("203.0.113.200/31").await;
        let float = "203.0.113.200".parse()?;
        let said = refused(w.change_vpn(&shop, float, 2000).await);
        assert!(said.contains("is a floating IP"), "{said}");
        let said = refused(w.change_vpn(&shop, at, 0).await);
        assert!(said.contains("must be 1 to 65535"), "{said}");
        Ok(())
    });
}

#[test]
fn more_clients_than_the_network_has_addresses_are_refused_by_name() {
    for (count, word) in [
        (300, "has no 300 free addresses"),
        (2000, "cnt_vpn_clients"),
    ] {
        let configure = |config: &mut CloudConfig| {
            "ami-00000001".clone_into(&mut config.vpn_image);
            config.network_defaults.cnt_vpn_clients = count;
        };
        both_with(configure, async |w| {
            w.host("h1").await;
            w.network("10.0.0.0/24").await;
            w.image().await;
            w.project("web").await;
            let said = refused(w.run_vpn(&name("web"), None).await);
            assert!(said.contains(word), "{said}");
            assert!(w.fixed_ips(None).await?.iter().all(|f| !f.reserved));
            Ok(())
        });
    }
}

#[test]
fn with_vpn_autostart_the_first_instance_in_a_vlan_network_starts_the_vpn() {
    let configure = |config: &mut CloudConfig| {
        "ami-00000001".clone_into(&mut config.vpn_image);
        config.vpn_autostart = true;
    };
    both_with(configure, async |w| {
        let mut host = w.host("h1").await;
        host.kinds.push(NetworkKind::Vlan);
        host.hello().await;
        let mut request = Request::new(NetworkKind::Vlan, "test", "10.1.0.0/24".parse()?);
        request.network_size = Some(256);
        w.create_networks(&request).await?;
        w.image().await;
        w.project("web").await;
        let mut controllers = Controllers::new("here");
        controllers.round(w).await?;
        assert!(w.vpns().await?.is_empty());
        w.run_instances(&boss(), &launch(ImageId(1))).await?;
        controllers.round(w).await?;
        let all = w.vpns().await?;
        let [view] = all.as_slice() else {
            panic!("{all:?}");
        };
        let id = view.vpn.instance.expect("a Cloudpipe");
        assert_eq!(view.vpn.private_address, "10.1.0.2".parse::<Ipv4Addr>()?);
        // cnt_vpn_clients was 0 when the network was made: five are taken at the top.
        assert_eq!(view.vpn.clients.to_string(), "10.1.0.250-10.1.0.254");
        // One that the operator has stopped stays so.
        w.stop_vpn(&name("web")).await?;
        host.round().await;
        controllers.round(w).await?;
        assert_eq!(w.vpn(&name("web")).await?.instance, Some(id));
        Ok(())
    });
}

#[test]
fn certificates_are_renewed_long_before_they_end_and_with_another_authority() {
    with_vpn(async |w, host| {
        let web = name("web");
        let id = w.run_vpn(&web, None).await?.instance;
        let first = w.vpn_secrets(&web).await?.certificate;
        let authority = w.authority(&web).await?;
        let day = Duration::from_hours(24);
        let soon = (novanet_control::now() + 30 * day).get();
        for statement in [
            format!("UPDATE certificates SET not_after = {soon}"),
            format!("UPDATE certificate_authorities SET not_after = {soon}"),
        ] {
            let mut connection = w.db().connection().await?;
            sqlx::query(sqlx::AssertSqlSafe(statement))
                .execute(&mut *connection)
                .await?;
        }
        let payload = async || w.metadata(&host.name, id).await.map(|m| m.user_data);
        let before = payload().await?;
        let mut controllers = Controllers::new("here");
        for _ in 0..60 {
            controllers.round(w).await?;
        }
        let second = w.vpn_secrets(&web).await?;
        assert_ne!(second.certificate, first);
        assert_ne!(payload().await?, before);
        let renewed = w.authority(&web).await?;
        assert!(Micros::from(renewed.not_after()) > novanet_control::now() + 19 * 365 * day);
        assert_eq!(renewed.private_key()?, authority.private_key()?);
        for _ in 0..60 {
            controllers.round(w).await?;
        }
        assert_eq!(w.vpn_secrets(&web).await?.certificate, second.certificate);
        // The root signs from now on.
        let switched = w.with(|config| config.use_project_ca = false).await;
        switched.run_vpn(&web, None).await?;
        let third = switched.vpn_secrets(&web).await?.certificate;
        assert_ne!(third, second.certificate);
        Ok(())
    });
}

#[test]
fn an_image_that_is_none_is_named_with_the_flag() {
    for (text, word) in [
        ("", "vpn_image_id"),
        ("0", "vpn_image_id"),
        ("tiny", "must look like ami-"),
        ("ami-00000063", "is no image here"),
    ] {
        with_image(text, async |w, _| {
            let said = refused(w.run_vpn(&name("web"), None).await);
            assert!(said.contains(word), "{said}");
            assert!(w.vpns().await?.is_empty());
            Ok(())
        });
    }
}

#[test]
fn a_vpn_of_no_project_is_refused() {
    both(async |w| {
        let said = "VPN of project nemo not found";
        assert_eq!(refused(w.vpn(&name("nemo")).await), said);
        assert_eq!(refused(w.stop_vpn(&name("nemo")).await), said);
        Ok(())
    });
}
