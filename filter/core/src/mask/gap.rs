//! What may stand between a key name and its value: `: `, ` = "`, `": "`, `: &str = "`, `" value="`.

/// Where the machine is between a key name and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gap {
    /// Behind the name; `closed` once its closing quote has passed.
    AfterKey { closed: bool, spaced: bool },
    /// Behind a backslash that stands before a quote.
    Escape { after_operator: bool },
    /// Behind `=`, `:` and the like.
    AfterOperator { operator: u8 },
    /// Behind `==`: only a quoted value counts.
    AfterEquality,
    /// Behind the comma of `("name", "value")`.
    AfterComma,
    /// Behind `name(`.
    AfterParenthesis,
    /// Behind `"name"] ||`: only a quoted value counts.
    Fallback,
    /// Behind the first sign of `<-` or `->`.
    Arrow,
    /// In the brackets of `name[32]`.
    Index,
    /// In `{ get; set; }`.
    Accessors,
    /// In `</key><string>`, behind so many `>`.
    Element { ends: u8 },
    /// Behind the `>` of an element that is told by its attribute or the element before.
    AfterElement,
    /// In `<![CDATA[`, behind so many brackets.
    Cdata { brackets: u8 },
    /// Behind the mark of a value on lines of its own: `password: |`.
    Block { newline: bool },
    /// In the arguments before the password, so many of them: `HTTPBasicAuth("user", `.
    Arguments { before: u8 },
    /// Behind `={`.
    Brace,
    /// In a word that is no value; what it is shows at its end.
    Filler { after_operator: bool },
    /// In a type between `:` and `=`.
    Type,
    /// At the first character of a quoted value.
    Open {
        quote: u8,
        escaped: bool,
        strict: bool,
    },
    /// In the user part of a URL.
    UrlUser,
    /// At the first character of a URL's password.
    UrlPassword,
    /// Behind an AWS access key id.
    AwsPair,
    /// In fields with colons between, so many colons before the value.
    Fields { colons: u8 },
    /// Behind the name of a member of an object that is known to hold secrets.
    Member,
    /// Between `-u` and the colon of `user:password`.
    Account,
}

/// What the next byte means in a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The gap goes on.
    Stay(Gap),
    /// A value without quotes starts at this byte; `strict` if the gap is weak evidence.
    Bare { strict: bool },
    /// No value comes.
    Dead,
}

