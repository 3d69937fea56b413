//! Hosts: what they share, what is private to them, and that nothing of them stays.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use novanet_lab::{Host, HostOptions, connect, eventually, inside_host};

#[test]
fn two_hosts_on_a_cable_reach_each_other() {
    let (a, b) = (Host::new("a").unwrap(), Host::new("b").unwrap());
    connect(&a, "eth0", &b, "eth1").unwrap();
    a.run(&["ip", "address", "add", "192.0.2.1/24", "dev", "eth0"])
        .unwrap();
    b.run(&["ip", "address", "add", "192.0.2.2/24", "dev", "eth1"])
        .unwrap();
    a.run(&["ping", "-c1", "-W2", "192.0.2.2"]).unwrap();
    let refused = a
        .run(&["ping", "-c1", "-W1", "198.51.100.1"])
        .unwrap_err()
        .to_string();
    assert!(refused.contains("Network is unreachable"), "{refused}");
}

#[test]
fn a_host_has_its_own_devices_name_processes_and_run_folder() {
    let host = Host::new("alone").unwrap();
    host.sh("ip link add dev only-here type bridge").unwrap();
    assert!(!Path::new("/sys/class/net/only-here").exists());
    host.sh("test -e /sys/class/net/only-here").unwrap();
    assert_eq!(host.sh("hostname").unwrap().stdout, "alone\n");
    host.sh("touch /run/mark").unwrap();
    assert!(!Path::new("/run/mark").exists());
    assert_eq!(
        host.sh("ls -d /proc/1 && cat /proc/1/comm").unwrap().stdout,
        "/proc/1\nsh\n"
    );
    assert_eq!(host.sysctl("net.ipv4.ip_forward").unwrap(), "1");
    host.set_sysctl("net.ipv4.conf.only-here.rp_filter", "2")
        .unwrap();
    assert_eq!(
        host.sysctl("net.ipv4.conf.only-here.rp_filter").unwrap(),
        "2"
    );
}

#[test]
fn a_layer_shows_the_machines_files_and_keeps_changes_in_the_host() {
    let host = Host::with("layer", &HostOptions::default().layer("/etc")).unwrap();
    host.sh("echo changed >/etc/hostname; mkdir /etc/lab-test")
        .unwrap();
    assert_eq!(host.sh("cat /etc/hostname").unwrap().stdout, "changed\n");
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    assert_eq!(host.sh("cat /etc/passwd").unwrap().stdout, users);
    assert!(!Path::new("/etc/lab-test").exists());
    assert_ne!(
        std::fs::read_to_string("/etc/hostname").unwrap(),
        "changed\n"
    );
}

#[test]
fn private_folders_and_files_are_seen_in_the_host_only() {
    let options = HostOptions::default()
        .private("/var/lib/lab-test/deep")
        .private("/var/lib/misc")
        .file("/etc/resolv.conf", "nameserver 192.0.2.53\n")
        .file("/etc/lab-test.conf", "here\n");
    let host = Host::with("private", &options).unwrap();
    host.sh("echo x >/var/lib/lab-test/deep/file; echo y >/var/lib/misc/lab-test; test -d /var/lib/dpkg").unwrap();
    assert_eq!(
        host.sh("cat /etc/resolv.conf /etc/lab-test.conf")
            .unwrap()
            .stdout,
        "nameserver 192.0.2.53\nhere\n"
    );
    for path in [
        "/var/lib/lab-test",
        "/var/lib/misc/lab-test",
        "/etc/lab-test.conf",
    ] {
        assert!(!Path::new(path).exists(), "{path}");
    }
}

#[test]
fn what_runs_in_a_host_ends_with_it() {
    let host = Host::new("ending").unwrap();
    let process = host.spawn(Command::new("sleep").arg("600")).unwrap();
    host.sh("setsid sleep 601 >/dev/null 2>&1 &").unwrap();
    let orphan = eventually(Duration::from_secs(20), || {
        let found = host.try_run(&["pgrep", "-f", "sleep 601"])?;
        if found.success() {
            Ok(found.stdout)
        } else {
            Err(anyhow::anyhow!("no orphan yet"))
        }
    });
    assert!(orphan.is_ok(), "{orphan:?}");
    assert!(process.ended().unwrap().is_none());
    let holder = host.pid();
    drop(host);
    assert!(process.ended().unwrap().is_some());
    assert!(!Path::new(&format!("/proc/{holder}")).exists());
}

