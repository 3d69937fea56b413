//! A small EC2 client in this process, so that no figure contains the start of Python. Depends on
//! the signatures of `ec2`.

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use novanet_ec2::client::{Credentials, Endpoint, RequestBuilder, SignedRequest};
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use time::OffsetDateTime;

const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);

/// A client with one connection, which stays in the network namespace where it was made.
pub(super) struct Client {
    stream: BufReader<TcpStream>,
    endpoint: Endpoint,
    keys: Credentials,
}

impl Client {
    /// Connects to an EC2 API.
    pub(super) fn connect(address: SocketAddr, keys: Credentials) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(REQUEST_TIMEOUT))?;
        Ok(Self {
            stream: BufReader::new(stream),
            endpoint: Endpoint {
                host: address.to_string(),
                path: "/services/Cloud".to_owned(),
            },
            keys,
        })
    }

    /// Calls an action and answers with the XML; a refusal is an error.
    pub(super) fn call(&mut self, action: &str, params: &[(&str, &str)]) -> Result<String> {
        let request = params.iter().fold(
            RequestBuilder::new(self.endpoint.clone(), action),
            |request, (name, value)| request.param(name, value),
        );
        let signed = request.sign_v4(&self.keys, "nova", OffsetDateTime::now_utc());
        let (status, body) = self.send(&signed).with_context(|| action.to_owned())?;
        ensure!(status == 200, "{action}: {status}: {body:.400}");
        Ok(body)
    }

    fn send(&mut self, request: &SignedRequest) -> Result<(u16, String)> {
        let mut text = format!("{} {} HTTP/1.1\r\n", request.method, request.target);
        for (name, value) in &request.headers {
            let _writing_to_a_string_works = write!(text, "{name}: {value}\r\n");
        }
        let _writing_to_a_string_works = write!(
            text,
            "Content-Length: {}\r\n\r\n{}",
            request.body.len(),
            request.body
        );
        self.stream.get_mut().write_all(text.as_bytes())?;
        let status = self
            .line()?
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .ok_or_else(|| anyhow!("no status line"))?;
        let mut length = None;
        loop {
            let line = self.line()?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().ok();
            }
        }
        let Some(length) = length else {
            bail!("an answer without a length");
        };
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok((status, String::from_utf8(body)?))
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(
            self.stream.read_line(&mut line)? > 0,
            "the connection was closed"
        );
        Ok(line.trim_end().to_owned())
    }
}

/// The text of every element of this name.
pub(super) fn texts<'a>(xml: &'a str, name: &str) -> Vec<&'a str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    xml.split(open.as_str())
        .skip(1)
        .filter_map(|rest| Some(rest.split_once(close.as_str())?.0))
        .collect()
}
