//! Asks another host's agent through the running server, over the server's unix socket, which root
//! and the cloud's owner can open. Depends on the wire types of `model`.

use crate::failure::Failure;
use novanet_model::flags::Flags;
use novanet_model::wire::{Answer, Question};
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

/// Longer than the server waits for the host.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);

/// The largest answer that is read: a host's is 1 MiB, JSON may write a byte as six.
const MAX_REPLY_BYTES: u64 = 8 << 20;

/// Asks another host.
pub(super) async fn ask(host: &str, question: &Question, flags: &Flags) -> Result<String, Failure> {
    let socket = flags.path("server_socket");
    let failed = |why: String| {
        Failure::failed(format!(
            "host {host}: this is {}, so the server at {} was asked: {why}",
            flags.host(),
            socket.display()
        ))
    };
    let reply = tokio::time::timeout(ANSWER_TIMEOUT, converse(&socket, host, question)).await;
    let reply = reply
        .unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
        .map_err(|e| failed(reason(&e, host)))?;
    match reply {
        Reply::Answer(Answer::Text { text }) => Ok(text),
        Reply::Answer(Answer::Failed { message }) => {
            Err(Failure::failed(format!("host {host}: {}", message.trim())))
        }
        // The server names the host.
        Reply::Refused(text) => Err(Failure::failed(text)),
    }
}

fn reason(error: &std::io::Error, host: &str) -> String {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            format!(
                "no server runs there (run this on {host} itself, or where novanet server runs)"
            )
        }
        ErrorKind::PermissionDenied => {
            "only root and the server's own user may ask it: run this as root".to_owned()
        }
        ErrorKind::TimedOut => format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()),
        _ => error.to_string(),
    }
}

/// What the server replied.
#[derive(Debug, PartialEq, Eq)]
enum Reply {
    /// The host's answer.
    Answer(Answer),
    /// Why there is none, a line.
    Refused(String),
}

/// One request on a connection of its own. HTTP/1.0, so that the answer comes in one piece and ends
/// with the connection.
async fn converse(socket: &Path, host: &str, question: &Question) -> std::io::Result<Reply> {
    let body = serde_json::to_string(question)?;
    let request = format!(
        "POST /admin/v1/hosts/{}/questions HTTP/1.0\r\nHost: novanet\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        escaped(host),
        body.len()
    );
    let mut stream = UnixStream::connect(socket).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut reply = String::new();
    stream
        .take(MAX_REPLY_BYTES)
        .read_to_string(&mut reply)
        .await?;
    read(&reply).ok_or_else(|| std::io::Error::other("its answer is not understood"))
}

fn read(reply: &str) -> Option<Reply> {
    let (head, body) = reply.split_once("\r\n\r\n")?;
    let status: u16 = head.split(' ').nth(1)?.parse().ok()?;
    if status == 200 {
        return serde_json::from_str(body).ok().map(Reply::Answer);
    }
    let line = body.trim();
    // A server of another version knows no such path.
    let text = if line.is_empty() {
        format!("the server answers {status}: is it of this version?")
    } else {
        line.replace('\n', " ")
    };
    Some(Reply::Refused(text))
}

/// A host's name as a segment of a path.
fn escaped(host: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::new();
    for byte in host.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{Reply, escaped, read};
    use novanet_model::wire::Answer;

    #[test]
    fn a_servers_reply_is_an_answer_or_a_line_that_says_why_not() {
        let text =
            "HTTP/1.0 200 OK\r\nA: b\r\n\r\n{\"answer\":\"text\",\"text\":\"a\\r\\n\\r\\nb\"}";
        let answer = Answer::Text {
            text: "a\r\n\r\nb".to_owned(),
        };
        assert_eq!(read(text), Some(Reply::Answer(answer)));
        let refused = |text: &str| match read(text) {
            Some(Reply::Refused(why)) => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(
            refused("HTTP/1.0 503 No\r\n\r\nhost a: is down\n"),
            "host a: is down"
        );
        assert!(refused("HTTP/1.0 404 Not Found\r\n\r\n").contains("of this version"));
        assert_eq!(read("SSH-2.0-dropbear\r\n"), None);
        assert_eq!(read("HTTP/1.0 200 OK\r\n\r\n{"), None);
    }

    #[test]
    fn a_hosts_name_cannot_leave_its_place_in_the_path() {
        assert_eq!(escaped("node-1.lan"), "node-1.lan");
        assert_eq!(escaped("../a b\r\n"), "..%2Fa%20b%0D%0A");
    }
}
