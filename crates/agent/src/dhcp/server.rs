//! One bridge's DHCP server: observes its process and files, and changes them. Depends on
//! [`super::files`], [`super::process`] and [`super::render`].

use super::applet;
use super::files::{self, Files, has_script, script, write_atomic};
use super::item::{DhcpKey, DhcpValue, HostSpec};
use super::process::{self, Running};
use super::render::{self, Hosts, Ranges};
use crate::settings::Settings;
use novanet_model::{IfName, MacAddr, NetworkId};
use novanet_reconcile::SubsystemError;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::Notify;

/// The DHCP server of a bridge.
#[derive(Debug)]
pub(crate) struct Server {
    bridge: IfName,
    networks_path: PathBuf,
    state_path: PathBuf,
    mtu: Option<u32>,
    config_file: Option<PathBuf>,
    files: Files,
    script: String,
    changed_externally: Arc<Notify>,
    running: Option<Running>,
    /// The process has read the current hosts file.
    loaded: bool,
}

impl Server {
    pub(crate) fn new(
        settings: &Settings,
        bridge: &IfName,
        changed_externally: &Arc<Notify>,
    ) -> Self {
        Self {
            bridge: bridge.clone(),
            networks_path: settings.networks_path.clone(),
            state_path: settings.state_path.clone(),
            mtu: settings.network_device_mtu,
            config_file: settings.dnsmasq_config_file.clone(),
            files: Files::new(&settings.networks_path, bridge),
            script: render::script(&settings.dhcpbridge),
            changed_externally: Arc::clone(changed_externally),
            running: None,
            loaded: false,
        }
    }

    /// Whether the process ran at the last observation.
    pub(crate) fn runs(&self) -> bool {
        self.running.is_some()
    }

    /// The number of the device that the process is bound to.
    pub(crate) fn bound(&self) -> Option<u32> {
        self.running.as_ref()?.bound
    }

    /// Notices the end of the process, and finds another one of the same files.
    fn refresh(&mut self) {
        if self
            .running
            .as_ref()
            .is_some_and(|running| running.is_alive(&self.files))
        {
            return;
        }
        self.running = Running::find(&self.files, &self.changed_externally);
        // An earlier agent may have been killed between writing the hosts and the SIGHUP.
        self.loaded = match &self.running {
            Some(running) => running.reload().is_ok(),
            None => false,
        };
    }

    fn arguments(&self, ranges: &Ranges) -> Vec<String> {
        render::arguments(
            &self.networks_path,
            &self.bridge,
            ranges,
            self.config_file.as_deref(),
            self.mtu,
            self.user(),
        )
    }

