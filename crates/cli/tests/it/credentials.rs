//! `project zipfile` and `project environment`: what comes out works with openssl and the real aws.

use crate::check::Sandbox;
use crate::cloud::venv;
use crate::euca::Server;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Output};

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    for line in [
        "user create john myaccess mysecret",
        "user create joe",
        "project create web john",
    ] {
        assert!(sandbox.manage(line).status.success(), "{line}");
    }
    sandbox
}

/// Runs a script in the sandbox's folder with the real clients on its path.
fn sh(sandbox: &Sandbox, script: &str) -> Output {
    let path = std::env::var("PATH").unwrap();
    let bin = venv().unwrap().join("bin");
    Command::new("bash")
        .args(["-euc", script])
        .env("PATH", format!("{}:{path}", bin.display()))
        .env("AWS_CONFIG_FILE", "/dev/null")
        .current_dir(sandbox.path())
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

const UNZIP: &str = "python3 -m zipfile -e";

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn the_zip_holds_a_certificate_that_verifies_and_a_novarc_that_aws_works_with() {
    let sandbox = sandbox();
    let server = Server::start(&sandbox);
    let zipfile = format!("--ec2_port={} proj zip web john", server.port);
    let local = format!("--ec2_dmz_host=127.0.0.1 --use_project_ca {zipfile}");
    insta::assert_snapshot!(sandbox.check(&local), @"
    exit 0
    --- stderr
    note: no VPN in project web, so no nova-vpn.conf (nova-manage vpn run web)
    ");
    assert_eq!(mode(&sandbox.path().join("nova.zip")), 0o600);
    let listed = sh(
        &sandbox,
        "python3 -m zipfile -l nova.zip | awk 'NR>1 {print $1}'",
    );
    assert_eq!(said(&listed), "novarc\npk.pem\ncert.pem\ncacert.pem\n");
    let output = sh(
        &sandbox,
        &format!(
            "{UNZIP} nova.zip john; cd john
             openssl verify -purpose sslclient -CAfile cacert.pem cert.pem
             diff <(openssl pkey -in pk.pem -pubout) <(openssl x509 -in cert.pem -noout -pubkey)
             openssl x509 -in cert.pem -noout -subject
             grep -c BEGIN cacert.pem
             cd /; . '{}/john/novarc'
             cmp \"$EC2_CERT\" '{0}/john/cert.pem'; cmp \"$NOVA_CERT\" '{0}/john/cacert.pem'
             echo $EC2_ACCESS_KEY $EC2_URL
             aws ec2 describe-instances --output text --query 'length(Reservations)'",
            sandbox.path().display()
        ),
    );
    let text = said(&output).replace(&server.port.to_string(), "PORT");
    insta::assert_snapshot!(text, @"
    cert.pem: OK
    subject=O = novanet, OU = web, CN = john
    2
    myaccess:web http://127.0.0.1:PORT/services/Cloud
    0
    ");
    // nova's tree, for its owner only.
    let tree = sh(
        &sandbox,
        "cd CA; find . -type f -printf '%m %P\n' | sort -k2",
    );
    let serial = sh(
        &sandbox,
        "openssl x509 -in john/cert.pem -noout -serial | cut -d= -f2",
    );
    let text = said(&tree).replace(said(&serial).trim(), "SERIAL");
    insta::assert_snapshot!(text, @"
    600 cacert.pem
    600 private/cakey.pem
    600 projects/web/cacert.pem
    600 projects/web/crl.pem
    600 projects/web/newcerts/SERIAL.pem
    600 projects/web/private/cakey.pem
    ");
    let folders = sh(&sandbox, "find CA -type d ! -perm 700");
    assert_eq!(said(&folders), "");
    // A user that left the project is on the list.
    for line in [
        "project add web joe",
        "--use_project_ca project zipfile web joe joe.zip",
    ] {
        assert!(sandbox.manage(line).status.success(), "{line}");
    }
    assert!(sandbox.manage("project remove web joe").status.success());
    assert!(sandbox.manage(&local).status.success());
    let revoked = format!(
        "{UNZIP} joe.zip joe; cd CA/projects/web
         ! openssl verify -crl_check -CAfile cacert.pem -CRLfile crl.pem ../../../joe/cert.pem 2>&1
         openssl verify -crl_check -CAfile cacert.pem -CRLfile crl.pem ../../../john/cert.pem"
    );
    let text = said(&sh(&sandbox, &revoked));
    assert!(
        text.contains("certificate revoked") && text.contains("john/cert.pem: OK"),
        "{text}"
    );
}

#[test]
fn two_zips_at_once_both_verify_and_share_one_authority() {
    let sandbox = sandbox();
    let zips: Vec<_> = ["a.zip", "b.zip", "a.zip"]
        .map(|file| {
            let args = ["manage", "project", "zipfile", "web", "john", file];
            sandbox.command(&args).spawn().unwrap()
        })
        .into_iter()
        .collect();
    for mut zip in zips {
        assert!(zip.wait().unwrap().success());
    }
    let script = format!(
        "for n in a b; do {UNZIP} $n.zip $n; openssl verify -CAfile $n/cacert.pem $n/cert.pem; done
         cmp a/cacert.pem b/cacert.pem; cmp a/cacert.pem CA/cacert.pem
         ! cmp -s a/pk.pem b/pk.pem; ls CA/newcerts | wc -l; ls -A | grep new || true"
    );
    assert_eq!(
        said(&sh(&sandbox, &script)),
        "a/cert.pem: OK\nb/cert.pem: OK\n3\n"
    );
}

#[test]
fn targets_that_cannot_be_written_and_odd_names_are_refused_before_a_certificate_is_made() {
    let sandbox = sandbox();
    fs::create_dir(sandbox.path().join("folder")).unwrap();
    let file = sandbox.path().join("file");
    fs::write(&file, "").unwrap();
    insta::assert_snapshot!(sandbox.check("project zipfile web john folder"), @"
    exit 1
    --- stderr
    error: folder: is a folder
    ");
    insta::assert_snapshot!(sandbox.check("project zipfile web john file/nova.zip"), @"
    exit 1
    --- stderr
    error: file/nova.zip: Not a directory (os error 20)
    ");
    insta::assert_snapshot!(sandbox.check("project zipfile web john nowhere/nova.zip"), @"
    exit 1
    --- stderr
    error: nowhere/nova.zip: No such file or directory (os error 2)
    ");
    // Not replaced by a file.
    insta::assert_snapshot!(sandbox.check("project environment web john /dev/null"), @"
    exit 1
    --- stderr
    error: /dev/null: is not a regular file: redirect the output of -
    ");
    assert!(
        fs::metadata("/dev/null")
            .unwrap()
            .file_type()
            .is_char_device()
    );
    insta::assert_snapshot!(sandbox.check("project zipfile web joe"), @"
    exit 1
    --- stderr
    error: user joe: is no member of project web (add it: nova-manage project add web joe)
    ");
    insta::assert_snapshot!(sandbox.check("project zipfile shop john"), @"
    exit 1
    --- stderr
    error: project shop not found
    ");
    insta::assert_snapshot!(sandbox.check("project zipfile web ../john"), @r#"
    exit 2
    --- stderr
    error: project zipfile: user "../john": must be 1 to 64 letters, digits, '_', '-' or '.', and not start with '-' or '.'
    "#);
    let output = sandbox
        .command(&["manage", "project", "zipfile", "web", "jo\nhn"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(!sandbox.path().join("CA").exists());
    assert!(!sandbox.path().join("nova.zip").exists());
    // A certificate tree that cannot be written is no reason to go without.
    fs::write(sandbox.path().join("CA"), "").unwrap();
    let shown = sandbox.check("project zipfile web john");
    assert!(
        shown.starts_with("exit 0\n--- stderr\n") && shown.contains("\nwarning: ca_path: "),
        "{shown}"
    );
}

#[test]
fn to_stdout_the_archive_is_whole_and_the_environment_is_text() {
    let sandbox = sandbox();
    let zip = sandbox.manage("project zipfile web john -");
    assert!(
        zip.status.success() && zip.stdout.starts_with(b"PK"),
        "{zip:?}"
    );
    fs::write(sandbox.path().join("out.zip"), &zip.stdout).unwrap();
    assert!(
        sh(&sandbox, "python3 -m zipfile -t out.zip")
            .status
            .success()
    );
    let text = sandbox.check("--region_list=east=192.0.2.8,west=192.0.2.9 account env web john -");
    insta::assert_snapshot!(text, @r#"
    exit 0
    --- stdout
    # How to reach this cloud: source it (. novarc), then use awscli, boto3 or euca2ools.
    export EC2_ACCESS_KEY="myaccess:web"
    export EC2_SECRET_KEY="mysecret"
    export EC2_URL="http://192.0.2.8:8773/services/Cloud"
    export AWS_ACCESS_KEY_ID="$EC2_ACCESS_KEY"
    export AWS_SECRET_ACCESS_KEY="$EC2_SECRET_KEY"
    export AWS_ENDPOINT_URL="$EC2_URL"
    export AWS_ENDPOINT_URL_EC2="$EC2_URL"
    export AWS_DEFAULT_REGION="east"
    export AWS_EC2_METADATA_DISABLED=true
    export AWS_PAGER=
    NOVARC=$(readlink -f "${BASH_SOURCE:-${0}}" 2>/dev/null)
    NOVA_KEY_DIR=${NOVARC%/*}
    [ -e "$NOVA_KEY_DIR/pk.pem" ] || NOVA_KEY_DIR=$PWD
    export EC2_USER_ID=42
    export EC2_PRIVATE_KEY="$NOVA_KEY_DIR/pk.pem"
    export EC2_CERT="$NOVA_KEY_DIR/cert.pem"
    export NOVA_CERT="$NOVA_KEY_DIR/cacert.pem"
    export EUCALYPTUS_CERT="$NOVA_CERT"
    "#);
    let regions = "--region_list=east=192.0.2.8,west=192.0.2.9 project zipfile web john r.zip";
    assert!(sandbox.manage(regions).status.success());
    let listed = sh(
        &sandbox,
        &format!("{UNZIP} r.zip r; cd r; ls; grep -h EC2_URL= *rc; grep -h REGION *rc"),
    );
    insta::assert_snapshot!(said(&listed), @r#"
    cacert.pem
    cert.pem
    eastrc
    pk.pem
    westrc
    export EC2_URL="http://192.0.2.8:8773/services/Cloud"
    export EC2_URL="http://192.0.2.9:8773/services/Cloud"
    export AWS_DEFAULT_REGION="east"
    export AWS_DEFAULT_REGION="west"
    "#);
}
