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
    pub(super) fn push(&mut self, shared: &mut Shared, piece: &Text<'_>, out: &mut String) -> bool {
        let carried = self.carry.is_some();
        let text = piece.decode_piece(&mut self.carry, true);
        let start = out.len();
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
        self.held() > 0 || self.carry.is_some()
    }
}
