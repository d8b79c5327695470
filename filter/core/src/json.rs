//! Reads JSON without building it: one pass that reports each key, value and container with its
//! place and its bytes.
//!
//! What is to change is collected as [`Edits`] and applied in one copy, so every byte that nobody
//! asked to change stays. The reader is strict (RFC 8259) and in four points stricter than most:
//!
//! - two equal keys in one object are refused, since readers differ in which one they take;
//! - more than [`MAX_DEPTH`] open containers are refused;
//! - the whole input is UTF-8, without a byte order mark, and nothing follows the value;
//! - a lone surrogate (`"\ud83d"`) is accepted, as JavaScript writes it, and read as U+FFFD. Where a
//!   text goes on in the next piece, [`Text::decode_piece`] keeps its first half for it.
//!
//! Numbers are checked for their grammar, not for their range. Keys are compared as decoded. The
//! cost is one look at each byte plus, per object, a comparison of its keys (sorted if many).

use std::borrow::Cow;
use std::ops::Range;

use memchr::{memchr, memchr2};

use crate::spoken;

/// Most containers that may be open at once.
pub const MAX_DEPTH: usize = 64;

/// How many steps of a path [`Path::steps`] shows.
pub const MAX_STEPS: usize = 12;

/// Why bytes are not JSON that may be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// The bytes are not UTF-8.
    #[error("not UTF-8")]
    Encoding,
    /// The grammar is broken, or the input ends too early.
    #[error("malformed JSON at byte {at}")]
    Malformed {
        /// Offset of the first byte that does not fit.
        at: usize,
    },
    /// Something other than white space follows the value.
    #[error("bytes after the JSON value")]
    Trailing,
    /// More than [`MAX_DEPTH`] containers are open.
    #[error("JSON nested too deeply")]
    TooDeep,
    /// An object has the same key twice.
    #[error("a JSON object has a key twice")]
    DuplicateKey,
}

/// Where something stands in the source: byte offsets, the end excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// First byte after it; `start <= end`.
    pub end: usize,
}

impl Span {
    /// Number of bytes.
    pub fn length(self) -> usize {
        self.end.saturating_sub(self.start)
    }

    /// The same span in what stands so many bytes later.
    #[must_use]
    pub fn moved(self, by: usize) -> Self {
        Self {
            start: self.start + by,
            end: self.end + by,
        }
    }

    /// The same span, counted from `start` on.
    #[must_use]
    pub fn behind(self, start: usize) -> Self {
        Self {
            start: self.start.saturating_sub(start),
            end: self.end.saturating_sub(start),
        }
    }
}

/// What the reader came across.
#[derive(Clone, Copy)]
pub enum Event<'a> {
    /// A container begins; its path is that of the container.
    Open(Container),
    /// A key, with the path of its object; the span includes the quotes.
    Key(Span, Text<'a>),
    /// A value that is not a container; the span includes the quotes of a string.
    Value(Span, Value<'a>),
    /// A container ends; the span includes both brackets.
    Close(Container, Span),
}

/// A kind of container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// `[…]`
    Array,
    /// `{…}`
    Object,
}

/// A value that is not a container.
#[derive(Clone, Copy)]
pub enum Value<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// As written.
    Number(&'a str),
    /// A string.
    Text(Text<'a>),
}

/// A string as it stands in the source.
#[derive(Clone, Copy)]
pub struct Text<'a> {
    raw: &'a str,
    escaped: bool,
}

