//! A connection to the EC2 API that is kept from one signed request to the next.

use anyhow::{Context, Result};
use novanet_ec2::client::{Credentials, RequestBuilder};
use std::fmt::Write as _;
use std::net::SocketAddr;
use time::OffsetDateTime;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// A connection that is kept.
pub(crate) struct Connection(BufReader<TcpStream>);

impl Connection {
    pub(crate) async fn to(server: SocketAddr) -> Result<Self> {
        Ok(Self(BufReader::new(TcpStream::connect(server).await?)))
    }

    /// Status and body.
    pub(crate) async fn send(
        &mut self,
        request: &RequestBuilder,
        keys: &Credentials,
    ) -> Result<(u16, String)> {
        let request = request.sign_v4(keys, "nova", OffsetDateTime::now_utc());
        let mut text = format!("{} {} HTTP/1.1\r\n", request.method, request.target);
        for (name, value) in &request.headers {
            write!(text, "{name}: {value}\r\n")?;
        }
        let length = request.body.len();
        write!(text, "Content-Length: {length}\r\n\r\n{}", request.body)?;
        self.0.write_all(text.as_bytes()).await?;
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            anyhow::ensure!(self.0.read_line(&mut line).await? > 0, "hung up");
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(rest) = line.strip_prefix("http/1.1 ") {
                status = rest.split(' ').next().context("no status")?.parse()?;
            } else if let Some(rest) = line.strip_prefix("content-length: ") {
                length = rest.parse()?;
            } else if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await?;
        Ok((status, String::from_utf8(body)?))
    }
}

/// What is between `<name>` and `</name>`.
pub(crate) fn inner<'a>(body: &'a str, name: &str) -> &'a str {
    let rest = body.split_once(&format!("<{name}>")).map(|(_, rest)| rest);
    rest.and_then(|rest| rest.split_once("</"))
        .map_or("", |(text, _)| text)
}
