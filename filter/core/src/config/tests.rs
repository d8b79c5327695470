use serde_json::json;

use super::*;

fn example() -> Value {
    serde_json::from_str(include_str!("example.json")).unwrap()
}

/// The example with one change, made where the JSON pointer says.
fn with(pointer: &str, value: Value) -> Value {
    let mut tree = example();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = tree.pointer_mut(parent).unwrap();
    match parent {
        Value::Array(list) => list[key.parse::<usize>().unwrap()] = value,
        _ => parent[key] = value,
    }
    tree
}

fn faults(value: Value) -> Vec<String> {
    Config::from_value(value)
        .err()
        .unwrap_or_default()
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn to_struct(value: &Value) -> prost_types::Value {
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(flag) => Kind::BoolValue(*flag),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap()),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(list) => Kind::ListValue(prost_types::ListValue {
            values: list.iter().map(to_struct).collect(),
        }),
        Value::Object(map) => Kind::StructValue(Struct {
            fields: map
                .iter()
                .map(|(key, value)| (key.clone(), to_struct(value)))
                .collect(),
        }),
    };
    prost_types::Value { kind: Some(kind) }
}

#[test]
fn text_and_struct_give_one_policy_digest() {
    let text = Config::from_bytes(include_bytes!("example.json")).unwrap();
    let Some(Kind::StructValue(tree)) = to_struct(&example()).kind else {
        panic!("not an object");
    };
    let tree = Config::from_bytes(&tree.encode_to_vec()).unwrap();
    assert_eq!(text.policy_digest.len(), 64);
    assert_eq!(text.policy_digest, tree.policy_digest);
}

#[test]
fn a_struct_of_any_length_is_not_taken_for_text() {
    // once a first entry of 123 bytes, whose length is written as a brace, made it text
    let mut lengths = Vec::new();
    for length in 1..=120 {
        let domain = format!("{}.example", "a".repeat(length));
        let tree = with("/hosts/domain", json!(domain));
        let encoded = |fields: &[&str]| {
            let part = fields
                .iter()
                .map(|key| ((*key).to_owned(), tree[key].clone()));
            let Some(Kind::StructValue(part)) = to_struct(&Value::Object(part.collect())).kind
            else {
                panic!("not an object");
            };
            part.encode_to_vec()
        };
        let all = tree.as_object().unwrap().keys().map(String::as_str);
        let rest: Vec<_> = all.filter(|key| *key != "hosts").collect();
        let bytes = [encoded(&["hosts"]), encoded(&rest)].concat();
        lengths.push(bytes[1]);
        let read = Config::from_bytes(&bytes).unwrap();
        assert_eq!(
            read.policy_digest,
            Config::from_value(tree).unwrap().policy_digest
        );
    }
    assert!(lengths.contains(&b'{'));
}

#[test]
fn the_digest_sees_meaning_and_not_spelling() {
    let digest = |value| Config::from_value(value).unwrap().policy_digest;
    let base = digest(example());
    let same = [
        ("/hosts/port", json!(443)),
        ("/hosts/port", json!("443")),
        ("/identity/issuers/0/key_set/refresh", json!("600s")),
        ("/limits", json!({ "max_request": "16384KiB" })),
        ("/enforcement", json!("enforce")),
    ];
    for (pointer, value) in same {
        assert_eq!(digest(with(pointer, value)), base, "{pointer}");
    }
    let other = [
        ("/hosts/port", json!(8443)),
        ("/roles/0/models", json!(["gpt-*"])),
        ("/rules/0/mode", json!("shadow")),
    ];
    for (pointer, value) in other {
        assert_ne!(digest(with(pointer, value)), base, "{pointer}");
    }
}

