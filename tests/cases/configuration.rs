//! P12: what you try is what runs. Configurations in Envoy and in `gate check`.

use std::process::Command;

use e2e::{
    certs::Certificates,
    envoy::{self, Bootstrap, Envoy, Form},
    world::{DOMAIN, Keys, World},
};
use serde_json::{Value, json};

fn gate_check(file: &std::path::Path) -> Value {
    let gate = e2e::sink::target().join("debug/gate");
    let output = Command::new(gate)
        .args(["check", "--json"])
        .arg(file)
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

fn digest_in_log(world: &mut World) -> String {
    let log = world.envoy().log();
    let (_, rest) = log
        .rsplit_once("policy ")
        .expect("the filter says its policy");
    rest.chars().take(64).collect()
}

#[tokio::test]
async fn both_ways_into_envoy_and_the_command_line_give_one_digest() {
    let patch = json!({
        "limits": { "max_request": "1MiB" },
        "roles": [{ "name": "all", "groups": ["*"], "endpoints": ["chat"], "models": ["*"] }],
        "rules": [{ "name": "r", "when": { "findings": { "at_least": 3 } }, "then": "deny" }],
    });
    let mut digests = Vec::new();
    for form in [Form::Struct, Form::Text] {
        let mut world = World::builder()
            .configure(patch.clone())
            .form(form)
            .start()
            .await
            .unwrap();
        let file = world.folder().join("envoy.json");
        let checked = gate_check(&file);
        assert_eq!(checked["good"], true, "{checked}");
        digests.push(
            checked["configurations"][0]["policy_digest"]
                .as_str()
                .unwrap()
                .to_owned(),
        );
        digests.push(digest_in_log(&mut world));
    }
    // The two worlds differ in their issuer's port, so compare within each.
    assert_eq!(digests[0], digests[1]);
    assert_eq!(digests[2], digests[3]);
    assert_eq!(digests[0].len(), 64);
}

#[tokio::test]
async fn a_bad_configuration_is_refused_by_envoy_with_path_and_reason() {
    let folder = tempfile::tempdir().unwrap();
    let mut bootstrap = Bootstrap::gateway().unwrap();
    let mut filter = bootstrap.filter();
    filter["roles"][0]["endpoint"] = json!(["chat"]);
    bootstrap.set_filter(&filter, Form::Struct);
    let text = refused(bootstrap, &settings(), folder.path());
    assert!(
        text.contains("roles[0].endpoint: no such key, the nearest is endpoints"),
        "{text}"
    );
}

#[tokio::test]
async fn missing_keys_of_the_filter_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let bootstrap = Bootstrap::gateway().unwrap();
    let text = refused(bootstrap, &envoy::Settings::default(), folder.path());
    assert!(text.contains("GATE_FINGERPRINT_KEYS is not set"), "{text}");
}

#[tokio::test]
async fn the_real_hosts_are_accepted_by_envoy() {
    let folder = tempfile::tempdir().unwrap();
    let mut bootstrap = Bootstrap::gateway().unwrap();
    bootstrap
        .replace_clusters(&e2e::sink::repository().join("envoy/upstream-github.yaml"))
        .unwrap();
    prepare(&mut bootstrap, folder.path());
    Envoy::validate(&bootstrap, &settings(), folder.path()).unwrap();
}

/// What Envoy says of a bootstrap that it must not take.
fn refused(
    mut bootstrap: Bootstrap,
    settings: &envoy::Settings,
    folder: &std::path::Path,
) -> String {
    prepare(&mut bootstrap, folder);
    format!(
        "{:#}",
        Envoy::validate(&bootstrap, settings, folder).unwrap_err()
    )
}

/// Puts the files in their places.
fn prepare(bootstrap: &mut Bootstrap, folder: &std::path::Path) {
    bootstrap.module(&e2e::sink::module().unwrap());
    bootstrap.certificates(&Certificates::in_folder(folder, DOMAIN).unwrap());
}

/// Envoy with the filter's secrets.
fn settings() -> envoy::Settings {
    let keys = Keys::default();
    let environment = [
        ("GATE_GITHUB_TOKEN", keys.credential),
        ("GATE_FINGERPRINT_KEYS", keys.fingerprints),
        ("GATE_SINK_KEYS", keys.sink),
    ];
    envoy::Settings {
        environment: environment
            .map(|(name, value)| (name.to_owned(), value))
            .into(),
        ..envoy::Settings::default()
    }
}
