//! The files that dnsmasq needs besides the hosts: its script, and the file that names it.

use crate::dhcp_support::{Cloud, lease};
use crate::link::{inside, sh};
use novanet_model::wire::LeaseChange;
use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

#[test]
fn a_lost_script_or_pid_file_is_noticed_and_written_again_under_the_running_server() {
    inside(|| async {
        let (mut cloud, vm) = Cloud::with_web().await;
        let pid = cloud.pid();
        let folder = cloud.state.path().join("networks");
        let script = folder.join("nova-dhcpbridge").display().to_string();
        let pid_file = cloud.files().pid().display().to_string();
        let says = |file: &str, text: &str| format!("Some(Otherwise(\"{file} {text}\"))");
        for (damage, wrong) in [
            (format!("rm {script}"), says(&script, "is not as written")),
            (
                format!("echo exit 0 >>{script}"),
                says(&script, "is not as written"),
            ),
            (
                format!("chmod 644 {script}"),
                says(&script, "is not as written"),
            ),
            (
                format!("rm {pid_file}"),
                says(&pid_file, &format!("does not name dnsmasq {pid}")),
            ),
        ] {
            sh(&damage);
            let changes = cloud.dhcp.changes().await;
            let [change] = &changes[..] else {
                panic!("{damage}: {changes:?}");
            };
            assert_eq!(change.key.to_string(), "dhcp range of network 1 on br100");
            assert_eq!(format!("{:?}", change.from), wrong, "{damage}");
            cloud.dhcp.converge().await;
            assert_eq!(cloud.pid(), pid, "{damage}: it was started again");
        }
        // The same process runs the script on leases again.
        assert!(lease(&vm).unwrap().starts_with("10.0.0.3 "));
        cloud.told(LeaseChange::Leased, [10, 0, 0, 3], 1).await;
    });
}

#[test]
fn a_folder_that_is_lost_emptied_or_of_another_mode_is_repaired_under_the_running_server() {
    inside(|| async {
        let (mut cloud, vm) = Cloud::with_web().await;
        // As on a host whose folders are open: dnsmasq becomes another user.
        for folder in cloud.state.path().ancestors() {
            let mode = std::fs::metadata(folder).unwrap().permissions().mode();
            std::fs::set_permissions(folder, Permissions::from_mode(mode | 0o111)).unwrap();
        }
        cloud.dhcp.converge().await;
        let pid = cloud.pid();
        let folder = cloud.state.path().join("networks");
        let contents = |path: &Path| -> BTreeMap<String, (u32, String)> {
            let file = |entry: std::fs::DirEntry| {
                let mode = entry.metadata().unwrap().permissions().mode();
                let text = std::fs::read_to_string(entry.path()).unwrap();
                (entry.file_name().into_string().unwrap(), (mode, text))
            };
            let files = std::fs::read_dir(path).unwrap();
            files.map(|entry| file(entry.unwrap())).collect()
        };
        let right = contents(&folder);
        let path = folder.display();
        for damage in [
            format!("rm -r {path}"),
            format!("rm {path}/*"),
            format!("chmod 0 {path}"),
            format!("chmod 700 {path}"),
            format!("chmod 777 {path}"),
            format!("chown nobody {path}"),
            format!("chmod 600 {path}/nova-br100.conf"),
            format!("chmod 600 {path}/nova-br100.hosts"),
            format!("chmod 777 {path}/nova-dhcpbridge"),
            format!("chown nobody {path}/nova-dhcpbridge"),
            format!("rm {path}/nova-br100.bound"),
        ] {
            sh(&damage);
            assert!(
                !cloud.dhcp.changes().await.is_empty(),
                "{damage}: not noticed"
            );
            cloud.dhcp.converge().await;
            assert_eq!(cloud.pid(), pid, "{damage}: it was started again");
            assert_eq!(contents(&folder), right, "{damage}");
            let mode = std::fs::metadata(&folder).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o755, "{damage}");
            // It reads its hosts, and runs the script on leases.
            assert!(lease(&vm).unwrap().starts_with("10.0.0.3 "), "{damage}");
        }
        cloud.restart();
        cloud.dhcp.settled().await;
        assert_eq!(cloud.pid(), pid);
    });
}

#[test]
fn a_name_without_its_host_is_noticed_and_removed() {
    inside(|| async {
        let (mut cloud, _vm) = Cloud::with_web().await;
        let names = cloud.files().names();
        let right = std::fs::read_to_string(&names).unwrap();
        // As after an agent that was killed between writing the two files.
        let left = "10.0.0.77\tgone.novalocal gone";
        std::fs::write(&names, format!("{right}{left}\n")).unwrap();
        let changes = cloud.dhcp.changes().await;
        let [change] = &changes[..] else {
            panic!("{changes:?}");
        };
        assert_eq!(change.key.to_string(), "dhcp binding of 10.0.0.77 on br100");
        cloud.dhcp.converge().await;
        assert_eq!(std::fs::read_to_string(&names).unwrap(), right);
    });
}