impl<'a> Text<'a> {
    /// The decoded text; lone surrogates become U+FFFD.
    pub fn decode(&self) -> Cow<'a, str> {
        self.decode_piece(&mut None, false)
    }

    /// Decodes a piece of a text that goes on in the next piece.
    ///
    /// `carry` is the first half of a surrogate pair that the piece before ended with. With
    /// `keep`, a half at this piece's end is left there instead of becoming U+FFFD.
    pub fn decode_piece(&self, carry: &mut Option<u16>, keep: bool) -> Cow<'a, str> {
        if !self.escaped && carry.is_none() {
            return Cow::Borrowed(self.raw);
        }
        let mut out = String::with_capacity(self.raw.len());
        let mut high = carry.take();
        let mut rest = self.raw;
        while let Some(at) = memchr(b'\\', rest.as_bytes())
            && let (Some(plain), Some(escape)) = (rest.get(..at), rest.get(at + 1..))
        {
            push_plain(&mut out, &mut high, plain);
            let mut after = escape.chars();
            let character = match after.next() {
                Some('b') => '\u{8}',
                Some('f') => '\u{c}',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                Some('u') => {
                    let digits = escape.get(1..5).unwrap_or_default();
                    push_unit(
                        &mut out,
                        &mut high,
                        u16::from_str_radix(digits, 16).unwrap_or(0),
                    );
                    rest = escape.get(5..).unwrap_or_default();
                    continue;
                }
                Some(other) => other,
                None => break,
            };
            push_high(&mut out, &mut high);
            out.push(character);
            rest = after.as_str();
        }
        push_plain(&mut out, &mut high, rest);
        if keep {
            *carry = high;
        } else {
            push_high(&mut out, &mut high);
        }
        Cow::Owned(out)
    }

    /// A part of the text as written, which begins and ends between two characters of it.
    pub fn part(&self, range: Range<usize>) -> Option<Self> {
        let raw = self.raw.get(range)?;
        Some(Self { raw, ..*self })
    }

    /// The text as written, between its quotes.
    pub fn raw(&self) -> &'a str {
        self.raw
    }

    /// Whether the text may end with words of the gateway; cheap.
    pub fn may_be_ours(&self) -> bool {
        let raw = self.raw.as_bytes();
        let tail = raw.len().saturating_sub(spoken::TAIL_BYTES);
        spoken::may_be_ours(raw.get(tail..).unwrap_or_default())
    }

    /// Whether the text is empty.
    pub fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }
}

fn push_plain(out: &mut String, high: &mut Option<u16>, plain: &str) {
    if !plain.is_empty() {
        push_high(out, high);
        out.push_str(plain);
    }
}

/// Ends a first half to which no second half came.
fn push_high(out: &mut String, high: &mut Option<u16>) {
    if high.take().is_some() {
        out.push(char::REPLACEMENT_CHARACTER);
    }
}

fn push_unit(out: &mut String, high: &mut Option<u16>, unit: u16) {
    match (unit, high.take()) {
        (0xdc00..=0xdfff, Some(first)) => {
            let pair = char::decode_utf16([first, unit])
                .next()
                .and_then(Result::ok);
            out.push(pair.unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        (_, Some(_)) => {
            out.push(char::REPLACEMENT_CHARACTER);
            push_unit(out, high, unit);
        }
        (0xd800..=0xdbff, None) => *high = Some(unit),
        (_, None) => {
            out.push(char::from_u32(u32::from(unit)).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
    }
}

/// One step of a path, made to be matched: `[Key("messages"), Index(_), Key("role")]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'p> {
    /// Into an object.
    Key(&'p str),
    /// Into an array.
    Index(usize),
}

/// The first steps of a path, as a slice.
#[derive(Clone, Copy)]
pub struct Steps<'p> {
    steps: [Step<'p>; MAX_STEPS],
    count: usize,
}

impl<'p> std::ops::Deref for Steps<'p> {
    type Target = [Step<'p>];

    fn deref(&self) -> &Self::Target {
        self.steps.get(..self.count).unwrap_or_default()
    }
}

/// Where the reader is.
#[derive(Default)]
pub struct Path<'a> {
    frames: Vec<Frame<'a>>,
}

enum Frame<'a> {
    Key(Cow<'a, str>),
    Index(usize),
}

impl<'a> Path<'a> {
    /// The first [`MAX_STEPS`] steps from the root; empty at the root.
    pub fn steps(&self) -> Steps<'_> {
        let mut steps = [Step::Index(0); MAX_STEPS];
        for (step, frame) in steps.iter_mut().zip(&self.frames) {
            *step = frame.step();
        }
        Steps {
            steps,
            count: self.frames.len().min(MAX_STEPS),
        }
    }

    /// All steps from the root.
    pub fn iter(&self) -> impl Iterator<Item = Step<'_>> {
        self.frames.iter().map(Frame::step)
    }

    /// Number of steps.
    pub fn depth(&self) -> usize {
        self.frames.len()
    }

    /// The key of the last step, if that is one into an object.
    pub fn last_key(&self) -> Option<&Cow<'a, str>> {
        match self.frames.last() {
            Some(Frame::Key(key)) => Some(key),
            Some(Frame::Index(_)) | None => None,
        }
    }
}

impl Frame<'_> {
    fn step(&self) -> Step<'_> {
        match self {
            Self::Key(key) => Step::Key(key),
            Self::Index(index) => Step::Index(*index),
        }
    }
}