#[test]
fn nothing_of_a_host_outlives_its_killed_maker() {
    const MAKER: &str = "LAB_TEST_IS_THE_MAKER";
    if std::env::var_os(MAKER).is_some() {
        return be_killed_while_a_host_is_there();
    }
    // The maker is this very test, run again.
    let mut maker = Command::new(std::env::current_exe().unwrap());
    maker.args([
        "--exact",
        "host::nothing_of_a_host_outlives_its_killed_maker",
        "--nocapture",
    ]);
    let mut maker = maker
        .env(MAKER, "yes")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(maker.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let pids = lines
        .find_map(|line| line.rsplit_once("made ").map(|(_, pids)| pids.to_owned()))
        .unwrap();
    let pids: Vec<&str> = pids.split(' ').collect();
    let left = || {
        // A zombie has no namespaces any more.
        let alive = pids
            .iter()
            .filter(|pid| std::fs::read_link(format!("/proc/{pid}/ns/net")).is_ok())
            .count();
        (alive, cgroups_named(&format!("novanet-lab-{}-*", pids[0])))
    };
    assert_eq!(left().0, 3);
    assert_ne!(left().1, "");
    maker.kill().unwrap();
    maker.wait().unwrap();
    eventually(Duration::from_secs(20), || {
        if left() == (0, String::new()) {
            Ok(())
        } else {
            Err(format!("{:?}", left()))
        }
    })
    .unwrap();
}

fn be_killed_while_a_host_is_there() {
    let host = Host::with("left-behind", &HostOptions::default().own_cgroups()).unwrap();
    host.spawn(Command::new("sleep").arg("600")).unwrap();
    let daemon = host
        .exec_in(|| {
            Command::new("sleep")
                .arg("600")
                .process_group(0)
                .spawn()
                .unwrap()
                .id()
        })
        .unwrap();
    // Not `println!`: the harness would hold it back until the end of the test, which never comes.
    let line = format!("made {} {} {daemon}\n", std::process::id(), host.pid());
    std::io::stdout().write_all(line.as_bytes()).unwrap();
    host.run(&["sleep", "600"]).unwrap();
}

/// Where on the machine there are cgroups of that name.
fn cgroups_named(pattern: &str) -> String {
    let found = Command::new("find")
        .args(["/sys/fs/cgroup", "-maxdepth", "2", "-name", pattern])
        .output()
        .unwrap();
    String::from_utf8(found.stdout).unwrap()
}

#[test]
fn what_is_mounted_by_code_that_looks_in_is_seen_in_the_host_and_nowhere_else() {
    let host = Host::new("mounts").unwrap();
    let mount = || {
        Command::new("sh")
            .args(["-c", "mount -t tmpfs mark /mnt && touch /mnt/here"])
            .status()
            .unwrap()
    };
    assert!(host.exec_in(mount).unwrap().success());
    host.sh("test -e /mnt/here").unwrap();
    assert!(host.exec_in(|| Path::new("/mnt/here").exists()).unwrap());
    assert!(!Path::new("/mnt/here").exists());
}

#[test]
fn code_runs_inside_a_host_with_a_runtime_of_its_own() {
    let host = Host::new("inside").unwrap();
    host.run(&["ip", "address", "add", "192.0.2.7/32", "dev", "lo"])
        .unwrap();
    let address = host
        .exec_in(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind("192.0.2.7:80").await.unwrap();
                // The blocking pool's threads are in the host too.
                let devices = tokio::fs::read_to_string("/proc/thread-self/net/dev")
                    .await
                    .unwrap();
                assert_eq!(devices.lines().count(), 3, "{devices}");
                listener.local_addr().unwrap()
            })
        })
        .unwrap();
    assert_eq!(address.to_string(), "192.0.2.7:80");
    assert!(
        std::net::TcpListener::bind("192.0.2.7:80").is_err(),
        "the caller is not in the host"
    );
}

