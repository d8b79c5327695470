//! What a person may do, and what a finding leads to.

use std::collections::BTreeMap;

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

/// Decides over findings, counted by detector.
///
/// The strongest action of the matching rules wins; of equal ones the first. If there is a finding
/// that no matching rule speaks of, it is at least masking.
pub(crate) fn decide(rules: &[Rule], findings: &BTreeMap<&str, u64>) -> Verdict {
    let covers = |rule: &Rule, detector: &str| {
        rule.detectors.is_empty() || rule.detectors.iter().any(|name| name == detector)
    };
    let matches = |rule: &&Rule| {
        let covered = findings.iter().filter(|(name, _)| covers(rule, name));
        covered.map(|(_, count)| count).sum::<u64>() >= rule.at_least
    };
    let enforced = || {
        let matching = rules.iter().filter(matches);
        matching.filter(|rule| rule.mode == Mode::Enforce)
    };
    let mut decided: Option<&Rule> = None;
    for rule in enforced() {
        if decided.is_none_or(|best| rule.action > best.action) {
            decided = Some(rule);
        }
    }
    let spoken_of = |detector: &&str| enforced().any(|rule| covers(rule, detector));
    let least = if findings.keys().all(spoken_of) {
        Action::Allow
    } else {
        Action::Mask
    };
    let action = decided.map_or(least, |rule| rule.action).max(least);
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

    fn jwts(count: u64) -> BTreeMap<&'static str, u64> {
        [("jwt", count)]
            .into_iter()
            .filter(|(_, n)| *n > 0)
            .collect()
    }

    #[test]
    fn the_strongest_matching_action_wins() {
        let rules = [
            rule("some", 1, Action::Mask),
            rule("many", 3, Action::Deny),
            rule("free", 1, Action::Allow),
        ];
        let cases = [
            (0, Action::Allow, None),
            (1, Action::Mask, Some("some")),
            (2, Action::Mask, Some("some")),
            (3, Action::Deny, Some("many")),
            (100_000, Action::Deny, Some("many")),
        ];
        for (count, action, name) in cases {
            let verdict = decide(&rules, &jwts(count));
            assert_eq!(verdict.action, action, "{count}");
            assert_eq!(verdict.rule.as_deref(), name, "{count}");
        }
    }

    #[test]
    fn findings_that_no_rule_speaks_of_are_masked() {
        assert_eq!(decide(&[], &jwts(1)).action, Action::Mask);
        let ours = Rule {
            detectors: vec!["jwt".into()],
            ..rule("ours", 1, Action::Allow)
        };
        let rules = [ours];
        assert_eq!(decide(&rules, &jwts(1)).action, Action::Allow);
        // What one rule allows is no reason to let something else pass.
        let both = BTreeMap::from([("jwt", 1), ("github-pat", 1)]);
        assert_eq!(decide(&rules, &both).action, Action::Mask);
        let other = BTreeMap::from([("github-pat", 1)]);
        assert_eq!(decide(&rules, &other).action, Action::Mask);
    }

    #[test]
    fn a_rule_in_shadow_is_named_and_decides_nothing() {
        let shadow = Rule {
            mode: Mode::Shadow,
            ..rule("no_secrets", 1, Action::Deny)
        };
        let verdict = decide(&[shadow], &jwts(1));
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
                    let before = decide(&rules, &jwts(count)).action;
                    let mut more = rules.to_vec();
                    more.push(rule("c", 1, Action::Deny));
                    assert!(decide(&more, &jwts(count)).action >= before);
                }
            }
        }
    }
}
