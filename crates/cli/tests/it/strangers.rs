//! Refused clients: a real boto3 and a real awscli with a wrong secret, an unknown key, a wrong
//! clock.

use crate::check::Sandbox;
use crate::cloud::venv;
use crate::euca::Server;
use std::process::Command;

const SCRIPT: &str = include_str!("strangers.py");

/// A client program with John's access key and a secret.
fn client(server: &Server, program: &str, secret: &str) -> Command {
    let mut command = Command::new(venv().unwrap().join("bin").join(program));
    let url = format!("http://127.0.0.1:{}/services/Cloud", server.port);
    command
        .env_remove("AWS_PROFILE")
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_ENDPOINT_URL_EC2", url)
        .env("AWS_ACCESS_KEY_ID", "myaccess:web")
        .env("AWS_SECRET_ACCESS_KEY", secret)
        .env("AWS_DEFAULT_REGION", "nova")
        .env("AWS_EC2_METADATA_DISABLED", "true");
    command
}

#[test]
fn strangers_and_wrong_clocks_are_turned_away_with_ec2s_codes() {
    let sandbox = Sandbox::new();
    for line in [
        "user create john myaccess mysecret",
        "project create web john",
        "user create joe joesaccess joessecret",
    ] {
        assert!(sandbox.manage(line).status.success(), "{line}");
    }
    // More wrong signatures than a lockout lets through.
    let server = Server::start_with(&sandbox, &["--lockout_attempts=0"]);
    let mut boto = client(&server, "python", "mysecret");
    let output = boto.args(["-c", SCRIPT]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}\n{errors}");
    assert_eq!(said.trim(), "all turned away");

    let mut aws = client(&server, "aws", "notmysecret");
    let output = aws.args(["ec2", "describe-instances"]).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(errors.contains("(AuthFailure)"), "{errors}");
    assert!(!errors.contains("mysecret"), "{errors}");
    let mut aws = client(&server, "aws", "mysecret");
    let output = aws.args(["ec2", "describe-instances"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}