    /// dnsmasq becomes an unprivileged user of its own choice, which cannot read the hosts files
    /// below a folder that is closed to others; then it stays root.
    fn user(&self) -> Option<&'static str> {
        let open = |folder: &Path| {
            fs::metadata(folder).is_ok_and(|meta| meta.permissions().mode() & 0o001 != 0)
        };
        let all_open = self
            .networks_path
            .ancestors()
            .skip_while(|f| !f.exists())
            .all(open);
        if all_open { None } else { Some("root") }
    }

    /// Adds the observed items of this bridge.
    pub(crate) fn observe(
        &mut self,
        ranges: &Ranges,
        hosts: &Hosts,
        items: &mut BTreeMap<DhcpKey, DhcpValue>,
    ) {
        self.refresh();
        let wrong = self.process_is_wrong(ranges);
        let wrong = wrong.or_else(|| self.a_file_is_wrong());
        let mut networks: Vec<NetworkId> = ranges.keys().copied().collect();
        if ranges.is_empty() {
            networks = self
                .running
                .as_ref()
                .map_or(Vec::new(), |r| render::networks_of(&r.arguments));
            if networks.is_empty()
                && (self.runs() || self.files.pid().exists() || self.files.hosts().exists())
            {
                networks.push(NetworkId(0));
            }
        }
        for network in networks {
            let value = match (&wrong, ranges.get(&network)) {
                (None, Some(spec)) => DhcpValue::Range(spec.clone()),
                (Some(wrong), Some(_)) => DhcpValue::Otherwise(wrong.clone()),
                _ => DhcpValue::Otherwise("served, or files left".to_owned()),
            };
            items.insert(DhcpKey::Range(self.bridge.clone(), network), value);
        }
        if ranges.is_empty() {
            // Hosts without a range wait for it.
            let there = |(address, spec): (&Ipv4Addr, &HostSpec)| {
                let key = DhcpKey::Host(self.bridge.clone(), *address);
                (key, DhcpValue::Host(spec.clone()))
            };
            items.extend(hosts.iter().map(there));
        } else {
            self.observe_hosts(ranges, hosts, items);
        }
    }

    /// Why the process has to be replaced, for people. `None`: it need not.
    pub(crate) fn process_is_wrong(&self, ranges: &Ranges) -> Option<String> {
        let Some(running) = &self.running else {
            return Some("no dnsmasq runs".to_owned());
        };
        let wanted = self.arguments(ranges);
        if running.arguments != wanted {
            let other = running.arguments.iter().find(|a| !wanted.contains(a));
            let missing = wanted.iter().find(|a| !running.arguments.contains(a));
            return Some(format!(
                "dnsmasq {} was started with {}, without {}",
                running.pid,
                other.map_or("the same", String::as_str),
                missing.map_or("nothing else", String::as_str)
            ));
        }
        if let Some(stopped) = running.stopped().first() {
            return Some(format!(
                "dnsmasq {stopped} is stopped (by a signal) and serves nobody"
            ));
        }
        let device = nix::net::if_::if_nametoindex(self.bridge.as_str()).ok();
        if running.bound != device {
            return Some(format!(
                "dnsmasq {} is bound to an earlier {}",
                running.pid, self.bridge
            ));
        }
        None
    }

    /// The fault of the folder, the script, or the modes of the files, for people; `None`: no
    /// fault.
    fn a_file_is_wrong(&self) -> Option<String> {
        if !files::folder_is_right(&self.networks_path, &self.state_path) {
            let folder = self.networks_path.display();
            return Some(format!(
                "{folder} is not there, or not root's with mode 0755"
            ));
        }
        if !has_script(&self.networks_path, &self.script) {
            let script = script(&self.networks_path);
            return Some(format!("{} is not as written", script.display()));
        }
        let running = self.running.as_ref()?;
        let there = fs::read_to_string(self.files.pid()).unwrap_or_default();
        if there.trim().parse() != Ok(running.pid) {
            let pid = self.files.pid();
            return Some(format!(
                "{} does not name dnsmasq {}",
                pid.display(),
                running.pid
            ));
        }
        let mut others = [self.files.hosts(), self.files.names(), self.files.bound()].into_iter();
        let wrong = others.find(|file| !files::has_mode(file, files::FILE_MODE))?;
        let wrong = wrong.display();
        Some(format!(
            "{wrong} is not there, or not root's with mode 0644"
        ))
    }

    /// Records which process is bound to which device. Without a process, an empty file marks the
    /// other files as novanet's.
    fn write_bound(&self) -> io::Result<()> {
        let bound = self.running.as_ref().and_then(|r| Some((r.pid, r.bound?)));
        match bound {
            Some((pid, device)) => write_atomic(&self.files.bound(), &format!("{pid} {device}\n")),
            None if self.files.bound().exists() => Ok(()),
            None => write_atomic(&self.files.bound(), ""),
        }
    }

    fn observe_hosts(
        &self,
        ranges: &Ranges,
        hosts: &Hosts,
        items: &mut BTreeMap<DhcpKey, DhcpValue>,
    ) {
        let text = fs::read_to_string(self.files.hosts()).unwrap_or_default();
        let names = fs::read_to_string(self.files.names()).unwrap_or_default();
        let names: BTreeMap<&str, &str> = names
            .lines()
            .filter_map(|line| Some((line.split('\t').next()?, line)))
            .collect();
        for line in text.lines() {
            let Some(address) = line
                .rsplit(',')
                .next()
                .and_then(|a| a.parse::<Ipv4Addr>().ok())
            else {
                continue;
            };
            let spec = hosts.get(&address);
            let right = self.loaded
                && spec.is_some_and(|spec| {
                    let name = render::name_line(ranges, address, spec);
                    render::host_line(ranges, address, spec) == line
                        && name.as_deref() == names.get(address.to_string().as_str()).copied()
                });
            let key = DhcpKey::Host(self.bridge.clone(), address);
            let value = match spec {
                Some(spec) if right => DhcpValue::Host(spec.clone()),
                // The MAC that may have a lease, for releasing it.
                _ => match line
                    .split(',')
                    .next()
                    .and_then(|mac| mac.parse::<MacAddr>().ok())
                {
                    Some(mac) if spec.is_none_or(|spec| spec.mac != mac) => {
                        DhcpValue::StaleLease(mac)
                    }
                    _ => DhcpValue::Otherwise(line.to_owned()),
                },
            };
            items.insert(key, value);
        }
        // An agent that was killed between writing the two files left a name without a host.
        for (address, line) in names {
            if let Ok(address) = address.parse() {
                let key = DhcpKey::Host(self.bridge.clone(), address);
                let alone = || DhcpValue::Otherwise(line.to_owned());
                items.entry(key).or_insert_with(alone);
            }
        }
    }

    /// Writes the hosts files and `bound`.
    pub(crate) fn write(&mut self, ranges: &Ranges, hosts: &Hosts) -> Result<(), SubsystemError> {
        self.loaded = false;
        self.write_bound()
            .map_err(|e| SubsystemError::kernel("mark the files of dnsmasq", e))?;
        if let Some(running) = &self.running {
            let pid = self.files.pid();
            write_atomic(&pid, &format!("{}\n", running.pid))
                .map_err(|e| SubsystemError::kernel(format!("write {}", pid.display()), e))?;
        }
        let files = [
            (self.files.hosts(), render::hosts_file(ranges, hosts)),
            (self.files.names(), render::names_file(ranges, hosts)),
        ];
        for (path, text) in files {
            write_atomic(&path, &text)
                .map_err(|e| SubsystemError::kernel(format!("write {}", path.display()), e))?;
        }
        Ok(())
    }

    /// Continues a stopped process. The next round replaces one that does not go on.
    pub(crate) async fn resume(&self) {
        let Some(running) = &self.running else {
            return;
        };
        let stopped = running.stopped();
        if !stopped.is_empty() {
            let resumed = running.resume().await;
            tracing::warn!(bridge = %self.bridge, ?stopped, resumed, "dnsmasq was stopped by a signal");
        }
    }

    /// Makes the process read the hosts files again.
    pub(crate) fn reload(&mut self) -> Result<(), SubsystemError> {
        if let Some(running) = &self.running {
            let what = || format!("reload dnsmasq {} of {}", running.pid, self.bridge);
            running
                .reload()
                .map_err(|e| SubsystemError::kernel(what(), e))?;
            self.loaded = true;
        }
        Ok(())
    }

    /// Ends the process, if one runs, and starts one with these ranges.
    pub(crate) async fn restart(
        &mut self,
        ranges: &Ranges,
        leases: &Path,
    ) -> Result<(), SubsystemError> {
        let device = self.device_with_addresses(ranges)?;
        self.stop().await?;
        let seconds = ranges.values().map(|range| range.lease_seconds).max();
        let networks: Vec<_> = ranges.keys().map(ToString::to_string).collect();
        let environment = [
            (applet::FOLDER, leases.display().to_string()),
            (applet::HOSTS, self.files.hosts().display().to_string()),
            (applet::BRIDGE, self.bridge.to_string()),
            (applet::SECONDS, seconds.unwrap_or_default().to_string()),
            ("NETWORK_ID", networks.join(",")), // nova's
        ];
        process::start(&self.arguments(ranges), &environment).await?;
        let mut running =
            Running::find(&self.files, &self.changed_externally).ok_or_else(|| {
                SubsystemError::Refused(format!(
                    "dnsmasq on {} ended as soon as it was started",
                    self.bridge
                ))
            })?;
        running.bound = Some(device);
        self.running = Some(running);
        self.write_bound().map_err(|e| {
            SubsystemError::kernel(format!("write {}", self.files.bound().display()), e)
        })?;
        self.loaded = true;
        Ok(())
    }

    /// The number of the bridge, if it has all servers' addresses. dnsmasq ends at once where the
    /// bridge is missing, and does not serve DNS on an address that comes later.
    fn device_with_addresses(&self, ranges: &Ranges) -> Result<u32, SubsystemError> {
        let device = nix::net::if_::if_nametoindex(self.bridge.as_str()).map_err(|_| {
            SubsystemError::Refused(format!(
                "dhcp on {0}: bridge {0} is not there yet",
                self.bridge
            ))
        })?;
        let there: Vec<Ipv4Addr> = nix::ifaddrs::getifaddrs()
            .map_err(|e| SubsystemError::kernel("list addresses", e))?
            .filter(|entry| entry.interface_name == self.bridge.as_str())
            .filter_map(|entry| Some(entry.address?.as_sockaddr_in()?.ip()))
            .collect();
        match ranges.values().find(|range| !there.contains(&range.server)) {
            Some(range) => Err(SubsystemError::Refused(format!(
                "dhcp on {0}: bridge {0} does not have the server's address {1} yet",
                self.bridge, range.server
            ))),
            None => Ok(device),
        }
    }

    async fn stop(&mut self) -> Result<(), SubsystemError> {
        if let Some(running) = self.running.take() {
            let what = format!("end dnsmasq {} of {}", running.pid, self.bridge);
            running
                .stop()
                .await
                .map_err(|e| SubsystemError::kernel(what, e))?;
        }
        Ok(())
    }

    /// Ends the process and removes its files.
    pub(crate) async fn remove(&mut self) -> Result<(), SubsystemError> {
        self.refresh();
        self.stop().await?;
        self.loaded = false;
        let what = format!("remove the files of dnsmasq on {}", self.bridge);
        self.files
            .remove()
            .map_err(|e| SubsystemError::kernel(what, e))
    }
}
