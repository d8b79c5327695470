//! Megabytes of decoded text in a second of processor time.

use std::rc::Rc;

use contract::Epoch;
use filter_core::json::push_string;
use filter_core::provider::{Api, Limits, ResponseMask, Watch, mask_request};
use filter_core::repeats::Repeats;
use filter_core::time::UnixTime;

use super::{in_pieces, masker, texts, time};

pub(super) fn run() {
    println!("## Decoded text, MB in a second of processor time\n");
    println!("| Text | Whole | In pieces | JSON to JSON | The same again | Stream: µs an event |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    row("code", &texts::code());
    row("prose", &texts::prose());
    row("code with secrets", &texts::code_with_secrets());
    println!();
}

fn row(name: &str, text: &str) {
    let pieces = texts::pieces(text);
    let whole = time(|| drop(masker().mask(text, &mut Vec::new())));
    let in_pieces = time(|| {
        in_pieces(pieces.iter().copied());
    });
    let body = request(text);
    let first = time(|| assert!(ask(Api::Chat, &body, &mut repeats())));
    let mut known = repeats();
    ask(Api::Chat, &body, &mut known);
    let again = time(|| assert!(ask(Api::Chat, &body, &mut known)));
    let stream: String = pieces.iter().map(|piece| event(piece)).collect();
    let events = time(|| assert!(answer(Api::Chat, stream.as_bytes(), 4096)));
    let mb = |time: std::time::Duration| text.len() as f64 / 1e6 / time.as_secs_f64();
    println!(
        "| {name} | {:.0} | {:.0} | {:.0} | {:.0} | {:.1} |",
        mb(whole),
        mb(in_pieces),
        mb(first),
        mb(again),
        events.as_secs_f64() * 1e6 / pieces.len() as f64,
    );
}

/// A chat request in messages of about 4 KB.
fn request(text: &str) -> Vec<u8> {
    let mut body = b"{\"model\":\"gpt-4.1\",\"messages\":[".to_vec();
    let mut rest = text;
    while !rest.is_empty() {
        let (message, after) = rest.split_at(rest.floor_char_boundary(4096));
        body.extend_from_slice(b"{\"role\":\"user\",\"content\":");
        push_string(&mut body, message);
        body.extend_from_slice(b"},");
        rest = after;
    }
    body.pop();
    body.extend_from_slice(b"]}");
    body
}

/// An event of a chat stream that says this.
fn event(piece: &str) -> String {
    let mut text = Vec::new();
    push_string(&mut text, piece);
    let text = String::from_utf8(text).expect("a JSON string");
    format!(
        "data: {{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1767225600,\"model\":\"gpt-4.1\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":{text}}},\"finish_reason\":null}}]}}\n\n"
    )
}

pub(super) fn repeats() -> Repeats {
    Repeats::new(&[7; 16], Epoch([0xab; 16]))
}

/// Masks a request of somebody who has sent what `repeats` knows.
pub(super) fn ask(api: Api, body: &[u8], repeats: &mut Repeats) -> bool {
    let texts = (repeats.of("mia"), UnixTime::default());
    let (limits, watch) = (Limits::default(), Watch::default());
    mask_request(api, &masker(), body, &limits, &watch, texts).is_ok()
}

/// Masks a stream that arrives in pieces of this length.
pub(super) fn answer(api: Api, stream: &[u8], length: usize) -> bool {
    let mut mask = ResponseMask::new(api, masker(), &Limits::default(), Rc::default());
    let (mut out, mut good) = (Vec::new(), true);
    for piece in stream.chunks(length) {
        good &= mask.push(piece, &mut out).is_ok();
        out.clear();
    }
    mask.finish(&mut out);
    good
}
