//! The APIs around the chat: embeddings, the workspace index, MCP.
//!
//! - *Code*: `/embeddings`, `/chunks`, search and match of code. Requests are code in any field, so
//!   every string is text; answers are numbers, places and pieces of code.
//! - *Ingest*: `/external/code/ingest*`, whole files in base64. What decodes to text is masked and
//!   encoded again; what does not is a file that was not looked at.
//! - *MCP*: JSON-RPC, whose `tools/call` is a tool call; an answer is JSON or a stream of it.
//!
//! All but plain embeddings act with a person's own rights, so with a shared credential their
//! endpoints are refused before any of this is asked.

use crate::json::Step::{self, Index, Key};
use crate::json::push_string;

use super::item::{OWN_TEXT, Part};
use super::{Count, Place, UnscannedReason};

/// Root keys of all three of which no other spelling is taken.
pub(super) const DECIDING_KEYS: &[&str] = &["model", "input", "method", "params", "content"];

pub(super) fn code_place(steps: &[Step<'_>]) -> Place {
    match steps {
        [Key("model")] => Place::Model,
        [Key("input"), ..] => Place::Prompt,
        [Key("usage"), Key("prompt_tokens" | "total_tokens")] => Place::Count(Count::Input),
        // Vectors may come in base64.
        [Key("data"), Index(_), Key("embedding")] => Place::Blob(UnscannedReason::Opaque),
        _ => Place::Text,
    }
}

pub(super) fn ingest_place(steps: &[Step<'_>]) -> Place {
    match steps {
        [.., Key("content")] => Place::Encoded,
        _ => Place::Text,
    }
}

pub(super) fn mcp_place(steps: &[Step<'_>]) -> Place {
    match steps {
        [Key("jsonrpc" | "method" | "id")] => Place::Name,
        [Key("params"), Key("name")] => Place::CallName,
        [Key("result"), Key("content"), Index(_), Key("data")] => {
            Place::Blob(UnscannedReason::Image)
        }
        [
            Key("result"),
            Key("content"),
            Index(_),
            Key("resource"),
            Key("blob"),
        ]
        | [Key("result"), Key("contents"), Index(_), Key("blob")] => {
            Place::Blob(UnscannedReason::File)
        }
        _ => Place::Text,
    }
}

/// Code is the user's.
pub(super) fn code_part(_: &[Step<'_>]) -> Part {
    Part::Text {
        role: Some("user"),
        kind: "text",
    }
}

pub(super) fn mcp_part(steps: &[Step<'_>]) -> Part {
    match steps {
        [Key("params")] => Part::Call,
        [Key("params"), Key("arguments")] => Part::Arguments,
        [Key("params"), Key("arguments"), ..] => Part::InArguments,
        _ => OWN_TEXT,
    }
}

/// Appends an error of ours as an event of JSON-RPC.
pub(super) fn push_error(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(
        b"data: {\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32000,\"message\":",
    );
    push_string(out, text);
    out.extend_from_slice(b"}}\n\n");
}
