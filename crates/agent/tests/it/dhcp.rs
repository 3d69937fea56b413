//! DHCP and DNS with a real dnsmasq, a real client and real packets.

use crate::link::{State, inside, sh};
use crate::room::{Driven, binding, bridge, dhcp, gateway, name, port};
use dhcproto::v4::{DhcpOption, Message, MessageType};
use dhcproto::{Decodable, Decoder, Encodable};
use novanet_agent::dhcp::{DhcpServers, Files, bridge as face};
use novanet_agent::link::{Links, plug};
use novanet_agent::settings::Settings;
use novanet_lab::{Host, eventually_async};
use novanet_model::MacAddr;
use novanet_model::object::HostObject;
use novanet_model::wire::LeaseChange;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

/// dnsmasq runs this test as its script, as it would run `novanet dhcpbridge`: the arguments come
/// in the environment (the harness would read them), the answer goes to descriptor 3.
const FACE: &str = "NOVANET_TEST_FACE";

#[test]
fn the_face_that_dnsmasq_calls() {
    let env = |name: &str| std::env::var(name).ok();
    let folder = tempfile::tempdir().unwrap();
    let Ok(line) = std::env::var(FACE) else {
        // Called by nobody: without a journal it has nothing to say.
        let mut out = Vec::new();
        let nowhere = |_: &str| Some(folder.path().display().to_string());
        face::run(&["init".into()], &nowhere, &mut out).unwrap();
        assert!(out.is_empty());
        return;
    };
    let arguments: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
    let mut out = std::fs::File::options()
        .write(true)
        .open("/dev/fd/3")
        .unwrap();
    face::run(&arguments, &env, &mut out).unwrap();
}

