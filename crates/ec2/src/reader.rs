//! Reading answers, for our own client: any answer as a tree of elements, an error answer as an
//! error.

use quick_xml::Reader;
use quick_xml::escape::unescape;
use quick_xml::events::Event;
use thiserror::Error;

/// The deepest tree that is read; EC2's answers have about ten levels.
const DEEPEST: usize = 64;

/// An element: its name (without prefix), its text, the elements in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Element {
    /// Name.
    pub name: String,
    /// Text right inside it.
    pub text: String,
    /// Elements right inside it.
    pub children: Vec<Element>,
}

/// Why there is no answer to read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ReadError {
    /// The server refused.
    #[error("{code}: {message}")]
    Refused {
        /// EC2's code.
        code: String,
        /// What the server says.
        message: String,
        /// The request's id, for the server's log.
        request_id: String,
    },
    /// This is not an EC2 answer; perhaps not an EC2 server.
    #[error("the answer is not from an EC2 API: {0}")]
    NotEc2(String),
}

/// Reads the body of an answer.
pub fn read(body: &[u8]) -> Result<Element, ReadError> {
    let root = tree(body)?;
    match root.find("Errors/Error") {
        Some(error) if root.name == "Response" => Err(ReadError::Refused {
            code: error.text_of("Code").to_owned(),
            message: error.text_of("Message").to_owned(),
            request_id: root.text_of("RequestID").to_owned(),
        }),
        _ if root.name.ends_with("Response") => Ok(root),
        _ => Err(ReadError::NotEc2(format!("its root is <{}>", root.name))),
    }
}

impl Element {
    /// The first element at a path, e.g. `instanceState/name`.
    pub fn find(&self, path: &str) -> Option<&Self> {
        path.split('/').try_fold(self, |element, name| {
            element.children.iter().find(|child| child.name == name)
        })
    }

    /// The text at a path; empty if there is none.
    pub fn text_of(&self, path: &str) -> &str {
        self.find(path).map_or("", |element| element.text.as_str())
    }

    /// The members of the list at a path; none if there is no list.
    pub fn items(&self, path: &str) -> impl Iterator<Item = &Self> {
        self.find(path)
            .map_or(&[][..], |list| &list.children)
            .iter()
            .filter(|child| child.name == "item")
    }
}

fn tree(body: &[u8]) -> Result<Element, ReadError> {
    let broken = |what: &dyn std::fmt::Display| ReadError::NotEc2(what.to_string());
    let text = std::str::from_utf8(body).map_err(|error| broken(&error))?;
    let mut reader = Reader::from_str(text);
    let mut open: Vec<Element> = Vec::new();
    loop {
        let closed = match reader.read_event().map_err(|error| broken(&error))? {
            Event::Start(_) if open.len() == DEEPEST => {
                return Err(broken(&"it is nested too deep"));
            }
            Event::Start(start) => {
                open.push(named(start.local_name().as_ref()));
                continue;
            }
            Event::Empty(start) => named(start.local_name().as_ref()),
            Event::End(_) => open.pop().unwrap_or_default(),
            Event::Text(text) => {
                add_text(&mut open, &text.xml10_content());
                continue;
            }
            Event::CData(text) => {
                add_text(&mut open, &text.xml10_content());
                continue;
            }
            Event::GeneralRef(reference) => {
                let escaped = format!("&{};", &*reference);
                add_text(
                    &mut open,
                    &unescape(&escaped).map_err(|error| broken(&error))?,
                );
                continue;
            }
            Event::Eof => return Err(broken(&"it ends too early")),
            _ => continue,
        };
        match open.last_mut() {
            Some(parent) => parent.children.push(closed),
            None => return Ok(closed),
        }
    }
}

/// Skips the indentation between elements.
fn add_text(open: &mut [Element], text: &str) {
    if let Some(element) = open.last_mut()
        && element.children.is_empty()
    {
        element.text.push_str(text);
    }
}

fn named(name: &str) -> Element {
    Element {
        name: name.to_owned(),
        ..Element::default()
    }
}
