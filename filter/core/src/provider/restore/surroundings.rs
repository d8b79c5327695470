//! What stands before a place of a text, as far as it says whether a value may stand there.
//!
//! An editor renders an answer: what becomes an address there is fetched, or waits for a click. So
//! a place is plain only if nothing before it can take a value into an address, whichever way the
//! text is read: an address on the same line, a destination of a link in the same paragraph, or a
//! tag that may still be open. Tags are read in all ways at once ([`Tag`]): a `<` may be one or a
//! mere sign, since it may stand in code or behind a `\`.
//!
//! It is a few bytes that each byte of the text moves on, so it is the same for every cut.

/// The last bytes, in lower case: as many as the longest sign has.
const TAIL: usize = 8;

/// What makes the rest of its line one that no value goes back to.
const LINE: &[&[u8]] = &[
    b"//",
    b"%2f",
    b"%3a",
    b"&#",
    b"command:",
    b"data:",
    b"mailto:",
    b"src=",
    b"www.",
];

/// The same, up to the next line without a word: what follows may stand on the next line.
const PARAGRAPH: &[&[u8]] = &[b"\\include", b"\\url", b"href", b"url("];

/// What stands before a place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surroundings {
    tail: [u8; TAIL],
    /// The last byte that is no space.
    last: u8,
    line: Line,
    /// The line has a sign of [`LINE`].
    is_tainted: bool,
    /// A link's destination, or a sign of [`PARAGRAPH`], came in this paragraph.
    in_link: bool,
    /// The word so far has a sign of an address.
    in_address: bool,
    tag: Tag,
}

/// What a line has so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// Nothing but spaces.
    Blank,
    /// And marks of a quote.
    Marked,
    /// More.
    Words,
}

/// The ways in which the text so far may be within a tag of HTML.
#[derive(Clone, Copy, Debug, Default)]
struct Tag {
    /// Outside of quotes.
    open: bool,
    /// In a value in double quotes.
    double: bool,
    /// In a value in single quotes.
    single: bool,
}

impl Default for Surroundings {
    fn default() -> Self {
        Self {
            tail: [b'\n'; TAIL],
            last: b'\n',
            line: Line::Blank,
            is_tainted: false,
            in_link: false,
            in_address: false,
            tag: Tag::default(),
        }
    }
}

impl Surroundings {
    /// Whether a value that begins here becomes part of nothing.
    pub(super) fn is_plain(&self) -> bool {
        let before = self.tail.last().copied().unwrap_or_default();
        let is_apart = before.is_ascii_whitespace() || b"\"'`=:,;([{>*|".contains(&before);
        let in_tag = self.tag.open || self.tag.double || self.tag.single;
        is_apart && !(self.is_tainted || self.in_link || self.in_address || in_tag)
    }

    /// Moves on behind a text.
    pub(super) fn pass(&mut self, text: &str) {
        for byte in text.bytes() {
            self.pass_byte(byte.to_ascii_lowercase());
        }
    }

    fn pass_byte(&mut self, byte: u8) {
        let before = self.tail.last().copied().unwrap_or_default();
        self.tail.rotate_left(1);
        if let Some(end) = self.tail.last_mut() {
            *end = byte;
        }
        let is_mark = self.line != Line::Words && byte == b'>';
        if !is_mark {
            self.tag.pass(before, self.last, byte);
        }
        match byte {
            b'\n' => self.end_line(),
            b' ' | b'\t' | b'\r' => self.in_address = false,
            _ => {
                self.line = if is_mark { Line::Marked } else { Line::Words };
                self.in_address |= b"/?#@%&\\".contains(&byte);
                self.is_tainted |= before == b'&' && byte.is_ascii_alphabetic();
                self.is_tainted |= LINE.iter().any(|sign| self.tail.ends_with(sign));
                // `[text](`, `[text]:`
                self.in_link |= self.last == b']' && matches!(byte, b'(' | b':');
                self.in_link |= PARAGRAPH.iter().any(|sign| self.tail.ends_with(sign));
            }
        }
        // What stands on two lines of a quote has a mark between.
        if !is_mark && !byte.is_ascii_whitespace() {
            self.last = byte;
        }
    }

    fn end_line(&mut self) {
        // The line goes on, in a shell or in Markdown.
        let is_blank = self.line == Line::Blank;
        let goes_on = !is_blank && matches!(self.last, b'\\' | b'^' | b'`');
        if !goes_on {
            (self.is_tainted, self.in_address) = (false, false);
        }
        self.in_link &= !is_blank;
        self.line = Line::Blank;
    }
}

impl Tag {
    /// Moves on behind `byte`; `before` stands before it, `last` is the last one before it that is no
    /// space.
    fn pass(&mut self, before: u8, last: u8, byte: u8) {
        // A quote begins a value only behind `=`, and is a sign like any other elsewhere in a tag.
        let opens = self.open && last == b'=';
        match byte {
            b'>' => self.open = false,
            b'"' => {
                self.open |= self.double;
                self.double = opens;
            }
            b'\'' => {
                self.open |= self.single;
                self.single = opens;
            }
            b'!' | b'/' | b'?' | b'a'..=b'z' => self.open |= before == b'<',
            _ => {}
        }
    }
}
