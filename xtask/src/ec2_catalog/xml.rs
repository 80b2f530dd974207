//! As much XML as EC2 answers in: elements and text, no attributes that matter.

/// An element.
#[derive(Debug, Default)]
pub(super) struct Element {
    name: String,
    text: String,
    children: Vec<Element>,
}

impl Element {
    /// The outermost element of a document.
    pub(super) fn parse(document: &str) -> Option<Self> {
        let mut open: Vec<Self> = vec![Self::default()];
        let mut rest = document;
        while let Some(start) = rest.find('<') {
            open.last_mut()?.text.push_str(rest[..start].trim());
            let end = start + rest[start..].find('>')?;
            let tag = &rest[start + 1..end];
            rest = &rest[end + 1..];
            if tag.starts_with(['?', '!']) {
                continue;
            }
            if tag.starts_with('/') {
                let done = open.pop()?;
                open.last_mut()?.children.push(done);
                continue;
            }
            let name = tag.split([' ', '/']).next()?.to_owned();
            let element = Self {
                name,
                ..Self::default()
            };
            if tag.ends_with('/') {
                open.last_mut()?.children.push(element);
            } else {
                open.push(element);
            }
        }
        open.pop()?.children.into_iter().next()
    }

    /// The element at a path such as `memoryInfo/sizeInMiB`.
    pub(super) fn at(&self, path: &str) -> Option<&Self> {
        path.split('/').try_fold(self, |element, name| {
            element.children.iter().find(|child| child.name == name)
        })
    }

    /// The text at a path, empty where there is none.
    pub(super) fn text(&self, path: &str) -> &str {
        self.at(path).map_or("", |element| element.text.as_str())
    }

    /// The elements below a path.
    pub(super) fn all(&self, path: &str) -> &[Self] {
        self.at(path).map_or(&[], |element| element.children.as_slice())
    }

    /// Its own text.
    pub(super) fn value(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found_by_their_path() {
        let root =
            Element::parse("<?xml version=\"1.0\"?><a x=\"1\"><b><c>1</c><c>2</c></b><d/></a>").unwrap();
        assert_eq!(root.text("b/c"), "1");
        assert_eq!(
            root.all("b").iter().map(Element::value).collect::<Vec<_>>(),
            ["1", "2"]
        );
        assert_eq!(root.text("d"), "");
        assert_eq!(root.text("nothing/here"), "");
        assert!(Element::parse("<a><b").is_none());
    }
}
