//! The firewall subsystem with another backend than nftables: everything above the backend trait
//! works without a packet filter.

use crate::firewall_objects::*;
use crate::firewall_world::block_on;
use novanet_agent::firewall::{Firewall, FirewallBackend, HostPolicy, Intent};
use novanet_reconcile::{Change, Desired, Foreign, Reconciler, Subsystem, SubsystemError};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::Notify;
use tokio::time::Instant;

type Rules = BTreeMap<String, String>;

/// What a packet filter would hold, shared with the test.
#[derive(Debug, Clone, Default)]
struct FakeKernel(Arc<Mutex<Rules>>);

impl FakeKernel {
    fn rules(&self) -> MutexGuard<'_, Rules> {
        self.0.lock().unwrap()
    }
}

/// One line for each intent.
#[derive(Debug)]
struct FakeBackend {
    kernel: FakeKernel,
    policy: HostPolicy,
    /// The key that the kernel refuses.
    refuses: &'static str,
    changed: Arc<Notify>,
    warnings: BTreeMap<String, String>,
}

impl FakeBackend {
    fn new(kernel: &FakeKernel, refuses: &'static str) -> Self {
        let mut settings = settings(std::path::Path::new("/nowhere"));
        settings.source_follows = true;
        Self {
            kernel: kernel.clone(),
            policy: HostPolicy::new(&settings),
            refuses,
            changed: Arc::default(),
            warnings: BTreeMap::new(),
        }
    }
}

impl FirewallBackend for FakeBackend {
    type Key = String;
    type Value = String;

    fn base(&self) -> Vec<(String, String)> {
        let source = self.policy.source.map(|source| source.to_string());
        vec![("base".to_owned(), source.unwrap_or_default())]
    }

    fn items(&self, intent: Intent<'_>) -> Vec<(String, String)> {
        let (key, value) = match intent {
            Intent::Gateway(o) => (format!("gateway {}", o.bridge), o.address.to_string()),
            Intent::FloatingIp(o) => (format!("floating {}", o.address), o.fixed.to_string()),
            Intent::Group(o) => (o.group.to_string(), o.project.to_string()),
            Intent::Rule(o) => (format!("rule {}", o.rule), o.group.to_string()),
            Intent::Member(o) => (format!("{} member {}", o.group, o.address), String::new()),
            Intent::Block(o) => (format!("block {}", o.block), o.source.to_string()),
            Intent::ProjectAddress(o) => (format!("project {}", o.address), o.project.to_string()),
            Intent::Unrouted(o) => (format!("unrouted {}", o.network), o.server.to_string()),
            Intent::Port(o) => (format!("port {}", o.name), o.mac.to_string()),
            Intent::VpnForward(o) => (
                format!("vpn {}:{}", o.address, o.port),
                format!("{}:{}", o.to_address, o.to_port),
            ),
        };
        vec![(key, value)]
    }

    fn follow(&mut self, source: Option<Ipv4Addr>) -> Vec<(String, String)> {
        let other = self.policy.follow(source);
        if other { self.base() } else { Vec::new() }
    }

    fn changed_externally(&self) -> Arc<Notify> {
        self.changed.clone()
    }

    async fn observe(&mut self) -> Result<Rules, SubsystemError> {
        Ok(self.kernel.rules().clone())
    }

    async fn apply(
        &mut self,
        changes: &[Change<String, String>],
        _desired: &Desired<String, String>,
    ) -> Vec<(String, SubsystemError)> {
        let mut failed = Vec::new();
        let mut rules = self.kernel.rules();
        for Change { key, to, .. } in changes {
            if key == self.refuses {
                let error = SubsystemError::Refused("no room".to_owned());
                failed.push((key.clone(), error));
                continue;
            }
            match to {
                Some(value) => rules.insert(key.clone(), value.clone()),
                None => rules.remove(key),
            };
        }
        failed
    }

    fn warnings(&self) -> &BTreeMap<String, String> {
        &self.warnings
    }

    async fn show(&self) -> Result<String, SubsystemError> {
        let rules = self.kernel.rules();
        Ok(rules.iter().fold(String::new(), |text, (key, value)| {
            format!("{text}{key} {value}\n")
        }))
    }
}

#[test]
fn a_round_with_another_backend_makes_repairs_and_removes_its_items() {
    let kernel = FakeKernel::default();
    let backend = FakeBackend::new(&kernel, "");
    let mut firewall = Reconciler::new(Firewall::with_backend(backend));
    let mut objects = two_projects();
    objects.push(float(13, 3));
    firewall.set_objects(&objects);
    let first = block_on(firewall.round(Instant::now()));
    assert_eq!((first.applied, first.failed), (1 + objects.len(), 0));
    let right = kernel.rules().clone();
    assert_eq!(right["base"], PUBLIC.to_string());
    assert_eq!(right["floating 203.0.113.13"], "10.0.0.3");
    assert_eq!(right["port nv3"], mac(3).to_string());

    kernel.rules().remove("port nv3");
    kernel
        .rules()
        .insert("floating 203.0.113.99".to_owned(), "10.0.0.9".to_owned());
    let second = block_on(firewall.round(Instant::now()));
    assert_eq!((second.applied, second.failed), (2, 0));
    assert_eq!(*kernel.rules(), right);
    let shown = block_on(firewall.subsystem().show()).unwrap();
    assert!(shown.contains("gateway br100 10.0.0.1/24\n"), "{shown}");

    firewall.change(&float(13, 3).key(), None);
    assert_eq!(block_on(firewall.settle(Instant::now())).applied, 1);
    assert!(!kernel.rules().contains_key("floating 203.0.113.13"));
}

#[test]
fn what_another_backend_refuses_is_reported_by_object_and_stops_nothing() {
    let kernel = FakeKernel::default();
    let backend = FakeBackend::new(&kernel, "rule 2");
    let mut firewall = Reconciler::new(Firewall::with_backend(backend));
    let objects = two_projects();
    firewall.set_objects(&objects);
    let round = block_on(firewall.round(Instant::now()));
    assert_eq!((round.applied, round.failed), (objects.len(), 1));
    let errors = firewall.errors();
    let errors: Vec<_> = errors
        .iter()
        .map(|(key, why)| (key.0.as_str(), why.as_str()))
        .collect();
    assert_eq!(errors, [("rule/1/2", "firewall rule 2: no room")]);
}

#[test]
fn the_base_of_another_backend_follows_the_hosts_address() {
    let mut firewall = Firewall::with_backend(FakeBackend::new(&FakeKernel::default(), ""));
    let moved = Foreign {
        source: Some(Ipv4Addr::new(203, 0, 113, 2)),
        ..Foreign::default()
    };
    let base = firewall.follow(&moved);
    assert_eq!(base, [("base".to_owned(), "203.0.113.2".to_owned())]);
    assert_eq!(firewall.base_items(), base);
    assert_eq!(firewall.follow(&moved), []);
}
