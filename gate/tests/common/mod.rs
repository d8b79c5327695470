//! What the command line's tests share: a service that is played here.

use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::{Arc, Mutex},
};

use serde_json::Value;

/// Head, and body of each request.
pub(crate) type Seen = Arc<Mutex<Vec<(String, Value)>>>;

/// Answers each connection's one request, which may have no body; gives the port, and what was seen.
/// Where the answer is null, there is nothing (404).
pub(crate) fn serve(status: u16, answer: impl Fn(&Value) -> Value + Send + 'static) -> (u16, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Seen::default();
    let noted = Arc::clone(&seen);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut bytes = Vec::new();
            let mut piece = [0; 4096];
            let (head, body) = loop {
                let count = stream.read(&mut piece).unwrap();
                bytes.extend_from_slice(&piece[..count]);
                let text = String::from_utf8_lossy(&bytes).into_owned();
                let Some((head, body)) = text.split_once("\r\n\r\n") else {
                    continue;
                };
                let lower = head.to_lowercase();
                let length = lower.split("content-length: ").nth(1);
                let length = length.map_or("0", |length| length.lines().next().unwrap());
                if body.len() >= length.parse().unwrap() {
                    let body = serde_json::from_str(body);
                    break (head.to_owned(), body.unwrap_or(Value::Null));
                }
            };
            let answer = answer(&body);
            let status = if answer.is_null() { 404 } else { status };
            let answer = answer.to_string();
            noted.lock().unwrap().push((head, body));
            let length = answer.len();
            write!(
                stream,
                "HTTP/1.1 {status} Whatever\r\ncontent-type: application/json\r\n\
                 connection: close\r\ncontent-length: {length}\r\n\r\n{answer}"
            )
            .unwrap();
        }
    });
    (port, seen)
}
