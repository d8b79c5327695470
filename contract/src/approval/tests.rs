use serde_json::{Value, json};

use super::*;

fn vectors(part: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("../../vectors/approval.json")).unwrap();
    all[part].as_array().unwrap().clone()
}

fn text<'a>(vector: &'a Value, field: &str) -> &'a str {
    vector[field].as_str().unwrap()
}

fn digest(byte: u8) -> Digest {
    Digest([byte; 32])
}

fn ask() -> Value {
    json!({
        "deployment": "demo", "person": "https://login.example#ana", "role": "engineer",
        "exchange": "gd_0", "endpoint": "chat", "model": "gpt-4.1", "rule": "secrets",
        "rule_digest": digest(1), "policy_digest": digest(2), "cause_items": [digest(3)],
        "masked_content": "hello",
    })
}

#[test]
fn items_have_the_digests_of_the_vectors() {
    let vectors = vectors("items");
    assert_eq!(vectors.len(), 22);
    let mut seen = BTreeSet::new();
    for vector in &vectors {
        let repeat = vector["repeat"].as_u64().unwrap_or(1);
        let long = text(vector, "text").repeat(usize::try_from(repeat).unwrap());
        let item = Item {
            role: text(vector, "role"),
            kind: text(vector, "kind"),
            name: text(vector, "tool"),
            text: &long,
        };
        let digest = item.digest().to_string();
        assert_eq!(digest, text(vector, "digest"), "{}", text(vector, "name"));
        assert!(seen.insert(digest), "{}", text(vector, "name"));
    }
}

#[test]
fn cause_sets_have_the_digests_of_the_vectors() {
    let vectors = vectors("causes");
    assert_eq!(vectors.len(), 7);
    for vector in &vectors {
        let items = vector["items"].as_array().unwrap();
        let set: CauseSet = items
            .iter()
            .map(|item| item.as_str().unwrap().parse::<Digest>().unwrap())
            .collect();
        let digest = set.digest().to_string();
        assert_eq!(digest, text(vector, "digest"), "{}", text(vector, "name"));
    }
}

#[test]
fn arguments_are_as_in_the_vectors() {
    let vectors = vectors("arguments");
    assert_eq!(vectors.len(), 25);
    for vector in &vectors {
        let (given, wanted) = (text(vector, "text"), text(vector, "canonical"));
        let canonical = canonical_arguments(given);
        assert_eq!(canonical, wanted, "{}", text(vector, "name"));
        assert_eq!(canonical_arguments(&canonical), wanted, "done twice");
    }
}

#[test]
fn a_canonical_number_is_read_as_itself() {
    // once it was read a little wrong, so the canonical form had another canonical form
    for text in [
        "80e-285",
        "[5e-324,2.2250738585072011e-308]",
        "{\"x\":-1.7e-300}",
    ] {
        let once = canonical_arguments(text);
        assert_eq!(canonical_arguments(&once), once, "{text}");
    }
    assert_eq!(canonical_arguments("80e-285"), "80e-285");
    assert_eq!(canonical_arguments("2500e-3"), "2.5");
}

#[test]
fn a_digest_has_one_form() {
    let good = "0123456789abcdef".repeat(4);
    assert_eq!(good.parse::<Digest>().unwrap().to_string(), good);
    let bad = [
        String::new(),
        good.to_uppercase(),
        good.replace('f', "g"),
        good.replace("0123", "012"),
        format!("{good}00"),
        good.replacen("01", "0x", 1),
        good.replacen('0', " ", 1),
        "é".repeat(32),
    ];
    for text in bad {
        assert_eq!(text.parse::<Digest>(), Err(NotADigest), "{text}");
        assert!(serde_json::from_value::<Digest>(json!(text)).is_err());
    }
}

#[test]
fn ids_of_approvals_are_known_by_their_form() {
    assert!(is_approval_id("AP-7KQ2ZXW4MB"));
    for bad in [
        "",
        "AP-",
        "AP-7KQ2ZXW4M",
        "AP-7KQ2ZXW4MBA",
        "AP-7KQ2ZXW9MB",
        "AP-7kq2zxw4mb",
        "ap-7KQ2ZXW4MB",
        "7KQ2ZXW4MB",
        "AP-7KQ2ZXW4M/",
    ] {
        assert!(!is_approval_id(bad), "{bad}");
    }
}

#[test]
fn what_is_left_out_of_an_ask_has_its_default() {
    let read: Ask = serde_json::from_value(ask()).unwrap();
    assert_eq!((read.wait_ms, read.covers), (0, Covers::Content));
    assert_eq!(
        (read.grant_s, read.remember_s, read.pending_s),
        (900, 86_400, 86_400)
    );
    assert_eq!(
        (read.findings.len(), read.approvers.as_str()),
        (0, ""),
        "nothing is made up"
    );
    let written = serde_json::to_value(&read).unwrap();
    assert!(serde_json::from_value::<Ask>(written).unwrap() == read);
}

#[test]
fn an_ask_without_its_person_rule_or_items_is_none() {
    for field in [
        "deployment",
        "person",
        "exchange",
        "endpoint",
        "model",
        "rule_digest",
        "cause_items",
    ] {
        let mut ask = ask();
        ask.as_object_mut().unwrap().remove(field);
        assert!(serde_json::from_value::<Ask>(ask).is_err(), "{field}");
    }
}

#[test]
fn states_and_covers_are_written_as_they_are_named() {
    for state in ApprovalState::ALL {
        assert_eq!(serde_json::to_value(state).unwrap(), state.name());
    }
    for covers in Covers::ALL {
        assert_eq!(serde_json::to_value(covers).unwrap(), covers.name());
    }
}

#[test]
fn p7_a_grant_covers_its_rule_endpoint_model_and_items_alone() {
    let grant = GrantClaims {
        rule_digest: digest(1),
        endpoint: "chat".into(),
        model: "gpt-4.1".into(),
        items: vec![digest(3), digest(4)],
        covers: Covers::Content,
    };
    let set = |bytes: &[u8]| bytes.iter().copied().map(digest).collect::<CauseSet>();
    let cases = [
        ("all items", 1, "chat", "gpt-4.1", &[3, 4][..], true),
        ("in another order", 1, "chat", "gpt-4.1", &[4, 3, 3], true),
        ("one of them", 1, "chat", "gpt-4.1", &[4], true),
        ("one more", 1, "chat", "gpt-4.1", &[3, 4, 5], false),
        ("another one", 1, "chat", "gpt-4.1", &[5], false),
        ("none", 1, "chat", "gpt-4.1", &[], false),
        ("another rule", 2, "chat", "gpt-4.1", &[3], false),
        ("another endpoint", 1, "responses", "gpt-4.1", &[3], false),
        ("another model", 1, "chat", "gpt-4.1-mini", &[3], false),
        ("no model", 1, "chat", "", &[3], false),
    ];
    for (name, rule, endpoint, model, items, covered) in cases {
        let asked = set(items);
        assert_eq!(
            grant.cover(digest(rule), endpoint, model, &asked),
            covered,
            "{name}"
        );
    }
}
