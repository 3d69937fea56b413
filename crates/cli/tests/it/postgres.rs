//! `nova-manage` on PostgreSQL: the same commands on the other engine.

use crate::check::Sandbox;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

#[test]
fn nova_manage_works_on_postgresql_and_refuses_a_newer_schema() {
    let sandbox = Sandbox::on_postgres();
    let check = |line: &str| sandbox.check(line);
    insta::assert_snapshot!(check("network create 10.1.171.0/24 2 128"), @"exit 0");
    insta::assert_snapshot!(check("network create 10.1.171.0/24 2 128"), @r#"
    exit 1
    --- stderr
    error: fixed_range_v4 "10.1.171.0/24": cidr already in use: 10.1.171.0/25 is network 1 (private_0); 0 of the 2 /25 asked for are free here: choose another range
    "#);
    insta::assert_snapshot!(check("network list"), @"
    exit 0
    --- stdout
    id   	IPv4              	IPv6           	start address  	DNS1           	DNS2           	VlanID         	project        	uuid
    1    	10.1.171.0/25     	None           	10.1.171.3     	None           	None           	100            	None           	UUID
    2    	10.1.171.128/25   	None           	10.1.171.131   	None           	None           	101            	None           	UUID
    ");
    insta::assert_snapshot!(check("user admin john access secret"), @"
    exit 0
    --- stdout
    export EC2_ACCESS_KEY=access
    export EC2_SECRET_KEY=secret
    ");
    insta::assert_snapshot!(check("project create web john"), @"exit 0");
    insta::assert_snapshot!(check("floating create 68.99.26.170/31"), @"exit 0");
    insta::assert_snapshot!(check("floating list"), @"
    exit 0
    --- stdout
    None	68.99.26.170	None
    None	68.99.26.171	None
    ");
    insta::assert_snapshot!(check("fixed reserve 10.1.171.9"), @"exit 0");
    insta::assert_snapshot!(check("network delete 10.1.171.128/25"), @"exit 0");
    insta::assert_snapshot!(check("audit list"), @"
    exit 0
    --- stdout
    when                     who          from            project      what                     which                detail
    DATE TIME UTC  operator     cli             None         network.create           10.1.171.0/25        vlan on br100
    DATE TIME UTC  operator     cli             None         network.create           10.1.171.128/25      vlan on br101
    DATE TIME UTC  operator     cli             None         user.create              john
    DATE TIME UTC  operator     cli             web          project.create           web                  john
    DATE TIME UTC  operator     cli             web          security_group.create    sg-00000001          default
    DATE TIME UTC  operator     cli             web          security_group.authorize sg-00000001          -1 from sg-00000001
    DATE TIME UTC  operator     cli             None         floating_ip.create       68.99.26.170/31      2 addresses in pool nova
    DATE TIME UTC  operator     cli             None         fixed_ip.reserve         10.1.171.9
    DATE TIME UTC  operator     cli             None         network.delete           10.1.171.128/25
    ");
    // As if a later novanet had been here.
    let later = "INSERT INTO _sqlx_migrations SELECT 999999, description, installed_on, success, \
                 checksum, execution_time FROM _sqlx_migrations LIMIT 1";
    sandbox.psql(later);
    let refused = check("network list");
    let start = format!(
        "exit 1\n--- stderr\nerror: database {} at ",
        sandbox.database().name
    );
    assert!(refused.starts_with(&start), "{refused}");
    assert!(refused.contains(": its schema is version "), "{refused}");
    assert!(refused.ends_with("(use the newer novanet)"), "{refused}");
}

/// `novanet server` on the sandbox's database.
struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts it and waits until it listens.
    fn start(sandbox: &Sandbox) -> Self {
        let free = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let connection = format!("--sql_connection={}", sandbox.database().url);
        let port_flag = format!("--ec2_listen_port={port}");
        let log = sandbox.path().join("server.log");
        let child = sandbox
            .command(&["server", &connection, "--ec2_listen=127.0.0.1", &port_flag])
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let server = Self { child, log };
        novanet_lab::eventually(Duration::from_secs(20), || {
            std::net::TcpStream::connect(("127.0.0.1", port))
        })
        .unwrap();
        server
    }

    /// What it has logged.
    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Ends it as systemd does; what it has logged.
    fn end(mut self) -> String {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        self.child.wait().unwrap();
        self.log()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_servers_first_start_on_postgresql_logs_what_it_does_and_no_trouble() {
    let sandbox = Sandbox::on_postgres();
    for start in ["first", "second"] {
        let log = Server::start(&sandbox).end();
        let levels = log
            .lines()
            .filter_map(|line| line.split_whitespace().nth(1));
        let trouble = levels.filter(|level| *level != "INFO").count();
        assert_eq!(trouble, 0, "{start}: {log}");
    }
}

#[test]
fn what_the_database_refuses_a_server_is_logged_with_the_cause() {
    let sandbox = Sandbox::on_postgres();
    let server = Server::start(&sandbox);
    for (table, what) in [("clock", "clock row"), ("leases", "controllers")] {
        sandbox.psql(&format!("ALTER TABLE {table} RENAME TO no_{table}"));
        let cause = format!("relation \\\"{table}\\\" does not exist");
        novanet_lab::eventually(Duration::from_secs(20), || {
            let log = server.log();
            let said = |line: &str| line.contains(what) && line.contains(&cause);
            log.lines().any(said).then_some(()).ok_or(log)
        })
        .unwrap();
    }
}
