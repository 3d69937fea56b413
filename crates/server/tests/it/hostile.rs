//! Clients that mean no good, and clients that race: each gets an answer with a code or a closed
//! connection, the database stays as it was, and of two that want the same thing one gets it.

use crate::connection::{Connection, inner};
use crate::world::World;
use anyhow::{Context, Result};
use novanet_ec2::Action;
use novanet_ec2::client::{Credentials, Endpoint, RequestBuilder};
use std::fmt::Write as _;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Names that no action has, or has otherwise.
const NAMES: &[&str] = &[
    "Filter.1.Value.99999999",
    "Filter.99999999999999999999.Name",
    "Filter.-1.Name",
    "Filter.1.Name.1.Name",
    "InstanceId.0",
    "InstanceId.01",
    "InstanceId.1.InstanceId.1",
    "InstanceId.",
    ".",
    "..",
    ".1",
    "1",
    "Tag[0]",
    "IpPermissions.1.IpRanges.1.CidrIp.1",
    "NetworkInterface.4294967296.SubnetId",
    "\u{0}",
    "\u{202e}name",
    "<name>&amp;",
    "a b",
];

/// What their values may be.
const VALUES: &[&str] = &[
    "x",
    "-1",
    "99999999999999999999999999",
    "' OR 1=1; DROP TABLE instances; --",
    "<script>]]></script>",
    "\u{0}\u{1}\u{7f}",
    "../../../etc/passwd",
    "%s%n%00",
    "\u{1F980}\u{fffd}",
];

struct Api {
    w: World,
    keys: Credentials,
    endpoint: Endpoint,
}

impl Api {
    async fn new() -> Result<Self> {
        let w = World::on_sqlite().await;
        let keys = w.project("web").await;
        Ok(Self {
            endpoint: Endpoint::from_url(&format!("http://{}/services/Cloud", w.ec2)).unwrap(),
            keys: Credentials {
                access_key: keys.access_key,
                secret_key: keys.secret_key,
            },
            w,
        })
    }

    fn request(&self, action: &str) -> RequestBuilder {
        RequestBuilder::new(self.endpoint.clone(), action)
    }

    /// How often the audit log says that something was changed.
    async fn changes(&self) -> Result<usize> {
        Ok(self.w.cloud.audit(None, 10_000).await?.len())
    }