/// Reads one JSON value and reports what is in it, in order.
///
/// # Errors
///
/// A [`JsonError`], or what `visit` answered. What was reported before an error must not be used.
pub fn walk<'a, E: From<JsonError>>(
    source: &'a [u8],
    visit: &mut impl FnMut(&Path<'a>, Event<'a>) -> Result<(), E>,
) -> Result<(), E> {
    walk_over(source, &mut Each(visit))
}

/// Reads one JSON value for who knows some objects in it already.
pub trait Visit<'a, E> {
    /// Takes what comes next.
    ///
    /// # Errors
    ///
    /// Whatever ends the reading.
    fn see(&mut self, path: &Path<'a>, event: Event<'a>) -> Result<(), E>;

    /// Asks whether the object at this path, with which `rest` begins, needs to be read: its length
    /// if not. Nothing is checked in it, so it must have been read before, as deep in a value as here.
    fn pass_over(&mut self, path: &Path<'a>, at: usize, rest: &'a str) -> Option<usize>;
}

/// Knows nothing.
struct Each<F>(F);

impl<'a, E, F: FnMut(&Path<'a>, Event<'a>) -> Result<(), E>> Visit<'a, E> for Each<F> {
    fn see(&mut self, path: &Path<'a>, event: Event<'a>) -> Result<(), E> {
        (self.0)(path, event)
    }

    fn pass_over(&mut self, _: &Path<'a>, _: usize, _: &'a str) -> Option<usize> {
        None
    }
}

/// As [`walk`], for who knows some objects already.
///
/// # Errors
///
/// As of [`walk`].
pub fn walk_over<'a, E: From<JsonError>>(
    source: &'a [u8],
    visit: &mut impl Visit<'a, E>,
) -> Result<(), E> {
    let text = std::str::from_utf8(source).map_err(|_| JsonError::Encoding)?;
    let (open, path, keys) = (Vec::new(), Path::default(), Vec::new());
    Walker {
        text,
        bytes: source,
        at: 0,
        open,
        path,
        keys,
    }
    .run(visit)
}

struct Walker<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    open: Vec<Opened>,
    /// One frame per open container whose child is being read.
    path: Path<'a>,
    /// Keys of all open objects, innermost last.
    keys: Vec<Cow<'a, str>>,
}

struct Opened {
    container: Container,
    start: usize,
    /// Where this object's keys begin in `Walker::keys`.
    first_key: usize,
}