#[test]
fn a_fault_is_named_with_its_path_and_reason() {
    let cases = [
        (
            "/deployment",
            json!("Acme EU"),
            "deployment: not 1 to 40 of a-z, 0-9 and -",
        ),
        ("/version", json!("v2"), "version: expected `v1`"),
        (
            "/hosts/domain",
            json!("https://gw.example"),
            "hosts.domain: not a host name in lower case",
        ),
        ("/hosts/port", json!(70000), "hosts.port: not 1 to 65535"),
        (
            "/hosts/port",
            json!(-1),
            "hosts.port: not a whole number of 0 or more",
        ),
        (
            "/hosts/port",
            json!("1.5"),
            "hosts.port: not a whole number of 0 or more",
        ),
        ("/identity/issuers", json!([]), "identity.issuers: empty"),
        (
            "/identity/issuers/0/issuer",
            json!("login.example"),
            "identity.issuers[0].issuer: not an http or https URL",
        ),
        (
            "/identity/issuers/0/subject_claim",
            json!("email"),
            "identity.issuers[0].subject_claim: names and addresses change hands: use a stable claim such as sub",
        ),
        (
            "/identity/issuers/0/key_set/refresh",
            json!("10"),
            "identity.issuers[0].key_set.refresh: not a duration with its unit, such as 10m",
        ),
        (
            "/identity/issuers/0/key_set/grace",
            json!("1m"),
            "identity.issuers[0].key_set.grace: not refresh to 7 days",
        ),
        (
            "/credential/env",
            json!("PATH"),
            "credential.env: not the name of an environment variable that starts with GATE_",
        ),
        (
            "/roles",
            json!([]),
            "roles: empty: nobody could do anything",
        ),
        (
            "/roles/1/name",
            json!("engineer"),
            "roles[1].name: this name stands twice",
        ),
        (
            "/roles/0/endpoints",
            json!(["chats"]),
            "roles[0].endpoints[0]: expected one of `chat`, `completions`, `embeddings`",
        ),
        (
            "/rules/1/covers",
            json!("exchange"),
            "rules[1].covers: nobody is asked",
        ),
        (
            "/rules/1/approvers",
            json!("security"),
            "rules[1].approvers: nobody is asked",
        ),
        (
            "/rules/1/when",
            json!({}),
            "rules[1].when: not one of findings and tool_call",
        ),
        (
            "/rules/1/when",
            json!({ "tool_call": { "name": "" } }),
            "rules[1].when.tool_call.name: not 1 to 256 characters",
        ),
        (
            "/rules/1/when",
            json!({ "tool_call": { "name": "*", "arguments": "x".repeat(257) } }),
            "rules[1].when.tool_call.arguments: not 1 to 256 characters",
        ),
        (
            "/rules/0/when",
            json!({ "tool_call": { "name": "bash" } }),
            "rules[0].then: a tool call can be denied or asked for, nothing else",
        ),
        (
            "/rules/0/when/findings/at_least",
            json!(0),
            "rules[0].when.findings.at_least: not 1 to 256",
        ),
        (
            "/rules/0/when/findings/detectors",
            json!(["github-pat", "gitlab_patt"]),
            "rules[0].when.findings.detectors[1]: no such detector, the nearest is gitlab-pat",
        ),
        (
            "/rules/0",
            json!({ "name": "a", "when": { "findings": { "at_least": 2 } }, "then": "allow" }),
            "rules[0].when.findings.at_least: allow lets each value pass: not 1",
        ),
        (
            "/rules/1/when/findings/direction",
            json!("response"),
            "rules[1].when.findings.direction: expected one of `answer`, `any`, `request`",
        ),
        (
            "/masking",
            json!({ "exemptions": [exemption("k1:abc", "2027-01-31")] }),
            "masking.exemptions[0].fingerprint: not a fingerprint as records have it, key id:base32",
        ),
        (
            "/masking",
            json!({ "exemptions": [exemption(FINGERPRINT, "next year")] }),
            "masking.exemptions[0].until: not a day, such as 2027-01-31",
        ),
        (
            "/masking",
            json!({ "exemptions": [
                exemption(FINGERPRINT, "2027-01-31"), exemption(FINGERPRINT, "2027-02-28")
            ] }),
            "masking.exemptions[1]: this fingerprint stands twice",
        ),
        (
            "/audit",
            json!({ "strict": true }),
            "audit.cluster: missing: audit.strict needs the sink's word",
        ),
        (
            "/audit",
            json!({ "when_full": "refuse" }),
            "audit.cluster: missing: audit.when_full needs the sink's word",
        ),
        (
            "/limits",
            json!({ "max_request": "17MiB" }),
            "limits.max_request: not 1 byte to 16MiB",
        ),
        (
            "/limits",
            json!({ "max_request": "many" }),
            "limits.max_request: not a size with its unit, such as 16MiB",
        ),
        (
            "/enforcement",
            json!("observe"),
            "observe_until: missing: enforcement is observe",
        ),
        (
            "/enforcement",
            json!("off"),
            "enforcement: expected `enforce` or `observe`",
        ),
        (
            "/observe_until",
            json!("2027-01-31"),
            "observe_until: only where enforcement is observe",
        ),
    ];
    for (pointer, value, fault) in cases {
        assert_eq!(faults(with(pointer, value)), [fault], "{pointer}");
    }
}

