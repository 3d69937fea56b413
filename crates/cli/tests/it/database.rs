//! Every fault of the database is one line that says which database it is, never its password, and
//! what to do; the exit code is 1. Real faults: mounts, owners, locks and servers of the test's
//! own.

use crate::check::{Sandbox, show};
use novanet_lab::Postgres;
use std::fs;
use std::process::Command;

/// [`after`], with `network list`.
fn list_after(sandbox: &Sandbox, prepare: &str, user: u32) -> String {
    after(sandbox, prepare, user, "network list")
}

/// Runs `nova-manage LINE` in a mount namespace, after `prepare` (shell; the state path is
/// `$NOVANET_STATE_PATH`), as `user`.
fn after(sandbox: &Sandbox, prepare: &str, user: u32, line: &str) -> String {
    let shell = format!(
        "set -e; mount --bind {} \"$NOVANET_STATE_PATH\"/program; {prepare}; cd /; \
         exec setpriv --reuid={user} --regid={user} --clear-groups \
         \"$NOVANET_STATE_PATH\"/program manage {line}",
        env!("CARGO_BIN_EXE_novanet")
    );
    fs::write(sandbox.path().join("program"), "").unwrap();
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", &shell])
        .env("NOVANET_FLAGFILE", "")
        .env("NOVANET_STATE_PATH", sandbox.path())
        .env("NOVANET_HOST", "cloud1");
    show(&command.output().unwrap(), sandbox.path())
}

/// A sandbox with a cloud in it, whose folder others may enter.
fn made() -> Sandbox {
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.check("db sync"), "exit 0");
    open(&sandbox, 0o755);
    sandbox
}

