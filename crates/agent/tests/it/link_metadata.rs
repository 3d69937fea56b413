//! 169.254.169.254: instances reach the host's metadata service and never that of an outer cloud;
//! the host reaches that of the outer cloud.

use crate::link::{State, inside, noticed, quiet, sh};
use crate::subsystem::{bridge, gateway, name};
use novanet_agent::link::{AddressValue, LinkKey, LinkValue, METADATA_ADDRESS};
use novanet_lab::{Host, in_network_of};
use novanet_model::ObjectKey;
use novanet_reconcile::{Desired, Subsystem};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// Answers every connection at this address with a word, in the network of the calling thread.
fn answer(at: &str, word: &'static str) {
    let listener = TcpListener::bind(at).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(word.as_bytes());
        }
    });
}

/// The word that 169.254.169.254:80 answers with; `None`: no answer in this time.
fn who(patience: Duration) -> Option<String> {
    let service = SocketAddr::from(([169, 254, 169, 254], 80));
    let mut stream = TcpStream::connect_timeout(&service, patience).ok()?;
    stream.set_read_timeout(Some(patience)).ok()?;
    let mut word = String::new();
    stream.read_to_string(&mut word).ok()?;
    Some(word)
}

const LONG: Duration = Duration::from_secs(20);
/// Time in which a forbidden answer would arrive.
const SILENCE: Duration = Duration::from_millis(600);

/// This host is a machine of an outer cloud, which has a metadata service of its own.
fn outer() -> Host {
    let outer = Host::new("outer").unwrap();
    sh(&format!(
        "ip link set dev lo up; ip link add dev eth0 type veth peer name up0 netns {}
         ip link set dev eth0 up; ip address add 192.0.2.1/24 dev eth0
         ip route add default via 192.0.2.2",
        outer.pid()
    ));
    outer
        .sh("ip link set dev up0 up; ip address add 192.0.2.2/24 dev up0
             ip address add 169.254.169.254/32 dev lo; ip route add 10.0.0.0/24 via 192.0.2.1")
        .unwrap();
    outer
        .exec_in(|| answer("169.254.169.254:80", "outer"))
        .unwrap();
    outer
}

/// An instance behind br100.
fn instance() -> Host {
    let instance = Host::new("instance").unwrap();
    sh(&format!(
        "ip link add dev x0 type veth peer name eth0 netns {}; ip link set dev x0 master br100 up",
        instance.pid()
    ));
    instance
        .sh(
            "ip link set dev eth0 up; ip address add 10.0.0.2/24 dev eth0
             ip route add default via 10.0.0.1",
        )
        .unwrap();
    instance
}

#[test]
fn the_host_reaches_an_outer_metadata_service_and_instances_never_do() {
    inside(|| async {
        let outer = outer();
        let state = State::new();
        let mut links = state.links();
        // An earlier agent had the address on the loopback.
        let before = ObjectKey("before".to_owned());
        let address = LinkKey::Address(name("lo"), METADATA_ADDRESS);
        let items = vec![(address, LinkValue::Address(AddressValue::Prefix(32)))];
        links.desired.set_object(&before, items);
        links.converge().await;
        assert!(sh("ip address show dev lo").contains("169.254.169.254"));
        links.desired.set_object(&before, Vec::new());
        links.want(&bridge(1, "br100"));
        links.want(&gateway(1, "br100", "10.0.0.1/24"));
        links.converge().await;
        assert!(!sh("ip address show dev lo").contains("169.254.169.254"));
        assert_eq!(who(LONG).as_deref(), Some("outer"));

        let instance = instance();
        answer("0.0.0.0:8775", "ours");
        sh("nft add table ip ours
            nft add chain ip ours pre '{ type nat hook prerouting priority -100; }'
            nft add rule ip ours pre iifname br100 ip daddr 169.254.169.254 tcp dport 80 redirect to :8775");
        let asks = |patience| in_network_of(instance.pid(), move || who(patience)).unwrap();
        assert_eq!(asks(LONG).as_deref(), Some("ours"), "by its default route");
        instance.sh("ip route add 169.254.0.0/16 dev eth0").unwrap();
        assert_eq!(asks(LONG).as_deref(), Some("ours"), "on its link");
        instance.sh("ip route del 169.254.0.0/16 dev eth0").unwrap();
        // Without the firewall's rule there is no answer, and never the outer cloud's.
        sh("nft delete table ip ours");
        assert_eq!(asks(SILENCE), None);
        assert_eq!(who(LONG).as_deref(), Some("outer"));

        // Both are observed, and made again when others remove them.
        let changed_externally = links.subsystem.changed_externally();
        for damage in [
            "ip rule del to 169.254.169.254",
            "ip route flush table 8775",
        ] {
            quiet(&changed_externally).await;
            sh(damage);
            noticed(&changed_externally, damage).await;
            links.converge().await;
            assert_eq!(asks(SILENCE), None, "{damage}");
        }
        let rule = "100:\tfrom all to 169.254.169.254 iif br100 lookup 8775 proto 78";
        assert!(sh("ip rule show").contains(rule));

        // A foreign rule stays; novanet's is removed with the network.
        sh("ip address add 169.254.169.254/32 dev lo
            ip rule add pref 99 to 169.254.169.254 iif br100 lookup 8775");
        links.converge().await;
        sh("ip link set dev x0 nomaster");
        links.desired = Desired::new(Vec::new());
        links.converge().await;
        let left = sh(
            "ip rule show; ip route show table 8775 2>/dev/null || true; ip address show dev lo",
        );
        assert!(!left.contains("proto 78"), "{left}");
        assert!(
            left.contains("99:\tfrom all to 169.254.169.254 iif br100"),
            "{left}"
        );
        assert!(left.contains("inet 169.254.169.254/32"), "{left}");
        drop(outer);
    });
}
