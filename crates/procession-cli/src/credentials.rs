//! What addresses have before their host does not belong into messages.

use std::borrow::Cow;

/// The text, with `*****` for user and password in all addresses, such as `https://user:password@host`.
pub(crate) fn hidden(text: &str) -> Cow<'_, str> {
    let mut hidden = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        let end = after.find(ends_authority).unwrap_or(after.len());
        hidden.push_str(before);
        hidden.push_str("://");
        rest = after;
        // A password may have an unescaped `@` in it.
        if let Some(at) = after[..end].rfind('@') {
            hidden.push_str("*****");
            rest = &after[at..];
        }
    }
    if hidden.is_empty() {
        return Cow::Borrowed(text);
    }
    hidden.push_str(rest);
    Cow::Owned(hidden)
}

/// Whatever stands behind the host; quotes and backslashes, because the text may be a JSON string.
fn ends_authority(c: char) -> bool {
    c.is_whitespace() || c.is_control() || "/?#\"'`\\<>".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_user_and_password_are_hidden() {
        for (text, expected) in [
            ("", ""),
            ("no address", "no address"),
            ("unix:///run/a@b.sock", "unix:///run/a@b.sock"),
            ("https://host:6443/a@b?c@d", "https://host:6443/a@b?c@d"),
            ("proxy http://user:p@ss@host:10/ is", "proxy http://*****@host:10/ is"),
            ("{\"error\":\"http://user@host\"} x@y", "{\"error\":\"http://*****@host\"} x@y"),
            ("a://b:c@d e://f@g", "a://*****@d e://*****@g"),
            ("://@", "://*****@"),
            ("a://b://c@d", "a://b://*****@d"),
        ] {
            assert_eq!(hidden(text), expected);
        }
    }
}
