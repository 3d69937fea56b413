//! The bytes of a connection, request after request, with overlong request lines replaced. Pure.
//!
//! It follows HTTP/1.1 only as far as to know where the next request begins. Where it cannot tell (a
//! body in chunks, another protocol) it lets everything through as it is from there on.

/// The longest request line that is let through; the HTTP library takes a URI of 65,534 bytes.
const LONGEST: usize = 65_000;

/// The longest header that is looked at.
const LONGEST_HEADER: usize = 8 * 1024;

/// Of a longer line so much is taken in, for a client that does not read before it has sent all.
const MOST_DISCARDED: usize = 4 << 20;

/// Where a request with an overlong line is sent. Whoever asks for it gets the refusal too.
pub(crate) const TOO_LONG: &str = "/request-too-long";

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Lines {
    at: At,
    /// The line so far: a request line is held back here, a header is only looked at.
    line: Vec<u8>,
}

/// What the next byte belongs to.
#[derive(Debug, Default, PartialEq, Eq)]
enum At {
    /// The request line.
    #[default]
    Request,
    /// A request line that is too long: what it began with is in `line`, with its last bytes after.
    Discarding { method: usize, taken: usize },
    /// A header, of a request whose body has this length as far as is known.
    Header { body: u64 },
    /// A body of which so much is to come.
    Body(u64),
    /// Something that is not understood.
    Unknown,
    /// Nothing more is read.
    GivenUp,
}

impl Lines {
    /// Whether a client sent more of one line than anybody takes.
    pub(super) fn gave_up(&self) -> bool {
        self.at == At::GivenUp
    }

    /// Passes bytes on.
    pub(super) fn pass(&mut self, mut input: &[u8], out: &mut Vec<u8>) {
        while !input.is_empty() {
            let taken = match self.at {
                At::Request => self.request(input, out),
                At::Discarding { method, taken } => self.discard(input, method, taken, out),
                At::Header { body } => self.header(input, body, out),
                At::Body(left) => {
                    let length = input.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    out.extend_from_slice(&input[..length]);
                    self.body(left - length as u64);
                    length
                }
                At::Unknown => {
                    out.extend_from_slice(input);
                    input.len()
                }
                At::GivenUp => input.len(),
            };
            input = &input[taken..];
        }
    }

    fn request(&mut self, input: &[u8], out: &mut Vec<u8>) -> usize {
        let (part, ends) = line_of(input);
        self.line.extend_from_slice(part);
        if self.line.len() > LONGEST {
            let method = self.line.iter().position(|b| *b == b' ').unwrap_or(0);
            let method = if method <= 16 { method } else { 0 };
            // How the line ends counts, too.
            let tail = self.line.split_off(self.line.len().saturating_sub(TAIL));
            self.line.truncate(method);
            self.line.extend_from_slice(&tail);
            self.at = At::Discarding { method, taken: 0 };
            if ends {
                self.replace(method, out);
            }
        } else if ends {
            let line = std::mem::take(&mut self.line);
            out.extend_from_slice(&line);
            self.at = match line.as_slice() {
                // Before a request these are overlooked (RFC 9112, 2.2).
                b"\r\n" | b"\n" => At::Request,
                line if is_request(line) => At::Header { body: 0 },
                _ => At::Unknown,
            };
        }
        part.len()
    }

    fn discard(&mut self, input: &[u8], method: usize, taken: usize, out: &mut Vec<u8>) -> usize {
        let (part, ends) = line_of(input);
        self.line
            .extend_from_slice(&part[part.len().saturating_sub(TAIL)..]);
        let excess = (self.line.len() - method).saturating_sub(TAIL);
        self.line.drain(method..method + excess);
        let taken = taken + part.len();
        if ends {
            self.replace(method, out);
        } else if taken > MOST_DISCARDED {
            self.replace(method, out);
            out.extend_from_slice(b"Connection: close\r\n\r\n");
            self.at = At::GivenUp;
        } else {
            self.at = At::Discarding { method, taken };
        }
        part.len()
    }

    /// Puts the short line in the place of the long one.
    fn replace(&mut self, method: usize, out: &mut Vec<u8>) {
        let (word, tail) = self.line.split_at(method);
        let word = if word.iter().all(u8::is_ascii_uppercase) && !word.is_empty() {
            word
        } else {
            b"GET"
        };
        let version: &[u8] = if tail.trim_ascii_end().ends_with(b"HTTP/1.0") {
            b"HTTP/1.0"
        } else {
            b"HTTP/1.1"
        };
        for part in [word, b" ", TOO_LONG.as_bytes(), b" ", version, b"\r\n"] {
            out.extend_from_slice(part);
        }
        self.line.clear();
        self.at = At::Header { body: 0 };
    }

