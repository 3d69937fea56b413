//! An instance boots, has its limits and its network, and leaves nothing when it is removed.
#![allow(clippy::print_stdout)] // a test prints what it skips

use super::host::Host;
use super::parts::{
    address, instance, is_running, mac, on_a_host, port, sh, succeeds, until_fails,
};
use base64::Engine;
use novanet_agent::instance::oci::{Oci, Version};
use novanet_lab::eventually_async;
use novanet_model::HostObject;
use novanet_model::InstanceId;
use novanet_model::object::{InjectedNetwork, Instance};
use novanet_model::wire::{InstanceState, Metadata};
use std::time::Duration;

#[test]
fn an_instance_boots_takes_its_address_by_dhcp_and_answers_ping_http_and_ssh() {
    on_a_host(async || {
        let host = Host::new().with_dhcp(1);
        let script = "#!/bin/sh\necho made by user-data >/var/www/made\necho data says hello\n";
        let said = Metadata {
            public_keys: vec![("mine".to_owned(), host.make_key())],
            user_data: Some(base64::engine::general_purpose::STANDARD.encode(script)),
            ..Metadata::default()
        };
        let mut host = host.with_metadata(said).await;
        host.want_instance(1);
        host.until(1, InstanceState::Running, 1).await;
        host.until_ping(1).await;
        host.until_console(1, "tiny: vm1 is up").await;

        let page = sh(&format!("busybox wget -q -O - http://{}/", address(1, 0)));
        assert!(page.contains("<h1>i-00000001</h1>"), "{page}");
        let made = sh(&format!(
            "busybox wget -q -O - http://{}/made",
            address(1, 0)
        ));
        assert_eq!(made, "made by user-data\n");

        assert_eq!(host.ssh(1, "hostname; id -u"), "vm1\n0\n");
        assert!(host.ssh(1, "ip route").contains("default via 10.0.0.1"));
        assert!(
            host.ssh(1, "cat /etc/resolv.conf")
                .contains("search novalocal")
        );
        assert!(host.ssh(1, "cat /etc/hosts").contains("vm1.novalocal vm1"));

        let console = host.console(1);
        for line in [
            "tiny: vm1 starts",
            "BEGIN SSH HOST KEY FINGERPRINTS",
            "256 SHA256:",
            "ssh-ed25519 AAAA",
            "tiny: eth0 10.0.0.2/24 from 10.0.0.1",
            "tiny: 1 ssh key(s) for root",
            "data says hello",
        ] {
            assert!(console.contains(line), "{line} is not in\n{console}");
        }
    });
}

#[test]
fn root_of_an_instance_owns_its_network_and_nothing_of_the_host() {
    on_a_host(async || {
        let host = Host::new().with_dhcp(1);
        let said = Metadata {
            public_keys: vec![("mine".to_owned(), host.make_key())],
            ..Metadata::default()
        };
        let mut host = host.with_metadata(said).await;
        host.want_instance(1);
        host.until(1, InstanceState::Running, 1).await;
        host.until_console(1, "ssh key(s)").await;
        host.until_console(1, "is up").await;
        let tries = [
            ("ip link add br0 type bridge && ip link del br0", true),
            ("tunctl -t tap0 && tunctl -d tap0", true),
            ("echo 1 > /proc/sys/net/ipv4/ip_forward", true),
            ("chown 1000:1000 /tmp && chown 0:0 /tmp", true),
            ("ping -c 1 -W 1 10.0.0.1", true),
            ("mount -t tmpfs x /mnt", false),
            ("dmesg | grep -q .", false),
            ("unshare -m true", false),
            ("mknod /tmp/disk b 254 0", false),
            ("echo 1 > /proc/sys/kernel/panic", false),
            ("echo b > /proc/sysrq-trigger", false),
            ("date -s 2020-01-01 && [ $(date +%Y) = 2020 ]", false),
            ("cat /proc/kcore | head -c 1 | grep -q .", false),
        ];
        for (command, works) in tries {
            let said = host.ssh(1, &format!("{command} 2>&1; echo $?"));
            assert_eq!(said.ends_with("0\n"), works, "{command}: {said}");
        }
        let pid = host.pid(1);
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().to_owned()
        };
        assert_eq!(field("Uid:"), "1065536", "the first range of its own");
        assert_eq!(field("Seccomp:"), "2");
        let forward = format!("nsenter -t {pid} -n sysctl -n net.ipv4.ip_forward");
        assert_eq!(sh(&forward).trim(), "1", "what it set itself");
    });
}

