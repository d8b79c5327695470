//! Whole requests, answers and streams: placeholders stand for the secrets, all other bytes stay.

use std::rc::Rc;

use contract::Epoch;
use filter_core::provider::{Api, Limits, ResponseMask, Watch, mask_request, mask_response};
use filter_core::repeats::Repeats;
use filter_core::time::UnixTime;

use super::masker;

/// What stands in messages for a secret, the secret, and what it becomes.
const SECRETS: [(char, &str, &str); 2] = [
    (
        '¹',
        concat!("ghp", "_jIUnA23PAKkQWF0oNemVaEORxEfzuZNoiXXk"),
        "MASKED_GITHUB_PAT_KDMM6AUKCM7I4SE6",
    ),
    (
        '²',
        concat!("hunter", "2-Xq"),
        "MASKED_PASSWORD_BUTT4B2NO3BUCKAZ",
    ),
];

const REQUESTS: [(Api, &str); 5] = [
    (
        Api::Chat,
        r#"{"model":"gpt-4.1","stream":true,"messages":[{"role":"system","content":"\u00e4 \ud83d\ude00 \/"},{"role":"user","content":[{"type":"text","text":"Ä😀 PASSWORD=\"²\"\nx"}]},{"role":"assistant","content":null,"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{\"k\":\"¹\"}"}}]}],"temperature":0.10}"#,
    ),
    (
        Api::Completions,
        r#"{"prompt":"let key = '¹';\n","suffix":"\tPASSWORD='²' \u0000","max_tokens":500,"n":1,"stream":true}"#,
    ),
    (
        Api::Messages,
        r#"{"model":"claude-sonnet-4","max_tokens":64,"system":"¹","messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":"export DB_PASSWORD=\"²\"\n¹"}]}]}"#,
    ),
    (
        Api::Responses,
        r#"{"model":"gpt-5","input":[{"type":"message","role":"user","content":[{"type":"input_text","text":"a ¹ b"}]},{"type":"function_call_output","call_id":"c","output":"¹"}]}"#,
    ),
    (
        Api::Code,
        r#"{"input":["¹","no secret"],"model":"text-embedding-3-small"}"#,
    ),
];

const ANSWERS: [(Api, &str); 3] = [
    (
        Api::Chat,
        r#"{"id":"c","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"use ¹ here"},"finish_reason":"stop"}],"usage":{"prompt_tokens":18446744073709551615}}"#,
    ),
    (
        Api::Messages,
        r#"{"id":"m","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"PASSWORD=\"²\" "}],"stop_reason":"end_turn"}"#,
    ),
    (
        Api::Responses,
        r#"{"id":"r","model":"m","status":"completed","output":[{"type":"message","id":"i","content":[{"type":"output_text","text":"¹","annotations":[]}]}]}"#,
    ),
];

/// Streams as they come and as they leave; `·` stands for the end of one event and `data: `.
const STREAMS: [(Api, &str, &str); 3] = [
    (
        Api::Chat,
        r#"{"choices":[{"index":0,"delta":{"content":"x ghp_"}}]}·{"choices":[{"index":1,"delta":{"content":"PASSWORD=\"²\" "}}]}·{"choices":[{"index":0,"delta":{"content":"jIUnA23PAKkQWF0oNemVaEORxEfzuZNoiXXk y "}}]}·{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}·[DONE]"#,
        r#"{"choices":[{"index":0,"delta":{"content":"x "}}]}·{"choices":[{"index":1,"delta":{"content":"PASSWORD=\"²\" "}}]}·{"choices":[{"index":0,"delta":{"content":"¹ y "}}]}·{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}·[DONE]"#,
    ),
    (
        Api::Completions,
        r#"{"choices":[{"index":0,"text":"key = '¹';"}]}·{"choices":[{"index":0,"text":" \ud83d"}]}·{"choices":[{"index":0,"text":"\ude00 ","finish_reason":"stop"}]}·[DONE]"#,
        r#"{"choices":[{"index":0,"text":"key = '¹';"}]}·{"choices":[{"index":0,"text":" "}]}·{"choices":[{"index":0,"text":"😀 ","finish_reason":"stop"}]}·[DONE]"#,
    ),
    (
        Api::Messages,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}·{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a ¹ "}}·{"type":"content_block_stop","index":0}·{"type":"message_stop"}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}·{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a ¹ "}}·{"type":"content_block_stop","index":0}·{"type":"message_stop"}"#,
    ),
];

/// Runs all vectors; gives their number.
pub(super) fn run() -> usize {
    for (api, message) in REQUESTS {
        let (body, expected) = filled(message);
        let mut repeats = Repeats::new(&[7; 16], Epoch([0xab; 16]));
        let texts = (repeats.of("mia"), UnixTime::default());
        let (limits, watch) = (Limits::default(), Watch::default());
        let request = mask_request(api, &masker(), body.as_bytes(), &limits, &watch, texts);
        let masked = request.unwrap_or_else(|error| panic!("{error}: {body}"));
        assert_eq!(text(masked.body.as_deref()), expected);
    }
    for (api, message) in ANSWERS {
        let (body, expected) = filled(message);
        let (limits, watch) = (Limits::default(), Watch::default());
        let answer = mask_response(api, &masker(), body.as_bytes(), &limits, &watch, None);
        let masked = answer.unwrap_or_else(|error| panic!("{error}: {body}"));
        assert_eq!(text(masked.body.as_deref()), expected);
    }
    for (api, came, left) in STREAMS {
        for end in ["\n", "\r\n"] {
            let [came, left] = [came, left].map(|events| {
                format!("data: {events}·").replace('·', &format!("{end}{end}data: "))
            });
            let (came, left) = (
                came.trim_end_matches("data: "),
                left.trim_end_matches("data: "),
            );
            let (stream, expected) = (filled(came).0, filled(left).1);
            for length in [1, 2, 3, 7, stream.len()] {
                let mut mask = ResponseMask::new(api, masker(), &Limits::default(), Rc::default());
                let mut out = Vec::new();
                for piece in stream.as_bytes().chunks(length) {
                    mask.push(piece, &mut out)
                        .unwrap_or_else(|error| panic!("{error}: {stream}"));
                }
                mask.finish(&mut out);
                assert_eq!(text(Some(&out)), expected, "pieces of {length}");
            }
        }
    }
    REQUESTS.len() + ANSWERS.len() + 2 * STREAMS.len()
}

/// A message with the secrets, and with what stands for them.
fn filled(message: &str) -> (String, String) {
    SECRETS.iter().fold(
        (message.to_owned(), message.to_owned()),
        |(body, expected), (sign, secret, placeholder)| {
            (
                body.replace(*sign, secret),
                expected.replace(*sign, placeholder),
            )
        },
    )
}

fn text(bytes: Option<&[u8]>) -> &str {
    std::str::from_utf8(bytes.expect("something is masked")).unwrap()
}
