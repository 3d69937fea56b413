//! Parts of a host in a test: the tiny image, a metadata source, shell helpers.

use futures_util::future::BoxFuture;
use novanet_agent::image::build::tiny;
use novanet_agent::image::{ImageError, ImageSource, Images};
use novanet_agent::instance::{Instances, PortAttacher};
use novanet_agent::metadata::{MetadataError, MetadataSource};
use novanet_agent::settings::Settings;
use novanet_model::object::{Instance, Port, port_name};
use novanet_model::wire::{InstanceReport, Metadata};
use novanet_model::{CombinationId, IfName, InstanceId, MacAddr, NetworkId};
use novanet_reconcile::SubsystemError;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};
use tokio::sync::mpsc;

/// Runs a test on a thread whose network and mounts are its own. Threads and programs started from
/// it are in there too.
pub(crate) fn on_a_host(test: impl AsyncFnOnce() + Send + 'static) {
    let thread = std::thread::spawn(move || {
        use nix::mount::{MsFlags, mount};
        use nix::sched::{CloneFlags, unshare};
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        sh("ip link set lo up");
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap()
            .block_on(test());
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs a command line, which must succeed.
pub(crate) fn sh(line: &str) -> String {
    let output = Command::new("sh").args(["-c", line]).output().unwrap();
    assert!(
        output.status.success(),
        "{line}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Whether a command line succeeds.
pub(crate) fn succeeds(line: &str) -> bool {
    Command::new("sh")
        .args(["-c", line])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap()
        .success()
}

/// The tiny image, built once for all tests: its digest and its bytes.
pub(crate) fn image() -> &'static (String, Vec<u8>) {
    static IMAGE: OnceLock<(String, Vec<u8>)> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let built = tiny(&folder.path().join("tiny.tar")).unwrap();
        (built.digest, std::fs::read(built.path).unwrap())
    })
}

/// The tiny image and no other.
pub(crate) struct Tiny;

impl ImageSource for Tiny {
    fn fetch<'a>(
        &'a self,
        digest: &'a str,
        into: &'a Path,
    ) -> BoxFuture<'a, Result<(), ImageError>> {
        Box::pin(async move {
            let (known, bytes) = image();
            if digest != known {
                return Err(ImageError::Fetch {
                    digest: digest.to_owned(),
                    message: "there is no such image".to_owned(),
                });
            }
            std::fs::write(into, bytes).unwrap();
            Ok(())
        })
    }
}

/// A metadata source with the same answer for every instance.
pub(crate) struct Says(pub(crate) Metadata);

impl MetadataSource for Says {
    fn metadata(&self, instance: InstanceId) -> BoxFuture<'_, Result<Metadata, MetadataError>> {
        let metadata = Metadata {
            instance_id: instance.to_string(),
            hostname: format!("vm{}.novalocal", instance.0),
            local_ipv4: address(instance.0, 0).to_string(),
            ..self.0.clone()
        };
        Box::pin(async { Ok(metadata) })
    }
}

/// Attaches with the veth pairs of the link subsystem.
pub(crate) struct VethAttacher;

impl PortAttacher for VethAttacher {
    fn attach<'a>(
        &'a self,
        port: &'a Port,
        pid: i32,
        ifname: &'a str,
    ) -> BoxFuture<'a, Result<(), SubsystemError>> {
        Box::pin(novanet_agent::link::attach(port, pid, ifname))
    }
}

pub(crate) fn subsystem(
    settings: &Settings,
    reports: mpsc::UnboundedSender<InstanceReport>,
    attacher: Arc<dyn PortAttacher>,
) -> Instances {
    let source = Arc::new(Tiny);
    let images = Images::new(&settings.state_path, settings.instance_uid_base, source).unwrap();
    Instances::new(settings, Arc::new(images), attacher, reports)
}

pub(crate) fn mac(number: i64, index: u32) -> MacAddr {
    let number = u8::try_from(number).unwrap();
    MacAddr::for_instance([0, u8::try_from(index).unwrap(), number])
}

pub(crate) fn address(number: i64, index: u32) -> Ipv4Addr {
    let number = u8::try_from(number).unwrap();
    Ipv4Addr::new(10, 0, u8::try_from(index).unwrap(), 1 + number)
}

pub(crate) fn port(number: i64, index: u32) -> Port {
    Port {
        instance: InstanceId(number),
        index,
        network: NetworkId(1),
        name: port_name(InstanceId(number), index),
        bridge: IfName::new("br100").unwrap(),
        mac: mac(number, index),
        address: address(number, index),
        vpn_clients: None,
        siblings: Vec::new(),
        combination: CombinationId(1),
        groups: Vec::new(),
    }
}

/// Whether there is such a process that is no zombie.
pub(crate) fn is_running(pid: i64) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/status"))
        .is_ok_and(|text| !text.contains("State:\tZ"))
}

/// Waits until a command line fails: the kernel takes a network namespace apart in its own time.
pub(crate) async fn until_fails(line: &str) {
    novanet_lab::eventually_async(std::time::Duration::from_secs(20), || async {
        if succeeds(line) { Err(line) } else { Ok(()) }
    })
    .await
    .unwrap();
}

/// A small instance with one port.
pub(crate) fn instance(number: i64) -> Instance {
    Instance {
        instance: InstanceId(number),
        hostname: format!("vm{number}"),
        image: image().0.clone(),
        memory_mb: 128,
        vcpus: 1,
        disk_gb: 0,
        ports: 1,
        boot: 1,
        halted: false,
        injected: None,
        more_injected: Vec::new(),
    }
}