    fn header(&mut self, input: &[u8], body: u64, out: &mut Vec<u8>) -> usize {
        let (part, ends) = line_of(input);
        out.extend_from_slice(part);
        if self.line.len() < LONGEST_HEADER {
            self.line.extend_from_slice(part);
        }
        if ends {
            match header_of(&self.line) {
                Header::End => self.body(body),
                Header::Other => {}
                Header::Length(length) if body == 0 || body == length => {
                    self.at = At::Header { body: length };
                }
                Header::Length(_) | Header::Unclear => self.at = At::Unknown,
            }
            self.line.clear();
        }
        part.len()
    }

    fn body(&mut self, left: u64) {
        self.at = match left {
            0 => At::Request,
            left => At::Body(left),
        };
    }
}

/// ` HTTP/1.1` and the line's end.
const TAIL: usize = 11;

/// The input up to the end of the line, and whether that is in it.
fn line_of(input: &[u8]) -> (&[u8], bool) {
    match input.iter().position(|b| *b == b'\n') {
        Some(end) => (&input[..=end], true),
        None => (input, false),
    }
}

fn is_request(line: &[u8]) -> bool {
    let line = line.trim_ascii_end();
    (line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0")) && !line.starts_with(b"CONNECT ")
}

/// What a header says of where its request ends.
enum Header {
    /// There are no more headers.
    End,
    /// Nothing.
    Other,
    /// The length of the body.
    Length(u64),
    /// Not in a way that is followed here.
    Unclear,
}

fn header_of(line: &[u8]) -> Header {
    let line = line.trim_ascii();
    if line.is_empty() {
        return Header::End;
    }
    let colon = line.iter().position(|b| *b == b':').unwrap_or(line.len());
    let (name, value) = line.split_at(colon);
    let is = |wanted: &str| name.eq_ignore_ascii_case(wanted.as_bytes());
    if is("content-length") {
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        let number = std::str::from_utf8(value).ok().and_then(|v| v.parse().ok());
        return number.map_or(Header::Unclear, Header::Length);
    }
    if is("transfer-encoding") || is("upgrade") {
        return Header::Unclear;
    }
    Header::Other
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{LONGEST, Lines, MOST_DISCARDED, TOO_LONG};

    /// What comes out, whatever the pieces that it comes in.
    fn check(input: &str, expect: &str) {
        for size in [1, 2, 7, 1_000, 16_384, usize::MAX] {
            let mut lines = Lines::default();
            let mut out = Vec::new();
            for piece in input.as_bytes().chunks(size.min(input.len())) {
                lines.pass(piece, &mut out);
            }
            let out = String::from_utf8(out).unwrap();
            let (short, wanted) = (out.len(), expect.len());
            assert!(
                out == expect,
                "pieces of {size}: {short} bytes, not {wanted}"
            );
        }
    }

    fn long(length: usize) -> String {
        format!("/services/Cloud?Filler={}", "x".repeat(length))
    }

    #[test]
    fn ordinary_requests_pass_as_they_are() {
        let get = format!("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", long(60_000));
        let post = "POST / HTTP/1.1\r\nHost: a\r\ncontent-LENGTH: 5\r\n\r\na\nb\nc";
        for text in [
            get.as_str(),
            post,
            &format!("{post}{get}\r\n{post}{post}"),
            "GET / HTTP/1.0\n\n",
        ] {
            check(text, text);
        }
    }

    #[test]
    fn an_overlong_request_line_becomes_a_short_one_wherever_it_comes() {
        let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\na\nb\nc";
        for (verb, version) in [("GET", "1.1"), ("POST", "1.1"), ("GET", "1.0")] {
            for length in [LONGEST, 1 << 20] {
                let line = format!("{verb} {} HTTP/{version}\r\n", long(length));
                let rest = "Host: a\r\n\r\n";
                check(
                    &format!("{post}{line}{rest}{line}{rest}{post}"),
                    &format!(
                        "{post}{verb} {TOO_LONG} HTTP/{version}\r\n{rest}\
                         {verb} {TOO_LONG} HTTP/{version}\r\n{rest}{post}"
                    ),
                );
            }
        }
    }

    #[test]
    fn a_line_without_an_end_is_given_up_and_answered() {
        let mut lines = Lines::default();
        let mut out = Vec::new();
        let piece = vec![b'x'; 65_536];
        for _ in 0..=(MOST_DISCARDED + LONGEST) / piece.len() + 1 {
            lines.pass(&piece, &mut out);
        }
        assert!(lines.gave_up());
        let wanted = format!("GET {TOO_LONG} HTTP/1.1\r\nConnection: close\r\n\r\n");
        assert_eq!(String::from_utf8(out).unwrap(), wanted);
    }

    #[test]
    fn what_is_not_understood_passes_untouched() {
        let line = format!("GET {} HTTP/1.1\r\n\r\n", long(LONGEST));
        for begin in [
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "GET / HTTP/1.1\r\nUpgrade: h2c\r\n\r\n",
        ] {
            let text = format!("{begin}{line}");
            check(&text, &text);
        }
    }
}
