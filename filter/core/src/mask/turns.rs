//! Where the machine looks closer: at most places a few bytes rule out that anything begins.
//!
//! Beginnings share a few buckets. A table tells for each byte in which of them it does not fit,
//! once for each of the eight bytes that are looked at; the build script, which reads this file too,
//! fills it. A bucket may fit where none of its beginnings does: the machine looks again.

/// Bytes that are looked at: the one before the place, and those from the place on.
pub(super) const LANES: usize = 8;
/// Bits of a lane in an entry of the table: one for each bucket. The first lane is the highest.
pub(super) const BUCKETS: u32 = 16;
/// Bytes that are looked at from the place on.
const AHEAD: usize = LANES - 1;

/// Why the machine looks closer at a place: buckets of the table that the build script fills.
pub(super) mod turn {
    /// The place may begin a token.
    pub(in super::super) const TOKEN: u16 = 0b0000_0000_0011_1111;
    /// The place may begin a text in base64 or hex.
    pub(in super::super) const ENCODED: u16 = 0b0000_0000_0100_0000;
    /// The place may begin an anchor of a key name.
    pub(in super::super) const ANCHOR: u16 = 0b0000_0111_1000_0000;
    /// The byte behind the place may begin a token that stands behind this one only.
    pub(in super::super) const OPENING: u16 = 0b0001_1000_0000_0000;
    /// An escape, the end of `://`, or what announces a password without a name.
    pub(in super::super) const OTHER: u16 = 0b1110_0000_0000_0000;
}

/// All lanes but the first: no byte was read.
const NONE_YET: u128 = u128::MAX >> BUCKETS;

/// The table of what may begin.
pub(super) struct Turns {
    misfits: Box<[Lanes; 256]>,
}

impl Turns {
    /// Reads a table of 256 entries, sixteen bytes each, the least one first.
    pub(super) fn new(table: &[u8]) -> Self {
        let mut misfits = Box::new([Lanes::of(0); 256]);
        for (entry, bytes) in misfits.iter_mut().zip(table.as_chunks().0) {
            *entry = Lanes::of(u128::from_le_bytes(*bytes));
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
                    *misfits = Lanes::of(misfits.bits() & !(1 << shift));
                }
            }
        }
    }

    /// The places from this one on, but for the last, that give reasons.
    pub(super) fn of<'a>(&'a self, bytes: &'a [u8], from: usize) -> Places<'a> {
        let before = from.checked_sub(1).and_then(|before| bytes.get(before));
        let before = before.map_or(0, |byte| self.misfits_of(*byte).bits());
        Places {
            turns: self,
            bytes,
            next: from,
            state: Lanes::of(NONE_YET | before),
        }
    }

    /// The reasons of a place where a word may begin, whatever stands before it, with
    /// [`turn::OPENING`] for the byte before.
    pub(super) fn begins(&self, bytes: &[u8], place: usize) -> u16 {
        let anything = Lanes::of(0); // beyond the ends as well
        let read = |byte: Option<&u8>| byte.map_or(anything, |byte| self.misfits_of(*byte));
        let before = place.checked_sub(1).and_then(|before| bytes.get(before));
        let mut state = read(before).and(Lanes::of(NONE_YET));
        let mut rest = bytes.get(place..).unwrap_or_default().iter();
        for _ in 1..AHEAD {
            state = state.then(read(rest.next()));
        }
        let behind_opening = state.reasons() & turn::OPENING;
        state.then(read(rest.next())).reasons() & !turn::OPENING | behind_opening
    }

    fn misfits_of(&self, byte: u8) -> Lanes {
        let misfits: &[Lanes; 256] = &self.misfits;
        misfits
            .get(usize::from(byte))
            .copied()
            .unwrap_or(Lanes::of(0))
    }
}

/// Reads a text: each byte moves all lanes on by one.
pub(super) struct Places<'a> {
    turns: &'a Turns,
    bytes: &'a [u8],
    /// The next byte to read; beyond the end every byte fits.
    next: usize,
    /// Buckets that do not fit so far, by lanes.
    state: Lanes,
}

