//! One HTTP/1.1 request on a connection of its own: all that a command line needs. Depends on std
//! only.

use novanet_ec2::client::SignedRequest;
use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest answer that is read: far more than a full DescribeInstances.
const MAX_ANSWER_BYTES: u64 = 64 << 20;

/// Sends a request and answers the body for every status: a refusal has its reason in it.
pub(super) fn send(request: &SignedRequest, host: &str) -> Result<Vec<u8>, String> {
    let failed = |e: std::io::Error| format!("EC2 API at {host}: {e}: is the server running?");
    let with_port = if host.contains(':') {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    let addresses = with_port.to_socket_addrs().map_err(failed)?;
    let mut last = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match TcpStream::connect_timeout(&address, REQUEST_TIMEOUT) {
            Ok(stream) => return converse(stream, request).map_err(failed),
            Err(e) => last = e,
        }
    }
    Err(failed(last))
}

fn converse(mut stream: TcpStream, request: &SignedRequest) -> std::io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(REQUEST_TIMEOUT))?;
    let mut text = format!("{} {} HTTP/1.1\r\n", request.method, request.target);
    for (name, value) in &request.headers {
        text.push_str(name);
        text.push_str(": ");
        text.push_str(value);
        text.push_str("\r\n");
    }
    let length = request.body.len();
    text.push_str("Connection: close\r\nContent-Length: ");
    text.push_str(&length.to_string());
    text.push_str("\r\n\r\n");
    text.push_str(&request.body);
    stream.write_all(text.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer)?;
    body(&answer).ok_or_else(|| std::io::Error::other("the answer is not HTTP"))
}

/// The body of an answer that ended with the connection.
fn body(answer: &[u8]) -> Option<Vec<u8>> {
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    if !head.starts_with("HTTP/1.") {
        return None;
    }
    let rest = &answer[end + 4..];
    let chunked = head.lines().any(|line| {
        line.to_ascii_lowercase()
            .strip_prefix("transfer-encoding:")
            .is_some_and(|value| value.trim() == "chunked")
    });
    if chunked {
        unchunk(rest)
    } else {
        Some(rest.to_vec())
    }
}

fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let end = rest.windows(2).position(|w| w == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..end]).ok()?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Some(whole);
        }
        whole.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size + 2..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::body;

    #[test]
    fn bodies_are_read_with_and_without_chunks() {
        let read =
            |text: &str| body(text.as_bytes()).map(|b| String::from_utf8_lossy(&b).into_owned());
        assert_eq!(
            read("HTTP/1.1 200 OK\r\nA: b\r\n\r\n<a/>"),
            Some("<a/>".to_owned())
        );
        assert_eq!(
            read(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n<a/\r\n1;x=y\r\n>\r\n0\r\n\r\n"
            ),
            Some("<a/>".to_owned())
        );
        assert_eq!(read("SSH-2.0-dropbear\r\n\r\n"), None);
        assert_eq!(
            read("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n<a"),
            None
        );
    }
}