const FINGERPRINT: &str = "k1:abcdefghij234567klmn";

fn exemption(fingerprint: &str, until: &str) -> Value {
    json!({ "fingerprint": fingerprint, "owner": "ana", "reason": "invented", "until": until })
}

#[test]
fn an_exemption_needs_an_owner_and_ends_with_its_last_day() {
    let mut nobody = exemption(FINGERPRINT, "2027-01-31");
    nobody["owner"] = json!(" ");
    let owner = "masking.exemptions[0].owner: not 1 to 200 characters";
    assert_eq!(
        faults(with("/masking", json!({ "exemptions": [nobody] }))),
        [owner]
    );
    let good = json!({ "exemptions": [exemption(FINGERPRINT, "1970-01-02")] });
    let config = Config::from_value(with("/masking", good)).unwrap();
    let ends: Vec<u64> = config
        .exemptions
        .iter()
        .map(|it| it.end.seconds())
        .collect();
    assert_eq!(ends, [2 * 86_400]);
}

fn custom(change: impl FnOnce(&mut Value)) -> Value {
    let mut custom = json!({
        "name": "acme-key", "pattern": "acme_[a-z0-9]{24}", "anchor": "acme_",
        "examples": ["key = acme_q7zk2lmx9vtb4rnw8syc1dhf"],
        "counter_examples": ["acme_xxxxxxxxxxxxxxxxxxxxxxxx", "acme_q7zk2lmx9vtb4rnw8syc1dhf0"],
    });
    change(&mut custom);
    with("/masking", json!({ "custom": [custom] }))
}

#[test]
fn a_detector_of_the_deployment_is_tried_on_its_examples() {
    type Change = fn(&mut Value);
    assert_eq!(faults(custom(|_| ())), [""; 0]);
    let cases: [(Change, &str); 7] = [
        (
            |it| it["pattern"] = json!("acme_[a-z0-9]+"),
            "masking.custom[0]: a value must have 8 to 256 characters: bound each repetition",
        ),
        (
            |it| it["name"] = json!("jwt"),
            "masking.custom[0]: another detector has this name",
        ),
        (
            |it| it["anchor"] = json!("acne_"),
            "masking.custom[0].anchor: the pattern does not begin with these characters",
        ),
        (
            |it| it["examples"] = json!([]),
            "masking.custom[0].examples: empty",
        ),
        (
            |it| it["examples"][0] = json!("acme_q7zk"),
            "masking.custom[0].examples[0]: the detector finds nothing in it",
        ),
        (
            |it| it["counter_examples"][1] = json!("\"acme_q7zk2lmx9vtb4rnw8syc1dhf\""),
            "masking.custom[0].counter_examples[1]: the detector finds something in it",
        ),
        (
            |it| it["check"] = json!("words"),
            "masking.custom[0].check: expected one of `none`, `plain`, `random`",
        ),
    ];
    for (change, fault) in cases {
        assert_eq!(faults(custom(change)), [fault]);
    }
    let mut ruled = custom(|_| ());
    ruled["rules"][0]["when"]["findings"]["detectors"] = json!(["acme-*"]);
    assert_eq!(faults(ruled), [""; 0]);
}

