//! The grammar of an `-o` string: `,` separates, `\` escapes, a value in double quotes may contain commas.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// One option of an `-o` string, its value still with escapes (a layer list needs them for its own colons).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawOption<'a> {
    /// What stands before the first `=`.
    pub name: &'a [u8],
    /// What stands after it, without enclosing double quotes. `None`: there is no `=`.
    pub value: Option<&'a [u8]>,
}

/// Splits an `-o` string. Empty options are skipped; nothing is an error.
pub fn split_options(text: &[u8]) -> Vec<RawOption<'_>> {
    let mut options = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = option_end(rest);
        if end > 0 {
            options.push(raw_option(&rest[..end]));
        }
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    options
}

/// The length of the first option in `text`.
fn option_end(text: &[u8]) -> usize {
    let mut at = 0;
    let mut in_value = false;
    while let Some(&byte) = text.get(at) {
        match byte {
            b',' => return at,
            b'\\' => at += 1,
            b'=' if !in_value => {
                in_value = true;
                at += quoted_len(&text[at + 1..]).unwrap_or(0);
            }
            _ => {}
        }
        at += 1;
    }
    text.len()
}

/// The length of a quoted value at the start of `text`, quotes included. A quote that is not closed right before a comma
/// or the end is an ordinary byte: file names may contain it.
fn quoted_len(text: &[u8]) -> Option<usize> {
    if text.first() != Some(&b'"') {
        return None;
    }
    let mut at = 1;
    while let Some(&byte) = text.get(at) {
        match byte {
            b'\\' => at += 1,
            b'"' if matches!(text.get(at + 1), None | Some(b',')) => return Some(at + 1),
            _ => {}
        }
        at += 1;
    }
    None
}

fn raw_option(text: &[u8]) -> RawOption<'_> {
    let Some(equals) = text.iter().position(|&byte| byte == b'=') else {
        return RawOption { name: text, value: None };
    };
    let value = &text[equals + 1..];
    let value = if quoted_len(value) == Some(value.len()) { &value[1..value.len() - 1] } else { value };
    RawOption { name: &text[..equals], value: Some(value) }
}

/// Removes the escapes `\:` `\,` `\\` `\"`; any other backslash is part of the name.
pub fn unescape(text: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let escaped = *first == b'\\' && matches!(tail.first(), Some(b':' | b',' | b'\\' | b'"'));
        rest = if escaped { tail } else { rest };
        bytes.push(rest[0]);
        rest = &rest[1..];
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    fn pairs(text: &str) -> Vec<(&str, Option<&str>)> {
        let utf8 = |bytes| str::from_utf8(bytes).unwrap();
        split_options(text.as_bytes()).into_iter().map(|o| (utf8(o.name), o.value.map(utf8))).collect()
    }

    #[test]
    fn commas_separate_and_empty_options_vanish() {
        assert_eq!(pairs(""), []);
        assert_eq!(pairs(",,ro,,nodev,"), [("ro", None), ("nodev", None)]);
        assert_eq!(pairs("a=,b=x=y"), [("a", Some("")), ("b", Some("x=y"))]);
    }

    #[test]
    fn escapes_survive_the_split() {
        assert_eq!(pairs(r"lowerdir=/a\,b\:c:/d\\,ro"), [("lowerdir", Some(r"/a\,b\:c:/d\\")), ("ro", None)]);
        assert_eq!(pairs(r"upperdir=/a\"), [("upperdir", Some(r"/a\"))]);
    }

    #[test]
    fn quoted_values_may_contain_commas() {
        assert_eq!(
            pairs(r#"context="system_u:object_r:t:s0:c1,c2",ro"#),
            [("context", Some("system_u:object_r:t:s0:c1,c2")), ("ro", None)]
        );
        assert_eq!(pairs(r#"a="x\",y",b"#), [("a", Some(r#"x\",y"#)), ("b", None)]);
    }

    #[test]
    fn a_lone_quote_is_part_of_the_value() {
        assert_eq!(pairs(r#"upperdir="x,ro"#), [("upperdir", Some("\"x")), ("ro", None)]);
        assert_eq!(pairs(r#"upperdir=/x"y,ro"#), [("upperdir", Some("/x\"y")), ("ro", None)]);
        assert_eq!(pairs(r#"upperdir="x"y,ro"#), [("upperdir", Some(r#""x"y"#)), ("ro", None)]);
    }

    #[test]
    fn only_known_escapes_are_removed() {
        assert_eq!(unescape(br"a\:b\,c\\d\x\"), OsStr::new(r"a:b,c\d\x\"));
        assert_eq!(unescape(b"\xff\\,\xfe"), OsStr::from_bytes(b"\xff,\xfe"));
        assert_eq!(unescape(br"\\:"), OsStr::new(r"\:"));
    }
}
