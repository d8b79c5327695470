//! The calls of an answer that comes in one piece, and what it says.

use std::borrow::Cow;

use crate::json::{Edits, Event, Path, Span, Step, Text, Value, walk};
use crate::provider::scan::channel_name;
use crate::provider::{Api, Unreadable};

use super::{Restore, Tool, is_writer};

/// Puts values back into the masked body of an answer; `None` if nothing goes back.
pub(in crate::provider) fn restore_whole(
    api: Api,
    restore: &mut Restore,
    body: &[u8],
) -> Option<Vec<u8>> {
    let mut calls = Calls {
        api,
        restore,
        body,
        call: Call::default(),
        edits: Edits::default(),
    };
    let walked = walk::<Unreadable>(body, &mut |path, event| {
        calls.see(path, event);
        Ok(())
    });
    let edits = calls.edits;
    walked.ok().filter(|()| !edits.is_empty())?;
    Some(edits.apply(body))
}

struct Calls<'r, 's> {
    api: Api,
    restore: &'r mut Restore,
    body: &'s [u8],
    call: Call<'s>,
    edits: Edits,
}

/// A call of which not all has been seen.
#[derive(Default)]
struct Call<'s> {
    kind: Option<Text<'s>>,
    name: Option<Text<'s>>,
    arguments: Option<(Span, Option<Text<'s>>)>,
    /// Its texts, if it is a message, and their names.
    texts: Vec<(Span, Text<'s>, String)>,
    number: usize,
}

impl<'s> Calls<'_, 's> {
    fn see(&mut self, path: &Path<'s>, event: Event<'s>) {
        let steps = path.steps();
        if let Event::Value(span, Value::Text(text)) = event
            && self.restore.tells()
            && is_said(self.api, &steps)
        {
            return self.tell(span, text, &channel_name(path));
        }
        let Some((number, rest)) = call(self.api, &steps) else {
            return;
        };
        let call = &mut self.call;
        call.number = number;
        match (rest, event) {
            ([Step::Key("type")], Event::Value(_, Value::Text(text))) => call.kind = Some(text),
            ([Step::Key("name")], Event::Value(_, Value::Text(text))) => call.name = Some(text),
            ([Step::Key("arguments" | "input")], Event::Value(span, Value::Text(text))) => {
                call.arguments = Some((span, Some(text)));
            }
            (
                [Step::Key("text")] | [Step::Key("content"), Step::Index(_), Step::Key("text")],
                Event::Value(span, Value::Text(text)),
            ) if self.restore.tells() => call.texts.push((span, text, channel_name(path))),
            ([Step::Key("input")], Event::Close(_, span)) => call.arguments = Some((span, None)),
            ([], Event::Close(..)) => {
                let call = std::mem::take(&mut self.call);
                self.close(&call);
            }
            _ => {}
        }
    }

    fn tell(&mut self, span: Span, text: Text<'_>, channel: &str) {
        if let Some(told) = self.restore.tell(&text.decode(), channel) {
            self.edits.replace_text(span, &told);
        }
    }

    fn close(&mut self, call: &Call<'s>) {
        let kind = call.kind.map(|kind| kind.decode());
        let (known, key) = match self.api {
            Api::Messages => (kind.as_deref() == Some("tool_use"), "input"),
            Api::Responses if kind.as_deref() == Some("custom_tool_call") => (true, "input"),
            Api::Responses => (kind.as_deref() == Some("function_call"), "arguments"),
            _ => (true, "arguments"),
        };
        match (self.api, kind.as_deref()) {
            (Api::Messages, Some("text")) | (Api::Responses, Some("message")) => {
                for (span, text, channel) in &call.texts {
                    self.tell(*span, *text, channel);
                }
            }
            _ => {}
        }
        let Some((span, text)) = call.arguments.filter(|_| known) else {
            return;
        };
        let Some(name) = call
            .name
            .map(|name| name.decode())
            .filter(|name| is_writer(name))
        else {
            return;
        };
        let number = call.number;
        let channel = match self.api {
            Api::Chat => format!("tool_calls[{number}].arguments"),
            Api::Messages => format!("content[{number}].{key}"),
            _ => format!("output[{number}].{key}"),
        };
        let arguments = if let Some(text) = text {
            text.decode()
        } else {
            let value = self.body.get(span.start..span.end).unwrap_or_default();
            Cow::Borrowed(std::str::from_utf8(value).unwrap_or_default())
        };
        let custom = kind.as_deref() == Some("custom_tool_call");
        let tool = Tool {
            name: name.into_owned(),
            custom,
        };
        let restored = self.restore.call(&tool, &arguments, &channel);
        match (restored, text) {
            (Some(restored), Some(_)) => self.edits.replace_text(span, &restored),
            (Some(restored), None) => self.edits.replace(span, restored.as_bytes()),
            (None, _) => {}
        }
    }
}

/// Whether a text is said to the person, and is not within an item of a list of several kinds.
fn is_said(api: Api, steps: &[Step<'_>]) -> bool {
    use Step::{Index, Key};
    match api {
        Api::Chat => matches!(
            steps,
            [Key("choices"), Index(_), Key("message"), Key("content")]
        ),
        Api::Completions => matches!(steps, [Key("choices"), Index(_), Key("text")]),
        Api::Code | Api::Ingest | Api::Mcp | Api::Messages | Api::Responses => false,
    }
}

/// The number of the call to which something belongs, and what it is of it.
fn call<'p, 'k>(api: Api, steps: &'p [Step<'k>]) -> Option<(usize, &'p [Step<'k>])> {
    use Step::{Index, Key};
    match (api, steps) {
        (Api::Chat, [Key("choices"), Index(_), Key("message"), rest @ ..]) => match rest {
            [Key("tool_calls"), Index(number), Key("function"), rest @ ..] => Some((*number, rest)),
            [Key("function_call"), rest @ ..] => Some((0, rest)),
            _ => None,
        },
        (Api::Messages, [Key("content"), Index(number), rest @ ..])
        | (Api::Responses, [Key("output"), Index(number), rest @ ..]) => Some((*number, rest)),
        _ => None,
    }
}