#[test]
fn packs_are_known_and_stand_once_and_rules_speak_of_those_that_are_on() {
    let packs = |packs: Value| faults(with("/masking", json!({ "packs": packs })));
    let expected = "expected one of `vendors`, `structures`, `generic`, `pii`";
    assert_eq!(packs(json!(["pii", "vendors"])), [""; 0]);
    assert_eq!(packs(json!([])), ["masking.packs: empty"]);
    assert_eq!(
        packs(json!(["pii", "vendors", "pii"])),
        ["masking.packs[2]: this pack stands twice"]
    );
    assert_eq!(
        packs(json!(["vendors", "names"])),
        [format!("masking.packs[1]: {expected}")]
    );
    let ruled = |packs: Value, detector: &str| {
        let mut tree = with("/masking", json!({ "packs": packs }));
        tree["rules"][0]["when"]["findings"]["detectors"] = json!([detector]);
        faults(tree)
    };
    let off = "rules[0].when.findings.detectors[0]: of no pack that is on: it finds nothing";
    assert_eq!(ruled(json!(["vendors"]), "iban"), [off]);
    assert_eq!(ruled(json!(["pii"]), "iban"), [""; 0]);
    assert_eq!(ruled(json!(["structures"]), "*-key"), [""; 0]);
    let digest = |tree: Value| Config::from_value(tree).unwrap().policy_digest;
    let default = json!({ "packs": ["vendors", "structures", "generic"] });
    assert_eq!(
        digest(with("/masking", default)),
        digest(with("/masking", json!({})))
    );
}

#[test]
fn detectors_may_be_named_by_globs_and_nobody_is_asked_about_answers() {
    let config = |findings: Value, then: &str| {
        let mut tree = asking();
        tree["rules"][0]["when"]["findings"] = findings;
        tree["rules"][0]["then"] = json!(then);
        if then != "ask_approval" {
            let rule = tree["rules"][0].as_object_mut().unwrap();
            rule.retain(|key, _| key != "approvers" && key != "covers");
        }
        Config::from_value(tree)
    };
    let globs = json!({ "at_least": 1, "detectors": ["github-*", "jwt"] });
    let rules = config(globs, "mask").unwrap().rules;
    let Condition::Findings { detectors, .. } = &rules[0].condition else {
        panic!("another condition");
    };
    assert!(detectors.len() > 5 && detectors.contains(&"github-oauth"));
    assert!(
        detectors
            .iter()
            .all(|name| name.starts_with("github-") || *name == "jwt")
    );
    for direction in ["answer", "any"] {
        let findings = json!({ "at_least": 1, "direction": direction });
        assert!(config(findings.clone(), "deny").is_ok());
        let fault = &config(findings, "ask_approval").err().unwrap()[0];
        assert!(fault.path.ends_with("direction"), "{fault}");
    }
}

fn asking() -> Value {
    let mut tree = with("/rules/1/then", json!("ask_approval"));
    tree["rules"][1]["approvers"] = json!("security");
    tree["approvals"] = json!({ "cluster": "approvals", "public_url": "https://desk.example" });
    tree
}

