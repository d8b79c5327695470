//! Where the machine looks closer: at most places three bytes rule out that anything begins.

use super::bytes::is_opening;
use super::catalog::Pattern;
use super::names::may_be_anchored;

/// Why the machine looks closer at a place.
pub(super) mod turn {
    /// The first may begin a token.
    pub(in super::super) const TOKEN: u8 = 1;
    /// The first may begin an anchor of a key name.
    pub(in super::super) const ANCHOR: u8 = 2;
    /// The first may belong to what announces a password without a name.
    pub(in super::super) const UNNAMED: u8 = 4;
    /// The second may end `://`.
    pub(in super::super) const URL: u8 = 8;
    /// The second may begin a token that stands behind the first only.
    pub(in super::super) const OPENING: u8 = 16;
}

/// Why to look closer at a place, by the three bytes that stand there.
pub(super) struct Turns {
    /// For each pair of bytes the kind; the first is that without a reason.
    kinds: Box<[u8; 1 << 16]>,
    of_kind: Vec<Turn>,
}

/// What many pairs of bytes have in common.
#[derive(Clone, Default, PartialEq)]
struct Turn {
    reasons: u8,
    /// With which third bytes a token or an anchor goes on: one bit each.
    thirds: [u64; 4],
}

impl Turns {
    /// The kind of pairs for which there is no other kind left.
    const ANY: u8 = 1;

    pub(super) fn new(words: &Pattern, openings: &Pattern) -> Self {
        let any = Turn {
            reasons: u8::MAX,
            thirds: [u64::MAX; 4],
        };
        let mut of_kind = vec![Turn::default(), any];
        let kind_of = |pair: u16| {
            let [first, second] = pair.to_be_bytes();
            let turn = Turn::new(words, openings, first, second);
            let known = of_kind.iter().position(|known| *known == turn);
            let kind = u8::try_from(known.unwrap_or(of_kind.len()));
            if known.is_none() && kind.is_ok() {
                of_kind.push(turn);
            }
            kind.unwrap_or(Self::ANY)
        };
        let kinds: Vec<u8> = (0..=u16::MAX).map(kind_of).collect();
        #[expect(clippy::expect_used, reason = "one for each number of 16 bits")]
        let kinds = kinds.try_into().expect("as many as pairs");
        Self { kinds, of_kind }
    }

    /// The next pair of bytes from this place on that gives reasons.
    pub(super) fn next(&self, bytes: &[u8], from: usize) -> Option<(usize, u8)> {
        let rest = bytes.get(from..)?;
        for (at, pair) in rest.array_windows().enumerate() {
            let kind = self.kinds.get(usize::from(u16::from_be_bytes(*pair)));
            let kind = kind.copied().unwrap_or(0);
            if kind != 0
                && let Some(turn) = self.of_kind.get(usize::from(kind))
            {
                let reasons = turn.reasons(rest.get(at + 2).copied());
                if reasons != 0 {
                    return Some((from + at, reasons));
                }
            }
        }
        None
    }
}

impl Turn {
    fn new(words: &Pattern, openings: &Pattern, first: u8, second: u8) -> Self {
        let pair = [first, second];
        // a placeholder of ours counts as a token
        let is_ours = pair == *b"MA";
        let token = is_ours || words.may_match(&pair);
        let anchor = may_be_anchored(&pair);
        // `-p`, `-u`, `--user`, a port before a colon
        let unnamed = matches!(
            pair,
            [b'-', b'a' | b'p' | b'P' | b'u' | b'w'] | [b'0'..=b'9', b':']
        );
        let reasons = [
            (token, turn::TOKEN),
            (anchor, turn::ANCHOR),
            (unnamed, turn::UNNAMED),
            (pair == *b"//", turn::URL),
            (
                is_opening(first) && openings.may_match(&[second]),
                turn::OPENING,
            ),
        ];
        let held = reasons.iter().filter(|(holds, _)| *holds);
        let mut turn = Self {
            reasons: held.fold(0, |all, (_, reason)| all | reason),
            thirds: [0; 4],
        };
        if turn.reasons & (turn::TOKEN | turn::ANCHOR) == 0 {
            return turn;
        }
        for third in 0..=u8::MAX {
            let start = [first, second, third];
            let goes_on =
                token && (is_ours || words.may_match(&start)) || anchor && may_be_anchored(&start);
            if goes_on && let Some(word) = turn.thirds.get_mut(usize::from(third >> 6)) {
                *word |= 1 << (third & 63);
            }
        }
        turn
    }

    /// The reasons that this third byte leaves; at the end of a text all.
    fn reasons(&self, third: Option<u8>) -> u8 {
        let goes_on = third.is_none_or(|third| {
            let word = self.thirds.get(usize::from(third >> 6));
            word.is_some_and(|word| word >> (third & 63) & 1 != 0)
        });
        if goes_on {
            self.reasons
        } else {
            self.reasons & !(turn::TOKEN | turn::ANCHOR)
        }
    }
}
