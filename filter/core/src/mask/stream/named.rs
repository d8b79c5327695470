//! Values that a name announces: key and value, passwords in addresses.

use super::object::Object;
use super::option::{arguments, unnamed};
use super::{BACK, NAME, Run, TextMask, Verdict, last_line, part};
use crate::mask::bytes::{is_name, is_word};
use crate::mask::catalog::Catalog;
use crate::mask::detector::{Grade, Tail};
use crate::mask::gap::{Gap, Next};
use crate::mask::names::{Name, has_anchor};
use crate::mask::validate::{aws_secret_holds, url_password_holds, value_holds};
use crate::mask::value_end::{End, bare_end, quoted_end, url_password_end, words_end};

/// How far a value may stand behind its key name, and behind the name in `name: X, value: Y`.
const REACH: u64 = 96;
const PENDING_REACH: u64 = 160;

/// A key name, and the way to its value.
#[derive(Clone, Copy)]
pub(super) struct Armed {
    detector: usize,
    grade: Grade,
    gap: Gap,
    since: u64,
    /// The key stands behind `<`.
    tag: bool,
    /// The way to the value is weak evidence.
    strict: bool,
    /// It is a line of an environment, whose values need no quotes: `DB_PASSWORD=…`.
    env: bool,
}

impl TextMask {
    /// Reads a name that ends here, before `byte`.
    pub(super) fn end_name(&mut self, run: &Run<'_>, byte: u8) {
        let Some(start) = self.name.take() else {
            return;
        };
        // words are passed whole, and one may have gone beyond the reach of what came before
        let passed = |armed: &Armed| self.offset().saturating_sub(armed.since);
        self.armed = self.armed.filter(|armed| passed(armed) <= REACH);
        let from = usize::try_from(start.saturating_sub(self.base)).unwrap_or(self.at);
        let from = from.max(self.at.saturating_sub(NAME));
        let raw = run.text.get(from..self.at).unwrap_or_default();
        if let Some(armed) = &mut self.armed {
            if matches!(armed.gap, Gap::UrlUser | Gap::UrlPassword) {
                return;
            }
            armed.end_filler(raw, byte);
        }
        let since = self.offset();
        let floor = self.back(from, BACK);
        let before = || last_line(part(run.text, floor, from));
        let behind = from.checked_sub(1);
        let behind = behind.and_then(|at| run.text.as_bytes().get(at).copied());
        if let Some(object) = Object::opened(raw, before, byte, since) {
            self.object = Some(object);
            return;
        }
        if let Some(object) = &mut self.object
            && let Some((detector, grade)) = object.member(run.masker.catalog(), raw, byte)
        {
            let armed = Armed::new(detector, grade, Gap::Member, since);
            let is_sure = object.is_sure();
            self.armed = Some(if is_sure { armed } else { armed.strict() });
            return;
        }
        self.object = self.object.filter(|object| object.goes_on(raw, since));
        if let Some(gap) = arguments(raw, byte) {
            self.armed = Armed::argument(run.masker.catalog(), gap, since);
            return;
        }
        let gap = Gap::AfterKey {
            closed: false,
            spaced: false,
        };
        // the key of an Azure function stands in its address
        if raw == "code" && byte == b'=' && before().contains(".azurewebsites.net/") {
            let named = Name::read("functionkey").and_then(|it| run.masker.catalog().named(&it));
            self.armed = named.map(|(detector, grade)| Armed::new(detector, grade, gap, since));
            return;
        }
        if !has_anchor(raw.as_bytes()) {
            if let Some((detector, gap)) = unnamed(run.masker.catalog(), raw, before, byte) {
                let grade = Grade::Password;
                self.armed = Some(Armed::new(detector, grade, gap, since).strict());
            }
            return;
        }
        let is_tag = behind == Some(b'<');
        if matches!(raw, "value" | "default" | "Value" | "VALUE" | "val") {
            if let Some((detector, grade, ended)) = self.pending
                && since - ended <= PENDING_REACH
            {
                let armed = Armed::new(detector, grade, gap, since).strict();
                self.armed = Some(armed.behind(is_tag));
            }
            return;
        }
        // the signature of a shared access signature stands in a query
        let is_query = matches!(behind, Some(b'&' | b'?' | b';'));
        if raw.eq_ignore_ascii_case("sig") && !(is_query && byte == b'=') {
            return;
        }
        // a segment of `arn:…:secret:name`
        if byte == b':' && behind == Some(b':') {
            return;
        }
        let read = |raw: &str| Name::read(raw).and_then(|name| run.masker.catalog().named(&name));
        if raw.eq_ignore_ascii_case("key") {
            // `the API key is …`
            let words = before().strip_suffix(' ').unwrap_or_default();
            let word = words.rsplit(|c: char| !c.is_ascii_alphanumeric()).next();
            let named = read(&format!("{}_key", word.unwrap_or_default()));
            if let Some((detector, grade)) = named {
                self.armed = Some(Armed::new(detector, grade, gap, since).strict());
            }
            return;
        }
        let is_cookie = raw.to_ascii_lowercase().starts_with("sess") || raw == "connect.sid";
        if is_cookie && (byte != b'=' || !before().contains("ookie")) && !ends_in_id(raw) {
            return;
        }
        let named = if raw == "connect.sid" { "session" } else { raw };
        if let Some((detector, grade)) = read(named) {
            let mut armed = Armed::new(detector, grade, gap, since).behind(is_tag);
            armed.env = grade == Grade::Password
                && byte == b'='
                && raw.bytes().all(|b| !b.is_ascii_lowercase() && is_word(b));
            self.armed = Some(armed);
            if matches!(grade, Grade::Password | Grade::Generated) {
                self.pending = Some((detector, grade, since));
            }
        }
    }

