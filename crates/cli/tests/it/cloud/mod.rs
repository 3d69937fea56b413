//! A whole cloud in a sandbox: `novanet up`, real instances, real clients, real packets.

mod addresses;
mod apart;
mod client_page;
mod clients;
mod conflicts;
mod database;
mod disk;
mod exhaust;
mod faults;
mod flat;
mod identity;
mod killed;
mod late;
mod lifecycle;
mod lists;
mod output;
mod ports;
mod reason;
mod repair;
mod restart;
mod start;
mod stop;
mod tour;
mod vlan;
mod vlan_life;
mod vpn;

use anyhow::{Context as _, Result, ensure};
use novanet_lab::{Output, Process, Sandbox, eventually};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

/// The usual folder, private in the sandbox.
pub(crate) const STATE: &str = "/var/lib/nova";

/// Where its temporary files go, private in the sandbox.
const TMP: &str = "/run/tmp";

/// How long anything may take on a machine that does much else. Figures are the bench's business.
const LONG: Duration = Duration::from_mins(1);

/// As [`LONG`]; in the virtual machine, whose processor is translated, five times as long.
pub(crate) fn long() -> Duration {
    let factor = if vlan::is_in_vm() { 5 } else { 1 };
    LONG * factor
}

/// A cloud host and an internet host.
struct Cloud {
    sandbox: Sandbox,
    up: Mutex<Option<Process>>,
    flags: String,
    /// What the shell that becomes `novanet up` does before.
    prelude: &'static str,
}

impl Cloud {
    /// A cloud that runs, with `flags` besides the usual ones.
    fn up(flags: &str) -> Result<Self> {
        let cloud = Self::without_up(flags)?;
        cloud.start()?;
        Ok(cloud)
    }

    /// The hosts, with the programs on the cloud host's path, and nothing started.
    fn without_up(flags: &str) -> Result<Self> {
        let sandbox = Sandbox::new(Path::new(STATE))?;
        let novanet = env!("CARGO_BIN_EXE_novanet");
        let aws = venv()?.join("bin/aws");
        sandbox.cloud.sh(&format!(
            "mkdir -p /run/bin /run/work {TMP}; ln -s {novanet} /run/bin/novanet; \
             ln -s {novanet} /run/bin/nova-manage; ln -s {} /run/bin/aws",
            aws.display()
        ))?;
        Ok(Self {
            sandbox,
            up: Mutex::new(None),
            flags: flags.to_owned(),
            prelude: "",
        })
    }

    /// As it is, with a line of shell before each `novanet up`.
    fn with_prelude(mut self, line: &'static str) -> Self {
        self.prelude = line;
        self
    }

    /// Starts `novanet up` and waits until its host follows.
    fn start(&self) -> Result<()> {
        self.start_waiting_for("ip -brief address show br100 | grep -q 10.0.0.1/")
    }

    /// Starts `novanet up` and waits for nothing.
    fn spawn_up(&self) -> Result<Process> {
        let line = format!(
            "exec novanet up --public_interface=eth0 --my_ip={} --floating_range={} {} >>{STATE}/up.out 2>>{STATE}/novanet.log",
            Sandbox::CLOUD,
            Sandbox::FLOATING,
            self.flags
        );
        let mut command = Command::new("sh");
        command
            .args([
                "-c",
                &format!(
                    "PATH=/run/bin:$PATH; export TMPDIR={TMP}; {} {line}",
                    self.prelude
                ),
            ])
            .stdin(Stdio::null());
        self.sandbox.cloud.spawn(&mut command)
    }

    /// As [`Self::start`], but waits for something else than the first network.
    fn start_waiting_for(&self, sign: &str) -> Result<()> {
        self.sandbox.cloud.sh(&format!("rm -f {STATE}/up.out"))?;
        let process = self.spawn_up()?;
        eventually(long(), || -> Result<()> {
            if let Some(status) = process.ended()? {
                // The process has ended for good: waiting on would change nothing.
                panic!("novanet up ended with {status}:\n{}", self.log());
            }
            // Not up is what some tests want: then `sign` says the rest.
            self.sh(&format!("grep -Eq 'the cloud is (not )?up' {STATE}/up.out"))?;
            self.sh(sign)?;
            self.sh("nft list table ip nova >/dev/null")?;
            Ok(())
        })
        .with_context(|| self.log())?;
        *self.up.lock().unwrap() = Some(process);
        Ok(())
    }

