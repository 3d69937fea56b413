//! The move of an interface that carries an sshd session is undone, unless the session goes on or
//! the operator confirms it.

use crate::link::{State, inside, sh};
use crate::link_uplink::{config, lan, with_uplink};
use crate::subsystem::{Driven, bridge, name};
use novanet_agent::link::{Links, confirm};
use novanet_lab::{Host, eventually, eventually_async};
use novanet_reconcile::Desired;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

/// A server of one connection, under some name: it sends what it reads.
struct Server {
    child: Child,
    client: TcpStream,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start(name: &str, lan: &Host) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join(name);
        let busybox = sh("command -v busybox");
        std::os::unix::fs::symlink(busybox.trim(), &program).unwrap();
        let child = Command::new(program)
            .arg0("busybox")
            .args(["nc", "-l", "-p", "22"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let client = eventually(LIMIT, || {
            let connect = || TcpStream::connect_timeout(&"192.0.2.10:22".parse().unwrap(), LIMIT);
            lan.exec_in(connect).unwrap()
        });
        Self {
            child,
            client: client.unwrap(),
            _folder: folder,
        }
    }

    /// Sends a byte that the client gets.
    fn goes_on(&mut self) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(b"x").unwrap();
        self.client.set_read_timeout(Some(LIMIT)).unwrap();
        self.client.read_exact(&mut [0]).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _may_have_ended = self.child.kill();
        let _status = self.child.wait();
    }
}

/// A new agent, which wants the uplink in its bridge.
fn agent(state: &State) -> Driven<Links> {
    let mut links = with_uplink(state);
    links.want(&bridge(1, "br100"));
    links
}

fn record(state: &State) -> Option<Value> {
    let text = std::fs::read_to_string(state.path().join("links/confirm-eth1.json")).ok()?;
    Some(serde_json::from_str(&text).unwrap())
}

fn write(state: &State, record: &Value) {
    let path = state.path().join("links/confirm-eth1.json");
    std::fs::write(path, record.to_string()).unwrap();
}

fn is_enslaved() -> bool {
    sh("ip link show dev eth1").contains("master br100")
}

async fn removed(state: &State) {
    let mut links = with_uplink(state);
    links.desired = Desired::new(Vec::new());
    links.converge().await;
    assert_eq!(record(state), None);
}

#[test]
fn a_move_that_stops_an_sshd_session_is_undone_until_it_is_confirmed() {
    inside(|| async {
        let lan = lan();
        let before = config("eth1");
        let state = State::new();
        // Another server's session does not count.
        let other = Server::start("httpd", &lan);
        agent(&state).converge().await;
        assert_eq!(record(&state), None);
        removed(&state).await;
        drop(other);

        let _sshd = Server::start("sshd", &lan);
        agent(&state).converge().await;
        let pending = record(&state).unwrap();
        assert!(pending["stage"]["pending"]["deadline"].as_u64().unwrap() > 0);
        assert!(is_enslaved());
        // The deadline of an earlier boot counts no more; that of this one does, in a new agent too.
        let mut overdue = pending.clone();
        overdue["stage"]["pending"]["deadline"] = json!(0);
        let mut earlier = overdue.clone();
        earlier["boot"] = json!("an earlier one");
        write(&state, &earlier);
        assert!(agent(&state).round().await.is_empty());
        assert!(is_enslaved());
        write(&state, &overdue);
        for _ in 0..2 {
            let failed = agent(&state).round().await;
            let text = failed[0].1.to_string();
            assert!(
                text.starts_with("interface eth1 was taken out of bridge br100 again"),
                "{text}"
            );
            assert!(!is_enslaved());
            assert_eq!(config("eth1"), before);
        }
        // As after a kill between the move back and its record.
        write(&state, &overdue);
        assert_eq!(agent(&state).round().await.len(), 1);
        assert_eq!(record(&state).unwrap()["stage"], "undone");

        let only = name("eth2");
        let refused = confirm(state.path(), Some(&only)).unwrap_err();
        assert!(refused.starts_with("interface eth2: "), "{refused}");
        assert_eq!(confirm(state.path(), None), Ok(vec![name("eth1")]));
        agent(&state).converge().await;
        assert!(is_enslaved());
        assert_eq!(record(&state).unwrap()["stage"], "confirmed");
        assert!(confirm(state.path(), None).is_err());
        removed(&state).await;
        assert_eq!(config("eth1"), before);
        // The record of an undone move goes with its network, too.
        std::fs::create_dir_all(state.path().join("links")).unwrap();
        overdue["stage"] = json!("undone");
        write(&state, &overdue);
        removed(&state).await;
    });
}

#[test]
fn a_move_is_confirmed_by_new_data_on_the_sshd_session() {
    inside(|| async {
        let lan = lan();
        let state = State::new();
        let mut sshd = Server::start("sshd", &lan);
        sshd.goes_on();
        let mut links = agent(&state);
        links.converge().await;
        assert!(links.round().await.is_empty());
        // What was acknowledged before the move proves nothing.
        assert!(record(&state).unwrap()["stage"]["pending"].is_object());
        sshd.goes_on();
        let links = tokio::sync::Mutex::new(links);
        eventually_async(LIMIT, || async {
            assert!(links.lock().await.round().await.is_empty());
            match record(&state).unwrap()["stage"].as_str() {
                Some("confirmed") => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await
        .unwrap();
        assert!(is_enslaved());
    });
}

/// The lines of a page's block for a program, the first one under its heading.
fn block(page: &str, heading: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let text = std::fs::read_to_string(path.join(page)).unwrap();
    let (_, section) = text.split_once(heading).expect(heading);
    let mut parts = section.split("```");
    let block = parts.nth(1).unwrap();
    block.split_once('\n').unwrap().1.to_owned()
}

#[test]
fn ifupdown_leaves_the_uplink_alone_with_the_pages_file_and_not_with_an_address() {
    inside(|| async {
        let _lan = lan();
        let folder = tempfile::tempdir().unwrap();
        let ifup = |command: &str, file: &str| {
            let path = folder.path().join("interfaces");
            std::fs::write(&path, file).unwrap();
            let (path, state) = (path.display(), folder.path().display());
            sh(&format!(
                "{command} --no-scripts --state-dir {state} -i {path} eth1 2>&1"
            ))
        };
        let state = State::new();
        let mut links = agent(&state);
        links.converge().await;
        let before = config("br100");
        let manual = block("uplinks.md", "## ifupdown (Debian)");
        assert!(manual.contains("iface eth1 inet manual"), "{manual}");
        ifup("ifup", &manual);
        links.settled().await;
        // It may take the interface down; the agent takes it up.
        ifup("ifdown", &manual);
        ifup("ifup", &manual);
        links.converge().await;
        assert!(is_enslaved());
        assert_eq!(config("br100"), before);

        // As the page says: an address goes to the bridge, and is not left on the interface.
        let fixed = manual.replace("manual", "static\n    address 192.0.2.12/24");
        ifup("ifup --force", &fixed);
        assert!(sh("ip address show dev eth1").contains("192.0.2.12/24"));
        links.converge().await;
        assert!(!sh("ip address show dev eth1").contains("192.0.2.12"));
        assert!(sh("ip address show dev br100").contains("192.0.2.12/24"));
    });
}
