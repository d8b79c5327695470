//! The code in a recorded answer.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

use crate::{
    patch::added,
    scheme::{NOTES, SHAPE, SHORT, Scheme, TEXT, WHOLE},
};

/// A piece of code that an answer gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suggestion {
    /// The code.
    pub text: String,
}

/// The suggestions of an answer, at most [`MAX_SUGGESTIONS`] of them: `content` is a JSON list of
/// channel and text, as records have it. What is not, gives none.
///
/// A chat's answer has one in each fenced block, ghost text is one as a whole, and a tool call has
/// one in each text that it writes into a file. What a model thinks is none.
pub fn suggestions(content: &str) -> Vec<Suggestion> {
    let texts: Vec<Text> = serde_json::from_str(content).unwrap_or_default();
    let mut found = Vec::new();
    for Text { channel, text } in texts {
        match way(&channel) {
            Way::Fenced => found.extend(fenced(&text)),
            Way::Written => found.extend(written(&text)),
            Way::Whole => found.push(text),
            Way::None => {}
        }
    }
    let worth = |text: &String| text.split_whitespace().map(str::len).sum::<usize>() >= MIN_BYTES;
    let found = found.into_iter().filter(worth);
    let found = found.map(|text| Suggestion { text });
    found.take(MAX_SUGGESTIONS).collect()
}

impl Suggestion {
    /// The fingerprints to be stored, per scheme, at most [`MAX_FINGERPRINTS`] in all; of too many
    /// the least, so that parts of a long text are kept from everywhere in it.
    pub fn fingerprints(&self) -> Vec<(Scheme, Vec<i64>)> {
        let bytes: usize = self.text.split_whitespace().map(str::len).sum();
        let text = if bytes < SHORT_BYTES { SHORT } else { TEXT };
        let mut found = Vec::new();
        for scheme in [WHOLE, text, NOTES, SHAPE] {
            let values = scheme.fingerprints(&self.text).into_iter();
            let values: BTreeSet<u64> = values.map(|found| found.value.cast_unsigned()).collect();
            let values = values.into_iter().take(MAX_OF_SCHEME);
            let values: Vec<i64> = values.map(u64::cast_signed).collect();
            if !values.is_empty() {
                found.push((scheme, values));
            }
        }
        found
    }
}

#[derive(Deserialize)]
struct Text {
    channel: String,
    text: String,
}

/// Where in a text the code is.
enum Way {
    Fenced,
    Written,
    Whole,
    None,
}

/// By the last name of a channel such as `choices[0].delta.content`.
fn way(channel: &str) -> Way {
    let last = channel.rsplit('.').next().unwrap_or_default();
    let last = last.split('[').next().unwrap_or_default();
    let ghost = channel.starts_with("choices[") && channel.split('.').count() == 2;
    match last {
        "text" if ghost => Way::Whole,
        "arguments" | "input" => Way::Written,
        "refusal" | "summary" | "thinking" => Way::None,
        _ if channel.contains("reasoning") || channel.contains("summary") => Way::None,
        _ if channel.contains(".input.") && !CONTENTS.contains(&last) => Way::None,
        _ if channel.contains(".input.") => Way::Whole,
        "code" => Way::Whole,
        _ => Way::Fenced,
    }
}

/// What stands between fences of three and more backticks or tildes.
fn fenced(text: &str) -> Vec<String> {
    let mut blocks: Vec<String> = Vec::new();
    let mut fence: Option<&str> = None;
    for line in text.lines() {
        let start = line.trim_start();
        let mark = start
            .trim_start_matches('`')
            .len()
            .min(start.trim_start_matches('~').len());
        let mark = start.get(..start.len() - mark).unwrap_or_default();
        match fence {
            Some(open) if mark.starts_with(open) && start.trim_end() == mark => fence = None,
            Some(_) => {
                if let Some(block) = blocks.last_mut() {
                    block.push_str(line);
                    block.push('\n');
                }
            }
            None if mark.len() >= 3 => {
                fence = Some(mark);
                blocks.push(String::new());
            }
            None => {}
        }
    }
    blocks
}

/// What a tool call writes into files: its arguments are JSON, or a patch.
fn written(arguments: &str) -> Vec<String> {
    let mut found = Vec::new();
    match serde_json::from_str(arguments) {
        Ok(arguments) => collect(&arguments, "", 0, &mut found),
        Err(_) if arguments.contains(PATCH) => found.extend(of_patch(arguments)),
        Err(_) => {}
    }
    found
}

