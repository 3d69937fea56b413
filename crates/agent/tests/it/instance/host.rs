//! A host in namespaces of its own: a bridge, dnsmasq, the tiny image, an instances subsystem and
//! the little engine that a test needs. Everything goes when it is dropped, on panic too.

use super::parts::{
    Says, Tiny, VethAttacher, address, image, instance, mac, port, sh, subsystem, succeeds,
};
use crate::subsystem::Driven;
use novanet_agent::image::Images;
use novanet_agent::instance::{Instances, Key};
use novanet_agent::metadata::serve;
use novanet_agent::settings::Settings;
use novanet_lab::eventually_async;
use novanet_model::wire::{InstanceReport, InstanceState, Metadata};
use novanet_model::{HostObject, IfName, InstanceId};
use novanet_reconcile::{Subsystem, SubsystemError};
use std::net::Ipv4Addr;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// Time limit of each wait.
const LIMIT: Duration = Duration::from_mins(1);

/// The host.
pub(crate) struct Host {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) settings: Settings,
    driven: Driven<Instances>,
    pub(crate) reports: mpsc::UnboundedReceiver<InstanceReport>,
    pub(crate) seen: Vec<InstanceReport>,
    dnsmasq: Option<Child>,
    metadata: Option<tokio::task::JoinHandle<std::io::Result<()>>>,
}

pub(crate) fn settings(state_path: &Path) -> Settings {
    let eth0 = IfName::new("eth0").unwrap();
    Settings {
        instance_uid_base: 1_000_000,
        ..Settings::with_defaults("host1", Ipv4Addr::new(10, 0, 0, 1), eth0, state_path)
    }
}

impl Deref for Host {
    type Target = Driven<Instances>;
    fn deref(&self) -> &Driven<Instances> {
        &self.driven
    }
}

impl DerefMut for Host {
    fn deref_mut(&mut self) -> &mut Driven<Instances> {
        &mut self.driven
    }
}

impl Host {
    /// A host with an empty subsystem.
    pub(crate) fn new() -> Self {
        Self::new_in(&std::env::temp_dir())
    }

    /// As [`Self::new`], with its files in a temporary folder in here.
    pub(crate) fn new_in(parent: &Path) -> Self {
        Self::with_settings(parent, |_| {})
    }

    /// As [`Self::new_in`], with other settings.
    pub(crate) fn with_settings(parent: &Path, change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir_in(parent).unwrap();
        sh(
            "ip link add dev br100 address 02:16:3d:00:00:01 type bridge && \
            ip addr add 10.0.0.1/24 dev br100 && ip link set br100 up && \
            ip addr add 169.254.169.254/32 dev lo",
        );
        let mut settings = settings(&folder.path().join("state"));
        change(&mut settings);
        let (sender, reports) = mpsc::unbounded_channel();
        let subsystem = subsystem(&settings, sender, Arc::new(VethAttacher));
        Self {
            folder,
            driven: Driven::new(subsystem),
            settings,
            reports,
            seen: Vec::new(),
            dnsmasq: None,
            metadata: None,
        }
    }

    /// A DHCP server that knows the first `count` instances.
    pub(crate) fn with_dhcp(mut self, count: i64) -> Self {
        let hosts: Vec<_> = (1..=count)
            .map(|n| format!("{},{},vm{n}", mac(n, 0), address(n, 0)))
            .collect();
        let file = self.folder.path().join("hosts");
        std::fs::write(&file, hosts.join("\n")).unwrap();
        let child = Command::new("dnsmasq")
            .args([
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--interface=br100",
                "--bind-interfaces",
                "--except-interface=lo",
                "--no-resolv",
                "--no-hosts",
                "--dhcp-range=10.0.0.2,static,255.255.255.0,120",
                "--dhcp-authoritative",
                "--log-facility=/dev/null",
                "--pid-file=",
                "--user=root",
                "--domain=novalocal",
            ])
            .arg(format!("--dhcp-hostsfile={}", file.display()))
            .arg(format!(
                "--dhcp-leasefile={}",
                self.folder.path().join("leases").display()
            ))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        self.dnsmasq = Some(child);
        self
    }

    /// A host that runs instance 1, with a DHCP server that knows it.
    pub(crate) async fn with_one_running() -> Self {
        let mut host = Self::new().with_dhcp(1);
        host.want_instance(1);
        host.until(1, InstanceState::Running, 1).await;
        host
    }

    /// A metadata service with this answer, and the asking instance's own id and address.
    pub(crate) async fn with_metadata(mut self, said: Metadata) -> Self {
        let listener = TcpListener::bind("169.254.169.254:80").await.unwrap();
        let find = |address: Ipv4Addr| match address.octets() {
            [10, 0, 0, n @ 2..=254] => Some(InstanceId(i64::from(n) - 1)),
            _ => None,
        };
        let folder = self.folder.path().join("metadata");
        let serving = serve(listener, find, Arc::new(Says(said)), folder);
        self.metadata = Some(tokio::spawn(serving));
        self
    }