    pub(super) fn read_gap(&mut self, run: &mut Run<'_>, byte: u8) -> Verdict {
        let Some(armed) = self.armed else {
            return Verdict::Pass;
        };
        if self.offset() - armed.since > REACH {
            self.armed = None;
            return Verdict::Pass;
        }
        // `auth=("user", "…")`
        if byte == b'('
            && armed.grade == Grade::Basic
            && matches!(armed.gap, Gap::AfterOperator { .. })
        {
            let gap = Gap::Arguments { before: 1 };
            self.armed = Armed::argument(run.masker.catalog(), gap, armed.since);
            return Verdict::Pass;
        }
        match armed.gap {
            Gap::Open {
                quote,
                escaped,
                strict,
            } => self.quoted(run, armed, quote, escaped, strict || armed.strict),
            Gap::UrlPassword => self.url_password(run, armed),
            gap => match gap.read(byte, armed.tag) {
                Next::Stay(gap) => {
                    self.armed = Some(Armed { gap, ..armed });
                    Verdict::Pass
                }
                Next::Dead => {
                    self.armed = None;
                    Verdict::Pass
                }
                Next::Bare { strict } => self.bare(run, armed, byte, strict || armed.strict),
            },
        }
    }

    fn quoted(
        &mut self,
        run: &mut Run<'_>,
        armed: Armed,
        quote: u8,
        escaped: bool,
        strict: bool,
    ) -> Verdict {
        let tripled = [quote, quote];
        match run.text.as_bytes().get(self.at..self.at + 2) {
            None if run.text.as_bytes().get(self.at) == Some(&quote) && !run.is_final => {
                return Verdict::Hold;
            }
            Some(marks) if marks == tripled && !escaped => {
                // `"""value"""`
                self.at += 1;
                return Verdict::Pass;
            }
            _ => {}
        }
        if let Some(inner @ (b'"' | b'\'')) = run.text.as_bytes().get(self.at)
            && *inner != quote
            && !escaped
        {
            // `'"value"'`
            let (quote, escaped) = (*inner, false);
            let gap = Gap::Open {
                quote,
                escaped,
                strict: true,
            };
            self.armed = Some(Armed { gap, ..armed });
            return Verdict::Pass;
        }
        let end = match quoted_end(run.text.as_bytes(), run.is_final, self.at, quote, escaped) {
            End::More => return Verdict::Hold,
            End::At(end) => Some(end),
            End::Never => None,
        };
        if let Some(end) = end {
            let value = run.text.get(self.at..end).unwrap_or_default();
            if value_holds(armed.grade, value, true, strict) {
                self.begin(run, armed.detector, Tail::Exact, end, strict);
                return Verdict::Moved;
            }
        }
        let goes_on = armed.grade == Grade::Header;
        self.armed = goes_on.then_some(Armed {
            gap: Gap::Filler {
                after_operator: true,
            },
            ..armed
        });
        Verdict::Pass
    }

    fn bare(&mut self, run: &mut Run<'_>, armed: Armed, byte: u8, strict: bool) -> Verdict {
        let find_end = match armed.grade {
            Grade::Phrase => words_end,
            _ => bare_end,
        };
        let end = match find_end(run.text.as_bytes(), run.is_final, self.at) {
            End::More => return Verdict::Hold,
            End::At(end) => Some(end),
            End::Never => None,
        };
        if let Some(end) = end {
            let value = run.text.get(self.at..end).unwrap_or_default();
            let is_short = value.ends_with("..");
            let value = value.trim_end_matches(['.', ':', ' ']);
            let is_secret = !is_short
                && match armed.gap {
                    Gap::AwsPair => aws_secret_holds(value),
                    _ => value_holds(armed.grade, value, armed.env && !strict, strict),
                };
            if is_secret {
                let end = self.at + value.len();
                self.begin(run, armed.detector, Tail::Exact, end, strict);
                return Verdict::Moved;
            }
        }
        let after_operator = matches!(armed.gap, Gap::AfterOperator { .. });
        let sign = match end {
            Some(end) => run.text.get(self.at..end).unwrap_or_default(),
            None => "",
        };
        let gap = match armed.gap {
            Gap::AwsPair => None,
            // `**Password:** …`, `@"…"`
            _ if after_operator && matches!(sign, "**" | "@" | "$" | "$@" | "@$") => {
                self.at += sign.len() - 1;
                Some(Gap::AfterOperator { operator: b' ' })
            }
            _ if is_name(byte) => Some(Gap::Filler { after_operator }),
            _ if after_operator && matches!(byte, b'&' | b'[' | b'*') => Some(Gap::Type),
            _ => None,
        };
        self.armed = gap.map(|gap| Armed { gap, ..armed });
        Verdict::Pass
    }