fn collect(value: &Value, key: &str, depth: usize, found: &mut Vec<String>) {
    match value {
        Value::String(text) if text.trim_start().starts_with(PATCH) => found.extend(of_patch(text)),
        Value::String(text) if CONTENTS.contains(&key) => found.push(text.clone()),
        Value::Array(values) if depth < MAX_DEPTH => {
            for value in values {
                collect(value, key, depth + 1, found);
            }
        }
        Value::Object(fields) if depth < MAX_DEPTH => {
            for (key, value) in fields {
                collect(value, key, depth + 1, found);
            }
        }
        _ => {}
    }
}

fn of_patch(patch: &str) -> impl Iterator<Item = String> {
    added(patch).into_iter().map(|part| part.text)
}

/// Most suggestions of one answer.
pub const MAX_SUGGESTIONS: usize = 64;

/// Most fingerprints of a suggestion.
pub const MAX_FINGERPRINTS: usize = 3 * MAX_OF_SCHEME + 1;

const MAX_OF_SCHEME: usize = 170;

/// Shorter ones, without white space, say nothing.
const MIN_BYTES: usize = 20;

/// Below this many bytes without white space a suggestion is short.
const SHORT_BYTES: usize = 250;

const MAX_DEPTH: usize = 8;

const PATCH: &str = "*** Begin Patch";

/// Keys of tool calls of known clients under which new texts of files stand.
const CONTENTS: &[&str] = &[
    "code",
    "content",
    "file_text",
    "insert_text",
    "newString",
    "new_str",
    "new_string",
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn texts(channel: &str, text: &str) -> Vec<String> {
        let content = json!([{ "channel": channel, "text": text }]).to_string();
        let found = suggestions(&content).into_iter();
        found.map(|found| found.text).collect()
    }

    const CODE: &str = "let total = items.iter().sum::<u64>();\n";

    #[test]
    fn fenced_code_of_a_chat_is_found() {
        let answer = format!("So:\n```rust\n{CODE}```\nand\n  ~~~~\n{CODE}~~~\n{CODE}~~~~\nbye");
        for channel in [
            "choices[0].delta.content",
            "content[0].text",
            "output[0].content[0].text",
        ] {
            assert_eq!(
                texts(channel, &answer),
                [CODE.to_owned(), format!("{CODE}~~~\n{CODE}")]
            );
        }
        assert_eq!(
            texts("choices[0].message.content", &format!("```\n{CODE}")),
            [CODE]
        );
    }

    #[test]
    fn ghost_text_is_code_as_a_whole_and_thinking_is_none() {
        assert_eq!(texts("choices[0].text", CODE), [CODE]);
        let fenced = format!("```\n{CODE}```");
        for channel in [
            "content[0].thinking",
            "choices[0].delta.reasoning_text",
            "output[0].summary[0].text",
        ] {
            assert_eq!(texts(channel, &fenced), [""; 0], "{channel}");
        }
    }

    #[test]
    fn what_tools_write_is_code() {
        let tool = "choices[0].delta.tool_calls[0].function.arguments";
        let call = json!({ "path": "a_rather_long_name_of_a_file.rs", "file_text": CODE });
        assert_eq!(texts(tool, &call.to_string()), [CODE]);
        let call = json!({ "edits": [{ "old_str": "x".repeat(40), "new_str": CODE }] });
        assert_eq!(texts("content[1].input", &call.to_string()), [CODE]);
        assert_eq!(texts("content[1].input.file_text", CODE), [CODE]);
        assert_eq!(texts("content[1].input.old_str", CODE), [""; 0]);
        let patch = format!("*** Begin Patch\n*** Add File: a\n+{CODE}*** End Patch");
        assert_eq!(texts("output[0].input", &patch), [CODE]);
        assert_eq!(texts(tool, &json!({ "input": patch }).to_string()), [CODE]);
        assert_eq!(texts(tool, "{\"file_text\":\"cut"), [""; 0]);
    }

    #[test]
    fn what_is_no_list_or_hardly_any_code_gives_nothing() {
        assert_eq!(suggestions("nonsense"), []);
        assert_eq!(suggestions(""), []);
        assert_eq!(texts("choices[0].text", "});\n  }\n"), [""; 0]);
    }

    #[test]
    fn a_long_suggestion_keeps_as_many_as_allowed() {
        let line = |number| {
            format!(
                "x{number} = {} + y{number} // or {number} of them\n",
                number * 7
            )
        };
        let text = (0..3000).map(line).collect::<Vec<_>>().concat();
        let found = Suggestion { text }.fingerprints();
        let all: usize = found.iter().map(|(_, values)| values.len()).sum();
        assert_eq!((found.len(), all), (4, MAX_FINGERPRINTS));
    }

    #[test]
    fn a_short_suggestion_has_its_own_scheme() {
        let found = Suggestion { text: CODE.into() }.fingerprints();
        let names: Vec<_> = found.iter().map(|(scheme, _)| scheme.name).collect();
        assert_eq!(names, ["whole.1", "text16.1", "shape12.1"]);
    }
}