impl Gap {
    /// Reads one byte. `tag` tells that the key stands behind `<`.
    pub(super) fn read(self, byte: u8, tag: bool) -> Next {
        let is_space = matches!(byte, b' ' | b'\t');
        match self {
            Self::AfterKey { closed, spaced } => match byte {
                b' ' | b'\t' => Next::Stay(Self::AfterKey {
                    closed,
                    spaced: true,
                }),
                b'"' | b'\'' | b'`' if !closed && !spaced => Next::Stay(Self::AfterKey {
                    closed: true,
                    spaced,
                }),
                b'"' | b'\'' | b'`' if !closed => Next::Stay(open(byte, false, true)),
                b'\\' if !closed => Next::Stay(Self::Escape {
                    after_operator: false,
                }),
                b'?' | b'|' if closed && spaced => Next::Stay(Self::Fallback),
                b']' | b'?' | b'|' if closed || byte != b']' => Next::Stay(self),
                b'*' if !closed && !spaced => Next::Stay(self),
                b'}' if !spaced => Next::Stay(Self::AfterKey {
                    closed: true,
                    spaced,
                }),
                b'{' if spaced && !closed => Next::Stay(Self::Accessors),
                // `password != "…"`
                b'!' if !closed => Next::Stay(Self::AfterEquality),
                b'[' if !closed && !spaced => Next::Stay(Self::Index),
                b'<' if spaced && !closed => Next::Stay(Self::Arrow),
                b'<' if !closed => Next::Stay(Self::Element { ends: 0 }),
                b'-' if spaced && closed => Next::Stay(Self::Arrow),
                b':' | b'=' => Next::Stay(Self::AfterOperator { operator: byte }),
                b',' if closed => Next::Stay(Self::AfterComma),
                b'(' | b'{' if !closed => Next::Stay(Self::AfterParenthesis),
                b'>' if tag => Next::Stay(Self::AfterOperator { operator: byte }),
                b'>' if closed && !spaced => Next::Stay(Self::AfterElement),
                _ if spaced && !closed && byte.is_ascii_graphic() => Next::Bare { strict: true },
                _ => Next::Dead,
            },
            Self::Escape { after_operator } => match byte {
                b'\\' => Next::Stay(self),
                b'"' | b'\'' if after_operator => Next::Stay(open(byte, true, false)),
                b'"' | b'\'' => Next::Stay(Self::AfterKey {
                    closed: true,
                    spaced: false,
                }),
                _ => Next::Dead,
            },
            Self::AfterOperator { operator } => match byte {
                // an element's text on a line of its own
                b'\n' | b'\r' if operator == b'>' => Next::Stay(Self::Block { newline: true }),
                _ if is_space => Next::Stay(Self::AfterOperator { operator: b' ' }),
                b'=' | b'\n' | b'\r' if operator == b'=' => Next::Stay(Self::AfterEquality),
                b'=' if operator == b':' || operator == b' ' => {
                    Next::Stay(Self::AfterOperator { operator: byte })
                }
                b'>' if operator == b'=' => Next::Stay(Self::AfterOperator { operator: b' ' }),
                // `${NAME:-value}`
                b'-' if operator == b':' => Next::Stay(Self::AfterOperator { operator: b' ' }),
                b'<' if operator == b'>' => Next::Stay(Self::Cdata { brackets: 0 }),
                b'{' if matches!(operator, b'=' | b'>') => Next::Stay(Self::Brace),
                b'"' | b'\'' | b'`' => Next::Stay(open(byte, false, false)),
                b'|' | b'>' if operator == b' ' => Next::Stay(Self::Block { newline: false }),
                b'\\' => Next::Stay(Self::Escape {
                    after_operator: true,
                }),
                _ if byte.is_ascii_graphic() => Next::Bare { strict: false },
                _ => Next::Dead,
            },
            Self::AfterEquality => match byte {
                b' ' | b'\t' | b'\n' | b'\r' | b'=' => Next::Stay(self),
                b'"' | b'\'' | b'`' => Next::Stay(open(byte, false, true)),
                _ => Next::Dead,
            },
            Self::Block { newline } => match byte {
                b'\n' => Next::Stay(Self::Block { newline: true }),
                b' ' | b'\r' => Next::Stay(self),
                b'-' | b'+' | b'0'..=b'9' if !newline => Next::Stay(self),
                _ if newline && byte.is_ascii_graphic() => Next::Bare { strict: true },
                _ => Next::Dead,
            },
            Self::Arguments { before } => match byte {
                b',' if before <= 1 => Next::Stay(Self::AfterComma),
                b',' => Next::Stay(Self::Arguments { before: before - 1 }),
                b')' | b'{' | b'}' | b'<' | b'>' | b'#' => Next::Dead,
                b'\t' | b'\n' | b' ' => Next::Stay(self),
                _ if byte.is_ascii_graphic() => Next::Stay(self),
                _ => Next::Dead,
            },
            Self::AfterComma | Self::AfterParenthesis => match byte {
                b' ' | b'\t' | b'\n' => Next::Stay(self),
                b'"' | b'\'' | b'`' => Next::Stay(open(byte, false, true)),
                _ => Next::Dead,
            },
            Self::Fallback => match byte {
                b' ' | b'\t' | b'|' | b'?' => Next::Stay(self),
                b':' | b'=' => Next::Stay(Self::AfterOperator { operator: byte }),
                b'"' | b'\'' | b'`' => Next::Stay(open(byte, false, true)),
                _ => Next::Dead,
            },
            Self::Arrow => match byte {
                b'-' | b'>' => Next::Stay(Self::AfterOperator { operator: b' ' }),
                _ => Next::Dead,
            },
            Self::Index => match byte {
                b']' => Next::Stay(Self::AfterKey {
                    closed: true,
                    spaced: false,
                }),
                _ if byte.is_ascii_alphanumeric() || byte == b'_' => Next::Stay(self),
                _ => Next::Dead,
            },
            Self::Accessors => match byte {
                b'=' => Next::Stay(Self::AfterOperator { operator: b' ' }),
                b' ' | b';' | b'}' => Next::Stay(self),
                _ if byte.is_ascii_lowercase() => Next::Stay(self),
                _ => Next::Dead,
            },
            Self::Element { ends } => match byte {
                b'>' if ends == 1 => Next::Stay(Self::AfterElement),
                b'>' => Next::Stay(Self::Element { ends: ends + 1 }),
                b' ' | b'\t' | b'\r' | b'\n' | b'<' | b'/' => Next::Stay(self),
                _ if byte.is_ascii_alphanumeric() => Next::Stay(self),
                _ => Next::Dead,
            },
            Self::AfterElement => match byte {
                b'<' => Next::Stay(Self::Cdata { brackets: 0 }),
                _ if byte.is_ascii_graphic() => Next::Bare { strict: true },
                _ => Next::Dead,
            },
            Self::Cdata { brackets } => match byte {
                b'[' if brackets == 1 => Next::Stay(Self::AfterOperator { operator: b' ' }),
                b'[' => Next::Stay(Self::Cdata { brackets: 1 }),
                b'!' => Next::Stay(self),
                _ if byte.is_ascii_uppercase() && brackets == 1 => Next::Stay(self),
                _ => Next::Dead,
            },
            Self::Brace => match byte {
                _ if byte.is_ascii_graphic() => Next::Bare { strict: true },
                _ => Next::Dead,
            },
            Self::Filler { .. } => Next::Stay(self),
            Self::Type => match byte {
                b'=' => Next::Stay(Self::AfterOperator { operator: byte }),
                b' ' | b'&' | b'\'' | b'<' | b'>' | b'[' | b']' | b'?' | b'*' | b':' | b'.'
                | b'_' | b'-' => Next::Stay(self),
                _ if byte.is_ascii_alphanumeric() => Next::Stay(self),
                _ => Next::Dead,
            },
            Self::UrlUser => match byte {
                b':' => Next::Stay(Self::UrlPassword),
                b'/' | b'@' | b'?' | b'#' | b';' | b',' | b'"' | b'\'' | b'`' | b'<' | b'>'
                | b'\\' => Next::Dead,
                _ if byte.is_ascii_graphic() => Next::Stay(self),
                _ => Next::Dead,
            },
            Self::AwsPair => match byte {
                b' ' | b'\t' | b'\n' | b'\r' | b'"' | b'\'' | b'`' | b',' | b':' | b';' | b'='
                | b'|' | b'\\' => Next::Stay(self),
                _ if byte.is_ascii_alphanumeric() || byte == b'/' => Next::Bare { strict: true },
                _ => Next::Dead,
            },
            Self::Fields { colons } => match byte {
                b':' if colons <= 1 => Next::Stay(Self::AfterOperator { operator: byte }),
                b':' => Next::Stay(Self::Fields { colons: colons - 1 }),
                b'_' | b'-' | b'.' | b'*' => Next::Stay(self),
                _ if byte.is_ascii_alphanumeric() => Next::Stay(self),
                _ => Next::Dead,
            },
            Self::Member => match byte {
                b' ' | b'"' | b'\'' | b'\\' => Next::Stay(self),
                b':' => Next::Stay(Self::AfterOperator { operator: b' ' }),
                _ => Next::Dead,
            },
            Self::Account => match byte {
                b':' => Next::Stay(Self::AfterOperator { operator: byte }),
                b' ' | b'=' | b'"' | b'\'' | b'_' | b'-' | b'.' | b'@' | b'+' => Next::Stay(self),
                _ if byte.is_ascii_alphanumeric() => Next::Stay(self),
                _ => Next::Dead,
            },
            // values start here: the machine does not read on
            Self::Open { .. } | Self::UrlPassword => Next::Dead,
        }
    }
}

fn open(quote: u8, escaped: bool, strict: bool) -> Gap {
    Gap::Open {
        quote,
        escaped,
        strict,
    }
}
