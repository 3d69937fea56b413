//! A virtual machine whose kernel has 802.1Q, for machines whose own kernel does not. It sees this
//! machine's files read-only, under a layer in memory; its processor is translated (TCG), so a
//! suite shares one boot of about four seconds. `scripts/vm` makes its kernel.

use anyhow::{Context, Result, bail, ensure};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What a command in the virtual machine did.
#[derive(Debug)]
pub struct VmOutput {
    /// Its exit status.
    pub status: i32,
    /// What it wrote to standard output and standard error.
    pub text: String,
}

/// The files of a virtual machine.
#[derive(Debug)]
pub struct Vm {
    folder: PathBuf,
    version: String,
}

/// In the machine's start script: the way to what the caller said.
const EXCHANGE: &str = "/run/exchange";
/// Shell: `$0` becomes a view of `/`, with what is mounted at `$1` too; the rest is run.
const SHOW_FILES: &str = "mount --bind / \"$0\" && { [ \"$1\" = / ] || \
    mount --bind \"$1\" \"$0$1\"; } && shift && exec \"$@\"";
/// Memory of the machine in MiB.
const MEMORY: u32 = 2048;

impl Vm {
    /// The machine that `NOVANET_VM` names, or the one that `scripts/vm` makes now.
    pub fn new() -> Result<Self> {
        let folder = if let Some(folder) = std::env::var_os("NOVANET_VM") {
            PathBuf::from(folder)
        } else {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/vm");
            let made = Command::new(&script)
                .stderr(Stdio::inherit())
                .output()
                .with_context(|| format!("run {}", script.display()))?;
            ensure!(made.status.success(), "scripts/vm failed");
            PathBuf::from(String::from_utf8(made.stdout)?.trim_end())
        };
        let modules = folder.join("modules");
        let version = fs::read_dir(&modules)
            .with_context(|| format!("{} (scripts/vm makes it)", modules.display()))?
            .next()
            .context("no kernel modules")??
            .file_name();
        Ok(Self {
            version: version.to_string_lossy().into_owned(),
            folder,
        })
    }

    /// Boots the machine, runs a program in it as root, and ends it. The program has this machine's
    /// files, the given variables, 802.1Q, bridges, tun and nftables, and no way outside.
    pub fn run(
        &self,
        command: &[&str],
        variables: &[(&str, &str)],
        limit: Duration,
    ) -> Result<VmOutput> {
        let console = tempfile::NamedTempFile::new()?;
        let file = console.reopen()?;
        let streams = [file.try_clone()?.into(), file.into()];
        let status = self.boot(command, variables, limit, streams);
        let text = String::from_utf8_lossy(&fs::read(console.path())?).into_owned();
        match status {
            Ok(status) => Ok(VmOutput { status, text }),
            Err(error) => Err(error.context(text)),
        }
    }

    /// The same, with this process's standard output instead of a text; its exit status.
    pub fn show(
        &self,
        command: &[&str],
        variables: &[(&str, &str)],
        limit: Duration,
    ) -> Result<i32> {
        let streams = [Stdio::inherit(), Stdio::inherit()];
        self.boot(command, variables, limit, streams)
    }