impl<'a> Walker<'a> {
    fn run<E: From<JsonError>>(mut self, visit: &mut impl Visit<'a, E>) -> Result<(), E> {
        loop {
            if self.value(visit)? {
                continue;
            }
            // A value has ended: close what ends with it, then go on to the next one.
            loop {
                self.skip_space();
                let Some(container) = self.open.last().map(|opened| opened.container) else {
                    return match self.peek() {
                        None => Ok(()),
                        Some(_) => Err(JsonError::Trailing.into()),
                    };
                };
                match (container, self.peek()) {
                    (Container::Array, Some(b',')) => {
                        self.at += 1;
                        if let Some(Frame::Index(index)) = self.path.frames.last_mut() {
                            *index += 1;
                        }
                        break;
                    }
                    (Container::Object, Some(b',')) => {
                        self.at += 1;
                        self.path.frames.pop();
                        self.key(visit)?;
                        break;
                    }
                    (Container::Array, Some(b']')) | (Container::Object, Some(b'}')) => {
                        self.path.frames.pop();
                        self.close(visit)?;
                    }
                    _ => return Err(self.malformed().into()),
                }
            }
        }
    }

    /// Reads one value; true if a container was opened and its first value comes next.
    fn value<E: From<JsonError>>(&mut self, visit: &mut impl Visit<'a, E>) -> Result<bool, E> {
        self.skip_space();
        let start = self.at;
        let value = match self.peek() {
            Some(b'"') => Value::Text(self.string()?),
            Some(b'{') => {
                let rest = self.text.get(start..).unwrap_or_default();
                if let Some(length) = visit.pass_over(&self.path, start, rest) {
                    self.at += length;
                    return Ok(false);
                }
                return self.open(Container::Object, b'}', visit);
            }
            Some(b'[') => return self.open(Container::Array, b']', visit),
            Some(b'-' | b'0'..=b'9') => Value::Number(self.number()?),
            Some(b't') => self.literal("true", Value::Bool(true))?,
            Some(b'f') => self.literal("false", Value::Bool(false))?,
            Some(b'n') => self.literal("null", Value::Null)?,
            _ => return Err(self.malformed().into()),
        };
        visit.see(
            &self.path,
            Event::Value(
                Span {
                    start,
                    end: self.at,
                },
                value,
            ),
        )?;
        Ok(false)
    }

    fn open<E: From<JsonError>>(
        &mut self,
        container: Container,
        end: u8,
        visit: &mut impl Visit<'a, E>,
    ) -> Result<bool, E> {
        if self.open.len() >= MAX_DEPTH {
            return Err(JsonError::TooDeep.into());
        }
        visit.see(&self.path, Event::Open(container))?;
        self.open.push(Opened {
            container,
            start: self.at,
            first_key: self.keys.len(),
        });
        self.at += 1;
        self.skip_space();
        if self.peek() == Some(end) {
            self.close(visit)?;
            return Ok(false);
        }
        match container {
            Container::Array => self.path.frames.push(Frame::Index(0)),
            Container::Object => self.key(visit)?,
        }
        Ok(true)
    }

    /// Reads a key and its colon, and steps into its value.
    fn key<E: From<JsonError>>(&mut self, visit: &mut impl Visit<'a, E>) -> Result<(), E> {
        self.skip_space();
        let start = self.at;
        if self.peek() != Some(b'"') {
            return Err(self.malformed().into());
        }
        let key = self.string()?;
        visit.see(
            &self.path,
            Event::Key(
                Span {
                    start,
                    end: self.at,
                },
                key,
            ),
        )?;
        self.skip_space();
        if self.peek() != Some(b':') {
            return Err(self.malformed().into());
        }
        self.at += 1;
        let key = key.decode();
        self.keys.push(key.clone());
        self.path.frames.push(Frame::Key(key));
        Ok(())
    }

    /// Ends the innermost container, whose closing bracket is the next byte.
    fn close<E: From<JsonError>>(&mut self, visit: &mut impl Visit<'a, E>) -> Result<(), E> {
        self.at += 1;
        let Some(opened) = self.open.pop() else {
            return Err(self.malformed().into());
        };
        if let Some(keys) = self.keys.get_mut(opened.first_key..)
            && has_twice(keys)
        {
            return Err(JsonError::DuplicateKey.into());
        }
        self.keys.truncate(opened.first_key);
        let span = Span {
            start: opened.start,
            end: self.at,
        };
        visit.see(&self.path, Event::Close(opened.container, span))
    }

