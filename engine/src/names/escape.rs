//! Bytes shown as text without loss and without surprises on a terminal.

use core::fmt::{self, Write as _};

/// Text that is not what [`escape`] writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a backslash must be followed by x and two hexadecimal digits, as in \\x0a, but is not at byte {at}; \
     write \\x5c for the backslash itself"
)]
pub struct EscapeError {
    /// Where the backslash stands, in bytes.
    pub at: usize,
}

/// Shows bytes as text: valid UTF-8 as it is, all else as `\xNN` per byte.
///
/// Escaped are bytes that are not UTF-8, the backslash, control characters, line and paragraph separators, and the
/// characters that reorder or hide text around them. [`unescape`] gives back the same bytes.
#[must_use]
pub const fn escape(bytes: &[u8]) -> Escaped<'_> {
    Escaped(bytes)
}

/// The bytes that [`escape`] showed. Characters that it would have escaped are also taken as they are.
///
/// # Errors
/// [`EscapeError`].
pub fn unescape(text: &str) -> Result<Vec<u8>, EscapeError> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        if byte != b'\\' {
            out.push(byte);
            rest = tail;
            at += 1;
            continue;
        }
        let (Some(b'x'), Some(high), Some(low)) = (tail.first(), digit(tail.get(1)), digit(tail.get(2))) else {
            return Err(EscapeError { at });
        };
        out.push(high << 4 | low);
        rest = tail.get(3..).unwrap_or_default();
        at += 4;
    }
    Ok(out)
}

fn digit(byte: Option<&u8>) -> Option<u8> {
    char::from(*byte?).to_digit(16).map(|digit| digit as u8)
}

/// Bytes as [`escape`] shows them.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(&'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                if is_hidden(character) {
                    let mut bytes = [0; 4];
                    hexadecimal(f, character.encode_utf8(&mut bytes).as_bytes())?;
                } else {
                    f.write_char(character)?;
                }
            }
            hexadecimal(f, chunk.invalid())?;
        }
        Ok(())
    }
}

fn hexadecimal(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))
}

/// Characters that would make one name look like another or act on the terminal (Unicode UAX 9 and UTR 36).
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\\' | '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_is_shown_as_it_is_and_the_rest_escaped() {
        let cases: [(&[u8], &str); 9] = [
            (b"photos/2024/a.jpg", "photos/2024/a.jpg"),
            ("Übermut/日本/👩\u{200d}🚀".as_bytes(), "Übermut/日本/👩\u{200d}🚀"),
            (b"a\\b", "a\\x5cb"),
            (b"line\nfeed\t\x7f", "line\\x0afeed\\x09\\x7f"),
            (b"latin\xe9", "latin\\xe9"),
            (b"cut\xe6\x97", "cut\\xe6\\x97"),
            (b"\x1b[31mred", "\\x1b[31mred"),
            ("exe\u{202e}gpj".as_bytes(), "exe\\xe2\\x80\\xaegpj"),
            ("c1\u{9b}".as_bytes(), "c1\\xc2\\x9b"),
        ];
        for (bytes, text) in cases {
            assert_eq!(escape(bytes).to_string(), text);
            assert_eq!(unescape(text).as_deref(), Ok(bytes));
        }
    }

    #[test]
    fn a_stray_backslash_is_pointed_at() {
        for (text, at) in
            [("\\", 0), ("ab\\n", 2), ("\\x", 0), ("\\x1", 0), ("\\x1g", 0), ("\\x41\\X41", 4), ("ä\\\\", 2)]
        {
            assert_eq!(unescape(text), Err(EscapeError { at }), "{text}");
        }
        assert_eq!(unescape("\\x4A\\x4a").as_deref(), Ok(&b"JJ"[..]));
    }

    proptest! {
        #[test]
        fn no_byte_is_lost(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let text = escape(&bytes).to_string();
            prop_assert_eq!(unescape(&text), Ok(bytes));
            prop_assert!(!text.chars().any(char::is_control));
        }

        #[test]
        fn no_text_is_lost(text in any::<String>()) {
            let shown = escape(text.as_bytes()).to_string();
            prop_assert_eq!(unescape(&shown), Ok(text.into_bytes()));
            prop_assert!(!shown.chars().any(char::is_control));
        }

        #[test]
        fn any_text_is_answered(text in any::<String>()) {
            if let Ok(bytes) = unescape(&text) {
                prop_assert_eq!(unescape(&escape(&bytes).to_string()), Ok(bytes));
            }
        }
    }
}