    /// What the server says to bytes that may be no request; empty: it hung up.
    async fn say(&self, bytes: &[u8]) -> Result<String> {
        let mut stream = TcpStream::connect(self.w.ec2).await?;
        // It may hang up while this client still sends.
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        let _ = tokio::time::timeout(Duration::from_secs(20), read)
            .await
            .context("neither an answer nor an end")?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    /// As many clients as there are `requests`, at once; the code of each answer, empty for one
    /// without error.
    async fn race(&self, requests: Vec<RequestBuilder>) -> Result<Vec<String>> {
        let mut clients = JoinSet::new();
        for request in requests {
            let mut connection = Connection::to(self.w.ec2).await?;
            let keys = self.keys.clone();
            clients.spawn(async move { connection.send(&request, &keys).await });
        }
        let mut codes = Vec::new();
        while let Some(answer) = clients.join_next().await {
            codes.push(inner(&answer??.1, "Code").to_owned());
        }
        codes.sort();
        Ok(codes)
    }
}

/// Memory that this process (server and clients) has now, in KiB.
fn memory() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.context("no VmRSS")?.parse()?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_parameter_of_a_signed_request_breaks_the_server_or_changes_anything() -> Result<()> {
    let api = Api::new().await?;
    let mut connection = Connection::to(api.w.ec2).await?;
    let (before, had) = (api.changes().await?, memory()?);
    let deep = vec!["a"; 1000].join(".1.");
    let long = "x".repeat(50_000);
    let mut number = 0;
    for action in Action::NAMES {
        for name in NAMES.iter().chain([&deep.as_str(), &long.as_str()]) {
            number += 1;
            let value = VALUES[number % VALUES.len()];
            let request = api.request(action).param(name, value);
            let (status, body) = connection.send(&request, &api.keys).await?;
            let about = || format!("{action} {name:.100}={value:?}: {status} {body}");
            assert!((400..500).contains(&status), "{}", about());
            assert!(!inner(&body, "Code").is_empty(), "{}", about());
            assert!(body.len() < 5000, "{}", about());
        }
    }
    assert_eq!(api.changes().await?, before, "something was changed");
    let grown = memory()?.saturating_sub(had);
    assert!(grown < 64 << 10, "{number} requests: {grown} KiB more");
    let (status, _) = connection
        .send(&api.request("DescribeInstances"), &api.keys)
        .await?;
    assert_eq!(status, 200);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_no_request_get_an_error_or_a_closed_connection() -> Result<()> {
    let api = Api::new().await?;
    let before = api.changes().await?;
    let get = "GET /services/Cloud?Action=DescribeInstances HTTP/1.1\r\nHost: a\r\n";
    let post = "POST /services/Cloud HTTP/1.1\r\nHost: a\r\n";
    let flood = (0..5000).fold(String::new(), |mut flood, n| {
        let _ = write!(flood, "X-{n}: {n}\r\n");
        flood
    });
    let same = "X-Amz-Date: 20261123T051510Z\r\n".repeat(90);
    let all: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b"\r\n\r\n".to_vec(),
        b"\0\0\0\0\0\0\0\0\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"GET /\r\n".to_vec(),
        b"GET / HTTP/9.9\r\nHost: a\r\n\r\n".to_vec(),
        b"GET http:// HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        format!("{get}{flood}\r\n").into_bytes(),
        format!("{get}{same}\r\n").into_bytes(),
        format!("{get}X: {}\r\n\r\n", "y".repeat(200_000)).into_bytes(),
        format!(
            "{get}Authorization: AWS4-HMAC-SHA256 {}\r\n\r\n",
            "=,".repeat(4000)
        )
        .into_bytes(),
        [
            get.as_bytes(),
            b"X: \xff\xfe\r\nAuthorization: \xff\r\n\r\n",
        ]
        .concat(),
        format!("{get}Content-Length: 5\r\nContent-Length: 6\r\n\r\n").into_bytes(),
        format!("{post}Content-Length: -1\r\n\r\n").into_bytes(),
        format!("{post}Content-Length: 18446744073709551616\r\n\r\n").into_bytes(),
        format!("{post}Content-Length: 100\r\n\r\nAction=").into_bytes(),
        format!("{post}Transfer-Encoding: gzip\r\n\r\n").into_bytes(),
        format!("{post}Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n").into_bytes(),
        format!("{post}Transfer-Encoding: chunked\r\n\r\n-1\r\nx\r\n0\r\n\r\n").into_bytes(),
        [post.as_bytes(), b"Content-Length: 4\r\n\r\n\xff=\xfe&"].concat(),
        [get.replace("Action", "%ff%00%").as_bytes(), b"\r\n"].concat(),
    ];
    for bytes in all {
        let about = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
        let answer = api.say(&bytes).await.with_context(|| about.clone())?;
        let refused = ["HTTP/1.1 4", "HTTP/1.0 4"]
            .iter()
            .any(|s| answer.starts_with(s));
        let hung_up = answer.is_empty();
        assert!(refused || hung_up, "{about:?}: {answer}");
    }
    assert_eq!(api.changes().await?, before, "something was changed");
    let mut connection = Connection::to(api.w.ec2).await?;
    let good = api.request("DescribeInstances");
    assert_eq!(connection.send(&good, &api.keys).await?.0, 200);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_clients_that_race_for_the_last_thing_one_gets_it() -> Result<()> {
    const CLIENTS: usize = 8;
    let api = Api::new().await?;
    let won_by_one = |codes: &[String], code: &str| {
        let mut wanted = vec![code.to_owned(); CLIENTS - 1];
        wanted.insert(0, String::new());
        assert_eq!(codes, wanted);
    };
    let all = |request: &RequestBuilder| vec![request.clone(); CLIENTS];
    // The last address of the pool.
    let range = "203.0.113.7/32".parse()?;
    api.w.cloud.create_floating_ips(range, None, None).await?;
    let codes = api.race(all(&api.request("AllocateAddress"))).await?;
    won_by_one(&codes, "InsufficientAddressCapacity");
    // The same name.
    let key = api.request("CreateKeyPair").param("KeyName", "mine");
    won_by_one(&api.race(all(&key)).await?, "InvalidKeyPair.Duplicate");
    // The last unit of a quota (10): "default" is there as soon as one asks for groups.
    let group = |name: &str| {
        api.request("CreateSecurityGroup")
            .param("GroupName", name)
            .param("GroupDescription", "d")
    };
    let mut connection = Connection::to(api.w.ec2).await?;
    for n in 1..=8 {
        let made = connection.send(&group(&format!("g{n}")), &api.keys).await?;
        assert_eq!(made.0, 200, "{}", made.1);
    }
    let last = (0..CLIENTS).map(|n| group(&format!("last{n}"))).collect();
    won_by_one(&api.race(last).await?, "SecurityGroupLimitExceeded");
    Ok(())
}