    fn string(&mut self) -> Result<Text<'a>, JsonError> {
        let start = self.at + 1;
        let mut at = start;
        let mut escaped = false;
        loop {
            at += plain_length(self.bytes.get(at..).unwrap_or_default());
            match self.bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    at += match self.bytes.get(at + 1) {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
                        Some(b'u') if four_digits(self.bytes.get(at + 2..at + 6)) => 6,
                        _ => return Err(JsonError::Malformed { at }),
                    };
                }
                _ => return Err(JsonError::Malformed { at }),
            }
        }
        self.at = at + 1;
        let raw = self
            .text
            .get(start..at)
            .ok_or(JsonError::Malformed { at: start })?;
        Ok(Text { raw, escaped })
    }

    fn number(&mut self) -> Result<&'a str, JsonError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        self.text
            .get(start..self.at)
            .ok_or(JsonError::Malformed { at: start })
    }

    /// One digit or more.
    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start {
            Err(self.malformed())
        } else {
            Ok(())
        }
    }

    fn literal(&mut self, word: &str, value: Value<'a>) -> Result<Value<'a>, JsonError> {
        let end = self.at + word.len();
        if self.bytes.get(self.at..end) != Some(word.as_bytes()) {
            return Err(self.malformed());
        }
        self.at = end;
        Ok(value)
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn malformed(&self) -> JsonError {
        JsonError::Malformed { at: self.at }
    }
}

fn four_digits(digits: Option<&[u8]>) -> bool {
    digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
}

/// Whether two keys are equal; may reorder them.
fn has_twice(keys: &mut [Cow<'_, str>]) -> bool {
    const FEW: usize = 8;
    if keys.len() <= FEW {
        let mut rest = &*keys;
        while let Some((key, others)) = rest.split_first() {
            if others.contains(key) {
                return true;
            }
            rest = others;
        }
        return false;
    }
    keys.sort_unstable();
    keys.array_windows().any(|[a, b]| a == b)
}

/// Length of the object with which a text begins, by its brackets; what stands in it is not checked.
pub fn object_length(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let (mut at, mut open) = (0, 0_usize);
    loop {
        match bytes.get(at)? {
            b'"' => at = string_end(bytes, at + 1)?,
            b'{' | b'[' => open += 1,
            b'}' | b']' => {
                open = open.checked_sub(1)?;
                if open == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
        at += 1;
    }
}

/// Place of the quote that ends the string whose inside begins at `from`.
fn string_end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes.get(at) == Some(&b'"') {
            return Some(at);
        }
        at += 2;
    }
}

/// Number of bytes before the first quote, backslash or control character; eight at a time.
fn plain_length(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    // Sets the high bit of each byte below `limit`; the lowest bit set is exact.
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word & HIGHS;
    let (words, tail) = bytes.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let special = below(word, 0x20)
            | below(word ^ (ONES * u64::from(b'"')), 1)
            | below(word ^ (ONES * u64::from(b'\\')), 1);
        if special != 0 {
            return at * 8 + special.trailing_zeros() as usize / 8;
        }
    }
    let plain = tail
        .iter()
        .position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20));
    words.len() * 8 + plain.unwrap_or(tail.len())
}

/// What shall stand in the place of some spans of a source.
#[derive(Default)]
pub struct Edits {
    edits: Vec<(Span, Range<usize>)>,
    texts: Vec<u8>,
}

impl Edits {
    /// Puts these bytes in the place of a span.
    pub fn replace(&mut self, span: Span, with: &[u8]) {
        let start = self.texts.len();
        self.texts.extend_from_slice(with);
        self.edits.push((span, start..self.texts.len()));
    }

    /// Puts a text, as a JSON string, in the place of a span.
    pub fn replace_text(&mut self, span: Span, text: &str) {
        let start = self.texts.len();
        push_string(&mut self.texts, text);
        self.edits.push((span, start..self.texts.len()));
    }

