//! What the cases of real clients have in common: a policy with every outcome in it, and a secret
//! for each.

use std::{fs, future::Future, time::Duration};

use e2e::{
    namespace,
    ports::free,
    sink::repository,
    upstream::{Seen, Upstream},
    wait,
    world::{Builder, CREDENTIAL, Ports, World},
};
use serde_json::{Value, json};

/// An invented secret that is masked. (The Copilot CLI hides tokens of GitHub's form itself.)
pub(crate) const MASKED: &str = concat!(
    "sk-ant-",
    "api03-",
    "Ab1Cd2Ef3Gh4Ij5Kl6Mn7Op8Qr9St0Uv1Wx2Yz3Ab4Cd5Ef6Gh7Ij8Kl9Mn0Op1Qr2St3Uv4Wx5Yz6Ab7Cd8Ef9Gh0AA"
);

/// An invented secret with which a request is refused.
pub(crate) const REFUSED: &str = concat!("AKIA", "Q3X7M2N9K5T8W4ZB");

/// An invented secret with which a request waits for approval.
pub(crate) const HELD: &str = concat!(
    "xoxb-",
    "284719305562-4810937265518-Kd8Wm2Xq7Rz4Tn9Yb5Vc1Lp3"
);

/// What stands in the place of [`MASKED`].
pub(crate) const PLACEHOLDER: &str = "MASKED_ANTHROPIC_";

/// A model for each chat API.
pub(crate) const MODELS: [(&str, &str); 3] = [
    ("gpt-4.1", "/chat/completions"),
    ("gpt-5.4", "/responses"),
    ("claude-sonnet-4.6", "/v1/messages"),
];

/// A world with an approval desk, rules with every outcome, and its gateway on that port.
pub(crate) async fn world(gateway: u16) -> World {
    let rules = json!([
        {"name": "secrets", "when": {"findings": {"at_least": 1}}, "then": "mask"},
        {
            "name": "chat_tokens", "then": "ask_approval", "approvers": "security",
            "when": {"findings": {"at_least": 1, "detectors": ["slack-bot"]}},
        },
        {
            "name": "no_cloud_keys", "then": "deny",
            "when": {"findings": {"at_least": 1, "detectors": ["aws-access-key-id"]}},
        },
    ]);
    // Long enough for a decision on a busy machine, short enough to wait for in vain.
    let approvals = free().unwrap();
    let desk = json!({
        "cluster": "approvals", "public_url": format!("http://127.0.0.1:{approvals}"), "hold": "4s",
    });
    let ports = Ports {
        gateway,
        approvals,
        ..Ports::default()
    };
    let configuration = json!({"approvals": desk, "rules": rules});
    let builder = World::builder().desk().configure(configuration);
    builder.ports(ports).start().await.unwrap()
}

/// How long a client may take until it asks: some start first.
const PATIENCE: Duration = Duration::from_mins(1);

/// Runs a case in a namespace where the gateway is `https://gw.test`.
pub(crate) fn inside<F: Future<Output = ()>>(name: &str, case: impl FnOnce() -> F) {
    namespace::run_case(name, || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(case());
    });
}

/// Starts a world whose gateway is on the port where clients expect it.
pub(crate) async fn start(builder: Builder) -> World {
    let gateway = Ports {
        gateway: 443,
        ..Ports::default()
    };
    builder.ports(gateway).start().await.unwrap()
}

/// Does `asking`, and grants the first that begins to wait meanwhile. Others may wait from before:
/// editors also ask in the background about the same conversation, in other words.
pub(crate) async fn granting<T>(world: &World, asking: impl Future<Output = T>) -> T {
    let approver = world.approver("bo");
    let before = approver.waiting().await.unwrap();
    let grant = async {
        let waiting = wait::within(PATIENCE, "request that waits", async || {
            let waiting = approver.waiting().await?;
            let new = |waits: &Value| before.iter().all(|old| old["id"] != waits["id"]);
            Ok(waiting.into_iter().find(new))
        });
        let waiting = waiting.await.unwrap();
        approver.decide(&waiting, "grant", "").await.unwrap();
    };
    tokio::join!(asking, grant).0
}

/// Grants that of which a pending answer tells.
pub(crate) async fn grant(world: &World, answer: &str) {
    let (_, behind) = answer.split_once("AP-").unwrap();
    let letters = behind.chars().take_while(char::is_ascii_alphanumeric);
    let id = format!("AP-{}", letters.collect::<String>());
    let approver = world.approver("bo");
    let approval = approver.look(&id).await.unwrap();
    approver.decide(&approval, "grant", "").await.unwrap();
}

/// Fails if anything that must stay went upstream: a secret, a text or a token of ours.
pub(crate) fn assert_clean(upstream: &Upstream) {
    for seen in upstream.requests() {
        for secret in [MASKED, HELD, REFUSED, "[Copilot Gate]", "eyJ"] {
            assert!(!seen.contains(secret), "{secret} went to {}", seen.path);
        }
    }
}

/// Fails if a request went upstream with another credential than the gateway's.
pub(crate) fn assert_credential(seen: &Seen) {
    assert_eq!(seen.header("authorization"), format!("Bearer {CREDENTIAL}"));
}

/// Fails unless `shown` contains what `docs/clients.md` says that this client shows in this
/// situation: the text block under the heading, below the line that begins so.
pub(crate) fn assert_documented(client: &str, situation: &str, shown: &str) {
    let page = fs::read_to_string(repository().join("docs/clients.md")).unwrap();
    let documented = page
        .split_once(&format!("\n## {client}\n"))
        .and_then(|(_, rest)| rest.split("\n## ").next())
        .and_then(|section| section.split_once(&format!("\n{situation}")))
        .and_then(|(_, rest)| rest.split_once("```text\n"))
        .and_then(|(_, rest)| rest.split_once("\n```"));
    let (documented, _) = documented.unwrap_or_else(|| panic!("{client}: {situation}"));
    let (documented, shown) = (without_space(documented), without_space(&nameless(shown)));
    assert!(
        shown.contains(&documented),
        "{client}, {situation}: {shown}\nis not {documented}"
    );
}

/// Decisions and approvals without their ids, the desk under a name that people would give it.
fn nameless(text: &str) -> String {
    let without = |text: &str, mark: &str, name: &str| {
        let mut parts = text.split(mark);
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |text, part| {
            let behind = part.trim_start_matches(|c: char| c.is_ascii_alphanumeric());
            format!("{text}{name}{behind}")
        })
    };
    let text = without(text, "gd_", "gd_…");
    let text = without(&text, "AP-", "AP-…");
    without(&text, "http://127.0.0.1:", "https://approvals.gw.example")
}

/// Terminals break lines as they like.
pub(crate) fn without_space(text: &str) -> String {
    text.split_whitespace().collect()
}
