use std::rc::Rc;

use serde_json::{Value as Json, json};
use wildmatch::WildMatch;

use crate::provider::tests::{SECRET, masked, masker};
use crate::provider::{Api, CallPattern, Limits, ResponseMask, Unreadable, Watch};

const DONE: &str = "data: [DONE]\n\n";
const FINISH: &str = "tool_calls";

fn event(delta: &Json, finish: Option<&str>) -> String {
    let choice = json!({ "index": 0, "delta": delta, "finish_reason": finish });
    format!(
        "data: {}\n\n",
        json!({ "id": "u", "model": "m", "choices": [choice] })
    )
}

fn call(index: u64, name: Option<&str>, arguments: &str) -> String {
    let mut function = json!({ "arguments": arguments });
    if let Some(name) = name {
        function["name"] = name.into();
    }
    event(
        &json!({ "tool_calls": [{ "index": index, "function": function }] }),
        None,
    )
}

fn text(text: &str) -> String {
    event(&json!({ "content": text }), None)
}

fn end() -> String {
    event(&json!({}), Some(FINISH))
}

fn mask() -> ResponseMask {
    let pattern = CallPattern {
        rule: 3,
        name: WildMatch::new("bash"),
        arguments: WildMatch::new("*curl*"),
    };
    let watch = Watch {
        items: false,
        calls: vec![pattern],
    };
    ResponseMask::new(Api::Chat, masker(), &Limits::default(), Rc::new(watch))
}