#[test]
fn a_rule_that_asks_needs_somebody_to_ask() {
    let config = Config::from_value(asking()).unwrap();
    let approvals = config.approvals.unwrap();
    assert_eq!(approvals.hold, Duration::from_secs(50));
    assert_eq!(approvals.issuer.host, "desk.example");
    assert_eq!(config.rules[1].action, Action::AskApproval);
    assert!(config.watch.items && config.watch.calls.is_empty());

    let mut nobody = asking();
    nobody["rules"][1]["approvers"] = Value::Null;
    assert_eq!(
        faults(nobody),
        ["rules[1].approvers: not a name, and a rule asks them"]
    );
    let mut nowhere = asking();
    nowhere.as_object_mut().unwrap().remove("approvals");
    assert_eq!(
        faults(nowhere),
        ["approvals: missing: a rule demands ask_approval"]
    );
    let cases = [
        ("cluster", json!(""), "approvals.cluster: empty"),
        (
            "public_url",
            json!("desk.example/"),
            "approvals.public_url: not an http or https URL without / at its end",
        ),
        ("hold", json!("5m"), "approvals.hold: not 1s to 4m"),
        (
            "pending",
            json!("8d"),
            "approvals.pending: not 1m to 7 days",
        ),
        ("grant", json!("1s"), "approvals.grant: not 1m to 24h"),
        (
            "remember",
            json!("1s"),
            "approvals.remember: not 1m to 7 days",
        ),
        (
            "quorum",
            json!(2),
            "approvals.quorum: only 1 is available so far: one approver decides",
        ),
    ];
    for (key, value, fault) in cases {
        let mut tree = asking();
        tree["approvals"][key] = value;
        assert_eq!(faults(tree), [fault]);
    }
}

#[test]
fn a_rule_is_known_by_all_that_it_says() {
    let digest = |change: fn(&mut Value)| {
        let mut tree = asking();
        change(&mut tree["rules"][1]);
        Config::from_value(tree).unwrap().rules[1].digest
    };
    let same = digest(|_| ());
    assert_eq!(same, digest(|rule| rule["covers"] = json!("content")));
    let others = [
        digest(|rule| rule["covers"] = json!("exchange")),
        digest(|rule| rule["approvers"] = json!("others")),
        digest(|rule| rule["name"] = json!("x")),
        digest(|rule| rule["when"]["findings"]["at_least"] = json!(6)),
    ];
    assert!(others.iter().all(|other| *other != same));
}

#[test]
fn rules_that_are_off_or_in_shadow_hold_no_answer() {
    let mut tree = asking();
    let call = |name: &str, mode: &str| json!({ "name": name, "mode": mode, "then": "deny", "when": { "tool_call": { "name": name } } });
    tree["rules"] = json!([call("a", "off"), call("b", "shadow"), call("c", "enforce")]);
    let config = Config::from_value(tree).unwrap();
    let rules = |watch: &Watch| -> Vec<usize> { watch.calls.iter().map(|it| it.rule).collect() };
    assert_eq!(rules(&config.watch), [0, 1]);
    assert_eq!(rules(&config.watch_answers), [1]);
    assert!(!config.watch.items);
}

#[test]
fn a_misspelt_key_is_refused_with_the_nearest_one() {
    let cases = [
        (
            "/deploymnt",
            "deploymnt: no such key, the nearest is deployment",
        ),
        (
            "/identity/issuers/0/audience",
            "identity.issuers[0].audience: no such key, the nearest is audiences",
        ),
        (
            "/rules/0/when/finding",
            "rules[0].when.finding: no such key, the nearest is findings",
        ),
        ("/wholly_different", "wholly_different: no such key"),
    ];
    for (pointer, fault) in cases {
        assert_eq!(faults(with(pointer, json!(1))), [fault], "{pointer}");
    }
}

#[test]
fn all_faults_are_named_at_once() {
    let mut tree = with("/deployment", json!(""));
    tree["roles"][0]["groups"] = json!([]);
    tree["rules"][0]["name"] = json!("a b");
    assert_eq!(
        faults(tree),
        [
            "deployment: not 1 to 40 of a-z, 0-9 and -",
            "roles[0].groups: empty",
            "rules[0].name: not a name",
        ]
    );
}

