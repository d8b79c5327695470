//! What was said in an exchange, from the content of its record (pure).

use serde_json::Value;

/// Words of somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// The role, or where in the answer it stood.
    pub(super) who: String,
    /// At most [`MAX_CHARACTERS`].
    pub(super) text: String,
}

/// The words of a request that were new in it; what is no JSON any more, since it was cut, as it is.
pub(super) fn asked(content: &str) -> Vec<Said> {
    let mut said = Vec::new();
    match serde_json::from_str(content) {
        Ok(body) => gather(&body, "asked", false, &mut said),
        Err(_) => add("asked", content, &mut said),
    }
    said
}

/// The words of an answer.
pub(super) fn answered(content: &str) -> Vec<Said> {
    let mut said = Vec::new();
    match serde_json::from_str::<Vec<Value>>(content) {
        Ok(parts) => {
            for part in &parts {
                let of = |name: &str| part[name].as_str().unwrap_or_default();
                add(
                    &format!("answered ({})", of("channel")),
                    of("text"),
                    &mut said,
                );
            }
        }
        Err(_) => add("answered", content, &mut said),
    }
    said
}

fn gather(value: &Value, who: &str, is_word: bool, said: &mut Vec<Said>) {
    match value {
        Value::String(text) if is_word && !text.starts_with("seen:") => add(who, text, said),
        Value::Array(parts) => {
            for part in parts {
                gather(part, who, is_word, said);
            }
        }
        Value::Object(fields) => {
            let who = fields.get("role").and_then(Value::as_str).unwrap_or(who);
            for (name, part) in fields {
                gather(part, who, WORDS.contains(&name.as_str()), said);
            }
        }
        _ => {}
    }
}

fn add(who: &str, text: &str, said: &mut Vec<Said>) {
    if text.is_empty() || said.len() >= MAX_TEXTS {
        return;
    }
    let mut cut: String = text.chars().take(MAX_CHARACTERS).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    said.push(Said {
        who: who.to_owned(),
        text: cut,
    });
}

/// Members of requests whose strings are words.
const WORDS: [&str; 8] = [
    "arguments",
    "content",
    "input",
    "instructions",
    "output",
    "prompt",
    "suffix",
    "text",
];

/// Longest text that is shown.
const MAX_CHARACTERS: usize = 4_000;

/// Texts of a request or of an answer that are shown.
const MAX_TEXTS: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(said: Vec<Said>) -> Vec<(String, String)> {
        said.into_iter().map(|it| (it.who, it.text)).collect()
    }

    #[test]
    fn new_words_are_told_and_known_ones_are_not() {
        let body = r#"{"model":"m","messages":[
            {"role":"user","content":"seen:0123:4:5+600"},
            {"role":"user","content":[{"type":"text","text":"and now?"}]}]}"#;
        assert_eq!(of(asked(body)), [("user".into(), "and now?".into())]);
        let prompt = r#"{"prompt":"fn a(","suffix":"}","n":1}"#;
        let words = asked(prompt).into_iter().map(|it| it.text);
        assert_eq!(words.collect::<Vec<_>>(), ["fn a(", "}"]);
        assert_eq!(of(asked("{\"cut")), [("asked".into(), "{\"cut".into())]);
        assert_eq!(asked(""), []);
    }

    #[test]
    fn answers_are_told_by_channel() {
        let content = r#"[{"channel":"choices[0].content","text":"Here."}]"#;
        let expected = ("answered (choices[0].content)".into(), "Here.".into());
        assert_eq!(of(answered(content)), [expected]);
        let long = "é".repeat(5_000);
        let cut = answered(&long).remove(0).text;
        assert_eq!(cut.chars().count(), 4_001);
    }
}
