//! Each instance has host ids of its own: it takes nothing that the kernel counts by user
//! from another instance or from root.

use super::host::Host;
use super::parts::{on_a_host, sh};
use novanet_model::wire::InstanceState;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// Takes as many inotify instances and descriptors in flight as it can get, says how many, and
/// keeps them until its input ends.
const GREEDY: &str = r#"
import ctypes, resource, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300))
inotify = ctypes.CDLL(None).inotify_init
watches = 0
while watches < 200 and inotify() >= 0:
    watches += 1
flying, pairs = 0, []
try:
    while flying < 600:
        if flying % 100 == 0:
            pairs.append(socket.socketpair())
        socket.send_fds(pairs[-1][0], [b"x"], [0])
        flying += 1
except OSError:
    pass
print(watches, flying, flush=True)
sys.stdin.read()
"#;

struct Greedy(Child);

impl Greedy {
    /// Starts it as root of an instance.
    fn of(host: &Host, number: i64) -> (Self, u32, u32) {
        let pid = host.pid(number).to_string();
        let mut child = Command::new("nsenter")
            .args([
                "-t", &pid, "-U", "-S", "0", "-G", "0", "python3", "-c", GREEDY,
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let output = child.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        let mut numbers = line.split_whitespace().map(|n| n.parse().unwrap());
        let (watches, flying) = (numbers.next().unwrap(), numbers.next().unwrap());
        (Self(child), watches, flying)
    }
}

impl Drop for Greedy {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// The host's id of an instance's first process.
pub(super) fn root_id(host: &Host, number: i64) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", host.pid(number))).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("Uid:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn an_instance_at_the_kernels_limits_takes_nothing_from_others_nor_from_root() {
    on_a_host(async || {
        let mut host = Host::new();
        for number in [1, 2] {
            host.want_instance(number);
        }
        for number in [1, 2] {
            host.until(number, InstanceState::Running, 1).await;
        }
        let base = host.settings.instance_uid_base;
        let ids = [root_id(&host, 1), root_id(&host, 2)];
        assert_ne!(ids[0], ids[1]);
        assert!(ids.iter().all(|id| *id > base), "{ids:?}");

        let (_first, watches, flying) = Greedy::of(&host, 1);
        assert!((100..=128).contains(&watches), "{watches}");
        assert!(flying < 600, "the kernel has a limit: {flying}");
        let (_second, more_watches, more_flying) = Greedy::of(&host, 2);
        assert_eq!((more_watches, more_flying), (watches, flying));
        let left = "python3 -c 'import ctypes; init = ctypes.CDLL(None).inotify_init; \
                    print(sum(init() >= 0 for n in range(16)))'";
        assert_eq!(sh(left), "16\n", "root of the host");

        // Its root owns its files.
        host.inside(1, "echo mine >/mine && chown 1000:1000 /mine");
        assert_eq!(
            host.inside(1, "stat -c %u:%g /bin/busybox /mine"),
            "0:0\n1000:1000\n"
        );
        let denied = "unshare -U true || echo no";
        assert!(host.inside(1, denied).contains("no"), "max_user_namespaces");
    });
}

#[test]
fn a_host_that_cannot_map_ids_runs_instances_with_shared_ones() {
    on_a_host(async || {
        let folder = tempfile::tempdir().unwrap();
        let layer = |name: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir(&path).unwrap();
            path.display().to_string()
        };
        let (lower, upper, work, state) = (layer("l"), layer("u"), layer("w"), layer("state"));
        // The kernel maps no ids on overlay.
        sh(&format!(
            "mount -t overlay -o lowerdir={lower},upperdir={upper},workdir={work} overlay {state}"
        ));
        let mut host = Host::new_in(state.as_ref());
        host.want_instance(1);
        host.until(1, InstanceState::Running, 1).await;
        assert_eq!(root_id(&host, 1), host.settings.instance_uid_base);
    });
}
