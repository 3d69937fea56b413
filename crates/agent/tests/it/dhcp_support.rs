//! A host with a real dnsmasq for the tests of DHCP, and real clients.

use crate::link::{State, sh};
use crate::subsystem::{Driven, binding, bridge, dhcp, gateway, name, port};
use novanet_agent::dhcp::{DhcpServers, Files, applet};
use novanet_agent::firewall::Firewall;
use novanet_agent::link::{Links, attach};
use novanet_agent::settings::Settings;
use novanet_lab::{Host, eventually_async};
use novanet_model::MacAddr;
use novanet_model::object::HostObject;
use novanet_model::wire::LeaseChange;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Time limit of each wait, for a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);
/// The address of the one instance that most tests have.
pub(crate) const WEB: [u8; 4] = [10, 0, 0, 3];

/// dnsmasq runs this test as its script, as it would run `novanet dhcpbridge`: the arguments come
/// in the environment (the harness would read them), the answer goes to descriptor 3.
const APPLET: &str = "NOVANET_TEST_APPLET";

#[test]
fn the_applet_that_dnsmasq_runs() {
    let env = |name: &str| std::env::var(name).ok();
    let folder = tempfile::tempdir().unwrap();
    let Ok(line) = std::env::var(APPLET) else {
        // As a plain test: without a journal the applet prints nothing.
        let mut out = Vec::new();
        let nowhere = |_: &str| Some(folder.path().display().to_string());
        applet::run(&["init".into()], &nowhere, &mut out).unwrap();
        assert!(out.is_empty());
        return;
    };
    let arguments: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
    let mut out = std::fs::File::options()
        .write(true)
        .open("/dev/fd/3")
        .unwrap();
    applet::run(&arguments, &env, &mut out).unwrap();
}

pub(crate) fn settings(state: &Path) -> Settings {
    let this = std::env::current_exe().unwrap().display().to_string();
    let line = format!(
        "{APPLET}=\"$*\" exec \"$0\" --exact dhcp_support::the_applet_that_dnsmasq_runs --nocapture 3>&1 >/dev/null"
    );
    Settings {
        dhcpbridge: vec!["/bin/sh".into(), "-c".into(), line, this],
        ..crate::subsystem::settings(state)
    }
}

/// A host with a bridge and a DHCP server.
pub(crate) struct Cloud {
    pub(crate) state: State,
    pub(crate) links: Driven<Links>,
    pub(crate) dhcp: Driven<DhcpServers>,
}

impl Cloud {
    pub(crate) async fn new() -> Self {
        let state = State::new();
        let settings = settings(state.path());
        let mut links = Driven::new(Links::new(&settings).unwrap());
        links.want(&bridge(1, "br100"));
        links.want(&gateway(1, "br100", "10.0.0.1/24"));
        links.converge().await;
        let mut dhcp = Driven::new(DhcpServers::new(&settings).unwrap());
        dhcp.want(&range());
        dhcp.converge().await;
        Self { state, links, dhcp }
    }

    /// Starts the agent again, with the same objects.
    pub(crate) fn restart(&mut self) {
        let desired = self.dhcp.desired.clone();
        self.dhcp = Driven::new(DhcpServers::new(&settings(self.state.path())).unwrap());
        self.dhcp.desired = desired;
    }

    pub(crate) fn files(&self) -> Files {
        Files::new(&self.state.path().join("networks"), &name("br100"))
    }

    pub(crate) fn pid(&self) -> i32 {
        std::fs::read_to_string(self.files().pid())
            .unwrap()
            .trim()
            .parse()
            .unwrap()
    }

    /// An instance's namespace, plugged.
    pub(crate) async fn instance(&mut self, number: u8) -> Host {
        let port = port(i64::from(number), "br100");
        self.links.want(&HostObject::Port(port.clone()));
        let vm = Host::new(&format!("vm{number}")).unwrap();
        attach(&port, i32::try_from(vm.pid()).unwrap(), "eth0")
            .await
            .unwrap();
        vm.sh("ip link set dev eth0 up").unwrap();
        vm
    }

    /// Instances `numbers`, each plugged and bound to `10.0.0.<number>`, and the firewall's rules
    /// for them.
    pub(crate) async fn guarded(numbers: &[u8]) -> (Self, Vec<Host>) {
        let mut cloud = Self::new().await;
        let mut firewall = Driven::new(Firewall::new(&settings(cloud.state.path())).unwrap());
        firewall.want(&gateway(1, "br100", "10.0.0.1/24"));
        let mut hosts = Vec::new();
        for number in numbers {
            firewall.want(&HostObject::Port(port((*number).into(), "br100")));
            hosts.push(cloud.instance(*number).await);
            cloud.bind(*number, [10, 0, 0, *number], "").await;
        }
        firewall.converge().await;
        (cloud, hosts)
    }

