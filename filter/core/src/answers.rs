//! The gateway's own answers to what clients ask GitHub: token, seat, user, telemetry.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{config::Hosts, identity::Identity, time::UnixTime};

/// Longest time that a client may keep a token before it asks again, in seconds.
const MAX_REFRESH_SECONDS: u64 = 1_500;

/// Answer of `/copilot_internal/v2/token`: the caller's own token, and where Copilot is.
pub(crate) fn token(identity: &Identity, token: &str, hosts: &Hosts, now: UnixTime) -> Value {
    let left = identity.expires_at.seconds().saturating_sub(now.seconds());
    json!({
        "token": token,
        "expires_at": identity.expires_at.seconds(),
        // Ahead of the end, so that the next exchange still has a living token.
        "refresh_in": left.saturating_sub(left / 10).clamp(1, MAX_REFRESH_SECONDS),
        "sku": "copilot_enterprise_seat",
        "individual": false,
        "chat_enabled": true,
        "annotations_enabled": true,
        "blackbird_clientside_indexing": false,
        "code_quote_enabled": true,
        "code_review_enabled": false,
        "codesearch": false,
        "copilotignore_enabled": false,
        "public_suggestions": "enabled",
        "snippy_load_test_enabled": false,
        "telemetry": "disabled",
        "tracking_id": tracking_id(identity),
        "vsc_electron_fetcher_v2": false,
        "xcode": true,
        "xcode_chat": true,
        "enterprise_list": null,
        "organization_list": [],
        "limited_user_quotas": null,
        "limited_user_reset_date": null,
        "endpoints": endpoints(hosts),
    })
}

/// Answer of `/copilot_internal/user`.
pub(crate) fn seat(identity: &Identity, hosts: &Hosts) -> Value {
    let quota = |id: &str| {
        json!({
            "quota_id": id, "entitlement": 0, "remaining": 0, "quota_remaining": 0,
            "percent_remaining": 100, "unlimited": true, "overage_count": 0,
            "overage_permitted": false, "has_quota": true,
        })
    };
    json!({
        "login": login(identity),
        "id": number(identity),
        "access_type_sku": "copilot_enterprise_seat",
        "copilot_plan": "enterprise",
        "analytics_tracking_id": tracking_id(identity),
        "assigned_date": null,
        "can_signup_for_limited": false,
        "chat_enabled": true,
        "is_mcp_enabled": false,
        "codex_agent_enabled": false,
        "copilotignore_enabled": false,
        "restricted_telemetry": true,
        "organization_login_list": [],
        "organization_list": [],
        "quota_snapshots": {
            "chat": quota("chat"),
            "completions": quota("completions"),
            "premium_interactions": quota("premium_interactions"),
        },
        "endpoints": endpoints(hosts),
    })
}

/// Answer of `/user`.
pub(crate) fn user(identity: &Identity) -> Value {
    json!({
        "login": login(identity),
        "id": number(identity),
        "name": login(identity),
        "type": "User",
        "email": null,
        "plan": { "name": "enterprise" },
    })
}

/// Answer to a client that sends telemetry: all of it was taken.
pub(crate) fn telemetry_taken() -> Value {
    json!({ "itemsReceived": 0, "itemsAccepted": 0, "errors": [] })
}

/// Answer to a client that asks for its experiments: none. Clients need these very fields.
pub(crate) fn no_experiments() -> Value {
    json!({
        "Features": [], "Flights": {}, "Configs": [{ "Id": "vscode", "Parameters": {} }],
        "ParameterGroups": [], "FlightingVersion": 1, "ImpressionId": "", "AssignmentContext": "",
    })
}

fn endpoints(hosts: &Hosts) -> Value {
    json!({
        "api": hosts.url("api"),
        "proxy": hosts.url("proxy"),
        "telemetry": hosts.url("telemetry"),
        "origin-tracker": hosts.url("origin-tracker"),
    })
}

/// The subject in the characters of a GitHub login.
fn login(identity: &Identity) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    identity.subject.chars().take(39).map(plain).collect()
}

fn digest(identity: &Identity) -> [u8; 32] {
    Sha256::digest(identity.person_key().as_bytes()).into()
}

fn tracking_id(identity: &Identity) -> String {
    let mut hex = data_encoding::HEXLOWER.encode(&digest(identity));
    hex.truncate(32);
    hex
}

fn number(identity: &Identity) -> u32 {
    let [a, b, c, d, ..] = digest(identity);
    u32::from_be_bytes([a & 0x7f, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn identity() -> Identity {
        Identity {
            issuer: "https://login.example".into(),
            subject: "ana@corp|7".into(),
            groups: Vec::new(),
            expires_at: UnixTime::from_seconds(10_000),
        }
    }

    #[test]
    fn the_refresh_lies_before_the_end_of_the_token() {
        let hosts = Config::example().hosts;
        for (now, refresh) in [(0, 1_500), (9_000, 900), (9_990, 9), (20_000, 1)] {
            let answer = token(&identity(), "t", &hosts, UnixTime::from_seconds(now));
            assert_eq!(answer["refresh_in"], refresh, "at {now}");
        }
    }

    #[test]
    fn endpoints_point_back_to_the_gateway() {
        let answer = seat(&identity(), &Config::example().hosts);
        assert_eq!(answer["endpoints"]["api"], "https://api.gw.example");
        assert_eq!(answer["login"], "ana-corp-7");
    }
}
