//! The elements of a small XML document of a service.

/// An element: its name without prefix, the text in it before its first child, and what is in it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) children: Vec<Element>,
}

impl Element {
    /// The first element of this name below, at any depth.
    pub(crate) fn find(&self, name: &str) -> Option<&Self> {
        self.children.iter().find_map(|child| match child.name == name {
            true => Some(child),
            false => child.find(name),
        })
    }

    /// The children of this name.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name == name)
    }
}

/// The deepest that documents go which are read here.
const DEEPEST: usize = 32;

/// The root of a document, or `None` if the text is none.
pub(crate) fn read(text: &str) -> Option<Element> {
    let mut open = vec![Element::default()];
    let mut rest = text.trim_start_matches('\u{feff}');
    while let Some(start) = rest.find('<') {
        let before = unescape(rest[..start].trim());
        if let Some(element) = open.last_mut()
            && element.children.is_empty()
        {
            element.text.push_str(&before);
        }
        rest = &rest[start + 1..];
        if let Some(comment) = rest.strip_prefix("!--") {
            rest = &comment[comment.find("-->")? + 3..];
            continue;
        }
        let end = rest.find('>')?;
        let (tag, after) = (&rest[..end], &rest[end + 1..]);
        rest = after;
        if tag.starts_with(['?', '!']) {
            continue;
        }
        if let Some(name) = tag.strip_prefix('/') {
            let closed = open.pop()?;
            if closed.name != local(name) {
                return None;
            }
            open.last_mut()?.children.push(closed);
            continue;
        }
        let element = Element {
            name: local(tag.trim_end_matches('/')).to_owned(),
            ..Element::default()
        };
        if tag.ends_with('/') {
            open.last_mut()?.children.push(element);
        } else if open.len() < DEEPEST {
            open.push(element);
        } else {
            return None;
        }
    }
    let mut document = open.pop().filter(|_| open.is_empty())?;
    document.children.pop()
}

/// The name of a tag without prefix and attributes.
fn local(tag: &str) -> &str {
    let name = tag.split_whitespace().next().unwrap_or_default();
    name.rsplit(':').next().unwrap_or_default()
}

fn unescape(text: &str) -> String {
    // The ampersand last, lest what it stands before be read twice.
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found_by_their_names_without_prefixes() {
        let text = "<?xml version=\"1.0\"?><feed xmlns=\"a\"><!-- <x> --><title type=\"text\">Queues</title>\
                    <entry><title>a&amp;lt;b</title><link href=\"x\"/><c:Count xmlns:c=\"y\">5</c:Count></entry><entry/></feed>";
        let feed = read(text).unwrap();
        assert_eq!(feed.name, "feed");
        let entries: Vec<_> = feed.all("entry").collect();
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0].find("title").unwrap().text, "a&lt;b");
        assert_eq!(entries[0].find("Count").unwrap().text, "5");
        assert!(entries[1].find("Count").is_none());
    }

    #[test]
    fn what_is_no_document_is_none() {
        for text in [
            "",
            "down for maintenance",
            "<a>",
            "<a></b>",
            "</a>",
            "<a",
            "<!-- ",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(read(&"<a>".repeat(1000)), None);
    }
}
