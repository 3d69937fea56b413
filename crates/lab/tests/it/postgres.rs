//! The temporary PostgreSQL.

use std::process::Command;

use novanet_lab::{Host, Postgres, PostgresOptions};

#[test]
fn a_server_is_durable_by_default_and_leaves_nothing() {
    let server = Postgres::start().unwrap();
    assert_eq!(server.psql("postgres", "SHOW fsync").unwrap(), "on");
    assert_eq!(
        server.psql("postgres", "SHOW synchronous_commit").unwrap(),
        "on"
    );
    let folder = server.folder().to_owned();
    assert!(folder.exists());
    let port = server.port();
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    drop(server);
    assert!(!folder.exists());
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
fn durability_can_be_switched_off_where_it_is_not_tested() {
    let server = Postgres::with(PostgresOptions {
        fsync: false,
        ..PostgresOptions::default()
    })
    .unwrap();
    assert_eq!(server.psql("postgres", "SHOW fsync").unwrap(), "off");
}

#[test]
fn databases_on_the_shared_server_are_fresh_or_copies() {
    let server = Postgres::shared().unwrap();
    let first = server.fresh_database().unwrap();
    server
        .psql(
            &first.name,
            "CREATE TABLE t (a int); INSERT INTO t VALUES (7)",
        )
        .unwrap();
    let copy = server.copy_of(&first).unwrap();
    assert_eq!(server.psql(&copy.name, "SELECT a FROM t").unwrap(), "7");
    let other = server.fresh_database().unwrap();
    assert!(server.psql(&other.name, "SELECT a FROM t").is_err());
    assert_ne!(first.url, copy.url);
}

#[test]
fn the_socket_is_reached_from_inside_a_host() {
    let database = Postgres::shared().unwrap().fresh_database().unwrap();
    let host = Host::new("client").unwrap();
    assert_eq!(
        host.run(&["psql", "-XAtc", "SELECT 1", &database.socket_url])
            .unwrap()
            .stdout,
        "1\n"
    );
}

#[test]
fn processes_that_run_at_the_same_time_share_one_server() {
    let server = Postgres::shared().unwrap();
    let again = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "postgres::says_which_server_it_has",
            "--nocapture",
            "--test-threads=1",
        ])
        .output()
        .unwrap();
    let said = String::from_utf8(again.stdout).unwrap();
    assert!(said.contains(&format!("server {}\n", server.url)), "{said}");
    // That the other one ended does not end the server.
    assert_eq!(server.psql("postgres", "SELECT 1").unwrap(), "1");
}

#[test]
fn says_which_server_it_has() {
    let server = Postgres::shared().unwrap();
    let line = format!("server {}\n", server.url);
    std::io::Write::write_all(&mut std::io::stdout(), line.as_bytes()).unwrap();
    assert!(!server.fresh_database().unwrap().url.is_empty());
}
