//! Time for a byte of hostile input: it must not grow with the length.

use filter_core::provider::{Api, Limits, Watch, mask_response};

use super::{in_pieces, masker, speed, time};

/// What texts are made of: almost secrets, and what stands around them.
pub(super) const PARTS: [&str; 36] = [
    concat!("ghp_", "jIUnA23PAKkQWF0oNemVaEORxEfz"),
    concat!("ghp_", "jIUnA23PAKkQWF0oNemVaEORxEfz "),
    "eyJ-eyJ-",
    "eyJhbGciOiJIUzI1NiJ9.",
    "password=",
    "password=\"",
    "password: ",
    "password=\\",
    "token \\\"",
    "name: password, value: ",
    "AKIA",
    concat!("AKIA", "BJ6R5MDZ3IDV7PNW,"),
    concat!("-----BEGIN ", "PRIVATE KEY-----"),
    concat!("-----BEGIN ", "PRIVATE KEY-----\nMIIBVgIBADANBgkqhkiG9w0\n"),
    "MIIBVgIBADANBgkqhkiG9w0BAQEFQ2xhc3NpY2FsTXVzaWNJc0dyZWF0",
    "LS0tLS1CRUdJTi",
    "://",
    "://a:",
    "https://hooks.slack.com/",
    "a:1:b:",
    "curl -u a:",
    "MASKED_",
    "MASKED_PASSWORD_ABCDEFGHIJKLMNO",
    "a",
    "Aa1_",
    "a-",
    "\\",
    "\\n",
    "\"",
    ".",
    "%",
    "%20",
    "\n",
    " ",
    "é",
    "T3BlbkFJ",
];

const SIZES: [usize; 4] = [1 << 10, 1 << 15, 1 << 20, 20 << 20];

pub(super) fn run() {
    texts();
    messages();
    events();
}

fn texts() {
    println!("## Hostile texts, ns a byte\n");
    println!(
        "| Repeated | 1 KiB | 32 KiB | 1 MiB | 20 MiB | in pieces of 8: 1 KiB | 32 KiB | 1 MiB |"
    );
    println!("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for part in PARTS {
        let mut row = format!("| `{}` |", part.escape_debug());
        for size in SIZES {
            let text = part.repeat(size / part.len());
            let time = time(|| drop(masker().mask(&text, &mut Vec::new())));
            row += &format!(" {:.1} |", time.as_nanos() as f64 / text.len() as f64);
        }
        for size in &SIZES[..3] {
            let text = part.repeat(size / part.len());
            let cuts = (0..=text.len())
                .step_by(8)
                .map(|at| text.floor_char_boundary(at));
            let cuts: Vec<usize> = cuts.chain([text.len()]).collect();
            let time = time(|| {
                in_pieces(cuts.windows(2).map(|cut| &text[cut[0]..cut[1]]));
            });
            row += &format!(" {:.1} |", time.as_nanos() as f64 / text.len() as f64);
        }
        println!("{row}");
    }
    println!();
}

/// A message of about this many bytes.
type Made = fn(usize) -> String;

const MESSAGES: [(&str, Made); 9] = [
    ("one message with one long text", |size| {
        body(&"a b ".repeat(size / 4))
    }),
    ("one message, all escapes", |size| {
        body(&"\\u0061".repeat(size / 6))
    }),
    ("one message, all secrets", |size| {
        body(&concat!("ghp", "_jIUnA23PAKkQWF0oNemVaEORxEfzuZNoiXXk ").repeat(size / 41))
    }),
    ("messages of one letter", |size| {
        let message = "{\"role\":\"user\",\"content\":\"a\"},";
        let messages = message.repeat(size / message.len());
        format!("{{\"messages\":[{}]}}", messages.trim_end_matches(','))
    }),
    ("nesting 60 deep, side by side", |size| {
        let part = format!("{}1{},", "[".repeat(60), "]".repeat(60));
        field("x", &format!("[{}1]", part.repeat(size / part.len())))
    }),
    ("objects 60 deep, side by side", |size| {
        let part = format!("{}1{},", "{\"a\":".repeat(60), "}".repeat(60));
        field("x", &format!("[{}1]", part.repeat(size / part.len())))
    }),
    ("one huge key", |size| field(&"k".repeat(size), "1")),
    ("many keys in one object", |size| {
        let keys: Vec<_> = (0..size / 12).map(|at| format!("\"k{at:07}\":1")).collect();
        field("x", &format!("{{{}}}", keys.join(",")))
    }),
    ("numbers", |size| {
        field("x", &format!("[{}1]", "1,".repeat(size / 2)))
    }),
];

