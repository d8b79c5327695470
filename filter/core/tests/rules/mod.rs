//! Rules by detector and direction, and exemptions.

use super::*;

/// An invented token of another vendor.
const OTHER: &str = concat!("sk_", "live_4eC39HqLyjWDarjtT1zdp7dcXq81");

fn with(rules: Value, exemptions: Value) -> Bench {
    Bench::with(move |config| {
        config["rules"] = rules;
        config["masking"] = json!({ "exemptions": exemptions });
    })
}

fn rule(name: &str, findings: &Value, then: &str) -> Value {
    json!({ "name": name, "when": { "findings": findings }, "then": then })
}

fn sent(step: Step, given: &str) -> String {
    let body = forwarded(step).body;
    body.map_or_else(|| given.to_owned(), |body| String::from_utf8(body).unwrap())
}

/// A streamed answer of one choice in these pieces; gives what the caller sees.
fn heard(bench: &mut Bench, exchange: &mut Exchange, pieces: &[&str]) -> String {
    let _headers = bench.answered(exchange, "200", "text/event-stream");
    let mut out = String::new();
    let event = |delta: Value| {
        let event = json!({ "choices": [{ "index": 0, "delta": delta }] });
        format!("data: {event}\n\n")
    };
    let mut push = |chunk: &str, end| {
        let step = exchange.response_body(&mut bench.worker, chunk.as_bytes(), end, NOW);
        let body = forwarded(step).body.unwrap_or_default();
        out.push_str(std::str::from_utf8(&body).unwrap());
    };
    for piece in pieces {
        push(&event(json!({ "content": piece })), false);
    }
    push("data: [DONE]\n\n", true);
    out
}

/// What the content of all events says.
fn said(out: &str) -> String {
    let events = out.lines().filter_map(|line| line.strip_prefix("data: {"));
    events
        .map(|event| {
            let event: Value = serde_json::from_str(&format!("{{{event}")).unwrap();
            let delta = &event["choices"][0]["delta"]["content"];
            delta.as_str().unwrap_or_default().to_owned()
        })
        .collect()
}

fn actions(envelope: &Envelope) -> Vec<(String, String, String)> {
    let findings: Vec<Value> = serde_json::from_str(envelope.findings()).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    findings
        .iter()
        .map(|it| {
            (
                text(&it["detector"]),
                text(&it["direction"]),
                text(&it["action"]),
            )
        })
        .collect()
}

fn fingerprint(envelope: &Envelope) -> String {
    let findings: Value = serde_json::from_str(envelope.findings()).unwrap();
    findings[0]["fingerprint"].as_str().unwrap().to_owned()
}

fn own(all: &[(&str, &str, &str)]) -> Vec<(String, String, String)> {
    let own = |(a, b, c): &(&str, &str, &str)| ((*a).to_owned(), (*b).to_owned(), (*c).to_owned());
    all.iter().map(own).collect()
}

#[test]
fn a_detector_that_is_allowed_passes_beside_one_that_is_masked() {
    let findings = json!({ "at_least": 1, "detectors": ["github-*"] });
    let mut bench = with(json!([rule("ours", &findings, "allow")]), json!([]));
    let given = body(&format!("a {TOKEN} b {OTHER} c"));
    let (mut exchange, step) = bench.chat(&given);
    let body = sent(step, &given);
    assert!(
        body.contains(TOKEN) && !body.contains(OTHER) && body.contains("MASKED_STRIPE"),
        "{body}"
    );
    // Answers are another direction.
    let (start, rest) = TOKEN.split_at(9);
    let out = heard(&mut bench, &mut exchange, &["x ", start, rest, " y"]);
    assert!(!out.contains(TOKEN) && said(&out).contains("MASKED_GITHUB_PAT"));
    let envelope = bench.finish(exchange, 200);
    let expected = [
        ("github-pat", "request", "allow"),
        ("stripe-secret", "request", "mask"),
        ("github-pat", "response", "mask"),
    ];
    assert_eq!(actions(&envelope), own(&expected));
    assert_eq!(envelope.decision(), "mask");
}

#[test]
fn each_finding_names_the_rule_that_decided_over_it() {
    let of = |least: u64, direction: &str, detector: &str| json!({ "at_least": least, "direction": direction, "detectors": [detector] });
    let mut bench = with(
        json!([
            rule("ours", &of(1, "request", "github-*"), "allow"),
            rule("some", &of(1, "any", "stripe-*"), "mask"),
            rule("many", &of(2, "request", "jwt"), "deny"),
            rule("no_tokens", &of(1, "answer", "github-*"), "deny"),
        ]),
        json!([]),
    );
    let jwt = concat!(
        "eyJhbGciOiJIUzI1NiJ9.",
        "eyJzdWIiOiIxIn0.",
        "c2lnbmF0dXJlMTIzNDU2"
    );
    let given = body(&format!("a {TOKEN} b {OTHER} c {jwt} d"));
    let (mut exchange, _) = bench.chat(&given);
    let _out = heard(&mut bench, &mut exchange, &[OTHER, " x ", TOKEN, " y"]);
    let envelope = bench.finish(exchange, 200);
    let findings: Value = serde_json::from_str(envelope.findings()).unwrap();
    let named = findings.as_array().unwrap().iter();
    let named: Vec<_> = named
        .map(|it| (it["detector"].as_str().unwrap(), it["rule"].as_str()))
        .collect();
    let expected = [
        ("github-pat", Some("ours")),
        ("stripe-secret", Some("some")),
        ("jwt", None), // one is not many
        ("stripe-secret", Some("some")),
        ("github-pat", Some("no_tokens")),
    ];
    assert_eq!(named, expected);
    assert_eq!(envelope.rule(), "no_tokens");
}

