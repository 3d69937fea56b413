//! `euca-*` and `nova-manage` with a running server: the same cloud from both ends.

use crate::check::{Sandbox, show};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
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
    --- stderr
    note: euca-authorize: done as euca-authorize -P tcp … default
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
    --- stderr
    note: euca-deallocate-address: done as euca-release-address
    ");
    insta::assert_snapshot!(check("euca-deallocate-address 68.99.26.170"), @"
    exit 1
    --- stderr
    note: euca-deallocate-address: done as euca-release-address
    error: euca-deallocate-address: InvalidAddress.NotFound: floating IP 68.99.26.170 not found
    ");
    insta::assert_snapshot!(check("euca-describe-instances"), @"exit 0");
    insta::assert_snapshot!(check("euca-describe-availability-zones"), @"
    exit 0
    --- stdout
    AVAILABILITYZONE	nova	unavailable
    ");
    insta::assert_snapshot!(check("euca-describe-availability-zones nowhere"), @"
    exit 1
    --- stderr
    error: euca-describe-availability-zones: InvalidParameterValue: ZoneName nowhere does not exist.
    ");
    insta::assert_snapshot!(check("euca-describe-regions nova"), @"
    exit 0
    --- stdout
    REGION	nova	http://192.0.2.7:PORT/services/Cloud
    ");
    insta::assert_snapshot!(check("euca-describe-group default"), @"
    exit 0
    --- stdout
    GROUP	web	default	default
    PERMISSION	web	default	ALLOWS	-1	-1	-1	FROM	GRPNAME	default
    PERMISSION	web	default	ALLOWS	icmp	-1	-1	FROM	CIDR	0.0.0.0/0
    --- stderr
    note: euca-describe-group: done as euca-describe-groups
    ");
    insta::assert_snapshot!(check("euca-describe-images"), @"exit 0");
    insta::assert_snapshot!(check("euca-create-group -d servers www"), @"
    exit 0
    --- stdout
    GROUP	www	servers
    ");
    insta::assert_snapshot!(check("euca-delete-group www"), @"
    exit 0
    --- stdout
    GROUP	www
    ");
    insta::assert_snapshot!(check("euca-delete-group www"), @"
    exit 1
    --- stderr
    error: euca-delete-group: InvalidGroup.NotFound: security group www not found
    ");
    insta::assert_snapshot!(check("euca-run-instances ami-1 -t m1.tiny"), @"
    exit 1
    --- stderr
    error: euca-run-instances: InvalidAMIID.NotFound: image ami-00000001 not found
    ");
    for command in ["reboot", "terminate", "stop", "start"] {
        let said = check(&format!("euca-{command}-instances i-7"));
        let wanted = format!(
            "exit 1\n--- stderr\nerror: euca-{command}-instances: InvalidInstanceID.NotFound: \
             instance i-00000007 not found"
        );
        assert_eq!(said, wanted);
    }
    insta::assert_snapshot!(check("euca-get-console-output i-7"), @"
    exit 1
    --- stderr
    error: euca-get-console-output: InvalidInstanceID.NotFound: instance i-00000007 not found
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

/// The manual's `euca-add-keypair mykey >mykey.pem`, and a key of one's own.
#[test]
fn a_key_pair_that_is_printed_into_a_file_is_one_that_ssh_loads() {
    let sandbox = Sandbox::new();
    for line in [
        "user create john myaccess mysecret",
        "project create web john",
    ] {
        assert!(sandbox.manage(line).status.success(), "{line}");
    }
    let server = Server::start(&sandbox);
    let mut printed = server.euca(&sandbox, "euca-add-keypair mykey");
    let printed = printed.output().unwrap().stdout;
    assert!(printed.starts_with(b"KEYPAIR\tmykey\t"), "{printed:?}");
    let path = sandbox.path().join("mykey.pem");
    std::fs::write(&path, &printed).unwrap();
    let keygen = |words: &[&str]| {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let output = Command::new("ssh-keygen").args(words).arg(&path).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let public = keygen(&["-y", "-f"]);
    assert!(public.starts_with("ssh-rsa "), "{public}");
    std::fs::write(sandbox.path().join("mine.pub"), &public).unwrap();
    let mine = server.check(&sandbox, "euca-import-keypair mine -f mine.pub");
    let fingerprint = String::from_utf8(printed).unwrap();
    let fingerprint = fingerprint.lines().next().unwrap().rsplit('\t').next();
    let fingerprint = fingerprint.unwrap();
    assert_eq!(
        mine,
        format!("exit 0\n--- stdout\nKEYPAIR\tmine\t{fingerprint}")
    );
    assert_eq!(
        server.check(&sandbox, "euca-describe-keypairs"),
        format!("exit 0\n--- stdout\nKEYPAIR\tmine\t{fingerprint}\nKEYPAIR\tmykey\t{fingerprint}")
    );
    let check = |line: &str| server.check(&sandbox, line);
    insta::assert_snapshot!(check("euca-add-keypair mykey"), @"
    exit 1
    --- stderr
    error: euca-add-keypair: InvalidKeyPair.Duplicate: key pair mykey already exists
    ");
    insta::assert_snapshot!(check("euca-import-keypair other"), @"
    exit 2
    --- stderr
    error: euca-import-keypair: public_key_file is missing: say which with -f id_ed25519.pub
    ");
    insta::assert_snapshot!(check("euca-import-keypair other -f absent.pub"), @"
    exit 1
    --- stderr
    error: euca-import-keypair: public_key_file absent.pub: No such file or directory (os error 2)
    ");
    insta::assert_snapshot!(check("euca-import-keypair other -f mykey.pem"), @"
    exit 1
    --- stderr
    error: euca-import-keypair: InvalidKey.Format: public key: this is a private key: give the .pub file
    ");
    insta::assert_snapshot!(check("euca-delete-keypair mine"), @"
    exit 0
    --- stdout
    KEYPAIR	mine
    ");
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
