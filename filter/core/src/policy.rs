//! What a person may do, and what a finding leads to.

use crate::{
    config::{Action, Mode, Role, Rule},
    endpoint::Endpoint,
    identity::Identity,
};

/// Place of the first role, in the order of the configuration, that the person's groups give.
pub(crate) fn role_of(roles: &[Role], identity: &Identity) -> Option<usize> {
    roles.iter().position(|role| {
        role.everybody
            || identity
                .groups
                .iter()
                .any(|group| role.groups.contains(group))
    })
}

/// Whether the role may use the endpoint.
pub(crate) fn may_use(role: &Role, endpoint: Endpoint) -> bool {
    endpoint
        .needs()
        .is_none_or(|needed| role.endpoints.contains(&needed))
}

/// What the rules say of a request's findings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// What happens.
    pub(crate) action: Action,
    /// The rule that decided; none if no rule matched.
    pub(crate) rule: Option<String>,
    /// Rules in shadow that would have demanded more.
    pub(crate) shadowed: Vec<String>,
}

/// Decides over findings, given by the names of their detectors.
///
/// The strongest action of the matching rules wins; of equal ones the first. Findings that no rule
/// matches are masked.
pub(crate) fn decide(rules: &[Rule], findings: &[&str]) -> Verdict {
    let matches = |rule: &&Rule| {
        let counted = findings
            .iter()
            .filter(|name| rule.detectors.is_empty() || rule.detectors.iter().any(|d| d == *name))
            .count();
        u64::try_from(counted).unwrap_or(u64::MAX) >= rule.at_least
    };
    let mut decided: Option<&Rule> = None;
    for rule in rules.iter().filter(matches) {
        let stronger = decided.is_none_or(|best| rule.action > best.action);
        if rule.mode == Mode::Enforce && stronger {
            decided = Some(rule);
        }
    }
    let unmatched = if findings.is_empty() {
        Action::Allow
    } else {
        Action::Mask
    };
    let action = decided.map_or(unmatched, |rule| rule.action);
    let shadowed = rules
        .iter()
        .filter(matches)
        .filter(|rule| rule.mode == Mode::Shadow && rule.action > action)
        .map(|rule| rule.name.clone())
        .collect();
    Verdict {
        action,
        rule: decided.map(|rule| rule.name.clone()),
        shadowed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str, at_least: u64, action: Action) -> Rule {
        Rule {
            name: name.to_owned(),
            at_least,
            detectors: Vec::new(),
            action,
            mode: Mode::Enforce,
        }
    }

    #[test]
    fn the_strongest_matching_action_wins() {
        let rules = [
            rule("some", 1, Action::Mask),
            rule("many", 3, Action::Deny),
            rule("free", 1, Action::Allow),
        ];
        let cases: [(&[&str], Action, Option<&str>); 4] = [
            (&[], Action::Allow, None),
            (&["jwt"], Action::Mask, Some("some")),
            (&["jwt"; 2], Action::Mask, Some("some")),
            (&["jwt"; 3], Action::Deny, Some("many")),
        ];
        for (findings, action, name) in cases {
            let verdict = decide(&rules, findings);
            assert_eq!(verdict.action, action, "{findings:?}");
            assert_eq!(verdict.rule.as_deref(), name, "{findings:?}");
        }
    }

    #[test]
    fn findings_without_a_rule_are_masked() {
        assert_eq!(decide(&[], &["jwt"]).action, Action::Mask);
        let other = Rule {
            detectors: vec!["pem".into()],
            ..rule("pems", 1, Action::Allow)
        };
        assert_eq!(decide(&[other], &["jwt"]).action, Action::Mask);
    }

    #[test]
    fn a_rule_in_shadow_is_named_and_decides_nothing() {
        let shadow = Rule {
            mode: Mode::Shadow,
            ..rule("no_secrets", 1, Action::Deny)
        };
        let verdict = decide(&[shadow], &["jwt"]);
        assert_eq!((verdict.action, verdict.rule), (Action::Mask, None));
        assert_eq!(verdict.shadowed, ["no_secrets"]);
    }

    #[test]
    fn adding_a_deny_rule_never_allows_more() {
        let actions = [Action::Allow, Action::Mask, Action::Deny];
        for first in actions {
            for second in actions {
                let rules = [rule("a", 1, first), rule("b", 2, second)];
                for count in 0..4 {
                    let findings = vec!["jwt"; count];
                    let before = decide(&rules, &findings).action;
                    let mut more = rules.to_vec();
                    more.push(rule("c", 1, Action::Deny));
                    assert!(decide(&more, &findings).action >= before);
                }
            }
        }
    }
}
