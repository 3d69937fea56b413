//! A server whose database is not the one that the host's ledger is of: the host keeps what it has.

use crate::engine_support as cloud;
use crate::engine_support::eventually;
use crate::protocol::{Agent, has, server_sees, socket};
use crate::protocol_server::Cloud;
use novanet_agent::local;
use novanet_model::ObjectKey;
use novanet_model::wire::{Answer, Question};
use novanet_reconcile::fake::FakeHost;
use std::path::Path;

/// Waits until the server hears that its database is not this host's; the words.
async fn held(cloud: &Cloud) -> String {
    let key = ObjectKey("host/database".to_owned());
    let found = std::cell::RefCell::new(String::new());
    eventually("host/database in the status", || {
        let last = cloud.state().statuses.last().cloned();
        let mut errors = last.iter().flat_map(|status| &status.errors);
        match errors.find(|error| error.key == key) {
            Some(error) => {
                error.message.clone_into(&mut found.borrow_mut());
                Ok(())
            }
            None => Err(last.clone()),
        }
    })
    .await;
    found.into_inner()
}

/// A host with two floating IPs, both in force.
async fn settled(dir: &Path, host: &FakeHost, cloud: &Cloud) -> Agent {
    cloud.change(&[cloud::float(1, 1)], &[]);
    let version = cloud.change(&[cloud::float(2, 2)], &[]);
    let agent = Agent::start(host, dir, None);
    has(host, "firewall float/203.0.0.2", Some("10.0.0.2")).await;
    server_sees(cloud, version).await;
    agent
}

#[tokio::test]
async fn nothing_is_changed_or_removed_for_another_database_until_the_operator_decides() {
    let dir = tempfile::tempdir().unwrap();
    let (host, cloud) = (FakeHost::new(), Cloud::new());
    let _serving = cloud.serve(&socket(dir.path()));
    let agent = settled(dir.path(), &host, &cloud).await;
    let before = host.items();

    cloud.restore("e2", 9, &[cloud::float(1, 7), cloud::float(3, 3)]);
    let words = held(&cloud).await;
    for part in [
        "epoch e2",
        "epoch e1",
        "does not know 1 other objects",
        "nova-manage db restored --adopt",
        "--drop",
    ] {
        assert!(words.contains(part), "{part} is not in {words:?}");
    }
    assert_eq!(host.items(), before);
    let plan = local::ask(dir.path(), &Question::Plan { diff: true }).await;
    let Answer::Text { text } = plan.unwrap() else {
        panic!("no plan")
    };
    assert!(text.contains("the server is not followed: "), "{text}");
    // Nor after a restart.
    agent.stop().await;
    cloud.state().statuses.clear();
    let _agent = Agent::start(&host, dir.path(), None);
    held(&cloud).await;
    assert_eq!(host.items(), before);

    cloud.state().accepts = vec!["e1".to_owned()];
    has(&host, "firewall float/203.0.0.1", Some("10.0.0.7")).await;
    has(&host, "firewall float/203.0.0.2", None).await;
    has(&host, "firewall float/203.0.0.3", Some("10.0.0.3")).await;
    eventually("a clean status", || {
        let errors = cloud.state().statuses.last().unwrap().errors.clone();
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    })
    .await;
}

#[tokio::test]
async fn nothing_is_changed_or_removed_for_an_older_copy_and_the_right_database_ends_that() {
    let dir = tempfile::tempdir().unwrap();
    let (host, cloud) = (FakeHost::new(), Cloud::new());
    let _serving = cloud.serve(&socket(dir.path()));
    let _agent = settled(dir.path(), &host, &cloud).await;
    let before = host.items();
    let objects = cloud.state().objects.clone();
    cloud.restore("e1", 1, &[cloud::float(1, 1)]);
    let words = held(&cloud).await;
    assert!(
        words.contains("its clock is at 1, this host has seen 2"),
        "{words}"
    );
    assert_eq!(host.items(), before);
    // The right one is brought back.
    cloud.state().objects = objects;
    cloud.state().version = 2;
    let version = cloud.change(&[cloud::float(4, 4)], &[]);
    has(&host, "firewall float/203.0.0.4", Some("10.0.0.4")).await;
    server_sees(&cloud, version).await;
}

#[tokio::test]
async fn an_older_copy_that_has_gone_on_is_noticed_by_what_it_never_had() {
    let dir = tempfile::tempdir().unwrap();
    let (host, cloud) = (FakeHost::new(), Cloud::new());
    let serving = cloud.serve(&socket(dir.path()));
    let agent = settled(dir.path(), &host, &cloud).await;
    let before = host.items();
    agent.stop().await;
    drop(serving);
    // As far as the host, with other objects.
    cloud.restore("e1", 1, &[cloud::float(1, 1)]);
    cloud.change(&[cloud::float(5, 5)], &[]);
    let _serving = cloud.serve(&socket(dir.path()));
    let _agent = Agent::start(&host, dir.path(), None);
    let words = held(&cloud).await;
    assert!(words.contains("never had objects of this host"), "{words}");
    assert_eq!(host.items(), before);
}
