//! Paths as bytes: splitting what a person gives, showing what a snapshot holds.
//!
//! In JSON a byte string `NAME` becomes a member `NAME` with text and, only when the bytes are no UTF-8, a second
//! member `NAME_bytes` with all of them in lowercase hexadecimal. The text is then the bytes with each one that is no
//! UTF-8 written as `\xNN`: fit to read, not to parse.

use serde::ser::SerializeMap;

use crate::error::{Error, Result};

/// A path for a message or a terminal: control characters, backslashes and bytes that are no UTF-8 are escaped, so that
/// no name can forge a line or send codes to a terminal.
pub fn shown(path: &[u8]) -> String {
    let mut out = String::with_capacity(path.len());
    for part in path.utf8_chunks() {
        for c in part.valid().chars() {
            if c.is_control() || c == '\\' {
                out.extend(c.escape_default());
            } else {
                out.push(c);
            }
        }
        push_hex_escapes(&mut out, part.invalid());
    }
    out
}

/// Splits a path at its slashes. Empty parts and `.` are left out; `..` is refused, since a snapshot has none.
pub fn components(path: &[u8]) -> Result<Vec<Vec<u8>>> {
    let parts = path
        .split(|&b| b == b'/')
        .filter(|part| !part.is_empty() && *part != b".");
    let mut all = Vec::new();
    for part in parts {
        if part == b".." || part.contains(&0) {
            return Err(Error::Invalid {
                what: format!("path {}", shown(path)),
                why: "a path inside a snapshot has no .. and no NUL; give it as `holdfast ls` shows it".into(),
            });
        }
        all.push(part.to_vec());
    }
    Ok(all)
}

/// Puts parts together again: `/a/b`, or `/` for none.
pub(crate) fn joined<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut path = Vec::new();
    for part in parts {
        path.push(b'/');
        path.extend_from_slice(part);
    }
    if path.is_empty() {
        path.push(b'/');
    }
    path
}

/// Whether a name may stand in a directory entry.
pub(crate) fn check_name(name: &[u8]) -> std::result::Result<(), &'static str> {
    match name {
        b"" => Err("its name is empty"),
        b"." | b".." => Err("its name is . or .."),
        _ if name.contains(&b'/') => Err("its name contains a slash"),
        _ if name.contains(&0) => Err("its name contains a NUL byte"),
        _ => Ok(()),
    }
}

/// Writes a byte string into a JSON object, as the module header says.
pub(crate) fn put_bytes<M: SerializeMap>(
    map: &mut M,
    key: &'static str,
    bytes_key: &'static str,
    bytes: &[u8],
) -> std::result::Result<(), M::Error> {
    match std::str::from_utf8(bytes) {
        Ok(text) => map.serialize_entry(key, text),
        Err(_) => {
            let mut text = String::new();
            for part in bytes.utf8_chunks() {
                text.push_str(part.valid());
                push_hex_escapes(&mut text, part.invalid());
            }
            map.serialize_entry(key, &text)?;
            map.serialize_entry(bytes_key, &hex(bytes))
        }
    }
}

/// A path that serializes as the module header says, for structures with nothing else that is special.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathText(pub Vec<u8>);

impl std::fmt::Display for PathText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&shown(&self.0))
    }
}

impl serde::Serialize for PathText {
    fn serialize<S: serde::Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        put_bytes(&mut map, "path", "path_bytes", &self.0)?;
        map.end()
    }
}

fn push_hex_escapes(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        out.push_str(&format!("\\x{byte:02x}"));
    }
}

/// Lowercase hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_forge_lines_or_codes() {
        assert_eq!(shown(b"/a\nb\x1b[31m\xff\\"), "/a\\nb\\u{1b}[31m\\xff\\\\");
        assert_eq!(shown("/ü".as_bytes()), "/ü");
    }

    #[test]
    fn paths_split_alike_with_and_without_a_leading_slash() {
        let want = vec![b"a".to_vec(), b"b".to_vec()];
        for given in [&b"/a/b"[..], b"a/b", b"a//b/", b"./a/./b"] {
            assert_eq!(components(given).unwrap(), want);
        }
        assert!(components(b"/a/../b").is_err());
        assert!(components(b"/").unwrap().is_empty());
        assert_eq!(joined(want.iter().map(Vec::as_slice)), b"/a/b");
        assert_eq!(joined([]), b"/");
    }

    #[test]
    fn json_keeps_every_byte() {
        let plain = serde_json::to_string(&PathText(b"/a\nb".to_vec())).unwrap();
        assert_eq!(plain, r#"{"path":"/a\nb"}"#);
        let odd = serde_json::to_string(&PathText(b"/a\xff".to_vec())).unwrap();
        assert_eq!(odd, r#"{"path":"/a\\xff","path_bytes":"2f61ff"}"#);
    }
}