#[test]
fn what_is_allowed_in_answers_reaches_the_caller_in_any_cut_and_never_the_record() {
    let findings = json!({ "at_least": 1, "direction": "answer" });
    let rules = json!([rule("answers", &findings, "allow")]);
    let text = format!("take {TOKEN}, \"{OTHER}\"\n and so on");
    for cut in 0..text.len() {
        let mut bench = with(rules.clone(), json!([]));
        let given = body("hello");
        let (mut exchange, _) = bench.chat(&given);
        let (start, rest) = text.split_at(cut);
        let out = heard(&mut bench, &mut exchange, &[start, rest]);
        assert_eq!(said(&out), text, "{cut}");
        let end = End {
            status: 200,
            caller_left: false,
        };
        let closed = exchange.finish(&mut bench.worker, end, NOW).unwrap();
        let record = String::from_utf8_lossy(&closed.record);
        assert!(!record.contains(TOKEN) && record.contains("MASKED_GITHUB_PAT"));
        let counted = closed.findings.get(&("response", "github-pat"));
        assert_eq!(counted, Some(&1));
    }
}

#[test]
fn an_exempt_value_passes_both_ways_until_its_last_day_is_over() {
    let mut bench = with(json!([]), json!([]));
    let given = body(&format!("a {TOKEN} b"));
    let (exchange, _) = bench.chat(&given);
    let fingerprint = fingerprint(&bench.finish(exchange, 200));
    // 2027-01-15 in UTC
    for (until, passes) in [("2027-01-15", true), ("2027-01-14", false)] {
        let exempt = json!([{
            "fingerprint": fingerprint, "owner": "tests", "reason": "invented", "until": until
        }]);
        let deny = rule(
            "none",
            &json!({ "at_least": 1, "direction": "any" }),
            "deny",
        );
        let rules = if passes { json!([deny]) } else { json!([]) };
        let mut bench = with(rules, exempt);
        let (mut exchange, step) = bench.chat(&given);
        assert_eq!(sent(step, &given).contains(TOKEN), passes, "{until}");
        let out = heard(&mut bench, &mut exchange, &[TOKEN, " ."]);
        assert_eq!(said(&out).contains(TOKEN), passes, "{until}");
        let envelope = bench.finish(exchange, 200);
        let action = if passes { "exempt" } else { "mask" };
        let expected = [
            ("github-pat", "request", action),
            ("github-pat", "response", action),
        ];
        assert_eq!(actions(&envelope), own(&expected));
        assert_eq!(envelope.decision(), if passes { "allow" } else { "mask" });
    }
}

#[test]
fn a_text_that_was_sent_while_a_value_was_exempt_is_masked_when_it_is_not() {
    let hidden = data_encoding::BASE64.encode(TOKEN.as_bytes());
    for secret in [TOKEN, &hidden] {
        let given = body(&format!("{} {secret} b", "some words, ".repeat(20)));
        let mut bench = with(json!([]), json!([]));
        let (exchange, _) = bench.chat(&given);
        let exempt = json!([{
            "fingerprint": fingerprint(&bench.finish(exchange, 200)),
            "owner": "tests", "reason": "invented", "until": "2027-01-15"
        }]);
        let mut bench = with(json!([]), exempt);
        for _ in 0..2 {
            let (_, step) = bench.chat(&given);
            assert!(sent(step, &given).contains(secret));
        }
        let (mut exchange, _) = bench.begin(bench.headers("POST", "/chat/completions", &[]), false);
        let next_day = NOW + std::time::Duration::from_hours(16);
        let step = exchange.request_body(&mut bench.worker, given.as_bytes(), next_day);
        assert!(!sent(step, &given).contains(secret));
    }
}

