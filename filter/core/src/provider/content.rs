//! Keeps the masked texts of an answer for the record.

use crate::json;

use super::Limits;

/// Answer texts for the record: a JSON list of `{"channel", "text"}` within a bound.
pub(super) struct Content {
    texts: Vec<(String, Vec<u8>)>,
    room: usize,
    /// Bytes of texts that are kept.
    pub(super) kept: usize,
    /// Whether text is missing.
    pub(super) truncated: bool,
}

impl Content {
    /// What an entry of the list takes besides its channel and text, with the comma.
    const ENTRY_BYTES: usize = r#"{"channel":"","text":""},"#.len();

    /// Most texts.
    const MAX_TEXTS: usize = 4096;

    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            texts: Vec::new(),
            room: limits.max_content,
            kept: 0,
            truncated: false,
        }
    }

    /// Opens a channel; texts are added under the number it gives.
    pub(super) fn open(&mut self, channel: String) -> usize {
        if self.texts.len() >= Self::MAX_TEXTS {
            return usize::MAX;
        }
        self.texts.push((channel, Vec::new()));
        self.texts.len() - 1
    }

    /// The text of a channel, if it has one and all of it is kept.
    pub(super) fn text(&self, channel: usize) -> Option<String> {
        let (_, text) = self.texts.get(channel)?;
        let is_all = !text.is_empty() && !self.truncated;
        is_all.then(|| json::unescape(std::str::from_utf8(text).unwrap_or_default()))
    }

    /// Adds a text to which nothing will be added.
    pub(super) fn add_whole(&mut self, channel: impl FnOnce() -> String, text: &str) {
        if text.is_empty() || self.truncated {
            self.truncated |= !text.is_empty();
            return;
        }
        let channel = self.open(channel());
        self.add(channel, text);
    }

    /// Adds text to a channel, as much as there is room for.
    pub(super) fn add(&mut self, channel: usize, text: &str) {
        if text.is_empty() || self.truncated {
            self.truncated |= !text.is_empty();
            return;
        }
        let Some((channel, written)) = self.texts.get_mut(channel) else {
            self.truncated = true;
            return;
        };
        if written.is_empty() {
            let entry = Self::ENTRY_BYTES + channel.len();
            self.truncated = entry > self.room;
            self.room = self.room.saturating_sub(entry);
        }
        let start = written.len();
        json::push_escaped(written, text);
        if written.len() - start <= self.room && !self.truncated {
            self.room -= written.len() - start;
            self.kept += written.len() - start;
            return;
        }
        written.truncate(start);
        self.truncated = true;
        for character in text.chars() {
            let before = written.len();
            json::push_escaped(written, character.encode_utf8(&mut [0; 4]));
            let added = written.len() - before;
            if added > self.room {
                written.truncate(before);
                break;
            }
            self.room -= added;
            self.kept += added;
        }
        self.room = 0;
    }

    /// Keeps nothing more.
    pub(super) fn close(&mut self) {
        self.room = 0;
        self.truncated = true;
    }

    pub(super) fn to_json(&self) -> String {
        let mut out = b"[".to_vec();
        for (channel, text) in self.texts.iter().filter(|(_, text)| !text.is_empty()) {
            if out.len() > 1 {
                out.push(b',');
            }
            out.extend_from_slice(b"{\"channel\":");
            json::push_string(&mut out, channel);
            out.extend_from_slice(b",\"text\":\"");
            out.extend_from_slice(text);
            out.extend_from_slice(b"\"}");
        }
        out.push(b']');
        String::from_utf8(out).unwrap_or_default()
    }
}
