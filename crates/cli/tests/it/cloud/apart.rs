//! Server and agent as two processes on two hosts that share only the socket of the real protocol;
//! and a command line whose changes a running server acts on.

use super::{LONG, venv};
use novanet_lab::{Host, HostOptions, eventually};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

struct Apart {
    api: Host,
    node: Host,
    state: tempfile::TempDir,
}

impl Apart {
    fn manage(&self, words: &str) -> anyhow::Result<String> {
        let line = format!(
            "{} manage --state_path={}/server {words}",
            env!("CARGO_BIN_EXE_novanet"),
            self.state.path().display()
        );
        Ok(self.api.sh(&line)?.stdout)
    }

    fn spawn(host: &Host, line: &str, log: &Path) -> novanet_lab::Process {
        let mut command = Command::new("sh");
        let line = format!(
            "exec {} {line} 2>{}",
            env!("CARGO_BIN_EXE_novanet"),
            log.display()
        );
        command.args(["-c", &line]).stdin(Stdio::null());
        host.spawn(&mut command).unwrap()
    }
}

/// A host that the server has not heard of for so long is down.
const DOWN_AFTER: &str = "--service_down_time=3";

impl Apart {
    /// The two hosts, with nothing started.
    fn new() -> Self {
        let apart = Self {
            api: Host::new("api").unwrap(),
            node: Host::with("node", &HostOptions::default().own_cgroups()).unwrap(),
            state: tempfile::tempdir().unwrap(),
        };
        apart.node.sh("ip link add eth0 type veth peer name peer0 && ip address add 192.0.2.9/24 dev eth0 && ip link set eth0 up && ip link set peer0 up").unwrap();
        apart.manage("user admin boss").unwrap();
        apart.manage("project create lab boss").unwrap();
        apart
    }

    fn log(&self, name: &str) -> std::path::PathBuf {
        self.state.path().join(name)
    }

    fn serve(&self) -> novanet_lab::Process {
        let at = self.state.path().display();
        let line = format!("server --state_path={at}/server --ec2_listen=127.0.0.1 {DOWN_AFTER}");
        let server = Self::spawn(&self.api, &line, &self.log("server.log"));
        eventually(LONG, || {
            self.api.sh(&format!("test -S {at}/server/server.sock"))
        })
        .unwrap();
        server
    }

    fn agent(&self, log: &str) -> novanet_lab::Process {
        let at = self.state.path().display();
        let line = format!(
            "agent --state_path={at}/agent --server_socket={at}/server/server.sock --host=node \
             --public_interface=eth0 --my_ip=192.0.2.9 --report_interval=1"
        );
        Self::spawn(&self.node, &line, &self.log(log))
    }

    fn has_bridge(&self) {
        let there = "ip -brief address show br100 | grep -q 10.0.0.1/24";
        eventually(LONG, || self.node.sh(there)).unwrap_or_else(|e| {
            panic!(
                "{e:#}\n{}",
                std::fs::read_to_string(self.log("agent.log")).unwrap_or_default()
            )
        });
    }

    /// As [`Apart::manage`] for what is refused: exit code 1, and the one line it says.
    fn refused(&self, words: &str) -> String {
        let line = format!(
            "{} manage --state_path={}/server {DOWN_AFTER} {words}",
            env!("CARGO_BIN_EXE_novanet"),
            self.state.path().display()
        );
        let output = self.api.try_run(&["sh", "-c", &line]).unwrap();
        assert_eq!(output.status.code(), Some(1), "{words}: {output:?}");
        assert_eq!(output.stdout, "", "{words}");
        let said = output.stderr.trim_end().to_owned();
        assert_eq!(said.lines().count(), 1, "{words}: {said}");
        said
    }
}

const NETWORK: &str =
    "network create private 10.0.0.0/24 1 256 --network_manager=FlatDHCPManager --bridge=br100";