#[test]
fn an_instance_has_the_limits_of_its_type_where_the_host_can() {
    on_a_host(async || {
        let mut host = Host::new();
        host.want_instance(1);
        host.until(1, InstanceState::Running, 1).await;
        let oci = Oci::probe(&host.settings).unwrap();
        let group = oci.cgroup_of(InstanceId(1));
        let cgroups = oci.cgroups();
        if !cgroups.missing().is_empty() {
            println!("skipped here, no cgroups for: {:?}", cgroups.missing());
        }
        let read = |v1: &str, v2: &str| {
            let path = if cgroups.version == Version::V2 {
                format!("/sys/fs/cgroup/{group}/{v2}")
            } else {
                let controller = v1.split('.').next().unwrap();
                format!("/sys/fs/cgroup/{controller}/{group}/{v1}")
            };
            std::fs::read_to_string(path).unwrap().trim().to_owned()
        };
        if cgroups.memory {
            assert_eq!(read("memory.limit_in_bytes", "memory.max"), "134217728");
        }
        if cgroups.cpu {
            let quota = read("cpu.cfs_quota_us", "cpu.max");
            assert!(quota.starts_with("100000"), "{quota}");
        }
        if cgroups.pids {
            assert_eq!(read("pids.max", "pids.max"), "8192");
        }
    });
}

#[test]
fn an_instances_memory_is_not_protected_as_its_agents_is() {
    on_a_host(async || {
        // The systemd unit has OOMScoreAdjust=-500; a lower one may not be set everywhere.
        std::fs::write("/proc/self/oom_score_adj", "300").unwrap();
        let mut host = Host::new();
        host.want_instance(1);
        host.until(1, InstanceState::Running, 1).await;
        let path = format!("/proc/{}/oom_score_adj", host.pid(1));
        assert_eq!(std::fs::read_to_string(path).unwrap().trim(), "0");
    });
}

#[test]
fn an_instance_of_a_flat_network_finds_its_addresses_in_its_file_system() {
    on_a_host(async || {
        let mut host = Host::new();
        host.want(&HostObject::Instance(Instance {
            injected: Some(InjectedNetwork {
                port: 0,
                address: "10.0.0.2/24".parse().unwrap(),
                gateway: Some("10.0.0.1".parse().unwrap()),
                dns: vec!["9.9.9.9".parse().unwrap()],
            }),
            ..instance(1)
        }));
        host.want(&HostObject::Port(port(1, 0)));
        host.until(1, InstanceState::Running, 1).await;
        host.until_ping(1).await;
        let inside = format!("/proc/{}/root", host.pid(1));
        // It answers before it has written all files.
        eventually_async(Duration::from_secs(10), async || {
            let servers = std::fs::read_to_string(format!("{inside}/etc/resolv.conf"))?;
            anyhow::ensure!(servers == "nameserver 9.9.9.9\n", "{servers:?}");
            anyhow::Ok(())
        })
        .await
        .unwrap();
        let routes = sh(&format!("nsenter -t {} -n ip route", host.pid(1)));
        assert!(routes.contains("default via 10.0.0.1"), "{routes}");
    });
}

#[test]
fn an_instance_waits_for_all_its_ports_and_has_a_card_for_each() {
    on_a_host(async || {
        let mut host = Host::new();
        host.want(&HostObject::Instance(Instance {
            ports: 2,
            ..instance(1)
        }));
        host.want(&HostObject::Port(port(1, 0)));
        let (_, errors) = host.round().await;
        assert_eq!(errors.len(), 1);
        assert_eq!(
            errors[0].1.to_string(),
            "i-00000001: waits for its ports: 1 of 2 are known"
        );
        host.want(&HostObject::Port(port(1, 1)));
        host.until(1, InstanceState::Running, 1).await;
        let links = sh(&format!("nsenter -t {} -n ip -o link", host.pid(1)));
        for index in 0..2 {
            let card = links
                .lines()
                .find(|line| line.contains(&format!("eth{index}@")))
                .unwrap();
            assert!(card.contains(&mac(1, index).to_string()), "{links}");
        }
        let (changes, errors) = host.round().await;
        assert_eq!((changes, errors.len()), (0, 0), "nothing left to do");
    });
}

#[test]
fn two_start_at_once_and_a_terminated_one_leaves_nothing() {
    on_a_host(async || {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mut host = Host::new().with_dhcp(2);
        host.want_instance(1);
        host.want_instance(2);
        host.until(1, InstanceState::Running, 1).await;
        host.until(2, InstanceState::Running, 1).await;
        host.until_ping(1).await;
        host.until_ping(2).await;
        let pid = host.pid(1);
        let oci = Oci::probe(&host.settings).unwrap();
        let group = oci.cgroup_of(InstanceId(1));

        host.unwant_instance(1);
        host.until(1, InstanceState::Gone, 1).await;
        // Whether it is a zombie yet is up to process 1 of this machine.
        assert!(!is_running(pid));
        let state = host.settings.state_path.clone();
        for left in [
            state.join("instances/i-00000001"),
            state.join("runtime/state/i-00000001"),
        ] {
            assert!(!left.exists(), "{}", left.display());
        }
        assert_eq!(
            std::fs::read_dir(state.join("instances")).unwrap().count(),
            1
        );
        assert!(!succeeds(&format!("ls -d /sys/fs/cgroup/*/{group}")));
        until_fails("ip link show dev nv1").await;
        host.until_ping(2).await;

        host.unwant_instance(2);
        host.until(2, InstanceState::Gone, 1).await;
        let parent = group.split('/').next().unwrap();
        assert!(!succeeds(&format!("ls -d /sys/fs/cgroup/*/{parent}")));
        let after = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert_eq!(mounts, after, "the host's own mounts are as they were");
    });
}