impl Iterator for Places<'_> {
    type Item = (usize, u16);

    fn next(&mut self) -> Option<Self::Item> {
        let turns = self.turns;
        let mut state = self.state;
        let rest = self.bytes.get(self.next..).unwrap_or_default();
        let mut read = 0;
        // four at once, until one of them gives a reason
        for four in rest.as_chunks::<4>().0 {
            let [first, second, third, fourth] = four.map(|byte| turns.misfits_of(byte));
            let first = state.then(first);
            let second = first.then(second);
            let third = second.then(third);
            let fourth = third.then(fourth);
            if first.and(second).and(third.and(fourth)).reasons() != 0 {
                break;
            }
            state = fourth;
            read += 4;
        }
        for byte in rest.get(read..).unwrap_or_default() {
            state = state.then(turns.misfits_of(*byte));
            read += 1;
            let reasons = state.reasons();
            if reasons != 0 {
                self.state = state;
                self.next += read;
                return Some((self.next.saturating_sub(AHEAD), reasons));
            }
        }
        self.next = self.next.max(self.bytes.len());
        while self.next < self.bytes.len() + AHEAD - 2 {
            state = state.then(Lanes::of(0));
            self.next += 1;
            let reasons = state.reasons();
            if reasons != 0 && self.next >= AHEAD {
                self.state = state;
                return Some((self.next - AHEAD, reasons));
            }
        }
        None
    }
}

pub(super) use lanes::Lanes;

/// All lanes in one register.
#[cfg(target_arch = "wasm32")]
mod lanes {
    use core::arch::wasm32::{
        i8x16_shuffle, u16x8_extract_lane, u64x2, u64x2_extract_lane, v128, v128_and, v128_or,
    };

    #[derive(Clone, Copy)]
    pub(in super::super) struct Lanes(v128);

    impl Lanes {
        pub(super) fn of(bits: u128) -> Self {
            let half = |bits: u128| u64::try_from(bits & u128::from(u64::MAX)).unwrap_or_default();
            Self(u64x2(half(bits), half(bits >> 64)))
        }

        pub(super) fn bits(self) -> u128 {
            let high = u128::from(u64x2_extract_lane::<1>(self.0));
            high << 64 | u128::from(u64x2_extract_lane::<0>(self.0))
        }

        /// Moves all lanes on by one, and reads a byte's misfits.
        pub(super) fn then(self, misfits: Self) -> Self {
            let none = u64x2(0, 0);
            let moved = i8x16_shuffle::<2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17>(
                self.0, none,
            );
            Self(v128_or(moved, misfits.0))
        }

        pub(super) fn and(self, other: Self) -> Self {
            Self(v128_and(self.0, other.0))
        }

        /// The buckets that fit in all lanes.
        pub(super) fn reasons(self) -> u16 {
            !u16x8_extract_lane::<0>(self.0)
        }
    }
}

/// All lanes in one number.
#[cfg(not(target_arch = "wasm32"))]
mod lanes {
    use super::BUCKETS;

    #[derive(Clone, Copy)]
    pub(in super::super) struct Lanes(u128);

    impl Lanes {
        pub(super) fn of(bits: u128) -> Self {
            Self(bits)
        }

        pub(super) fn bits(self) -> u128 {
            self.0
        }

        /// Moves all lanes on by one, and reads a byte's misfits.
        pub(super) fn then(self, misfits: Self) -> Self {
            Self(self.0 >> BUCKETS | misfits.0)
        }

        pub(super) fn and(self, other: Self) -> Self {
            Self(self.0 & other.0)
        }

        /// The buckets that fit in all lanes.
        pub(super) fn reasons(self) -> u16 {
            let [low, high, ..] = self.0.to_le_bytes();
            !u16::from_le_bytes([low, high])
        }
    }
}
