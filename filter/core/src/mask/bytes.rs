//! Classes of bytes. Bytes of characters beyond ASCII are in none of them.

/// Letters, digits, underscore.
pub(super) fn is_word(byte: u8) -> bool {
    class(byte) & WORD != 0
}

/// Characters of a key name in its dotted and dashed forms.
pub(super) fn is_name(byte: u8) -> bool {
    class(byte) & NAME != 0
}

const WORD: u8 = 1;
const NAME: u8 = 2;

fn class(byte: u8) -> u8 {
    const CLASSES: [u8; 256] = classes();
    CLASSES.get(usize::from(byte)).copied().unwrap_or_default()
}

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const fn classes() -> [u8; 256] {
    let mut classes = [0; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        if byte.is_ascii_alphanumeric() || byte == b'_' {
            classes[byte as usize] = WORD | NAME;
        } else if byte == b'-' || byte == b'.' {
            classes[byte as usize] = NAME;
        }
        byte += 1;
    }
    classes
}

/// Bytes behind which a value starts.
pub(super) fn is_opening(byte: u8) -> bool {
    matches!(byte, b'"' | b'\'' | b'`' | b'=' | b':' | b'(' | b'>' | b'[')
}

/// Characters of base64.
pub(super) fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=')
}

/// Characters of a value without quotes.
pub(super) fn is_bare(byte: u8) -> bool {
    byte.is_ascii_graphic()
        && !matches!(
            byte,
            b'"' | b'\''
                | b'`'
                | b','
                | b';'
                | b'&'
                | b'<'
                | b'>'
                | b'('
                | b')'
                | b'['
                | b']'
                | b'{'
                | b'}'
                | b'|'
                | b'\\'
        )
}

/// Characters of base64 without padding, standard and URL-safe.
pub(super) fn is_in_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
}

/// Characters of a URL's parameter.
pub(super) fn is_in_parameter(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'%' | b'+' | b'-' | b'.' | b'_' | b'~' | b'*' | b'!')
}