pub(crate) fn settings(state: &Path) -> Settings {
    let this = std::env::current_exe().unwrap().display().to_string();
    let line = format!(
        "{FACE}=\"$*\" exec \"$0\" --exact dhcp::the_face_that_dnsmasq_calls --nocapture 3>&1 >/dev/null"
    );
    Settings {
        dhcpbridge: vec!["/bin/sh".into(), "-c".into(), line, this],
        ..crate::room::settings(state)
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

    /// The agent is started again, with the same objects.
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
        plug(&port, i32::try_from(vm.pid()).unwrap(), "eth0")
            .await
            .unwrap();
        vm.sh("ip link set dev eth0 up").unwrap();
        vm
    }

    /// Whether the journal has that event, eventually.
    pub(crate) async fn told(&self, change: LeaseChange, address: [u8; 4], mac: u8) {
        let journal = self.dhcp.room.journal();
        eventually_async(Duration::from_secs(5), || async {
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

fn mac_of(last: u8) -> MacAddr {
    MacAddr([2, 0x16, 0x3e, 0, 0, last])
}

pub(crate) fn range() -> HostObject {
    dhcp(1, "br100", "10.0.0.0/24", [10, 0, 0, 1])
}

/// What the client is given: address, router, name servers, domain, host name.
pub(crate) fn lease(vm: &Host, seconds: u32) -> Result<String, String> {
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
            "busybox udhcpc -i eth0 -f -n -q -t {} -T 1 -s {} 2>&1",
            seconds.max(1),
            path.display()
        ))
        .map_err(|e| e.to_string())?;
    let line = said.stdout.lines().find_map(|l| l.strip_prefix("LEASE "));
    line.map(str::to_owned).ok_or(said.stdout)
}

#[test]
fn an_instance_gets_its_address_and_its_name_and_a_stranger_gets_nothing() {
    inside(
        "dhcp::an_instance_gets_its_address_and_its_name_and_a_stranger_gets_nothing",
        || async {
            let mut cloud = Cloud::new().await;
            let pid = cloud.pid();
            let vm = cloud.instance(1).await;
            let stranger = cloud.instance(2).await;
            cloud
                .dhcp
                .want(&binding(1, "br100", 1, [10, 0, 0, 3], "web"));
            cloud
                .dhcp
                .want(&binding(1, "br100", 9, [10, 0, 0, 9], "db"));
            cloud.dhcp.converge().await;
            assert_eq!(
                pid,
                cloud.pid(),
                "a new binding does not restart the server"
            );
            assert_eq!(
                lease(&vm, 5).unwrap(),
                "10.0.0.3 10.0.0.1 10.0.0.1 novalocal web"
            );
            cloud.told(LeaseChange::Leased, [10, 0, 0, 3], 1).await;
            vm.sh("ping -c1 -W2 10.0.0.1").unwrap();
            // Names answer, of instances that run and of those that do not yet.
            for (name, address) in [
                ("web.novalocal", "10.0.0.3"),
                ("db.novalocal", "10.0.0.9"),
                ("db", "10.0.0.9"),
            ] {
                let said = vm
                    .sh(&format!("busybox nslookup {name} 10.0.0.1"))
                    .unwrap()
                    .stdout;
                assert!(said.contains(address), "{name}: {said}");
            }
            assert!(lease(&stranger, 1).is_err());
            cloud.dhcp.settled().await;
        },
    );
}

#[test]
fn another_mac_gets_a_just_released_address_at_once() {
    inside(
        "dhcp::another_mac_gets_a_just_released_address_at_once",
        || async {
            let mut cloud = Cloud::new().await;
            let first = cloud.instance(1).await;
            let second = cloud.instance(2).await;
            let third = cloud.instance(3).await;
            cloud
                .dhcp
                .want(&binding(1, "br100", 1, [10, 0, 0, 3], "one"));
            cloud.dhcp.converge().await;
            lease(&first, 5).unwrap();
            cloud.told(LeaseChange::Leased, [10, 0, 0, 3], 1).await;

            // The owner changes in one step …
            cloud
                .dhcp
                .want(&binding(1, "br100", 2, [10, 0, 0, 3], "two"));
            cloud.dhcp.converge().await;
            let began = Instant::now();
            assert!(lease(&second, 3).unwrap().starts_with("10.0.0.3 "));
            assert!(
                began.elapsed() < Duration::from_secs(3),
                "{:?}",
                began.elapsed()
            );
            cloud.told(LeaseChange::Released, [10, 0, 0, 3], 1).await;
            cloud.told(LeaseChange::Leased, [10, 0, 0, 3], 2).await;

            // … or goes and another comes.
            cloud
                .dhcp
                .drop_object(&binding(1, "br100", 2, [10, 0, 0, 3], "two"));
            cloud.dhcp.converge().await;
            cloud.told(LeaseChange::Released, [10, 0, 0, 3], 2).await;
            cloud
                .dhcp
                .want(&binding(1, "br100", 3, [10, 0, 0, 3], "three"));
            cloud.dhcp.converge().await;
            assert!(lease(&third, 3).unwrap().starts_with("10.0.0.3 "));
        },
    );
}

#[test]
fn an_owner_that_changed_while_no_server_ran_does_not_keep_the_address() {
    inside(
        "dhcp::an_owner_that_changed_while_no_server_ran_does_not_keep_the_address",
        || async {
            let mut cloud = Cloud::new().await;
            let first = cloud.instance(1).await;
            let second = cloud.instance(2).await;
            cloud
                .dhcp
                .want(&binding(1, "br100", 1, [10, 0, 0, 3], "one"));
            cloud.dhcp.converge().await;
            lease(&first, 5).unwrap();
            cloud.told(LeaseChange::Leased, [10, 0, 0, 3], 1).await;
            sh(&format!("kill -9 {}", cloud.pid()));
            cloud
                .dhcp
                .want(&binding(1, "br100", 2, [10, 0, 0, 3], "two"));
            cloud.dhcp.converge().await;
            assert!(lease(&second, 3).unwrap().starts_with("10.0.0.3 "));
            cloud.told(LeaseChange::Released, [10, 0, 0, 3], 1).await;
        },
    );
}

#[test]
fn networks_of_one_bridge_share_a_server() {
    inside("dhcp::networks_of_one_bridge_share_a_server", || async {
        let mut cloud = Cloud::new().await;
        let second = dhcp(2, "br100", "10.9.0.0/16", [10, 9, 0, 1]);
        let vm = cloud.instance(7).await;
        cloud.links.want(&gateway(2, "br100", "10.9.0.1/16"));
        cloud.dhcp.want(&second);
        cloud
            .dhcp
            .want(&binding(2, "br100", 7, [10, 9, 3, 3], "far"));
        // The address first: the server would not answer DNS there.
        let failed = cloud.dhcp.round().await;
        assert!(
            failed[0]
                .1
                .to_string()
                .contains("does not have the server's address 10.9.0.1 yet"),
            "{}",
            failed[0].1
        );
        cloud.links.converge().await;
        cloud.dhcp.converge().await;
        assert_eq!(
            lease(&vm, 5).unwrap(),
            "10.9.3.3 10.9.0.1 10.9.0.1 novalocal far"
        );
        assert_eq!(servers(), 1);
        cloud.dhcp.drop_object(&second);
        cloud
            .dhcp
            .drop_object(&binding(2, "br100", 7, [10, 9, 3, 3], "far"));
        cloud.dhcp.converge().await;
        assert_eq!(servers(), 1);
        let line = sh(&format!("tr '\\0' ' ' < /proc/{}/cmdline", cloud.pid()));
        assert!(!line.contains("10.9.0"), "{line}");
    });
}

/// dnsmasq servers in this host (each has a helper whose parent it is).
pub(crate) fn servers() -> usize {
    sh("ps -o ppid=,comm= -e | grep dnsmasq || true")
        .lines()
        .filter(|line| line.trim().starts_with("1 "))
        .count()
}

#[test]
fn a_renewal_sent_to_the_server_alone_is_answered() {
    inside(
        "dhcp::a_renewal_sent_to_the_server_alone_is_answered",
        || async {
            let mut cloud = Cloud::new().await;
            let vm = cloud.instance(1).await;
            cloud
                .dhcp
                .want(&binding(1, "br100", 1, [10, 0, 0, 3], "web"));
            cloud.dhcp.converge().await;
            lease(&vm, 5).unwrap();
            let answer = vm.exec_in(renew).unwrap();
            assert_eq!(answer.opts().msg_type(), Some(MessageType::Ack));
            assert_eq!(answer.yiaddr(), Ipv4Addr::new(10, 0, 0, 3));
            // A renewal is no news to the server of the cloud.
            cloud.told(LeaseChange::Leased, [10, 0, 0, 3], 1).await;
            assert_eq!(cloud.dhcp.room.journal().pending().unwrap().len(), 1);
        },
    );
}

/// RENEWING (RFC 2131 §4.3.2): a unicast REQUEST with the address in `ciaddr`, from the address.
fn renew() -> Message {
    let mut request = Message::default();
    request
        .set_chaddr(&mac_of(1).0)
        .set_ciaddr([10, 0, 0, 3])
        .opts_mut()
        .insert(DhcpOption::MessageType(MessageType::Request));
    let socket = UdpSocket::bind("10.0.0.3:68").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    socket
        .send_to(&request.to_vec().unwrap(), "10.0.0.1:67")
        .unwrap();
    let mut buffer = [0; 1500];
    let (length, _) = socket.recv_from(&mut buffer).unwrap();
    Message::decode(&mut Decoder::new(&buffer[..length])).unwrap()
}