fn messages() {
    println!("## Hostile messages, ns a byte: request; answer\n");
    println!("| Message | 1 KiB | 32 KiB | 1 MiB | 16 MiB |");
    println!("| --- | ---: | ---: | ---: | ---: |");
    for (name, make) in MESSAGES {
        let mut row = format!("| {name} |");
        for size in [1 << 10, 1 << 15, 1 << 20, 16 << 20] {
            let body = make(size);
            let mut good = true;
            let request = time(|| {
                good &= speed::ask(Api::Chat, body.as_bytes(), &mut speed::repeats());
            });
            let (limits, watch) = (Limits::default(), Watch::default());
            let answer = time(|| {
                let masked =
                    mask_response(Api::Chat, &masker(), body.as_bytes(), &limits, &watch, None);
                good &= masked.is_ok();
            });
            let each = |time: std::time::Duration| time.as_nanos() as f64 / body.len() as f64;
            let refused = if good { "" } else { " refused" };
            row += &format!(" {:.1}; {:.1}{refused} |", each(request), each(answer));
        }
        println!("{row}");
    }
    println!();
}

/// A stream of this many events.
const STREAMS: [(&str, Api, Made); 8] = [
    ("chat, one letter each", Api::Chat, |count| {
        says("\"content\":\"a\"").repeat(count)
    }),
    ("chat, without text", Api::Chat, |count| {
        says("").repeat(count)
    }),
    ("chat, a key name and a quote each", Api::Chat, |count| {
        says("\"content\":\"password=\\\"\"").repeat(count)
    }),
    ("chat, 60 tool calls in turn", Api::Chat, |count| {
        let call = |at| {
            format!("\"tool_calls\":[{{\"index\":{at},\"function\":{{\"arguments\":\"a\"}}}}]")
        };
        (0..count).map(|at| says(&call(at % 60))).collect()
    }),
    ("comments", Api::Chat, |count| ":\n".repeat(count)),
    ("empty lines", Api::Chat, |count| "\n".repeat(count)),
    ("messages, one letter each", Api::Messages, |count| {
        typed("\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"a\"}").repeat(count)
    }),
    ("responses, one letter each", Api::Responses, |count| {
        typed("\"response.output_text.delta\",\"item_id\":\"i\",\"output_index\":0,\"content_index\":0,\"delta\":\"a\"").repeat(count)
    }),
];

fn events() {
    println!("## Hostile streams, ns an event\n");
    println!("| Stream | 1,000 | 10,000 | 100,000 | 1,000,000 |");
    println!("| --- | ---: | ---: | ---: | ---: |");
    for (name, api, make) in STREAMS {
        let mut row = format!("| {name} |");
        for count in [1_000, 10_000, 100_000, 1_000_000] {
            let stream = make(count);
            let mut good = true;
            let time = time(|| good &= speed::answer(api, stream.as_bytes(), 4096));
            let refused = if good { "" } else { " refused" };
            row += &format!(" {:.0}{refused} |", time.as_nanos() as f64 / count as f64);
        }
        println!("{row}");
    }
    println!("\n## One event that arrives byte by byte, ns a byte\n");
    println!("| Event | 1 KiB | 32 KiB | 1,000 KiB |");
    println!("| --- | ---: | ---: | ---: |");
    let made: [(&str, Made); 3] = [
        ("one long text", |size| {
            format!(
                "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{}\"}}}}]}}\n\n",
                "a ".repeat(size / 2)
            )
        }),
        ("many lines of data", |size| {
            format!("{}\n", "data: 1\n".repeat(size / 8))
        }),
        ("one long line that is no data", |size| {
            format!("x: {}\n\n", "a ".repeat(size / 2))
        }),
    ];
    for (name, make) in made {
        let mut row = format!("| {name} |");
        for size in [1 << 10, 1 << 15, 1000 << 10] {
            let stream = make(size);
            let mut good = true;
            let time = time(|| good &= speed::answer(Api::Chat, stream.as_bytes(), 1));
            let refused = if good { "" } else { " refused" };
            row += &format!(
                " {:.1}{refused} |",
                time.as_nanos() as f64 / stream.len() as f64
            );
        }
        println!("{row}");
    }
    println!();
}

/// A chat request with one message; the text is written as it stands.
fn body(text: &str) -> String {
    format!("{{\"model\":\"m\",\"messages\":[{{\"role\":\"user\",\"content\":\"{text}\"}}]}}")
}

/// A chat request with one more field.
fn field(key: &str, value: &str) -> String {
    format!("{{\"messages\":[],\"{key}\":{value}}}")
}

/// An event of a chat stream with this in its delta.
pub(super) fn says(delta: &str) -> String {
    format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{{delta}}}}}]}}\n\n")
}

/// An event whose type, and what else is in it, is this.
fn typed(rest: &str) -> String {
    format!("data: {{\"type\":{rest}}}\n\n")
}
