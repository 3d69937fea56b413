//! `euca-*` and `nova-manage` with a running server: the same cloud from both ends.

use crate::check::{Sandbox, show};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// `novanet server` on a port of its own; gone with the test.
pub(crate) struct Server {
    child: Child,
    pub(crate) port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    pub(crate) fn start(sandbox: &Sandbox) -> Self {
        Self::start_with(sandbox, &[])
    }

    /// With flags of its own.
    pub(crate) fn start_with(sandbox: &Sandbox, flags: &[&str]) -> Self {
        let free = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let port_flag = format!("--ec2_listen_port={port}");
        let child = sandbox
            .command(&["server", "--ec2_listen=127.0.0.1", &port_flag])
            .args(flags)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut server = Self { child, port };
        let end = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            let state = server.child.try_wait().unwrap();
            assert!(state.is_none(), "the server ended: {state:?}");
            assert!(Instant::now() < end, "the server does not listen on {port}");
            std::thread::sleep(Duration::from_millis(20));
        }
        server
    }

    fn euca(&self, sandbox: &Sandbox, line: &str) -> Command {
        let args: Vec<&str> = std::iter::once("euca")
            .chain(line.split_whitespace())
            .collect();
        let mut command = sandbox.command(&args);
        command
            .env(
                "EC2_URL",
                format!("http://127.0.0.1:{}/services/Cloud", self.port),
            )
            .env("EC2_ACCESS_KEY", "myaccess:web")
            .env("EC2_SECRET_KEY", "mysecret");
        command
    }

    fn check(&self, sandbox: &Sandbox, line: &str) -> String {
        let output = self.euca(sandbox, line).output().unwrap();
        show(&output, sandbox.path()).replace(&self.port.to_string(), "PORT")
    }
}

#[test]
fn the_manuals_steps_work_against_a_running_server() {
    let sandbox = Sandbox::new();
    for line in [
        "user create john myaccess mysecret",
        "project create web john",
    ] {
        assert!(sandbox.manage(line).status.success(), "{line}");
    }
    let server = Server::start(&sandbox);
    // Written while the server runs, and seen by it.
    assert!(
        sandbox
            .manage("floating create 68.99.26.170/31")
            .status
            .success()
    );
    let check = |line: &str| server.check(&sandbox, line);
    insta::assert_snapshot!(check("euca-authorize -P icmp -t -1:-1 default"), @"
    exit 0
    --- stdout
    GROUP	default
    PERMISSION	default	ALLOWS	icmp	-1	-1	FROM	CIDR	0.0.0.0/0
    ");
    insta::assert_snapshot!(check("euca-authorize tcp -p 22 default"), @"
    exit 0
    --- stdout
    GROUP	default
    PERMISSION	default	ALLOWS	tcp	22	22	FROM	CIDR	0.0.0.0/0
    ");
    insta::assert_snapshot!(check("euca-describe-groups"), @"
    exit 0
    --- stdout
    GROUP	web	default	default
    PERMISSION	web	default	ALLOWS	-1	-1	-1	FROM	GRPNAME	default
    PERMISSION	web	default	ALLOWS	icmp	-1	-1	FROM	CIDR	0.0.0.0/0
    PERMISSION	web	default	ALLOWS	tcp	22	22	FROM	CIDR	0.0.0.0/0
    ");
    insta::assert_snapshot!(check("euca-revoke -p 22 default"), @"
    exit 0
    --- stdout
    GROUP	default
    PERMISSION	default	REVOKED	tcp	22	22	FROM	CIDR	0.0.0.0/0
    ");
    insta::assert_snapshot!(check("euca-allocate-address"), @"
    exit 0
    --- stdout
    ADDRESS	68.99.26.170
    ");
    insta::assert_snapshot!(check("euca-describe-addresses"), @"
    exit 0
    --- stdout
    ADDRESS	68.99.26.170
    ");
    insta::assert_snapshot!(check("euca-associate-address -i i-1 68.99.26.170"), @"
    exit 1
    --- stderr
    error: euca-associate-address: InvalidInstanceID.NotFound: instance i-00000001 not found
    ");
    insta::assert_snapshot!(check("euca-deallocate-address 68.99.26.170"), @"
    exit 0
    --- stdout
    ADDRESS	68.99.26.170
    ");
    insta::assert_snapshot!(check("euca-deallocate-address 68.99.26.170"), @"
    exit 1
    --- stderr
    error: euca-deallocate-address: InvalidAddress.NotFound: floating IP 68.99.26.170 not found
    ");
    insta::assert_snapshot!(check("euca-describe-instances"), @"exit 0");
    insta::assert_snapshot!(check("euca-describe-availability-zones"), @"
    exit 0
    --- stdout
    AVAILABILITYZONE	nova	unavailable
    ");
    insta::assert_snapshot!(check("euca-describe-regions --secret-key=wrong"), @"
    exit 1
    --- stderr
    error: euca-describe-regions: AuthFailure: The access key is unknown, or the signature does not fit its secret key.
    ");
}

#[test]
fn a_new_private_key_goes_into_a_file_of_its_own_or_is_shown() {
    let sandbox = Sandbox::new();
    for line in [
        "user create john myaccess mysecret",
        "project create web john",
    ] {
        assert!(sandbox.manage(line).status.success(), "{line}");
    }
    let server = Server::start(&sandbox);
    let made = server.check(&sandbox, "euca-add-keypair mykey -f my.pem");
    assert!(
        made.starts_with("exit 0\n--- stdout\nKEYPAIR\tmykey\t"),
        "{made}"
    );
    assert!(!made.contains("PRIVATE KEY"), "{made}");
    let path = sandbox.path().join("my.pem");
    assert!(
        std::fs::read_to_string(&path)
            .unwrap()
            .contains("PRIVATE KEY")
    );
    // The file is there: it is not overwritten, and the new key is not lost.
    let second = server.check(&sandbox, "euca-add-keypair other -f my.pem");
    assert!(second.starts_with("exit 1"), "{second}");
    assert!(second.contains("PRIVATE KEY"), "{second}");
}

#[test]
fn without_credentials_or_server_the_remedy_is_named() {
    let sandbox = Sandbox::new();
    let run = |vars: &[(&str, &str)]| {
        let mut command = sandbox.command(&["euca", "describe-addresses"]);
        for name in ["EC2_URL", "EC2_ACCESS_KEY", "EC2_SECRET_KEY"] {
            command.env_remove(name);
        }
        command.envs(vars.iter().copied());
        show(&command.output().unwrap(), sandbox.path())
    };
    insta::assert_snapshot!(run(&[]), @"
    exit 1
    --- stderr
    error: EC2_URL is not set: read your credentials first: . novarc
    ");
    insta::assert_snapshot!(run(&[("EC2_URL", "nonsense")]), @r#"
    exit 1
    --- stderr
    error: EC2_URL "nonsense": must look like http://192.0.2.7:8773/services/Cloud
    "#);
    let keys = [("EC2_ACCESS_KEY", "a"), ("EC2_SECRET_KEY", "b")];
    let nobody = [
        ("EC2_URL", "http://127.0.0.1:1/services/Cloud"),
        keys[0],
        keys[1],
    ];
    insta::assert_snapshot!(run(&nobody), @"
    exit 1
    --- stderr
    error: euca-describe-addresses: EC2 API at 127.0.0.1:1: Connection refused (os error 111): is the server running?
    ");
}
