//! Writing XML the way EC2 does: elements and text, one namespace, lists of `item`. Answers write
//! themselves through this, so escaping happens in one place.

use quick_xml::escape::escape;
use std::{borrow::Cow, fmt::Display};
use time::OffsetDateTime;

/// An XML document that grows.
#[derive(Debug)]
pub struct Xml {
    out: String,
    version: String,
}

impl Xml {
    /// A document with its declaration.
    pub fn document() -> Self {
        Self {
            out: String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"),
            version: String::new(),
        }
    }

    /// An element with children.
    pub fn element(&mut self, name: &str, children: impl FnOnce(&mut Self)) {
        self.open(name);
        children(self);
        self.close(name);
    }

    /// The root of an answer, in the service's namespace of the API version that the client speaks.
    pub fn root(
        &mut self,
        name: &str,
        service: &str,
        version: &str,
        children: impl FnOnce(&mut Self),
    ) {
        version.clone_into(&mut self.version);
        self.out.push('<');
        self.out.push_str(name);
        self.out.push_str(" xmlns=\"");
        self.out.push_str(service);
        self.out.push_str(&escape(clean(version).as_ref()));
        self.out.push_str("/\">");
        children(self);
        self.close(name);
    }

    /// Whether the client speaks a version before this one (they are dates).
    pub fn before(&self, version: &str) -> bool {
        self.version.as_str() < version
    }

    /// An element with text.
    pub fn text(&mut self, name: &str, value: &str) {
        self.open(name);
        self.characters(value);
        self.close(name);
    }

    /// Text inside the element that is open.
    pub fn characters(&mut self, value: &str) {
        self.out.push_str(&escape(clean(value).as_ref()));
    }

    /// An element with something that prints itself: a number, an id, an address.
    pub fn value(&mut self, name: &str, value: impl Display) {
        self.text(name, &value.to_string());
    }

    /// An element that is there only when there is a value.
    pub fn optional(&mut self, name: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.value(name, value);
        }
    }

    /// An element with a point in time, in EC2's form.
    pub fn time(&mut self, name: &str, at: OffsetDateTime) {
        self.text(name, &crate::timestamp::iso8601_millis(at));
    }

    /// A list: one `item` for each of `entries`; an empty list is an empty element.
    pub fn list<T>(
        &mut self,
        name: &str,
        entries: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T),
    ) {
        self.element(name, |xml| {
            for entry in entries {
                xml.element("item", |xml| write(xml, entry));
            }
        });
    }

    /// An element without content.
    pub fn empty(&mut self, name: &str) {
        self.out.push('<');
        self.out.push_str(name);
        self.out.push_str("/>");
    }

    /// The finished text.
    pub fn finish(self) -> String {
        self.out
    }

    fn open(&mut self, name: &str) {
        self.out.push('<');
        self.out.push_str(name);
        self.out.push('>');
    }

    fn close(&mut self, name: &str) {
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
    }
}

/// XML 1.0 has no way to write most control characters, not even escaped, and one of them (from a
/// client's own parameter, echoed in an error) would make the whole answer unreadable.
fn clean(text: &str) -> Cow<'_, str> {
    let forbidden = |c: char| matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}');
    if text.contains(forbidden) {
        text.replace(forbidden, "\u{fffd}").into()
    } else {
        text.into()
    }
}
