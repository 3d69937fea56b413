//! The EC2 API over TCP: the whole job with boto3 and awscli, and what goes wrong.

use crate::world::{World, network};
use anyhow::{Context, Result};
use novanet_control::projects::Credentials as Keys;
use novanet_ec2::client::{Credentials, Endpoint, RequestBuilder, SignedRequest};
use std::fmt::Write as _;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The folder with Python, boto3 and awscli that `scripts/venv` makes.
fn venv() -> PathBuf {
    if let Ok(folder) = std::env::var("NOVANET_VENV") {
        return folder.into();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/venv");
    let made = Command::new(script)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(made.status.success(), "scripts/venv");
    String::from_utf8(made.stdout).unwrap().trim().into()
}

/// Runs one of the scripts beside this file against a server; what it printed.
async fn script(w: &World, keys: &Keys, program: &[&str]) -> Result<String> {
    let mut command = tokio::process::Command::new(venv().join("bin").join(program[0]));
    let endpoint = format!("http://{}/services/Cloud", w.ec2);
    command
        .args(&program[1..])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it"))
        .env("ENDPOINT", &endpoint)
        .env("AWS_ENDPOINT_URL", &endpoint)
        .env("AWS_ACCESS_KEY_ID", &keys.access_key)
        .env("AWS_SECRET_ACCESS_KEY", &keys.secret_key)
        .env("AWS_DEFAULT_REGION", "nova")
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("AWS_PAGER", "")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_mins(5), command.output())
        .await
        .context("it took five minutes")??;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    anyhow::ensure!(
        output.status.success(),
        "{program:?}: {text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(text)
}

/// A cloud with one host that lives, a network with five addresses, two floating IPs, an image.
async fn furnished(w: &World) -> Result<Keys> {
    let keys = w.project("web").await;
    tokio::spawn(w.agent("h1").await.live());
    network(&w.cloud, "10.0.0.0/29").await;
    let range = "203.0.113.4/30".parse()?;
    w.cloud.create_floating_ips(range, None, None).await?;
    w.cloud.register_image("tiny", Cursor::new(vec![1])).await?;
    Ok(keys)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boto3_does_the_whole_job_waiters_included() -> Result<()> {
    let w = World::on_sqlite().await;
    let keys = furnished(&w).await?;
    let said = script(&w, &keys, &["python", "job.py"]).await?;
    assert!(said.ends_with("the job is done\n"), "{said}");
    let check = w.cloud.check().await?.to_string();
    assert!(check.contains(" 0 host objects repaired"), "{check}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boto3_hears_the_right_code_for_everything_that_cannot_be() -> Result<()> {
    let w = World::on_sqlite().await;
    let keys = furnished(&w).await?;
    let joe = w.cloud.create_user("joe", None, false).await?;
    let other = w.project("mail").await;
    let mut all = String::new();
    for (name, keys) in [("joe", &joe), ("mail", &other)] {
        writeln!(all, "{name} {} {}", keys.access_key, keys.secret_key)?;
    }
    let said = script(&w, &keys, &["python", "refusals.py", &all]).await?;
    assert!(said.ends_with("all refused\n"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn awscli_runs_an_instance_and_waits_for_it() -> Result<()> {
    let w = World::on_sqlite().await;
    let keys = furnished(&w).await?;
    let run = [
        "aws",
        "ec2",
        "run-instances",
        "--image-id",
        "ami-00000001",
        "--instance-type",
        "m1.tiny",
        "--query",
        "Instances[0].InstanceId",
        "--output",
        "text",
    ];
    let id = script(&w, &keys, &run).await?;
    let id = id.trim();
    assert_eq!(id, "i-00000001");
    let wait = [
        "aws",
        "ec2",
        "wait",
        "instance-running",
        "--instance-ids",
        id,
    ];
    assert_eq!(script(&w, &keys, &wait).await?, "");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn awscli_asks_whose_credentials_it_has() -> Result<()> {
    let w = World::on_sqlite().await;
    let keys = w.project("web").await;
    let ask = ["aws", "sts", "get-caller-identity", "--output", "text"];
    let said = script(&w, &keys, &ask).await?;
    let arn = "arn:aws:iam::web:user/boss-of-web";
    assert_eq!(said.trim(), format!("web\t{arn}\tboss-of-web"));
    let mut wrong = keys;
    wrong.secret_key.push('x');
    let error = script(&w, &wrong, &ask).await.unwrap_err().to_string();
    assert!(error.contains("(AuthFailure)"), "{error}");
    Ok(())
}

/// A server, and a user's keys to sign with.
struct Api {
    w: World,
    keys: Credentials,
    endpoint: Endpoint,
}

impl Api {
    async fn new() -> Self {
        let w = World::on_sqlite().await;
        let keys = w.project("web").await;
        Self {
            endpoint: Endpoint::from_url(&format!("http://{}/services/Cloud", w.ec2)).unwrap(),
            keys: Credentials {
                access_key: keys.access_key,
                secret_key: keys.secret_key,
            },
            w,
        }
    }

    fn request(&self, action: &str) -> RequestBuilder {
        RequestBuilder::new(self.endpoint.clone(), action)
    }

    fn sign(&self, request: &RequestBuilder) -> SignedRequest {
        request.sign_v4(&self.keys, "nova", OffsetDateTime::now_utc())
    }

    /// Status and body.
    async fn send(&self, request: &SignedRequest) -> Result<(u16, String)> {
        let mut text = format!("{} {} HTTP/1.1\r\n", request.method, request.target);
        for (name, value) in &request.headers {
            write!(text, "{name}: {value}\r\n")?;
        }
        write!(
            text,
            "Content-Length: {}\r\nConnection: close\r\n\r\n",
            request.body.len()
        )?;
        let mut stream = TcpStream::connect(self.w.ec2).await?;
        stream.write_all(text.as_bytes()).await?;
        stream.write_all(request.body.as_bytes()).await?;
        let mut answer = String::new();
        let read = stream.read_to_string(&mut answer);
        tokio::time::timeout(Duration::from_secs(10), read).await??;
        let status = answer
            .split(' ')
            .nth(1)
            .context("no status line")?
            .parse()?;
        let body = answer.split_once("\r\n\r\n").context("no body")?.1;
        Ok((status, body.to_owned()))
    }

    async fn refused(&self, request: &SignedRequest, status: u16, code: &str) -> Result<()> {
        let (got, body) = self.send(request).await?;
        let wanted = format!("<Code>{code}</Code>");
        assert!(
            body.contains(&wanted) && got == status,
            "{code}: {got} {body}"
        );
        assert!(!body.contains(&self.keys.secret_key));
        Ok(())
    }
}

#[tokio::test]
async fn five_wrong_signatures_lock_a_key_for_their_address_and_no_other_key() -> Result<()> {
    let api = Api::new().await;
    let request = api.request("DescribeRegions");
    let now = OffsetDateTime::now_utc();
    let mut wrong = api.keys.clone();
    wrong.secret_key.push('x');
    let right = api.sign(&request);
    let bad = request.sign_v4(&wrong, "nova", now);
    for _ in 0..4 {
        api.refused(&bad, 401, "AuthFailure").await?;
    }
    // A right one ends the count; a wrong clock does not count.
    assert_eq!(api.send(&right).await?.0, 200);
    let late = now - time::Duration::minutes(6);
    let late = request.sign_v4(&api.keys, "nova", late);
    for _ in 0..5 {
        api.refused(&late, 400, "RequestExpired").await?;
    }
    assert_eq!(api.send(&right).await?.0, 200);
    for _ in 0..5 {
        api.refused(&bad, 401, "AuthFailure").await?;
    }
    let (status, body) = api.send(&right).await?;
    assert!(
        status == 401 && body.contains("is locked for 15 minutes"),
        "{body}"
    );
    let shop = api.w.project("shop").await;
    let signed = request.sign_v4(&shop, "nova", now);
    assert_eq!(api.send(&signed).await?.0, 200);
    Ok(())
}

#[tokio::test]
async fn a_request_that_is_not_signed_right_gets_nowhere() -> Result<()> {
    let api = Api::new().await;
    let request = api.request("DescribeInstances");
    let now = OffsetDateTime::now_utc();
    let (status, body) = api.send(&api.sign(&request)).await?;
    assert_eq!(status, 200, "{body}");
    let mut wrong = api.keys.clone();
    wrong.secret_key.push('x');
    let signed = request.sign_v4(&wrong, "nova", now);
    api.refused(&signed, 401, "AuthFailure").await?;
    let (_, bad_signature) = api.send(&signed).await?;
    wrong.access_key = "nobody".to_owned();
    let signed = request.sign_v4(&wrong, "nova", now);
    api.refused(&signed, 401, "AuthFailure").await?;
    let (_, unknown_key) = api.send(&signed).await?;
    let text = |body: &str| body.split("<RequestID>").next().unwrap().to_owned();
    assert_eq!(
        text(&bad_signature),
        text(&unknown_key),
        "which keys exist is nobody's business"
    );
    for minutes in [-6, 6] {
        let then = now + time::Duration::minutes(minutes);
        let signed = request.sign_v4(&api.keys, "nova", then);
        api.refused(&signed, 400, "RequestExpired").await?;
    }
    let mut elsewhere = api.keys.clone();
    elsewhere.access_key.push_str(":nowhere");
    let signed = request.sign_v4(&elsewhere, "nova", now);
    api.refused(&signed, 401, "AuthFailure").await?;
    let (_, unknown_project) = api.send(&signed).await?;
    api.w.project("mail").await;
    elsewhere.access_key = format!("{}:mail", api.keys.access_key);
    let signed = request.sign_v4(&elsewhere, "nova", now);
    api.refused(&signed, 401, "AuthFailure").await?;
    let (_, foreign_project) = api.send(&signed).await?;
    assert_eq!(
        text(&unknown_project),
        text(&foreign_project),
        "strangers do not learn which projects exist"
    );
    let mut mine = api.keys.clone();
    mine.access_key.push_str(":web");
    let signed = request.sign_v4(&mine, "nova", now);
    assert_eq!(api.send(&signed).await?.0, 200);
    let mut naked = api.sign(&request);
    naked.headers.retain(|(name, _)| *name != "Authorization");
    let (status, _) = api.send(&naked).await?;
    assert!((400..500).contains(&status), "{status}");
    Ok(())
}

#[tokio::test]
async fn a_request_that_is_no_request_is_refused_in_ec2s_words() -> Result<()> {
    let api = Api::new().await;
    let unknown = api.sign(&api.request("MakeCoffee"));
    api.refused(&unknown, 400, "InvalidAction").await?;
    let missing = api.sign(&api.request("RunInstances"));
    api.refused(&missing, 400, "MissingParameter").await?;
    let malformed = api
        .request("DescribeInstances")
        .param("InstanceId.1", "i-xyz");
    api.refused(&api.sign(&malformed), 400, "InvalidInstanceID.Malformed")
        .await?;
    let mut broken = api.sign(&api.request("DescribeInstances"));
    broken.body.push_str("&Broken=%zz");
    api.refused(&broken, 400, "MalformedQueryString").await?;
    let huge = api
        .request("DescribeInstances")
        .param("Filler", "x".repeat(1 << 20));
    let huge = api.sign(&huge);
    api.refused(&huge, 413, "RequestEntityTooLarge").await?;
    let mut elsewhere = api.sign(&api.request("DescribeInstances"));
    elsewhere.target = "/latest/meta-data".to_owned();
    assert_eq!(api.send(&elsewhere).await?.0, 404);
    // The server is as well as before.
    let good = api.sign(&api.request("DescribeInstances"));
    assert_eq!(api.send(&good).await?.0, 200);
    Ok(())
}

#[tokio::test]
async fn a_head_that_proxies_read_in_two_ways_is_refused_and_ends_the_connection() -> Result<()> {
    let api = Api::new().await;
    let good = api.sign(&api.request("DescribeInstances"));
    let host = ("Host", "elsewhere.example".to_owned());
    let chunked = ("Transfer-Encoding", "chunked".to_owned());
    let twice = ("Transfer-Encoding", "chunked, chunked".to_owned());
    for more in [vec![host], vec![chunked.clone(), chunked], vec![twice]] {
        let mut request = good.clone();
        request.headers.extend(more.clone());
        let mut text = format!("{} {} HTTP/1.1\r\n", request.method, request.target);
        for (name, value) in &request.headers {
            write!(text, "{name}: {value}\r\n")?;
        }
        // Not asked to close: the server does it, and leaves a second request alone.
        text += "\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let mut stream = TcpStream::connect(api.w.ec2).await?;
        stream.write_all(text.as_bytes()).await?;
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        let _ = tokio::time::timeout(Duration::from_secs(10), read).await?;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{more:?}: {answer}");
        assert!(answer.contains("<Code>InvalidRequest</Code>"), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    }
    assert_eq!(api.send(&good).await?.0, 200);
    Ok(())
}

#[tokio::test]
async fn a_dry_run_says_whether_the_caller_may_and_does_nothing() -> Result<()> {
    let api = Api::new().await;
    let request = api.request("AllocateAddress").param("DryRun", "true");
    api.refused(&api.sign(&request), 412, "DryRunOperation")
        .await?;
    assert!(api.w.cloud.audit(None, 1).await?[0].action != "floating_ip.allocate");
    Ok(())
}

#[tokio::test]
async fn a_get_with_a_longer_query_than_http_takes_is_refused_in_ec2s_words() -> Result<()> {
    let api = Api::new().await;
    let mut get = api.sign(&api.request("DescribeInstances"));
    get.method = "GET";
    get.body.clear();
    // As a POST of that length is: beyond what the HTTP library takes, and beyond what it holds.
    for length in [65_530, 100_000, 1 << 20, 3 << 20] {
        get.target = format!("/services/Cloud?Filler={}", "x".repeat(length));
        api.refused(&get, 413, "RequestEntityTooLarge").await?;
    }
    // What HTTP takes is looked at.
    get.target = format!("/services/Cloud?Filler={}", "x".repeat(60_000));
    let (status, body) = api.send(&get).await?;
    assert!(
        (400..500).contains(&status) && body.contains("<Code>") && !body.contains("TooLarge"),
        "{status} {body}"
    );
    // A line without an end is answered before its sender has ended.
    let mut stream = TcpStream::connect(api.w.ec2).await?;
    let piece = vec![b'x'; 65_536];
    for _ in 0..70 {
        stream.write_all(&piece).await?;
    }
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    // It ends with a reset: there are more bytes than the server reads.
    let _ = tokio::time::timeout(Duration::from_secs(10), read).await?;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.contains("RequestEntityTooLarge"), "{answer}");
    let good = api.sign(&api.request("DescribeInstances"));
    assert_eq!(api.send(&good).await?.0, 200);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_sends_a_megabyte_as_a_query_reads_why_it_was_refused_and_goes_on()
-> Result<()> {
    const PROGRAM: &str = r#"
import http.client, os, urllib.parse
at = urllib.parse.urlparse(os.environ["ENDPOINT"])
client = http.client.HTTPConnection(at.netloc, timeout=10)
for length in (1 << 20, 10, 100_000, 10):
    # A client that sends all before it reads must not be hung up on; the connection ends with the
    # refusal, and the client makes the next one.
    client.request("GET", at.path + "?Filler=" + "x" * length)
    answer = client.getresponse()
    text = answer.read().decode()
    print(answer.status, text.split("<Code>")[1].split("</Code>")[0])
"#;
    let w = World::on_sqlite().await;
    let keys = w.project("web").await;
    let said = script(&w, &keys, &["python", "-c", PROGRAM]).await?;
    let refused = "413 RequestEntityTooLarge";
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!((lines[0], lines[2]), (refused, refused), "{said}");
    for line in [lines[1], lines[3]] {
        assert!(line.starts_with('4'), "{said}");
        assert!(!line.contains("TooLarge"), "{said}");
    }
    Ok(())
}

#[tokio::test]
async fn user_data_is_shown_to_those_only_who_may_start_instances() -> Result<()> {
    let mut api = Api::new().await;
    tokio::spawn(api.w.agent("h1").await.live());
    network(&api.w.cloud, "10.0.0.0/29").await;
    api.w
        .cloud
        .register_image("tiny", Cursor::new(vec![1]))
        .await?;
    let run = api
        .request("RunInstances")
        .param("ImageId", "ami-00000001")
        .param("InstanceType", "m1.tiny")
        .param("MinCount", "1")
        .param("MaxCount", "1")
        .param("UserData", "c2VjcmV0");
    let (status, body) = api.send(&api.sign(&run)).await?;
    assert_eq!(status, 200, "{body}");
    let no_such = run.clone().param("SubnetId", "subnet-00000007");
    api.refused(&api.sign(&no_such), 400, "InvalidSubnetID.NotFound")
        .await?;
    let elsewhere = run.param("Placement.AvailabilityZone", "mars");
    api.refused(&api.sign(&elsewhere), 400, "InvalidParameterValue")
        .await?;
    let ask = |api: &Api, attribute: &str| {
        api.request("DescribeInstanceAttribute")
            .param("InstanceId", "i-00000001")
            .param("Attribute", attribute)
    };
    let (status, body) = api.send(&api.sign(&ask(&api, "userData"))).await?;
    assert!(status == 200 && body.contains("c2VjcmV0"), "{body}");
    // An employee of the project without a role.
    let joe = api.w.cloud.create_user("joe", None, false).await?;
    let web = "web".parse()?;
    api.w.cloud.add_member(&web, "joe").await?;
    api.keys = Credentials {
        access_key: format!("{}:web", joe.access_key),
        secret_key: joe.secret_key,
    };
    let secret = ask(&api, "userData");
    api.refused(&api.sign(&secret), 403, "UnauthorizedOperation")
        .await?;
    let dry = secret.clone().param("DryRun", "true");
    api.refused(&api.sign(&dry), 403, "UnauthorizedOperation")
        .await?;
    let (status, body) = api.send(&api.sign(&ask(&api, "instanceType"))).await?;
    assert!(status == 200 && body.contains("m1.tiny"), "{body}");
    // With the role it is shown, and without it again not.
    let cloud = api.w.cloud.clone();
    cloud.add_role("joe", "sysadmin", Some(&web)).await?;
    cloud.add_role("joe", "sysadmin", None).await?;
    let (status, body) = api.send(&api.sign(&secret)).await?;
    assert!(status == 200 && body.contains("c2VjcmV0"), "{body}");
    cloud.remove_role("joe", "sysadmin", Some(&web)).await?;
    api.refused(&api.sign(&secret), 403, "UnauthorizedOperation")
        .await?;
    Ok(())
}