    fn url_password(&mut self, run: &mut Run<'_>, armed: Armed) -> Verdict {
        match url_password_end(run.text.as_bytes(), run.is_final, self.at) {
            End::More => return Verdict::Hold,
            End::At(end) => {
                let value = run.text.get(self.at..end).unwrap_or_default();
                if url_password_holds(value) {
                    self.begin(run, armed.detector, Tail::Exact, end, false);
                    return Verdict::Moved;
                }
            }
            End::Never => {}
        }
        self.armed = None;
        Verdict::Pass
    }

    /// Whether the slash at the place is the last of `://`.
    pub(super) fn ends_scheme(&self, bytes: &[u8]) -> bool {
        let follows_masked = self.floor > 0 && self.offset() == self.floor + 2;
        matches!(self.behind(bytes), Some([b'/', b':', letter])
            if letter.is_ascii_alphanumeric() || follows_masked)
    }

    /// Expects the secret that belongs to the id behind the place.
    pub(super) fn arm_pair(&mut self, catalog: &Catalog) {
        let since = self.offset();
        let armed = |detector| Armed::new(detector, Grade::Generated, Gap::AwsPair, since).strict();
        self.armed = catalog.aws_pair().map(armed);
    }

    pub(super) fn arm_url(&mut self, catalog: &Catalog) {
        let since = self.offset() + 1;
        let armed = |detector| Armed::new(detector, Grade::Password, Gap::UrlUser, since);
        self.armed = catalog.url().map(armed).or(self.armed);
        // the slash itself is passed by the caller, not read by the gap
    }
}

impl Armed {
    pub(super) fn new(detector: usize, grade: Grade, gap: Gap, since: u64) -> Self {
        Self {
            detector,
            grade,
            gap,
            since,
            tag: false,
            strict: false,
            env: false,
        }
    }

    /// Expects a password among arguments, if there is a detector of passwords.
    fn argument(catalog: &Catalog, gap: Gap, since: u64) -> Option<Self> {
        let (detector, grade) = catalog.password()?;
        Some(Self::new(detector, grade, gap, since).strict())
    }

    pub(super) fn strict(self) -> Self {
        Self {
            strict: true,
            ..self
        }
    }

    fn behind(self, tag: bool) -> Self {
        Self { tag, ..self }
    }

    /// Reads a word between the key and the value, which ended before `byte`.
    fn end_filler(&mut self, word: &str, byte: u8) {
        let between = Gap::AfterKey {
            closed: false,
            spaced: true,
        };
        let after_operator = match self.gap {
            Gap::Filler { after_operator } => after_operator,
            Gap::Type if byte == b'(' && matches!(word, "from" | "new" | "String") => {
                self.strict = true;
                self.gap = between;
                return;
            }
            Gap::Accessors if !ACCESSORS.contains(&word) => {
                self.gap = Gap::AfterEquality;
                return;
            }
            _ => return,
        };
        let is_quote = matches!(byte, b'"' | b'\'' | b'`');
        self.gap = match word {
            "was" | "is" | "to" | "by" | "BY" | "--body" | "--value" | "--secret-string"
            | "-String"
                if !after_operator =>
            {
                self.strict = true;
                between
            }
            "String" | "SecretString" if byte == b'(' && after_operator => {
                self.strict = true;
                between
            }
            // a scheme: `Bearer`, `Token`, `SSWS`
            _ if self.grade == Grade::Header
                && word.len() <= 24
                && byte == b' '
                && word.starts_with(|c: char| c.is_ascii_alphabetic()) =>
            {
                Gap::AfterOperator { operator: b' ' }
            }
            "b" | "r" | "u" | "f" | "L" | "N" | "rb" | "br" | "u8"
                if after_operator && is_quote =>
            {
                Gap::AfterOperator { operator: b' ' }
            }
            _ => Gap::Type,
        };
    }
}

/// What may stand between the braces of a property.
const ACCESSORS: [&str; 7] = [
    "get",
    "set",
    "init",
    "private",
    "protected",
    "internal",
    "required",
];

/// Whether the name is that of a cookie wherever it stands: `sessionid`, `JSESSIONID`.
fn ends_in_id(raw: &str) -> bool {
    raw.len() > 2 && raw.to_ascii_lowercase().ends_with("id") && raw != "connect.sid"
}