    fn boot(
        &self,
        command: &[&str],
        variables: &[(&str, &str)],
        limit: Duration,
        [out, errors]: [Stdio; 2],
    ) -> Result<i32> {
        let work = tempfile::Builder::new().prefix("novanet-vm").tempdir()?;
        let [exchange, root] = ["exchange", "root"].map(|name| work.path().join(name));
        fs::create_dir(&exchange)?;
        fs::create_dir(&root)?;
        fs::write(exchange.join("start"), self.start(command, variables)?)?;
        let place = mount_point_of(&std::env::current_exe()?)?;
        let mut machine = self
            .qemu(work.path(), &exchange, &root, &place)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(errors)
            .spawn()
            .context("start qemu-system-x86_64 (package qemu-system-x86)")?;
        let end = Instant::now() + limit;
        while machine.try_wait()?.is_none() {
            if Instant::now() > end {
                machine.kill()?;
                machine.wait()?;
                bail!("the virtual machine did not end within {limit:?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let Ok(status) = fs::read_to_string(exchange.join("status")) else {
            let kernel = fs::read_to_string(work.path().join("serial")).unwrap_or_default();
            bail!("the virtual machine ended before its program:\n{kernel}");
        };
        Ok(status.trim().parse()?)
    }

    fn qemu(&self, work: &Path, exchange: &Path, root: &Path, place: &Path) -> Command {
        let mut qemu = Command::new("setpriv");
        // The bind mount leaves out what is mounted below `/`, and no other process sees it; the
        // place of this program is mounted again.
        qemu.args([
            "--pdeathsig",
            "KILL",
            "unshare",
            "--mount",
            "--propagation",
            "private",
        ])
        .args(["sh", "-c", SHOW_FILES])
        .arg(root)
        .arg(place)
        .args([
            "qemu-system-x86_64",
            "-accel",
            "tcg",
            "-cpu",
            "max",
            "-smp",
            "1",
        ])
        .args(["-m", &format!("{MEMORY}M"), "-M", "q35,usb=off,vmport=off"])
        .args([
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-no-reboot",
        ])
        .arg("-kernel")
        .arg(self.folder.join("vmlinux"))
        .arg("-initrd")
        .arg(self.folder.join("initrd"))
        .arg("-serial")
        .arg(format!("file:{}", work.join("serial").display()))
        .args([
            "-chardev",
            "stdio,id=console,signal=off",
            "-device",
            "virtio-serial-pci",
        ])
        .args(["-device", "virtconsole,chardev=console"])
        .args(["-object", "rng-random,filename=/dev/urandom,id=random"])
        .args(["-device", "virtio-rng-pci,rng=random"])
        // `tsc` runs fast where other work takes the processor away.
        .args([
            "-append",
            "console=ttyS0 quiet panic=-1 oops=panic mitigations=off nokaslr \
                clocksource=acpi_pm tsc=unstable no_timer_check random.trust_cpu=on audit=0 \
                net.ifnames=0 cryptomgr.notests rcupdate.rcu_expedited=1",
        ]);
        for (tag, path, readonly) in [("root", root, ",readonly=on"), ("exchange", exchange, "")] {
            let path = path.display();
            qemu.arg("-fsdev")
                .arg(format!(
                    "local,id={tag},path={path},security_model=none,multidevs=remap{readonly}"
                ))
                .arg("-device")
                .arg(format!("virtio-9p-pci,fsdev={tag},mount_tag={tag}"));
        }
        qemu
    }

    /// The script that the machine runs once its files are there.
    fn start(&self, command: &[&str], variables: &[(&str, &str)]) -> Result<String> {
        let modules = quoted(
            &self
                .folder
                .join("modules")
                .join(&self.version)
                .to_string_lossy(),
        );
        let here = quoted(&std::env::current_dir()?.to_string_lossy());
        let mut script = format!(
            "exec </dev/null >/dev/ttyS0 2>&1\n\
             echo 0 >/proc/sys/kernel/printk\n\
             export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root\n\
             mkdir -p /lib/modules/{version}\n\
             mount --bind {modules} /lib/modules/{version}\n\
             modprobe -a tun 8021q bridge br_netfilter nf_conntrack dummy veth loop ext4 overlay\n\
             ip link set dev lo up\n\
             hostname vm\n\
             stty raw -echo -opost </dev/hvc0\n\
             exec >/dev/hvc0 2>&1\n\
             cd {here} || cd /\n",
            version = self.version,
        );
        for (name, value) in variables {
            writeln!(script, "export {name}={}", quoted(value))?;
        }
        let command: Vec<_> = command.iter().map(|word| quoted(word)).collect();
        writeln!(script, "setsid -w {}", command.join(" "))?;
        writeln!(script, "echo $? >{EXCHANGE}/status")?;
        writeln!(script, "sync\necho o >/proc/sysrq-trigger\nsleep 60")?;
        Ok(script)
    }
}

/// Where the file system of a file is mounted.
fn mount_point_of(file: &Path) -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let points = mounts
        .lines()
        .filter_map(|line| Some(Path::new(line.split(' ').nth(4)?)));
    points
        .filter(|point| file.starts_with(point))
        .max_by_key(|point| point.as_os_str().len())
        .map(Path::to_owned)
        .context("no mount point of this program")
}

/// A word for a POSIX shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