#[test]
fn server_and_agent_on_two_hosts_make_a_cloud_over_the_protocol_alone() {
    let apart = Apart::new();
    apart.manage("image build tiny").unwrap();
    apart.manage(NETWORK).unwrap();
    apart.serve();
    let first = apart.agent("agent.log");
    apart.has_bridge();
    assert!(
        apart.api.sh("ip link show br100").is_err(),
        "the server's host stays as it was"
    );

    // An instance by the EC2 API on one host runs on the other.
    let rc = apart.manage("user exports boss").unwrap();
    let aws = venv().unwrap().join("bin/aws");
    let run = format!(
        "{rc}export AWS_ACCESS_KEY_ID=$EC2_ACCESS_KEY:lab AWS_SECRET_ACCESS_KEY=$EC2_SECRET_KEY \
         AWS_DEFAULT_REGION=nova AWS_ENDPOINT_URL=http://127.0.0.1:8773/services/Cloud; \
         {} ec2 run-instances --image-id ami-00000001 --instance-type m1.tiny",
        aws.display()
    );
    apart.api.sh(&run).unwrap();
    eventually(LONG, || apart.node.sh("ping -c1 -W1 10.0.0.2")).unwrap_or_else(|e| {
        panic!(
            "{e:#}\n{}",
            std::fs::read_to_string(apart.log("agent.log")).unwrap_or_default()
        )
    });

    // What the command line writes, the running server's host does at once.
    let began = Instant::now();
    apart
        .manage("network create second 10.9.0.0/24 1 256 --network_manager=FlatDHCPManager --bridge=br900")
        .unwrap();
    eventually(LONG, || {
        apart
            .node
            .sh("ip -brief address show br900 | grep -q 10.9.0.1/24")
    })
    .unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );

    // The agent is killed and comes back while the server goes on; the server is told how far it
    // is.
    first.kill();
    apart.manage("network delete 10.9.0.0/24").unwrap();
    apart.agent("agent2.log");
    eventually(LONG, || apart.node.sh("! ip link show br900 2>/dev/null")).unwrap();
    eventually(LONG, || -> anyhow::Result<()> {
        let networks = apart.manage("network list --format json")?;
        anyhow::ensure!(!networks.contains("10.9.0.0"), "{networks}");
        Ok(())
    })
    .unwrap();
    apart.node.sh("ping -c1 -W2 10.0.0.2").unwrap();
}

#[test]
fn another_host_is_asked_from_where_the_server_runs() {
    let apart = Apart::new();
    apart.manage(NETWORK).unwrap();
    let server = apart.serve();
    let agent = apart.agent("agent.log");
    apart.has_bridge();

    let plan = apart.manage("host plan node").unwrap();
    assert!(plan.contains("br100"), "{plan}");
    let settled = || -> anyhow::Result<()> {
        let diff = apart.manage("host plan node --diff")?;
        anyhow::ensure!(!diff.contains("br100"), "{diff}");
        Ok(())
    };
    eventually(LONG, settled).unwrap();
    let rules = apart.manage("firewall show node").unwrap();
    assert!(rules.contains("table ip nova"), "{rules}");
    let doomed = apart.manage("host cleanup --dry-run node").unwrap();
    assert!(doomed.contains("br100"), "{doomed}");

    // Asked from here a host is not emptied.
    let said = apart.refused("host cleanup node");
    assert!(
        said.starts_with("error: host node: ") && said.contains("nova-manage host cleanup"),
        "{said}"
    );
    apart.has_bridge();

    let said = apart.refused("host plan nodex");
    assert!(said.starts_with("error: host nodex not found"), "{said}");

    agent.kill();
    let down = || -> anyhow::Result<()> {
        let said = apart.refused("host plan node");
        anyhow::ensure!(
            said.starts_with("error: host node: is down, last heard of "),
            "{said}"
        );
        Ok(())
    };
    eventually(LONG, down).unwrap();

    server.kill();
    let said = apart.refused("firewall show node");
    assert!(
        said.contains("server/server.sock was asked: no server runs there"),
        "{said}"
    );
}