fn push(mask: &mut ResponseMask, chunk: &str) -> String {
    let mut out = Vec::new();
    mask.push(chunk.as_bytes(), &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn released(mask: &mut ResponseMask) -> String {
    let mut out = Vec::new();
    mask.release(&mut out);
    String::from_utf8(out).unwrap()
}

fn ended(mask: &mut ResponseMask) -> String {
    let mut out = Vec::new();
    mask.end_readably("No.", &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_call_that_matches_waits_whole_and_leaves_as_it_came() {
    let parts = [
        call(0, Some("bash"), ""),
        call(0, None, "{\"command\": \"curl "),
        call(0, None, "x\"}"),
        end(),
    ];
    let stream = parts.concat();
    for size in [1, 7, 64, stream.len()] {
        let mut mask = mask();
        assert_eq!(push(&mut mask, &text("Let me see. ")), text("Let me see. "));
        for chunk in stream.as_bytes().chunks(size) {
            assert_eq!(push(&mut mask, std::str::from_utf8(chunk).unwrap()), "");
        }
        let due = mask.take_due().unwrap();
        assert_eq!(due.calls.len(), 1);
        assert_eq!(
            (&*due.calls[0].met, &*due.calls[0].name),
            (&[3][..], "bash")
        );
        assert_eq!(due.calls[0].excerpt, "{\"command\":\"curl x\"}");
        assert!(mask.take_due().is_none(), "one decision at a time");
        // What comes meanwhile waits behind it.
        assert_eq!(push(&mut mask, DONE), "");
        assert_eq!(released(&mut mask), format!("{stream}{DONE}"));
        assert_eq!(released(&mut mask), "");
    }
}

#[test]
fn calls_that_do_not_match_pass() {
    // Its name says that it will not match.
    let mut other = mask();
    let first = call(0, Some("ls"), "{\"command\":\"curl\"}");
    assert_eq!(push(&mut other, &first), first);
    assert_eq!(push(&mut other, &end()), end());
    assert!(other.take_due().is_none());
    // Its arguments show that it does not.
    let mut harmless = mask();
    let first = call(0, Some("bash"), "{\"command\":\"ls\"}");
    assert_eq!(push(&mut harmless, &first), "");
    assert_eq!(push(&mut harmless, &end()), format!("{first}{}", end()));
    assert!(harmless.take_due().is_none());
    assert_eq!(push(&mut harmless, DONE), DONE);
}

#[test]
fn what_is_refused_is_dropped_and_the_answer_ends() {
    let mut mask = mask();
    push(&mut mask, &text("Let me see. "));
    let rest = format!(
        "{}{}{DONE}",
        call(0, Some("bash"), "{\"command\":\"curl\"}"),
        end()
    );
    assert_eq!(push(&mut mask, &rest), "");
    assert!(mask.take_due().is_some());
    let out = ended(&mut mask);
    assert!(out.contains("\"content\":\"No.\"") && out.contains("\"finish_reason\":\"stop\""));
    assert!(out.ends_with(DONE) && !out.contains("curl"), "{out}");
    assert_eq!(push(&mut mask, &text("more")), "");
    assert_eq!(ended(&mut mask), "");
}

#[test]
fn a_refusal_leaves_calls_that_were_seen_to_the_client() {
    let mut mask = mask();
    let first = call(0, Some("ls"), "{}");
    assert_eq!(push(&mut mask, &first), first);
    assert_eq!(
        push(&mut mask, &call(1, Some("bash"), "{\"x\":\"curl\"}")),
        ""
    );
    assert_eq!(push(&mut mask, &end()), "");
    assert!(mask.take_due().is_some());
    let out = ended(&mut mask);
    assert!(out.contains("\"finish_reason\":\"tool_calls\""), "{out}");
}

#[test]
fn a_stream_that_ends_early_is_asked_for_too() {
    let mut mask = mask();
    assert_eq!(
        push(&mut mask, &call(0, Some("bash"), "{\"x\":\"curl\"}")),
        ""
    );
    let mut out = Vec::new();
    mask.finish(&mut out);
    assert!(out.is_empty());
    assert!(mask.take_due().is_some());
    let released = released(&mut mask);
    assert!(released.contains("curl"), "{released}");
}

#[test]
fn a_refusal_after_the_end_of_the_stream_is_said() {
    let mut mask = mask();
    push(&mut mask, &call(0, Some("bash"), "{\"x\":\"curl\"}"));
    mask.finish(&mut Vec::new());
    assert!(mask.take_due().is_some());
    let out = ended(&mut mask);
    assert!(out.contains("No.") && !out.contains("curl"), "{out}");
}

#[test]
fn names_and_numbers_may_come_late_but_do_not_change() {
    // Arguments before the name: nobody knows yet whether it matches.
    let mut late = mask();
    let nameless = call(0, None, "{\"x\":");
    assert_eq!(push(&mut late, &nameless), "");
    let named = call(0, Some("ls"), "1}");
    assert_eq!(push(&mut late, &named), format!("{nameless}{named}"));
    // Again and again the same name.
    let mut again = mask();
    push(&mut again, &call(0, Some("bash"), "{\"x\":"));
    push(&mut again, &call(0, Some("bash"), "\"curl\"}"));
    push(&mut again, &end());
    assert_eq!(again.take_due().unwrap().calls[0].name, "bash");
    // Another name for the same call.
    let mut other = mask();
    push(&mut other, &call(0, Some("ls"), ""));
    let mut out = Vec::new();
    let error = other.push(call(0, Some("bash"), "curl").as_bytes(), &mut out);
    assert_eq!((error, out.len()), (Err(Unreadable::WrongType), 0));
}

#[test]
fn what_waits_is_masked_and_bounded() {
    let arguments = json!({ "command": format!("curl -H {SECRET}") }).to_string();
    let mut secret = mask();
    push(&mut secret, &call(0, Some("bash"), &arguments));
    push(&mut secret, &end());
    let due = secret.take_due().unwrap();
    assert_eq!(due.calls[0].excerpt, masked(&arguments));
    assert!(!released(&mut secret).contains(SECRET));

    let mut long = mask();
    push(&mut long, &call(0, Some("bash"), ""));
    let piece = call(0, None, &"x ".repeat(20_000));
    let mut out = Vec::new();
    let error = (0..100).find_map(|_| long.push(piece.as_bytes(), &mut out).err());
    assert_eq!(error, Some(Unreadable::TooMuchHeld));
    assert!(out.is_empty());
    assert!(ended(&mut long).contains("No."));
}

#[test]
fn the_old_form_of_a_call_waits_too() {
    let mut mask = mask();
    let piece = |delta: Json| event(&json!({ "function_call": delta }), None);
    assert_eq!(
        push(
            &mut mask,
            &piece(json!({ "name": "bash", "arguments": "" }))
        ),
        ""
    );
    assert_eq!(
        push(
            &mut mask,
            &piece(json!({ "arguments": "{\"x\":\"curl\"}" }))
        ),
        ""
    );
    assert_eq!(
        push(&mut mask, &event(&json!({}), Some("function_call"))),
        ""
    );
    assert_eq!(mask.take_due().unwrap().calls.len(), 1);
}
