//! What a detector is: one record of the table.

use super::bytes::is_in_parameter;

/// One kind of secret: how it is found, and texts that prove it.
///
/// In an example the value stands between `«` and `»`; without marks the whole text is the value.
#[derive(Debug)]
pub(super) struct Detector {
    /// The closed list of names in findings and, in upper case, in placeholders.
    pub(super) name: &'static str,
    pub(super) rule: Rule,
    /// Texts in which exactly the marked value is found by this detector.
    pub(super) examples: &'static [&'static str],
    /// Texts that no detector touches.
    #[cfg_attr(not(test), expect(dead_code, reason = "read by the test of the table"))]
    pub(super) counter_examples: &'static [&'static str],
}

/// How a detector finds its value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Rule {
    /// A value that shows itself by its form.
    Token {
        /// The least text that proves the value: bounded, ASCII, without the open end.
        proof: &'static str,
        /// What may stand left of it.
        start: Start,
        /// How the value goes on after the proof.
        tail: Tail,
        /// What the proof must also pass.
        check: Check,
    },
    /// A value that follows a key: `password = "…"`.
    Named {
        /// Ends of key names, lower case without separators.
        names: &'static [&'static str],
        /// What the value must look like.
        grade: Grade,
    },
    /// A number of a person or an account, which its check digits tell from others.
    Personal {
        number: Number,
        /// How it may be written.
        proof: &'static str,
        /// Names in lower case without separators, one of which must stand before it; none if its
        /// form is enough.
        names: &'static [&'static str],
    },
    /// The password in `scheme://user:password@`.
    Url,
    /// The password of a command's option: `curl -u user:password`, `docker login -p password`.
    Command,
    /// The last field of `host:port:database:user:password`.
    Fields,
    /// A value of a Kubernetes `Secret`.
    Kubernetes,
    /// A private member of a JSON Web Key.
    Jwk,
    /// The secret key that follows a masked AWS access key id.
    AwsPair,
    /// A run of characters that hides what another detector finds, by one level of encoding.
    Encoded(Encoding),
}

/// How a value is hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// Of standard or URL-safe letters, with or without padding.
    Base64,
    /// Two digits for each byte.
    Hex,
    /// `%` and two digits for some bytes.
    Percent,
}

/// Kinds of numbers with checks of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    /// A payment card.
    Card,
    /// An account of ISO 13616.
    Iban,
    /// Social security, United States: it has no check digit.
    Ssn,
    /// Citizen service, Netherlands.
    Bsn,
    /// Social security, France.
    Nir,
    /// Identity of citizens and foreigners, Spain.
    Dni,
    /// Identity, Poland.
    Pesel,
    /// Tax, Italy.
    CodiceFiscale,
    /// Tax, Brazil.
    Cpf,
    /// Pension insurance, Russia.
    Snils,
    /// Identity, India.
    Aadhaar,
    /// Tax, Germany.
    SteuerId,
    /// Identity, China.
    Resident,
}

/// What may stand left of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// Anything but a letter, digit or underscore.
    Word,
    /// A quote, `=`, `:`, `(`, `[` or `>`. For tokens known by their middle or end only: they look
    /// like any word until then, and no word of prose shall wait for that.
    Opening,
}

/// How a value goes on after its proof; what goes on is masked, never held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// Not at all: a letter, digit or underscore behind the proof denies it.
    Exact,
    /// Letters and digits.
    Alnum,
    /// Letters, digits, `_` and `-`.
    Word,
    /// The same and `.` before another such character.
    Dotted,
    /// Letters, digits and `+/=_-`.
    Base64,
    /// The lines of a PEM block up to its END line.
    Pem,
    /// What stands in a URL's parameter.
    Percent,
}

impl Tail {
    /// Whether the value goes on with this byte.
    pub(super) fn holds(self, byte: u8) -> bool {
        match self {
            Self::Exact | Self::Pem => false,
            Self::Alnum => byte.is_ascii_alphanumeric(),
            Self::Word | Self::Dotted => {
                byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
            }
            Self::Percent => is_in_parameter(byte),
            Self::Base64 => {
                byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'_' | b'-')
            }
        }
    }
}

/// What a proof must pass besides its pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// It is no placeholder and not made of words.
    Plain,
    /// The same, and it has digits and letters in a mixture that no identifier has.
    Random,
    /// The part before the first dot decodes to JSON with `alg`.
    Jwt,
    /// It is the base64 of a PEM private key.
    PemBase64,
    /// It is no placeholder.
    Shape,
    /// The pattern is proof enough.
    Pattern,
}

/// What a value behind a key name must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grade {
    /// Words of an `Authorization` header: `Bearer`, `Basic` decide what follows.
    Header,
    /// `user:password` in base64.
    Basic,
    /// What a person would choose: short, but not just words.
    Password,
    /// Generated: long and without words.
    Generated,
    /// Base64, or what a person would choose.
    Opaque,
    /// Words of a wallet: 12 to 24 of a closed list.
    Phrase,
}