#[test]
fn a_fault_does_not_quote_the_value() {
    let canary = "canary-value";
    for pointer in [
        "/version",
        "/hosts/port",
        "/roles/0/endpoints/0",
        "/roles",
        "/rules/0/then",
    ] {
        let all = faults(with(pointer, json!(canary))).join("\n");
        assert!(!all.is_empty() && !all.contains(canary), "{pointer}: {all}");
    }
}

#[test]
fn a_value_that_speaks_like_a_fault_is_not_quoted() {
    // once what followed the value's own words was taken for the reason
    let value = json!("a, expected canary-value");
    for pointer in ["/version", "/hosts/port", "/rules/0/then"] {
        let all = faults(with(pointer, value.clone())).join("\n");
        assert!(
            !all.is_empty() && !all.contains("canary"),
            "{pointer}: {all}"
        );
    }
}

#[test]
fn a_fault_is_one_short_line_whatever_its_key() {
    // once an empty key gave an empty path, and line ends and length of a key were kept
    let cases = [
        (String::new(), ".: no such key".to_owned()),
        (
            "a\nb: c".to_owned(),
            "a\u{fffd}b: c: no such key".to_owned(),
        ),
        (
            "x".repeat(1 << 16),
            format!("{}: no such key", "x".repeat(200)),
        ),
    ];
    for (key, fault) in cases {
        let mut tree = example();
        tree[&key] = json!(1);
        assert_eq!(faults(tree), [fault]);
    }
}

#[test]
fn a_key_with_quotes_of_its_own_is_not_taken_for_a_known_one() {
    // once the nearest key was looked for in the misspelt key itself
    let mut tree = example();
    tree["a`b`deployment`c"] = json!(1);
    assert_eq!(faults(tree), ["a`b`deployment`c: no such key"]);
    let mut tree = example();
    tree["a`, expected `ab`"] = json!(1);
    assert_eq!(faults(tree), ["a`, expected `ab`: no such key"]);
}

#[test]
fn a_detector_of_any_length_is_refused_in_bounded_memory() {
    let names = json!(["x".repeat(1 << 19)]);
    let fault = "rules[0].when.findings.detectors[0]: no such detector";
    assert_eq!(
        faults(with("/rules/0/when/findings/detectors", names)),
        [fault]
    );
}

#[test]
fn bytes_that_are_no_configuration_are_refused() {
    let cases: [(&[u8], &str); 4] = [
        (b"", ".: missing field `version`"),
        (b"{", ".: not JSON at line 1 column 1"),
        (
            b"\xff\xff\xff\xff",
            ".: neither JSON nor a google.protobuf.Struct",
        ),
        (b"  {\"version\":}", ".: not JSON at line 1 column 14"),
    ];
    for (bytes, fault) in cases {
        let faults = Config::from_bytes(bytes).unwrap_err();
        assert_eq!(faults[0].to_string(), fault);
    }
}

#[test]
fn urls_leave_the_default_port_out() {
    let config = Config::from_value(with("/hosts/port", json!(8443))).unwrap();
    assert_eq!(config.hosts.url("api"), "https://api.gw.example:8443");
    assert_eq!(Config::example().hosts.url("api"), "https://api.gw.example");
}

proptest::proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        let _config = Config::from_bytes(&bytes).is_ok();
    }

    #[test]
    fn a_cut_or_changed_configuration_never_panics(cut in 0usize..900, byte: u8, place in 0usize..900) {
        let mut bytes = include_bytes!("example.json").to_vec();
        if let Some(old) = bytes.get_mut(place) {
            *old = byte;
        }
        bytes.truncate(cut);
        let _config = Config::from_bytes(&bytes).is_ok();
    }
}
