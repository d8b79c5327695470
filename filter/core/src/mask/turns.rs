//! Where the machine looks closer: at most places a few bytes rule out that anything begins.
//!
//! Beginnings share a few buckets. A table tells for each byte in which of them it does not fit,
//! once for each of the five bytes that are looked at; the build script, which reads this file too, fills
//! it. A bucket may fit where none of its beginnings does: the machine looks again.

/// Bytes that are looked at: the one before the place, and those from the place on.
pub(super) const LANES: usize = 5;
/// Bits of a lane in an entry of the table: one for each bucket. The first lane is the highest.
pub(super) const BUCKETS: u32 = 12;

/// Why the machine looks closer at a place: buckets of the table that the build script fills.
pub(super) mod turn {
    /// The place may begin a token.
    pub(in super::super) const TOKEN: u16 = 0b0000_0001_1111;
    /// The place may begin a text in base64 or hex.
    pub(in super::super) const ENCODED: u16 = 0b0000_0010_0000;
    /// The place may begin an anchor of a key name.
    pub(in super::super) const ANCHOR: u16 = 0b0001_1100_0000;
    /// The byte behind the place may begin a token that stands behind this one only.
    pub(in super::super) const OPENING: u16 = 0b0010_0000_0000;
    /// An escape, the end of `://`, or what announces a password without a name.
    pub(in super::super) const OTHER: u16 = 0b1100_0000_0000;
}

/// The buckets of the last lane.
const LAST: u64 = (1 << BUCKETS) - 1;
/// All lanes but the first: no byte was read.
const NONE_YET: u64 = (1 << (BUCKETS * 4)) - 1;

/// The table of what may begin.
pub(super) struct Turns {
    misfits: Box<[u64; 256]>,
}

impl Turns {
    /// Reads a table of 256 entries, eight bytes each, the least one first.
    pub(super) fn new(table: &[u8]) -> Self {
        let mut misfits = Box::new([0; 256]);
        for (entry, bytes) in misfits.iter_mut().zip(table.as_chunks().0) {
            *entry = u64::from_le_bytes(*bytes);
        }
        Self { misfits }
    }

    /// Takes in the beginning of one more token.
    pub(super) fn add(&mut self, beginning: &[u8]) {
        let bucket = turn::TOKEN.trailing_zeros();
        for lane in 1..LANES {
            let shift = BUCKETS * u32::try_from(LANES - 1 - lane).unwrap_or_default() + bucket;
            for (byte, misfits) in (0..=u8::MAX).zip(self.misfits.iter_mut()) {
                if beginning.get(lane - 1).is_none_or(|wanted| *wanted == byte) {
                    *misfits &= !(1 << shift);
                }
            }
        }
    }

    /// The places from this one on, but for the last, that give reasons.
    pub(super) fn of<'a>(&'a self, bytes: &'a [u8], from: usize) -> Places<'a> {
        let before = from.checked_sub(1).and_then(|before| bytes.get(before));
        let before = before.map_or(0, |byte| misfits_of(&self.misfits, *byte));
        Places {
            turns: self,
            bytes,
            next: from,
            state: NONE_YET | before,
        }
    }
}

fn misfits_of(misfits: &[u64; 256], byte: u8) -> u64 {
    misfits.get(usize::from(byte)).copied().unwrap_or_default()
}

/// Reads a text: each byte moves all lanes on by one.
pub(super) struct Places<'a> {
    turns: &'a Turns,
    bytes: &'a [u8],
    /// The next byte to read; beyond the end every byte fits.
    next: usize,
    /// Buckets that do not fit so far, by lanes.
    state: u64,
}

impl Iterator for Places<'_> {
    type Item = (usize, u16);

    fn next(&mut self) -> Option<Self::Item> {
        const AHEAD: usize = LANES - 1;
        let mut state = self.state;
        let rest = self.bytes.get(self.next..).unwrap_or_default();
        let misfits: &[u64; 256] = &self.turns.misfits;
        for (index, byte) in rest.iter().enumerate() {
            state = state >> BUCKETS | misfits_of(misfits, *byte);
            if state & LAST != LAST {
                self.state = state;
                self.next += index + 1;
                return Some((self.next.saturating_sub(AHEAD), reasons(state)));
            }
        }
        self.next = self.next.max(self.bytes.len());
        while self.next < self.bytes.len() + AHEAD - 2 {
            state >>= BUCKETS;
            self.next += 1;
            if state & LAST != LAST && self.next >= AHEAD {
                self.state = state;
                return Some((self.next - AHEAD, reasons(state)));
            }
        }
        None
    }
}

fn reasons(state: u64) -> u16 {
    u16::try_from(!state & LAST).unwrap_or_default()
}