fn open(sandbox: &Sandbox, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(sandbox.path(), fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_command_that_only_reads_makes_nothing_where_there_is_no_database() {
    let readers = [
        "audit list",
        "db check",
        "db version",
        "fixed list",
        "floating list",
        "host list",
        "image list",
        "network list",
        "network show 1",
        "project list",
        "role has alice admin",
        "role list",
        "service list",
        "user exports alice",
        "user list",
        "vm list",
    ];
    let sandbox = Sandbox::new();
    let none = "exit 1\n--- stderr\nerror: no database in DIR/typo \
                (novanet up or nova-manage db sync makes one)";
    for line in readers {
        assert_eq!(
            sandbox.check(&format!("{line} --state_path=typo")),
            none,
            "{line}"
        );
    }
    assert_eq!(fs::read_dir(sandbox.path()).unwrap().count(), 0);
    // A file that is empty is none either, and nothing is put beside it.
    fs::write(sandbox.path().join("empty"), "").unwrap();
    let shown = sandbox.check("network list --sql_connection=sqlite:///$state_path/empty");
    assert!(shown.contains("no database in DIR ("), "{shown}");
    assert_eq!(fs::read_dir(sandbox.path()).unwrap().count(), 1);
    // A database without users has nothing sealed: no key file is made to read it.
    assert_eq!(sandbox.check("db sync --state_path=typo"), "exit 0");
    let shown = sandbox.check("user exports alice --state_path=typo");
    assert!(shown.contains("user alice not found"), "{shown}");
    let made = fs::read_dir(sandbox.path().join("typo")).unwrap();
    let mut made: Vec<_> = made.map(|entry| entry.unwrap().file_name()).collect();
    made.sort();
    assert_eq!(made, ["nova.lock", "nova.sqlite", "nova.turn"]);
    // On PostgreSQL the database is there, and stays empty.
    let sandbox = Sandbox::on_postgres();
    let shown = sandbox.check("network list");
    let empty = ": is empty (novanet up or nova-manage db sync makes one)";
    assert!(shown.contains(empty), "{shown}");
    assert_eq!(sandbox.check("db version"), "exit 0\n--- stdout\n0");
}

#[test]
fn a_file_that_this_user_may_not_use_is_named_with_the_remedy() {
    let sandbox = made();
    insta::assert_snapshot!(list_after(&sandbox, ":", 65534), @"
    exit 1
    --- stderr
    error: database file DIR/nova.sqlite: Permission denied (os error 13) (run this as the owner of the file and its folder, or name another place: --state_path=DIR)
    ");
    // A folder that others may not write into, and no file yet.
    let empty = Sandbox::new();
    open(&empty, 0o755);
    insta::assert_snapshot!(after(&empty, ":", 65534, "db sync"), @"
    exit 1
    --- stderr
    error: database file DIR/nova.sqlite: Permission denied (os error 13) (run this as the owner of the file and its folder, or name another place: --state_path=DIR)
    ");
}

#[test]
fn a_file_system_that_takes_no_writes_is_named_with_the_remedy() {
    let sandbox = made();
    let folder = "mkdir \"$NOVANET_STATE_PATH\"/d; cp \"$NOVANET_STATE_PATH\"/nova.sqlite \
                  \"$NOVANET_STATE_PATH\"/d; mount --bind \"$NOVANET_STATE_PATH\"/d \
                  \"$NOVANET_STATE_PATH\"/d; mount -o remount,ro,bind \"$NOVANET_STATE_PATH\"/d; \
                  export NOVANET_SQL_CONNECTION=sqlite:///\"$NOVANET_STATE_PATH\"/d/nova.sqlite";
    insta::assert_snapshot!(list_after(&sandbox, folder, 0), @"
    exit 1
    --- stderr
    error: database file DIR/d/nova.sqlite: Read-only file system (os error 30) (make that file system writable, or name another place: --state_path=DIR)
    ");
}

#[test]
fn a_disk_that_is_full_is_named_with_the_remedy() {
    let sandbox = Sandbox::new();
    let full = "mkdir \"$NOVANET_STATE_PATH\"/d; \
                mount -t tmpfs -o size=64k tmpfs \"$NOVANET_STATE_PATH\"/d; \
                export NOVANET_SQL_CONNECTION=sqlite:///\"$NOVANET_STATE_PATH\"/d/nova.sqlite";
    insta::assert_snapshot!(after(&sandbox, full, 0, "db sync"), @"
    exit 1
    --- stderr
    error: database file DIR/d/nova.sqlite: has no room left: database or disk is full (make room on its disk, and try again)
    ");
}

#[test]
fn what_is_no_database_is_named_with_the_remedy() {
    let sandbox = Sandbox::new();
    let text = "this is no database, but it is long enough that somebody could take it for one";
    fs::write(sandbox.path().join("file"), text).unwrap();
    insta::assert_snapshot!(sandbox.check("network list --sql_connection=sqlite:///$state_path/file"), @"
    exit 1
    --- stderr
    error: database file DIR/file: is not a SQLite database (move it away, or name another file: --sql_connection=sqlite:////FOLDER/FILE)
    ");
    insta::assert_snapshot!(sandbox.check("network list --state_path=file"), @"
    exit 1
    --- stderr
    error: database file DIR/file/nova.sqlite: Not a directory (os error 20) (a file is where a folder has to be: move it away, or name another place: --state_path=DIR)
    ");
    fs::create_dir(sandbox.path().join("folder")).unwrap();
    insta::assert_snapshot!(sandbox.check("network list --sql_connection=sqlite:///$state_path/folder"), @"
    exit 1
    --- stderr
    error: database file DIR/folder: Is a directory (os error 21) (that is a folder: name a file: --sql_connection=sqlite:////FOLDER/FILE)
    ");
    insta::assert_snapshot!(sandbox.check("network list --sql_connection=mysql://db/nova"), @"
    exit 2
    --- stderr
    error: flag sql_connection: must be sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME (MySQL is not supported)
    ");
    let good = made();
    let file = good.path().join("nova.sqlite");
    let mut bytes = fs::read(&file).unwrap();
    bytes[4096..].fill(0xff);
    fs::write(&file, bytes).unwrap();
    insta::assert_snapshot!(good.check("network list"), @"
    exit 1
    --- stderr
    error: database file DIR/nova.sqlite: is damaged: database disk image is malformed (restore it from a backup)
    ");
}

#[test]
fn a_database_that_is_locked_is_named_with_the_remedy() {
    let sandbox = made();
    let script = "import sqlite3, sys\n\
                  c = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
                  c.execute('BEGIN EXCLUSIVE')\n\
                  print('locked', flush=True)\n\
                  sys.stdin.read()";
    let mut holder = Command::new("python3")
        .args(["-c", script])
        .arg(sandbox.path().join("nova.sqlite"))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let out = holder.stdout.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut said).unwrap();
    assert_eq!(said, "locked\n");
    let text = sandbox.check("floating create 203.0.113.1");
    drop(holder.stdin.take());
    holder.wait().unwrap();
    insta::assert_snapshot!(text, @"
    exit 1
    --- stderr
    error: database file DIR/nova.sqlite: is busy: somebody else has been writing for too long: database is locked (find who, with fuser on the file or in pg_stat_activity, end that, and try again)
    ");
}

#[test]
fn postgresql_that_cannot_be_used_is_named_with_the_remedy_and_without_the_password() {
    let sandbox = Sandbox::new();
    let server = Postgres::shared().unwrap();
    let port = server.port().to_string();
    let check = |at: &str| {
        let output = sandbox.manage(&format!("network list --sql_connection=postgresql://{at}"));
        let text = show(&output, sandbox.path());
        assert!(!text.contains("s3cret"), "{text}");
        text.replace(&port, "PORT")
    };
    insta::assert_snapshot!(check("nova:s3cret@127.0.0.1:1/nova"), @"
    exit 1
    --- stderr
    error: database nova at 127.0.0.1:1: cannot be reached: Connection refused (os error 111) (start PostgreSQL there, or correct sql_connection)
    ");
    insta::assert_snapshot!(check(&format!("nova:s3cret@127.0.0.1:{port}/nodb")), @r#"
    exit 1
    --- stderr
    error: database nodb at 127.0.0.1:PORT: database "nodb" does not exist (make it: createdb -h 127.0.0.1 -p PORT nodb, or correct sql_connection)
    "#);
    insta::assert_snapshot!(check(&format!("nobody:s3cret@127.0.0.1:{port}/postgres")), @r#"
    exit 1
    --- stderr
    error: database postgres at 127.0.0.1:PORT: role "nobody" does not exist (correct user and password in sql_connection, or pg_hba.conf there)
    "#);
    insta::assert_snapshot!(check("nova:s3cret@no.such.host.invalid/nova"), @"
    exit 1
    --- stderr
    error: database nova at no.such.host.invalid:5432: cannot be reached: failed to lookup address information: Name or service not known (start PostgreSQL there, or correct sql_connection)
    ");
}

#[test]
fn postgresql_that_goes_away_in_the_middle_is_named_with_the_remedy() {
    let server = Postgres::shared().unwrap();
    let database = server.fresh_database().unwrap();
    let sandbox = Sandbox::new();
    let connection = format!("--sql_connection={}", database.url);
    assert_eq!(
        show(
            &sandbox.manage(&format!("{connection} db sync")),
            sandbox.path()
        ),
        "exit 0"
    );
    // As a server that is shut down answers the next statement of a command that is under way.
    let dies = "CREATE FUNCTION die() RETURNS trigger AS $$ BEGIN \
                PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$ LANGUAGE plpgsql; \
                CREATE TRIGGER die BEFORE INSERT ON floating_ips FOR EACH ROW EXECUTE FUNCTION die()";
    server.psql(&database.name, dies).unwrap();
    let output = sandbox.manage(&format!("{connection} floating create 203.0.113.1"));
    let text = show(&output, sandbox.path())
        .replace(&server.port().to_string(), "PORT")
        .replace(&database.name, "NAME");
    insta::assert_snapshot!(text, @"
    exit 1
    --- stderr
    error: database NAME at 127.0.0.1:PORT: is going down or coming up: terminating connection due to administrator command (wait until PostgreSQL is up, and try again)
    ");
    // And one that hands out no more writes.
    let read_only = format!(
        "ALTER DATABASE {} SET default_transaction_read_only = on",
        database.name
    );
    server.psql("postgres", &read_only).unwrap();
    let output = sandbox.manage(&format!("{connection} floating create 203.0.113.1"));
    let text = show(&output, sandbox.path())
        .replace(&server.port().to_string(), "PORT")
        .replace(&database.name, "NAME");
    insta::assert_snapshot!(text, @"
    exit 1
    --- stderr
    error: database NAME at 127.0.0.1:PORT: takes no writes: cannot execute UPDATE in a read-only transaction (name the primary server in sql_connection)
    ");
}

#[test]
fn novas_own_database_is_not_touched_by_any_command() {
    let sandbox = Sandbox::new();
    let file = sandbox.path().join("nova.sqlite");
    let script = "import sqlite3, sys\n\
                  c = sqlite3.connect(sys.argv[1])\n\
                  c.execute('CREATE TABLE migrate_version (version INTEGER)')\n\
                  c.execute('CREATE TABLE networks (id INTEGER PRIMARY KEY, cidr TEXT)')\n\
                  c.commit()";
    let made = Command::new("python3")
        .args(["-c", script])
        .arg(&file)
        .status();
    assert!(made.unwrap().success());
    let before = fs::read(&file).unwrap();
    for line in ["network list", "db sync", "db version", "user create ann"] {
        let text = sandbox.check(line);
        insta::allow_duplicates! { insta::assert_snapshot!(text, @"
        exit 1
        --- stderr
        error: database file DIR/nova.sqlite: is of nova itself, which kept other things in tables of the same names (it is left as it is: name an empty one with --sql_connection, or another --state_path)
        "); }
    }
    assert!(fs::read(&file).unwrap() == before);
    assert_eq!(fs::read_dir(sandbox.path()).unwrap().count(), 1);
}

#[test]
fn a_spoiled_network_is_named_by_the_list_and_deleted_by_its_number() {
    let sandbox = Sandbox::new();
    for range in ["10.0.0.0/24", "10.0.1.0/24"] {
        let line = format!("network create {range} 1 256 --kind flatdhcp --bridge br100");
        assert_eq!(sandbox.check(&line), "exit 0");
    }
    let script = "import sqlite3, sys\n\
                  c = sqlite3.connect(sys.argv[1])\n\
                  c.execute(\"UPDATE networks SET gateway = 'foo' WHERE id = 1\")\n\
                  c.commit()";
    let file = sandbox.path().join("nova.sqlite");
    let edited = Command::new("python3")
        .args(["-c", script])
        .arg(&file)
        .status();
    assert!(edited.unwrap().success());
    insta::assert_snapshot!(sandbox.check("network list"), @r#"
    exit 0
    --- stdout
    id   	IPv4              	IPv6           	start address  	DNS1           	DNS2           	VlanID         	project        	uuid
    2    	10.0.1.0/24       	None           	10.0.1.2       	None           	None           	None           	None           	UUID
    --- stderr
    note: network 1: gateway "foo": invalid IPv4 address syntax (its range is 10.0.0.0/24; hosts keep what followed from the row when it was last good: mend it, or: nova-manage network delete 1)
    "#);
    insta::assert_snapshot!(sandbox.check("network show 1"), @r#"
    exit 1
    --- stderr
    error: network 1: gateway "foo": invalid IPv4 address syntax (its range is 10.0.0.0/24; hosts keep what followed from the row when it was last good: mend it, or: nova-manage network delete 1)
    "#);
    assert!(sandbox.check("network show 2").starts_with("exit 0"));
    insta::assert_snapshot!(sandbox.check("network delete 10.0.0.0/24"), @"exit 0");
    assert!(!sandbox.check("network list").contains("note:"));
}
