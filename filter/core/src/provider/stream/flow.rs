//! One text that goes on over many events.

use crate::json::Text;
use crate::mask::TextMask;

use super::Shared;

/// The state of a text between two of its pieces.
#[derive(Default)]
pub(super) struct Flow {
    mask: TextMask,
    /// First half of a surrogate pair that the last piece ended with.
    carry: Option<u16>,
}

impl Flow {
    /// Takes the next piece; appends to `out` what may leave and says whether that differs from it.
    pub(super) fn push(
        &mut self,
        shared: &mut Shared,
        piece: &Text<'_>,
        out: &mut String,
        said: &mut Said,
    ) -> bool {
        let carried = self.carry.is_some();
        let text = piece.decode_piece(&mut self.carry, true);
        let start = out.len();
        said.add(&text);
        let (masker, scan) = (&shared.masker, &mut shared.scan);
        scan.scanned += text.len() as u64;
        self.mask.push(masker, &text, out, &mut scan.fresh);
        carried || self.carry.is_some() || out.get(start..) != Some(&*text)
    }

    /// Ends the text and gives what was kept back; a later piece begins a new one.
    pub(super) fn finish(&mut self, shared: &mut Shared) -> String {
        let mut out = String::new();
        let (masker, fresh) = (&shared.masker, &mut shared.scan.fresh);
        if self.carry.take().is_some() {
            self.mask.push(masker, "\u{fffd}", &mut out, fresh);
        }
        self.mask.finish(masker, &mut out, fresh);
        self.mask = TextMask::new();
        out
    }

    /// Bytes kept back at the moment.
    pub(super) fn held(&self) -> usize {
        self.mask.held()
    }

    /// Whether a piece is still to leave.
    pub(super) fn waits(&self) -> bool {
        self.mask.waits() || self.carry.is_some()
    }
}

/// How much was said, and what, in short: enough to know a repeat, too little to trust one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Said {
    length: u64,
    hash: u64,
}

impl Said {
    /// A whole text.
    pub(super) fn all(text: &str) -> Self {
        let mut said = Self::default();
        said.add(text);
        said
    }

    /// A number that other texts hardly have.
    pub(super) fn number(self) -> u64 {
        self.hash
    }

    /// Adds the next piece (FNV-1a).
    pub(super) fn add(&mut self, piece: &str) {
        self.length += piece.len() as u64;
        for byte in piece.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

impl Default for Said {
    fn default() -> Self {
        Self {
            length: 0,
            hash: 0xcbf2_9ce4_8422_2325,
        }
    }
}