#[test]
fn while_the_gateway_observes_nothing_changes_but_the_record() {
    let rules = json!([
        rule("none", &json!({ "at_least": 1, "direction": "any" }), "deny"),
        {
            "name": "shell", "then": "ask_approval", "approvers": "security",
            "when": { "tool_call": { "name": "bash", "arguments": "*curl*" } },
        },
    ]);
    // 2027-01-15 in UTC
    for (until, observes) in [("2027-01-15", true), ("2027-01-14", false)] {
        let rules = rules.clone();
        let mut bench = Bench::with(|config| {
            config["enforcement"] = json!("observe");
            config["observe_until"] = json!(until);
            config["rules"] = rules;
            config["approvals"] =
                json!({ "cluster": "desk", "public_url": "https://desk.example" });
        });
        let given = body(&format!("a {TOKEN} b"));
        let (mut exchange, step) = bench.chat(&given);
        if !observes {
            assert!(replied(step).status >= 400);
            continue;
        }
        assert!(sent(step, &given).contains(TOKEN));
        let out = heard(&mut bench, &mut exchange, &[TOKEN, " ."]);
        assert!(said(&out).contains(TOKEN));
        let end = End {
            status: 200,
            caller_left: false,
        };
        let closed = exchange.finish(&mut bench.worker, end, NOW).unwrap();
        assert!(!String::from_utf8_lossy(&closed.record).contains(TOKEN));
        let envelope = closed.envelope;
        let expected = [
            ("github-pat", "request", "observe"),
            ("github-pat", "response", "observe"),
        ];
        assert_eq!(actions(&envelope), own(&expected));
        assert_eq!((envelope.decision(), envelope.rule()), ("allow", ""));
        assert_eq!(envelope.shadowed(), "none");
    }
}

#[test]
fn an_answer_that_a_rule_refuses_ends_readably() {
    let findings = json!({ "at_least": 2, "direction": "answer", "detectors": ["github-pat"] });
    let mut bench = with(json!([rule("leaks", &findings, "deny")]), json!([]));
    let (mut exchange, _) = bench.chat(&body("hello"));
    let first = format!("one {TOKEN} ");
    let second = format!("two {}Q ", TOKEN.split_at(39).0);
    let out = heard(&mut bench, &mut exchange, &[&first, &second, "three"]);
    let said = said(&out);
    assert!(said.contains("one MASKED_GITHUB_PAT") && said.contains("rule leaks refuses"));
    assert!(!said.contains("three") && out.contains("[DONE]"));
    let envelope = bench.finish(exchange, 200);
    let decided = (envelope.decision(), envelope.reason(), envelope.rule());
    assert_eq!(decided, ("deny", "findings", "leaks"));
}

#[test]
fn a_whole_answer_that_a_rule_refuses_is_not_shown() {
    let findings = json!({ "at_least": 1, "direction": "answer" });
    let mut bench = with(json!([rule("leaks", &findings, "deny")]), json!([]));
    let (mut exchange, _) = bench.chat(&body("hello").replace("true", "false"));
    let _headers = bench.answered(&mut exchange, "200", "application/json");
    let answer = json!({ "choices": [{ "message": { "content": format!("take {TOKEN}") } }] });
    let answer = answer.to_string();
    let step = exchange.response_body(&mut bench.worker, answer.as_bytes(), true, NOW);
    let reply = replied(step);
    let text = String::from_utf8(reply.body).unwrap();
    assert!(text.contains("rule leaks refuses") && !text.contains("take"));
    assert_eq!(bench.finish(exchange, 400).rule(), "leaks");
}

#[test]
fn a_rule_for_answers_says_nothing_of_requests_and_shadows_are_named() {
    let answers = json!({ "at_least": 1, "direction": "answer" });
    let mut shadow = rule("later", &answers, "deny");
    shadow["mode"] = json!("shadow");
    let mut bench = with(json!([shadow]), json!([]));
    let given = body(&format!("a {TOKEN} b"));
    let (mut exchange, step) = bench.chat(&given);
    assert!(sent(step, &given).contains("MASKED_GITHUB_PAT"));
    let out = heard(&mut bench, &mut exchange, &[TOKEN, " ."]);
    assert!(said(&out).starts_with("MASKED_GITHUB_PAT"));
    let envelope = bench.finish(exchange, 200);
    assert_eq!(
        (envelope.decision(), envelope.shadowed()),
        ("mask", "later")
    );
    let mut bench = with(json!([rule("leaks", &answers, "deny")]), json!([]));
    assert!(sent(bench.chat(&given).1, &given).contains("MASKED_GITHUB_PAT"));
}

#[test]
fn a_detector_of_the_deployment_masks_and_has_rules_of_its_own() {
    let custom = json!([{
        "name": "acme-key", "pattern": "acme_[a-z0-9]{24}",
        "examples": ["acme_q7zk2lmx9vtb4rnw8syc1dhf"],
    }]);
    let findings = json!({ "at_least": 2, "detectors": ["acme-key"] });
    let mut bench = Bench::with(|config| {
        config["masking"] = json!({ "custom": custom });
        config["rules"] = json!([rule("ours", &findings, "deny")]);
    });
    let one = body("key acme_q7zk2lmx9vtb4rnw8syc1dhf .");
    let (exchange, step) = bench.chat(&one);
    assert!(sent(step, &one).contains("key MASKED_ACME_KEY_"));
    assert_eq!(
        actions(&bench.finish(exchange, 0)),
        own(&[("acme-key", "request", "mask")])
    );
    let two = body("acme_q7zk2lmx9vtb4rnw8syc1dhf acme_17zk2lmx9vtb4rnw8syc1dhf");
    let (exchange, _) = bench.chat(&two);
    assert_eq!(bench.finish(exchange, 400).rule(), "ours");
}
