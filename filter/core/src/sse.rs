//! Cuts an event stream into its blocks, bytes kept.
//!
//! An event stream (HTML standard §9.2.6) is made of lines that end in LF, CR LF or CR; an empty
//! line ends a block of lines, and a block with `data` lines is an event. The [`Decoder`] takes
//! bytes in pieces of any size and hands out [`Part`]s whose bytes, put together, are the stream's:
//! whoever changes nothing passes it on byte by byte. Cutting elsewhere never changes the parts.
//!
//! A part leaves with the byte that completes it, so nothing waits for the next piece:
//!
//! - a block leaves with the line end of its empty line; if that is a CR, an LF that follows is a
//!   part of its own;
//! - a comment before a block's first line leaves with its own line end, so that a keep-alive
//!   reaches the reader although no empty line came.
//!
//! A block may be at most `max_event_bytes` long. A byte order mark at the start is a part.

use std::borrow::Cow;

use memchr::memchr2;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Why a stream cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SseError {
    /// A block is longer than allowed.
    #[error("an event is longer than {limit} bytes")]
    TooLong {
        /// The limit, in bytes.
        limit: usize,
    },
}

/// A piece of a stream whose borders do not depend on how it arrived.
#[derive(Clone, Copy)]
pub enum Part<'a> {
    /// Lines up to and including an empty one, at least one of them not empty.
    Block(Block<'a>),
    /// A comment outside of a block, with its line end.
    Comment(Line<'a>),
    /// An empty line, a byte order mark, the LF of a CR LF: bytes without content.
    Filler(&'a [u8]),
}

/// The lines of an event.
#[derive(Clone, Copy)]
pub struct Block<'a> {
    /// All bytes, line ends included.
    pub raw: &'a [u8],
}

impl<'a> Block<'a> {
    /// The lines in order, the empty one at the end included.
    pub fn lines(&self) -> impl Iterator<Item = Line<'a>> + use<'a> {
        let mut rest = self.raw;
        std::iter::from_fn(move || {
            let (line, after) = first_line(rest)?;
            rest = after;
            Some(line)
        })
    }

    /// The values of the `data` lines joined by LF; `None` without such a line.
    pub fn data(&self) -> Option<Cow<'a, [u8]>> {
        let mut values = self.lines().filter_map(|line| line.data());
        let mut data = Cow::Borrowed(values.next()?);
        for value in values {
            let joined = data.to_mut();
            joined.push(b'\n');
            joined.extend_from_slice(value);
        }
        Some(data)
    }
}

/// A line.
#[derive(Clone, Copy)]
pub struct Line<'a> {
    /// Without the line end.
    pub text: &'a [u8],
    /// LF, CR LF, CR, or nothing at the end of the stream.
    pub end: &'a [u8],
}

impl<'a> Line<'a> {
    /// The value of a `data` line; `None` for any other.
    pub fn data(&self) -> Option<&'a [u8]> {
        match self.text.strip_prefix(b"data")? {
            [] => Some(&[]),
            [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
            _ => None,
        }
    }
}

/// The first line of some bytes and what follows it; `None` if there are none.
fn first_line(bytes: &[u8]) -> Option<(Line<'_>, &[u8])> {
    if bytes.is_empty() {
        return None;
    }
    let (text, rest) =
        bytes.split_at_checked(memchr2(b'\n', b'\r', bytes).unwrap_or(bytes.len()))?;
    let end = match rest {
        [b'\r', b'\n', ..] => 2,
        [_, ..] => 1,
        [] => 0,
    };
    let (end, rest) = rest.split_at_checked(end)?;
    Some((Line { text, end }, rest))
}

/// Takes a stream in pieces and hands out its parts.
#[derive(Default)]
pub struct Decoder {
    max_event_bytes: usize,
    buffer: Vec<u8>,
    /// All before is handed out.
    part_start: usize,
    /// `part_start <= line_start <= searched <= buffer.len()`
    line_start: usize,
    /// No line end between `line_start` and here.
    searched: usize,
    /// The last line end was a CR that may be half of a CR LF.
    after_cr: bool,
    /// The byte order mark was looked for.
    begun: bool,
}

impl Decoder {
    /// Starts a stream whose blocks may be `max_event_bytes` long.
    pub fn new(max_event_bytes: usize) -> Self {
        Self {
            max_event_bytes,
            ..Self::default()
        }
    }

    /// Takes the next bytes and hands out each part that is complete.
    ///
    /// # Errors
    ///
    /// [`SseError::TooLong`], or what `take` answered. The decoder must not be used after it.
    pub fn push<E: From<SseError>>(
        &mut self,
        chunk: &[u8],
        take: &mut impl FnMut(Part<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.buffer.extend_from_slice(chunk);
        if !self.begun {
            if self.buffer.len() < BYTE_ORDER_MARK.len()
                && BYTE_ORDER_MARK.starts_with(&self.buffer)
            {
                return Ok(());
            }
            self.begun = true;
            if self.buffer.starts_with(BYTE_ORDER_MARK) {
                take(Part::Filler(BYTE_ORDER_MARK))?;
                self.buffer.drain(..BYTE_ORDER_MARK.len());
            }
        }
        while let Some(found) = memchr2(b'\n', b'\r', self.since(self.searched)) {
            let at = self.searched + found;
            let byte = self.buffer.get(at).copied();
            self.searched = at + 1;
            let second_half = self.after_cr && byte == Some(b'\n') && at == self.line_start;
            self.after_cr = byte == Some(b'\r');
            let line_start = std::mem::replace(&mut self.line_start, at + 1);
            if second_half && self.part_start < at {
                continue;
            }
            let raw = self.buffer.get(self.part_start..=at).unwrap_or_default();
            self.check_length(raw.len())?;
            let alone = line_start == self.part_start;
            let part = if second_half || (alone && line_start == at) {
                Part::Filler(raw)
            } else if alone && raw.starts_with(b":") {
                match raw.split_at_checked(at - line_start) {
                    Some((text, end)) => Part::Comment(Line { text, end }),
                    None => Part::Filler(raw),
                }
            } else if line_start == at {
                Part::Block(Block { raw })
            } else {
                continue;
            };
            take(part)?;
            self.part_start = at + 1;
        }
        self.searched = self.buffer.len();
        self.check_length(self.since(self.part_start).len())?;
        self.drop_taken();
        Ok(())
    }

    /// Hands out the bytes after the last part, as a block or comment without its end.
    ///
    /// # Errors
    ///
    /// What `take` answered.
    pub fn finish<E>(&mut self, take: &mut impl FnMut(Part<'_>) -> Result<(), E>) -> Result<(), E> {
        let rest = std::mem::take(&mut self.buffer);
        (self.part_start, self.line_start, self.searched) = (0, 0, 0);
        match first_line(&rest) {
            None => Ok(()),
            Some((line, [])) if rest.starts_with(b":") => take(Part::Comment(line)),
            Some(_) => take(Part::Block(Block { raw: &rest })),
        }
    }

    fn since(&self, start: usize) -> &[u8] {
        self.buffer.get(start..).unwrap_or_default()
    }

    fn check_length(&self, length: usize) -> Result<(), SseError> {
        if length > self.max_event_bytes {
            return Err(SseError::TooLong {
                limit: self.max_event_bytes,
            });
        }
        Ok(())
    }

    fn drop_taken(&mut self) {
        let taken = std::mem::take(&mut self.part_start).min(self.buffer.len());
        self.buffer.drain(..taken);
        self.line_start = self.line_start.saturating_sub(taken);
        self.searched = self.searched.saturating_sub(taken);
    }
}

#[cfg(test)]
mod tests;