    /// Binds this address to this MAC, under this name.
    pub(crate) async fn bind(&mut self, mac: u8, address: [u8; 4], host: &str) {
        self.dhcp.want(&binding(1, "br100", mac, address, host));
        self.dhcp.converge().await;
    }

    /// Removes a binding.
    pub(crate) async fn unbind(&mut self, mac: u8, address: [u8; 4], host: &str) {
        self.dhcp
            .drop_object(&binding(1, "br100", mac, address, host));
        self.dhcp.converge().await;
    }

    /// One instance, bound to [`WEB`].
    pub(crate) async fn with_web() -> (Self, Host) {
        let mut cloud = Self::new().await;
        let vm = cloud.instance(1).await;
        cloud.bind(1, WEB, "web").await;
        (cloud, vm)
    }

    /// The client of this MAC takes its lease of [`WEB`], and the journal has it.
    pub(crate) async fn leased(&self, vm: &Host, mac: u8) {
        assert!(lease(vm).unwrap().starts_with("10.0.0.3 "));
        self.told(LeaseChange::Leased, WEB, mac).await;
    }

    /// Ends the server by a signal, and waits for its end.
    pub(crate) async fn end(&self, signal: &str) {
        let pid = self.pid();
        sh(&format!("kill -{signal} {pid}"));
        self.ended(pid).await;
    }

    /// Waits for the end of that server: of the process, which has its sockets for a
    /// moment longer than its command line, and of its helper, which has the same command line
    /// and looks like a server after the end of its parent.
    pub(crate) async fn ended(&self, pid: i32) {
        let mark = format!("--dhcp-hostsfile={}", self.files().hosts().display());
        eventually_async(LIMIT, || async {
            if Path::new(&format!("/proc/{pid}")).exists() {
                return Err("it is there".to_owned());
            }
            let left = with_argument(&mark);
            if left.is_empty() {
                Ok(())
            } else {
                Err(format!("{left:?}"))
            }
        })
        .await
        .unwrap();
    }

    /// Whether the journal has that event, eventually.
    pub(crate) async fn told(&self, change: LeaseChange, address: [u8; 4], mac: u8) {
        let journal = self.dhcp.subsystem.journal();
        eventually_async(LIMIT, || async {
            let pending = journal.pending().unwrap();
            let it = pending.iter().any(|event| {
                event.event == change
                    && event.address.octets() == address
                    && event.mac == mac_of(mac)
            });
            if it {
                Ok(())
            } else {
                Err(format!("{pending:?}"))
            }
        })
        .await
        .unwrap();
    }
}

/// The processes of this host with that argument.
fn with_argument(mark: &str) -> Vec<PathBuf> {
    let has_it = |process: &PathBuf| {
        let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0)
            .any(|argument| argument == mark.as_bytes())
    };
    let processes = std::fs::read_dir("/proc").unwrap();
    let processes = processes.map(|entry| entry.unwrap().path());
    processes.filter(has_it).collect()
}

pub(crate) fn mac_of(last: u8) -> MacAddr {
    MacAddr([2, 0x16, 0x3e, 0, 0, last])
}

pub(crate) fn range() -> HostObject {
    dhcp(1, "br100", "10.0.0.0/24", [10, 0, 0, 1])
}

/// dnsmasq servers in this host (each has a helper whose parent it is).
pub(crate) fn servers() -> usize {
    sh("ps -o ppid=,comm= -e | grep dnsmasq || true")
        .lines()
        .filter(|line| line.trim().starts_with("1 "))
        .count()
}

/// The client's lease: address, router, name servers, domain, host name.
pub(crate) fn lease(vm: &Host) -> Result<String, String> {
    ask(vm, 20)
}

/// The same for a client that asks so many times, a second apart.
pub(crate) fn ask(vm: &Host, times: u32) -> Result<String, String> {
    let script = "#!/bin/sh\n\
        [ \"$1\" = bound ] || exit 0\n\
        ip address flush dev $interface; ip address add $ip/$mask dev $interface\n\
        echo \"LEASE $ip $router $dns $domain $hostname\"\n";
    let path = tempfile::Builder::new()
        .suffix(".sh")
        .tempfile()
        .unwrap()
        .into_temp_path();
    std::fs::write(&path, script).unwrap();
    sh(&format!("chmod 755 {}", path.display()));
    let said = vm
        .sh(&format!(
            "busybox udhcpc -i eth0 -f -n -q -t {times} -T 1 -s {} 2>&1",
            path.display()
        ))
        .map_err(|e| e.to_string())?;
    let line = said.stdout.lines().find_map(|l| l.strip_prefix("LEASE "));
    line.map(str::to_owned).ok_or(said.stdout)
}