    /// Kills the agent and starts a new one on the same state.
    pub(crate) fn restart_agent(&mut self) {
        let (sender, reports) = mpsc::unbounded_channel();
        self.subsystem = subsystem(&self.settings, sender, Arc::new(VethAttacher));
        self.reports = reports;
        self.seen.clear();
    }

    /// Desires instance `number` with one port.
    pub(crate) fn want_instance(&mut self, number: i64) {
        self.want(&HostObject::Instance(instance(number)));
        self.want(&HostObject::Port(port(number, 0)));
    }

    /// Desires it no more.
    pub(crate) fn unwant_instance(&mut self, number: i64) {
        self.drop_object(&HostObject::Instance(instance(number)));
        self.drop_object(&HostObject::Port(port(number, 0)));
    }

    /// Has the image in the cache, so that what follows is about instances only.
    pub(crate) async fn fetch_image(&self) {
        let source = Arc::new(Tiny);
        let base = self.settings.instance_uid_base;
        let images = Images::new(&self.settings.state_path, base, source).unwrap();
        images.ensure(&image().0).await.unwrap();
    }

    /// One round of the engine. Returns the number of changes and the errors.
    pub(crate) async fn round(&mut self) -> (usize, Vec<(Key, SubsystemError)>) {
        let driven = &mut self.driven;
        let changes = driven.changes().await;
        let errors = driven.subsystem.apply(&changes, &driven.desired).await;
        (changes.len(), errors)
    }

    pub(crate) fn take_reports(&mut self) {
        while let Ok(report) = self.reports.try_recv() {
            self.seen.push(report);
        }
    }

    /// Waits until an instance is reported in this state, with rounds in between.
    pub(crate) async fn until(&mut self, number: i64, state: InstanceState, boot: i64) {
        let start = Instant::now();
        loop {
            self.round().await;
            self.take_reports();
            let last = self
                .seen
                .iter()
                .rfind(|report| report.instance == InstanceId(number));
            if last.is_some_and(|r| {
                r.state == state && (r.boot == boot || state == InstanceState::Gone)
            }) {
                return;
            }
            assert!(
                start.elapsed() < LIMIT,
                "{number} is not {state:?}: {:?}\n{:?}",
                self.seen,
                self.subsystem.console(InstanceId(number))
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits for a line on the console.
    pub(crate) async fn until_console(&self, number: i64, text: &str) {
        eventually_async(LIMIT, || async {
            let console = self.console(number);
            if console.contains(text) {
                Ok(())
            } else {
                Err(console)
            }
        })
        .await
        .unwrap();
    }

    /// Runs a command in an instance as its root, over ssh.
    pub(crate) fn ssh(&self, number: i64, command: &str) -> String {
        sh(&format!(
            "HOME={} dbclient -y -y -i {} root@{} '{command}'",
            self.folder.path().display(),
            self.key_file().display(),
            address(number, 0),
        ))
    }

    fn key_file(&self) -> PathBuf {
        self.folder.path().join("key")
    }

    /// Makes a key pair for [`Self::ssh`] and returns its public half.
    pub(crate) fn make_key(&self) -> String {
        let file = self.key_file();
        sh(&format!(
            "dropbearkey -t ed25519 -f {} 2>/dev/null | grep ^ssh-",
            file.display()
        ))
    }

    /// Runs a command line in an instance as its root. Returns its output.
    pub(crate) fn inside(&self, number: i64, command: &str) -> String {
        sh(&format!(
            "nsenter -t {} -a /bin/busybox sh -c '{command}' 2>&1",
            self.pid(number)
        ))
    }

    /// The process that an instance runs as.
    pub(crate) fn pid(&self, number: i64) -> i64 {
        let file = self
            .settings
            .state_path
            .join(format!("instances/{}/state.json", InstanceId(number)));
        let state: serde_json::Value =
            serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        state["process"]["pid"].as_i64().unwrap()
    }

    pub(crate) fn console(&self, number: i64) -> String {
        self.subsystem
            .console(InstanceId(number))
            .map_or_else(String::new, Result::unwrap)
    }

    /// Waits for the answer to a ping.
    pub(crate) async fn until_ping(&self, number: i64) {
        let address = address(number, 0);
        eventually_async(LIMIT, || async {
            if succeeds(&format!("ping -n -c 1 -W 0.05 {address}")) {
                Ok(())
            } else {
                Err(self.console(number))
            }
        })
        .await
        .unwrap();
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(task) = self.metadata.take() {
            task.abort();
        }
        if let Some(mut child) = self.dnsmasq.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let state = self.settings.state_path.join("runtime/state");
        for entry in std::fs::read_dir(&state).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let _ = Command::new("runc")
                .arg("--root")
                .arg(&state)
                .args(["delete", "--force"])
                .arg(name)
                .status();
        }
        if let Ok(oci) = novanet_agent::instance::oci::Oci::probe(&self.settings) {
            novanet_agent::instance::Driver::sweep(&oci);
        }
    }
}
