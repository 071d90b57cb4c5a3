//! Just enough XML for the answers of EC2 and S3.

use super::AwsError;
use super::raw::excerpt;
use crate::http::Answer;
use xmlparser::{ElementEnd, Token, Tokenizer};

/// An element: its children, or its text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Element {
    name: String,
    text: String,
    children: Vec<Element>,
}

impl Element {
    /// The first child of this name.
    pub(super) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The trimmed text of the first child of this name, unless empty.
    pub(super) fn text_of(&self, name: &str) -> Option<&str> {
        self.child(name).map(|child| child.text.trim()).filter(|text| !text.is_empty())
    }

    /// The `item`s of a list.
    pub(super) fn items(&self, list: &str) -> impl Iterator<Item = &Self> {
        self.child(list).into_iter().flat_map(|list| list.children.iter().filter(|child| child.name == "item"))
    }

    fn find(&self, name: &str) -> Option<&Self> {
        if self.name == name { Some(self) } else { self.children.iter().find_map(|child| child.find(name)) }
    }
}

/// Nothing AWS answers is nested deeper; the search above recurses.
const MAX_DEPTH: usize = 32;

/// Parses a document into its root element.
pub(super) fn parse(text: &str) -> Result<Element, String> {
    let mut open: Vec<Element> = Vec::new();
    for token in Tokenizer::from(text) {
        match token.map_err(|error| error.to_string())? {
            Token::ElementStart { local, .. } if open.len() < MAX_DEPTH => {
                open.push(Element { name: local.as_str().to_owned(), ..Element::default() });
            }
            Token::ElementStart { .. } => return Err("nested too deep".into()),
            Token::ElementEnd { end: ElementEnd::Close(..) | ElementEnd::Empty, .. } => {
                let done = open.pop().ok_or("an end without a start")?;
                match open.last_mut() {
                    Some(parent) => parent.children.push(done),
                    None => return Ok(done),
                }
            }
            Token::Text { text } => append(&mut open, &unescape(text.as_str())),
            Token::Cdata { text, .. } => append(&mut open, text.as_str()),
            _ => {}
        }
    }
    Err("it ends too early".into())
}

fn append(open: &mut [Element], text: &str) {
    if let Some(element) = open.last_mut() {
        element.text.push_str(text);
    }
}

fn unescape(text: &str) -> String {
    html_escape::decode_html_entities(text).into_owned()
}

/// A successful answer's root element, else AWS's error.
pub(super) fn expect(answer: &Answer) -> Result<Element, AwsError> {
    if !(200..300).contains(&answer.status) {
        return Err(error(answer));
    }
    let text = String::from_utf8_lossy(&answer.body);
    // Not quoted: it may hold credentials.
    parse(&text).map_err(|reason| AwsError::Malformed(format!("{reason}, in {} bytes", answer.body.len())))
}

/// An error answer; anything but AWS's own XML keeps its status and has no code.
pub(super) fn error(answer: &Answer) -> AwsError {
    let root = parse(&String::from_utf8_lossy(&answer.body)).unwrap_or_default();
    let error = root.find("Error");
    let text = |name| error.and_then(|error| error.text_of(name)).map(ToOwned::to_owned);
    AwsError::Answer {
        status: answer.status,
        code: text("Code").unwrap_or_default(),
        message: text("Message").unwrap_or_else(|| excerpt(&answer.body)),
        resource_ids: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lists_text_and_entities_are_read() {
        let text = "<?xml version=\"1.0\"?>\n<R xmlns=\"x\"><!-- c --><s><item><id>a&amp;b</id></item><item><id>\
                    <![CDATA[<c>]]></id></item></s><e/></R>";
        let root = parse(text).unwrap();
        let ids: Vec<_> = root.items("s").filter_map(|item| item.text_of("id")).collect();
        assert_eq!(ids, ["a&b", "<c>"]);
        assert_eq!(root.text_of("e"), None);
    }

    #[test]
    fn what_is_cut_off_or_no_xml_is_an_error() {
        for text in ["", "<a><b></b>", "{\"a\": 1}", "<a", &"<a>".repeat(1000)] {
            assert!(parse(text).is_err(), "{text:.40}");
        }
    }
}