#[test]
fn many_hosts_are_made_at_once() {
    std::thread::scope(|scope| {
        for number in 0..8 {
            scope.spawn(move || {
                let host = Host::new(&format!("h{number}")).unwrap();
                assert_eq!(host.sh("hostname").unwrap().stdout, format!("h{number}\n"));
            });
        }
    });
}

#[test]
fn a_process_in_a_host_can_be_talked_to_and_ended() {
    let host = Host::new("talk").unwrap();
    let cat = host
        .spawn(
            Command::new("cat")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped()),
        )
        .unwrap();
    drop(cat.stdin());
    assert!(cat.wait(Duration::from_secs(20)).unwrap().success());
    let sleep = host.spawn(Command::new("sleep").arg("600")).unwrap();
    sleep.signal(Signal::SIGTERM).unwrap();
    assert!(!sleep.wait(Duration::from_secs(20)).unwrap().success());
    assert!(sleep.signal(Signal::SIGTERM).is_err());
}

#[test]
fn a_daemon_started_by_code_that_looks_in_ends_with_the_host() {
    let host = Host::new("daemons").unwrap();
    let pid = host
        .exec_in(|| {
            let output = Command::new("sh")
                .args(["-c", "sleep 600 >/dev/null 2>&1 & echo $!"])
                .output()
                .unwrap();
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        })
        .unwrap();
    let cmdline = || std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    eventually(Duration::from_secs(20), || {
        if cmdline().contains("sleep\x00600") {
            Ok(())
        } else {
            Err(cmdline())
        }
    })
    .unwrap();
    // What code in the host reads about itself and its children agrees with what it was told.
    let seen = host
        .exec_in(|| std::fs::read_to_string(format!("/proc/{pid}/comm")))
        .unwrap();
    assert_eq!(seen.unwrap(), "sleep\n");
    drop(host);
    assert_eq!(cmdline(), "");
}

#[test]
fn a_whole_test_runs_as_a_process_of_a_host() {
    inside_host(&HostOptions::default(), || {
        assert!(std::process::id() < 100, "the pids of a new host are small");
        assert_eq!(std::fs::read_to_string("/proc/1/comm").unwrap(), "sh\n");
        assert_eq!(std::fs::read_dir("/sys/class/net").unwrap().count(), 1);
    })
    .unwrap();
}

#[test]
fn what_fails_inside_a_host_fails_the_test() {
    let mut outside = false;
    let result = inside_host(&HostOptions::default(), || panic!("the reason"));
    if let Err(error) = result {
        outside = true;
        assert!(error.to_string().contains("the reason"), "{error}");
    }
    assert!(outside);
}

#[test]
fn what_is_no_test_does_not_pass_for_one_inside_a_host() {
    let run = || inside_host(&HostOptions::default(), || {});
    let said = |thread: std::thread::Builder| {
        let error = thread.spawn(run).unwrap().join().unwrap().unwrap_err();
        error.to_string()
    };
    let unnamed = said(std::thread::Builder::new());
    assert_eq!(unnamed, "this thread is not a test's");
    let other = said(std::thread::Builder::new().name("host::no_such_test".to_owned()));
    assert!(
        other.starts_with("host::no_such_test failed inside its host:"),
        "{other}"
    );
}

