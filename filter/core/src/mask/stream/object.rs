//! Objects whose members are secrets by their place: a Kubernetes `Secret`, a private JWK.

use crate::mask::catalog::Catalog;
use crate::mask::detector::Grade;

/// How far members may stand behind the mark of the object, or behind the last masked value.
const REACH: u64 = 4096;

/// An object that the text is in.
#[derive(Clone, Copy)]
pub(super) struct Object {
    kind: Kind,
    since: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// `kind: Secret`, or an object whose kind has not come; in its data or not.
    Secret { in_data: bool, is_sure: bool },
    /// `"kty": …`
    Jwk,
}

impl Object {
    /// The object that this name or word marks, ended before `byte`. `before` gives the line
    /// before it.
    pub(super) fn opened<'a>(
        raw: &str,
        before: impl Fn() -> &'a str,
        byte: u8,
        since: u64,
    ) -> Option<Self> {
        let is_quote = matches!(byte, b'"' | b'\'' | b'\\');
        let kind = match raw {
            "kty" | "crv" if is_quote || byte == b':' => Kind::Jwk,
            "apiVersion" => Kind::Secret {
                in_data: false,
                is_sure: false,
            },
            "Secret" if is_quote || matches!(byte, b'\n' | b'\r') => {
                let key = before().trim_end_matches([' ', '"', '\'', '\\']);
                let key = key
                    .strip_suffix(':')?
                    .trim_end_matches([' ', '"', '\'', '\\']);
                key.ends_with("kind").then_some(Kind::Secret {
                    in_data: false,
                    is_sure: true,
                })?
            }
            _ => return None,
        };
        Some(Self { kind, since })
    }

    /// The detector and grade of the member with this name, if its value is a secret.
    pub(super) fn member(
        &mut self,
        catalog: &Catalog,
        raw: &str,
        byte: u8,
    ) -> Option<(usize, Grade)> {
        let is_quote = matches!(byte, b'"' | b'\'' | b'\\');
        match &mut self.kind {
            Kind::Jwk => {
                let is_private = matches!(raw, "d" | "p" | "q" | "dp" | "dq" | "qi" | "k");
                (is_private && (is_quote || byte == b':'))
                    .then(|| Some((catalog.jwk()?, Grade::Generated)))
                    .flatten()
            }
            Kind::Secret { in_data, .. } => {
                match raw {
                    "data" | "stringData" => *in_data = true,
                    "apiVersion" | "kind" | "metadata" | "type" | "immutable" => *in_data = false,
                    _ => {}
                }
                let is_open = raw == "data"
                    || raw == "stringData"
                    || [
                        ".crt",
                        ".pub",
                        "user",
                        "username",
                        "host",
                        "port",
                        "namespace",
                    ]
                    .iter()
                    .any(|end| raw.ends_with(end));
                (*in_data && !is_open && (is_quote || byte == b':'))
                    .then(|| Some((catalog.kubernetes()?, Grade::Opaque)))
                    .flatten()
            }
        }
    }

    /// Whether the object is known to hold secrets.
    pub(super) fn is_sure(self) -> bool {
        !matches!(self.kind, Kind::Secret { is_sure: false, .. })
    }

    /// Whether this is still the object at a name that ends at `offset`.
    pub(super) fn goes_on(self, raw: &str, offset: u64) -> bool {
        let is_other = raw == "---" || raw == "kind" && !self.is_sure();
        offset.saturating_sub(self.since) <= REACH && !is_other
    }

    /// Counts the reach from a masked value on.
    pub(super) fn renewed(self, offset: u64) -> Self {
        Self {
            since: offset,
            ..self
        }
    }
}
