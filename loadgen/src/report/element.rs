//! Elements of a page or a picture, written out with everything from outside escaped.
//!
//! The only way to put text or an attribute in is through here, so nothing can be forgotten. What
//! comes out is well-formed XML and HTML alike: every element is closed.

use std::fmt::{self, Display, Write as _};

/// An element with attributes and children.
#[derive(Clone, Debug)]
pub(crate) struct Element {
    name: &'static str,
    attributes: Vec<(&'static str, String)>,
    children: Vec<Node>,
}

#[derive(Clone, Debug)]
enum Node {
    Element(Element),
    Text(String),
    /// Script or style: text of the tool's own, in which nothing is escaped.
    Raw(String),
}

/// Elements of HTML that have no end tag.
const VOID: [&str; 3] = ["meta", "br", "hr"];

impl Element {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, attributes: Vec::new(), children: Vec::new() }
    }

    pub(crate) fn attr(mut self, name: &'static str, value: impl Display) -> Self {
        self.attributes.push((name, value.to_string()));
        self
    }

    pub(crate) fn class(self, class: impl Display) -> Self {
        self.attr("class", class)
    }

    pub(crate) fn text(mut self, text: impl Display) -> Self {
        self.children.push(Node::Text(text.to_string()));
        self
    }

    pub(crate) fn child(mut self, child: Element) -> Self {
        self.children.push(Node::Element(child));
        self
    }

    pub(crate) fn children(mut self, children: impl IntoIterator<Item = Element>) -> Self {
        self.children.extend(children.into_iter().map(Node::Element));
        self
    }

    /// A style sheet or script of the tool's own. It must not hold `</`.
    pub(crate) fn raw(mut self, text: impl Display) -> Self {
        let text = text.to_string();
        assert!(!text.contains("</"), "a script would end here");
        self.children.push(Node::Raw(text));
        self
    }
}

impl Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{}", self.name)?;
        for (name, value) in &self.attributes {
            write!(f, " {name}=\"{}\"", Escaped(value))?;
        }
        if VOID.contains(&self.name) {
            return f.write_str("/>");
        }
        f.write_char('>')?;
        for child in &self.children {
            match child {
                Node::Element(element) => write!(f, "{element}")?,
                Node::Text(text) => write!(f, "{}", Escaped(text))?,
                Node::Raw(text) => f.write_str(text)?,
            }
        }
        write!(f, "</{}>", self.name)
    }
}

/// Text in which no character means anything to a parser.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '&' => f.write_str("&amp;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            // XML has no way to write most control characters, escaped or not.
            c if (c.is_control() && c != '\n') || matches!(c, '\u{fffe}' | '\u{ffff}') => {
                f.write_char('\u{fffd}')
            }
            c => f.write_char(c),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_becomes_markup() {
        let element = Element::new("p")
            .attr("title", "\"><script>'")
            .text("<b>&\u{0}\u{1b}")
            .child(Element::new("br"));
        assert_eq!(
            element.to_string(),
            "<p title=\"&quot;&gt;&lt;script&gt;&#39;\">&lt;b&gt;&amp;\u{fffd}\u{fffd}<br/></p>"
        );
    }

    #[test]
    #[should_panic(expected = "a script would end here")]
    fn a_script_can_not_be_ended_from_inside() {
        let _ = Element::new("script").raw("x = \"</script>\"");
    }
}