#[test]
fn a_host_with_cgroups_of_its_own_leaves_none() {
    let host = Host::with("limits", &HostOptions::default().own_cgroups()).unwrap();
    let name = host.cgroup_name().to_owned();
    let made = || cgroups_named(&name);
    let trees = made();
    assert_ne!(trees, "");
    let boxes = || {
        trees
            .lines()
            .filter(|tree| Path::new(tree).join("box").exists())
            .count()
    };
    // A container's cgroup, and a process in it that the host's process 1 would not end.
    let script = "
        set -e
        for tree in /sys/fs/cgroup /sys/fs/cgroup/*; do
          [ -e $tree/cgroup.procs ] || continue
          mkdir $tree/box
        done
        for pids in /sys/fs/cgroup/pids/box /sys/fs/cgroup/box; do
          [ -e $pids/pids.max ] || continue
          echo 7 >$pids/pids.max
          sleep 600 >/dev/null 2>&1 &
          echo $! >$pids/cgroup.procs
        done
    ";
    let inside = host
        .exec_in(|| Command::new("sh").args(["-c", script]).output().unwrap())
        .unwrap();
    assert!(inside.status.success(), "{inside:?}");
    assert_eq!(
        host.sh(
            "cat /sys/fs/cgroup/pids/box/pids.max /sys/fs/cgroup/box/pids.max 2>/dev/null || true"
        )
        .unwrap()
        .stdout,
        "7\n"
    );
    assert_eq!(
        boxes(),
        trees.lines().count(),
        "what the host makes is inside its own cgroups"
    );
    drop(host);
    assert_eq!(made(), "");
}

#[test]
fn a_kept_host_lives_on_until_it_is_killed() {
    let host = Host::new("kept").unwrap();
    host.spawn(Command::new("sleep").arg("600")).unwrap();
    let pid = host.detach().unwrap();
    let enter = |command: &str| {
        Command::new("nsenter")
            .args([
                "-t",
                &pid.to_string(),
                "-m",
                "-n",
                "-u",
                "-p",
                "sh",
                "-c",
                command,
            ])
            .output()
            .unwrap()
    };
    assert_eq!(
        String::from_utf8(enter("hostname").stdout).unwrap(),
        "kept\n"
    );
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).unwrap();
    let ended = || {
        if enter("true").status.success() {
            Err("still there")
        } else {
            Ok(())
        }
    };
    eventually(Duration::from_secs(20), ended).unwrap();
}

#[test]
fn while_a_host_is_cleared_up_after_no_other_has_its_number() {
    let host = Host::new("numbered").unwrap();
    let number = || std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    let old = host.exec_in(number).unwrap();
    let named = format!("pgrep -f 'keeper {}'", host.cgroup_name());
    let keeper = Command::new("sh").args(["-c", &named]).output().unwrap();
    let keeper = String::from_utf8(keeper.stdout).unwrap();
    let keeper = Pid::from_raw(keeper.lines().next().unwrap().parse().unwrap());
    let init = Pid::from_raw(host.detach().unwrap().cast_signed());
    // It is made to be slow: the host is gone, and it has not looked yet.
    kill(keeper, Signal::SIGSTOP).unwrap();
    kill(init, Signal::SIGKILL).unwrap();
    let gone = || match std::fs::read_link(format!("/proc/{init}/ns/net")) {
        Ok(_) => Err("it lives"),
        Err(_) => Ok(()),
    };
    let ended = eventually(Duration::from_secs(20), gone);
    // The kernel frees a network some time after its last user went, and gives its number to one of
    // the next.
    let next = "for n in $(seq 60); do unshare -n readlink /proc/self/ns/net; done";
    let next = Command::new("sh").args(["-c", next]).output();
    kill(keeper, Signal::SIGCONT).unwrap();
    ended.unwrap();
    let next = String::from_utf8(next.unwrap().stdout).unwrap();
    assert_eq!(next.lines().count(), 60);
    let old = old.display().to_string();
    assert!(next.lines().all(|number| number != old), "{old} again");
}

#[test]
fn hosts_can_be_made_inside_a_host() {
    let options = HostOptions::default().own_cgroups();
    inside_host(&options, || {
        let (a, b) = (
            Host::with("a", &HostOptions::default().own_cgroups()).unwrap(),
            Host::new("b").unwrap(),
        );
        connect(&a, "eth0", &b, "eth0").unwrap();
        a.run(&["ip", "address", "add", "192.0.2.1/24", "dev", "eth0"])
            .unwrap();
        b.run(&["ip", "address", "add", "192.0.2.2/24", "dev", "eth0"])
            .unwrap();
        a.run(&["ping", "-c1", "-W2", "192.0.2.2"]).unwrap();
        let name = a.cgroup_name().to_owned();
        assert_ne!(cgroups_named(&name), "");
        drop((a, b));
        assert_eq!(cgroups_named(&name), "");
    })
    .unwrap();
}