    /// Number of edits so far.
    pub fn count(&self) -> usize {
        self.edits.len()
    }

    /// Whether nothing is to change.
    pub fn is_empty(&self) -> bool {
        self.edits.is_empty()
    }

    /// What stands in a span of the source, with the edits in it, if they were the last ones.
    pub fn within(&self, span: Span, source: &[u8]) -> Vec<u8> {
        let inside = |edit: &&(Span, Range<usize>)| edit.0.start >= span.start;
        let mut out = Vec::with_capacity(span.length());
        let mut copied = span.start;
        let count = self.edits.iter().rev().take_while(inside).count();
        let first = self.edits.len() - count;
        for (edited, text) in self.edits.get(first..).unwrap_or_default() {
            if let Some(before) = source.get(copied..edited.start) {
                out.extend_from_slice(before);
                out.extend_from_slice(self.texts.get(text.clone()).unwrap_or_default());
                copied = edited.end;
            }
        }
        out.extend_from_slice(source.get(copied..span.end).unwrap_or_default());
        out
    }

    /// Adds edits that give way to those that are there, where both say something of the same span.
    pub fn under(&mut self, other: &Self) {
        let shift = self.texts.len();
        self.texts.extend_from_slice(&other.texts);
        let moved = other.edits.iter();
        self.edits
            .extend(moved.map(|(span, text)| (*span, text.start + shift..text.end + shift)));
    }

    /// The source with all edits. Of two that overlap, the one that starts first counts.
    pub fn apply(self, source: &[u8]) -> Vec<u8> {
        self.apply_and_find(source, &[]).0
    }

    /// As [`apply`](Self::apply); says also where some spans of the source, in their order, stand
    /// now: not if a part of them was replaced.
    pub fn apply_and_find(
        mut self,
        source: &[u8],
        wanted: &[Span],
    ) -> (Vec<u8>, Vec<Option<Span>>) {
        // of one span, in the order in which they came
        self.edits
            .sort_unstable_by_key(|(span, text)| (*span, text.start));
        let mut out = Vec::with_capacity(source.len() + self.texts.len());
        let mut found = Vec::with_capacity(wanted.len());
        let mut wanted = wanted.iter().peekable();
        let mut copied = 0;
        let end = Span {
            start: source.len(),
            end: source.len(),
        };
        for (span, text) in self.edits.into_iter().chain([(end, 0..0)]) {
            let Some(before) = source.get(copied..span.start) else {
                continue;
            };
            while let Some(wanted) = wanted.next_if(|wanted| wanted.start < span.start) {
                let stays = wanted.start >= copied && wanted.end <= span.start;
                let moved = |at: usize| out.len() + at - copied;
                found.push(stays.then(|| Span {
                    start: moved(wanted.start),
                    end: moved(wanted.end),
                }));
            }
            out.extend_from_slice(before);
            let start = out.len();
            out.extend_from_slice(self.texts.get(text).unwrap_or_default());
            if wanted.next_if_eq(&&span).is_some() {
                let end = out.len();
                found.push(Some(Span { start, end }));
            }
            copied = span.end;
        }
        (out, found)
    }
}

/// The text of which `raw` is the inside of a JSON string.
pub fn unescape(raw: &str) -> String {
    let text = Text { raw, escaped: true };
    text.decode().into_owned()
}

/// Appends a text as a JSON string, with its quotes.
pub fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    push_escaped(out, text);
    out.push(b'"');
}

/// Appends a text as the inside of a JSON string.
pub fn push_escaped(out: &mut Vec<u8>, text: &str) {
    let mut rest = text.as_bytes();
    while let Some((plain, after)) = rest.split_at_checked(plain_length(rest)) {
        out.extend_from_slice(plain);
        let Some((special, after)) = after.split_first() else {
            break;
        };
        match special {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control => out.extend_from_slice(format!("\\u{control:04x}").as_bytes()),
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests;
