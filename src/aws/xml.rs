//! What is read of the answers of EC2, S3 and STS. Namespaces are of no interest: a name alone says what is meant.

use super::AwsError;
use super::error::excerpt;
use crate::http::Answer;
use roxmltree::{Document, Node, ParsingOptions};

/// More nodes than any answer has; each costs memory. (How deep they are nested costs nothing: nothing here recurses.)
const MAX_NODES: u32 = 500_000;

/// The first child of this name.
pub(super) fn child<'a, 'b>(element: Node<'a, 'b>, name: &str) -> Option<Node<'a, 'b>> {
    element.children().find(|child| child.tag_name().name() == name)
}

/// The trimmed text of the first child of this name, unless empty.
pub(super) fn text_of<'a>(element: Node<'a, '_>, name: &str) -> Option<&'a str> {
    child(element, name)?.text().map(str::trim).filter(|text| !text.is_empty())
}

/// A successful answer, else AWS's error.
pub(super) fn expect(answer: &Answer) -> Result<Document<'_>, AwsError> {
    if !(200..300).contains(&answer.status) {
        return Err(error(answer));
    }
    // Where it is none, and not what stands there: it may hold credentials.
    parse(answer).map_err(|place| AwsError::Malformed(format!("no XML {place}, in {} bytes", answer.body.len())))
}

/// An error answer; anything but AWS's own XML keeps its status and has no code.
pub(super) fn error(answer: &Answer) -> AwsError {
    let document = parse(answer).ok();
    let error = document.iter().flat_map(Document::descendants).find(|node| node.tag_name().name() == "Error");
    let text = |name| error.and_then(|error| text_of(error, name)).map(ToOwned::to_owned);
    AwsError::Answer {
        status: answer.status,
        code: text("Code").unwrap_or_default(),
        message: text("Message").unwrap_or_else(|| excerpt(&answer.body)),
        resource_ids: Vec::new(),
    }
}

/// The document, or where it is none.
fn parse(answer: &Answer) -> Result<Document<'_>, String> {
    let text = std::str::from_utf8(&answer.body).map_err(|error| format!("after byte {}", error.valid_up_to()))?;
    let options = ParsingOptions { nodes_limit: MAX_NODES, ..ParsingOptions::default() };
    Document::parse_with_options(text, options).map_err(|error| format!("at {}", error.pos()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn answer(status: u16, text: &str) -> Answer {
        Answer { status, headers: http::HeaderMap::new(), body: text.to_owned().into() }
    }

    #[test]
    fn lists_text_and_entities_are_read() {
        let text = "<?xml version=\"1.0\"?>\n<R xmlns=\"x\"><!-- c --><s><item><id>a&amp;b</id></item><item><id>\
                    <![CDATA[<c>]]></id></item></s><e/></R>";
        let answer = answer(200, text);
        let document = expect(&answer).unwrap();
        let root = document.root_element();
        let ids: Vec<_> = child(root, "s").unwrap().children().filter_map(|item| text_of(item, "id")).collect();
        assert_eq!(ids, ["a&b", "<c>"]);
        assert_eq!(text_of(root, "e"), None);
    }

    #[test]
    fn what_is_cut_off_or_no_xml_is_an_error_that_quotes_nothing() {
        for text in [
            "",
            "<a><b></b>",
            "{\"a\": 1}",
            "<a",
            "<a>&hush;</a>",
            "<a></hush>",
            "<!DOCTYPE hush [<!ENTITY a 'b'>]><a/>",
        ] {
            let AwsError::Malformed(said) = expect(&answer(200, text)).unwrap_err() else { unreachable!("{text}") };
            assert!(said.starts_with("no XML at ") && !said.contains("hush"), "{text}: {said}");
        }
        let not_unicode = Answer { body: b"<a>\xff</a>".as_slice().into(), ..answer(200, "") };
        assert_eq!(expect(&not_unicode).unwrap_err(), AwsError::Malformed("no XML after byte 3, in 8 bytes".into()));
    }

    #[test]
    fn neither_depth_nor_breadth_ends_the_process() {
        let deep = format!("{}<Error><Code>Odd</Code></Error>{}", "<a>".repeat(100_000), "</a>".repeat(100_000));
        assert!(expect(&answer(200, &deep)).is_ok());
        assert!(matches!(error(&answer(400, &deep)), AwsError::Answer { code, .. } if code == "Odd"));
        for endless in ["<a>".repeat(1_000_000), format!("<a>{}</a>", "<b/>".repeat(1_000_000))] {
            assert!(matches!(expect(&answer(200, &endless)), Err(AwsError::Malformed(_))));
        }
    }
}