    /// Ends `novanet up`, by SIGTERM or as a power cut would.
    fn stop(&self, signal: nix::sys::signal::Signal) -> Result<()> {
        if let Some(process) = self.up.lock().unwrap().take() {
            process.signal(signal)?;
            process.wait(long())?;
        }
        Ok(())
    }

    fn log(&self) -> String {
        self.sandbox
            .cloud
            .sh(&format!("tail -n 40 {STATE}/novanet.log"))
            .map(|o| o.stdout)
            .unwrap_or_default()
    }

    /// A line of shell on the cloud host, with the programs on the path and the credentials read.
    fn sh(&self, line: &str) -> Result<String> {
        let output = self.try_sh(line)?;
        ensure!(
            output.success(),
            "{line}: {}\n{}{}",
            output.status,
            output.stdout,
            output.stderr
        );
        Ok(output.stdout)
    }

    /// As [`Cloud::sh`], for every exit code.
    fn try_sh(&self, line: &str) -> Result<Output> {
        let script = format!(
            "PATH=/run/bin:$PATH; export PATH; cd /run/work; \
             if [ -r {STATE}/novarc ]; then . {STATE}/novarc; fi; {line}"
        );
        self.sandbox.cloud.try_run(&["sh", "-c", &script])
    }

    /// `aws ec2 …`, as text.
    fn aws(&self, words: &str) -> Result<String> {
        Ok(self
            .sh(&format!("aws ec2 {words} --output text"))?
            .trim()
            .to_owned())
    }

    /// A line of shell on the internet host.
    fn internet(&self, line: &str) -> Result<String> {
        Ok(self.sandbox.internet.sh(line)?.stdout)
    }

    /// Waits until the instance's page is seen from outside.
    fn reachable(&self, float: &str) -> Result<()> {
        eventually(long(), || {
            self.internet(&format!("curl -sf -m 2 http://{float}/ | grep -q i-0000"))
        })
        .with_context(|| format!("{float} from outside\n{}", self.log()))?;
        Ok(())
    }

    /// Waits until no subsystem of the host would change anything.
    fn settled(&self) -> Result<()> {
        eventually(long(), || -> Result<()> {
            let plan = self.try_sh("nova-manage host plan --diff")?.stdout;
            let differs = plan
                .lines()
                .any(|line| line.starts_with(' ') && line.trim() != "nothing differs");
            ensure!(!differs && plan.contains("nothing differs"), "{plan}");
            Ok(())
        })
        .with_context(|| self.log())
    }

    /// Runs an instance behind a floating IP with HTTP and ping open to all; answers the address.
    fn with_instance(&self) -> Result<String> {
        self.with_instance_like("")
    }

    /// The same, with more words for `aws ec2 run-instances`.
    fn with_instance_like(&self, words: &str) -> Result<String> {
        let float = self.aws("allocate-address --query PublicIp")?;
        self.aws(&format!(
            "run-instances --image-id ami-00000001 --instance-type m1.tiny {words}"
        ))?;
        self.aws(&format!(
            "associate-address --instance-id i-00000001 --public-ip {float}"
        ))?;
        for door in ["tcp --port 80", "icmp --port -1"] {
            self.aws(&format!(
                "authorize-security-group-ingress --group-name default --protocol {door} --cidr 0.0.0.0/0"
            ))?;
        }
        self.reachable(&float)?;
        Ok(float)
    }
}

/// Where awscli and boto3 are; `make test` says it, else the script that makes it.
pub(crate) fn venv() -> Result<PathBuf> {
    if let Some(venv) = std::env::var_os("NOVANET_VENV") {
        return Ok(venv.into());
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/venv");
    let output = Command::new(script).output()?;
    ensure!(output.status.success(), "scripts/venv failed");
    Ok(PathBuf::from(
        String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    ))
}
