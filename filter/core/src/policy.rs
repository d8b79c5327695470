//! What a person may do, and what a finding leads to.

use std::collections::{BTreeMap, HashSet};

use crate::{
    config::{Action, Condition, Direction, Mode, Role, Rule},
    endpoint::Endpoint,
    identity::Identity,
    provider::ContentItem,
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

/// The rules, and whether they are in force.
#[derive(Clone, Copy)]
pub(crate) struct Rules<'r> {
    pub(crate) all: &'r [Rule],
    /// All of them are in shadow, and what none speaks of stays.
    pub(crate) observes: bool,
}

impl Rules<'_> {
    fn is_enforced(&self, rule: &Rule) -> bool {
        rule.mode == Mode::Enforce && !self.observes
    }
}

/// What the rules say of a request, or of the calls of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// What happens.
    pub(crate) action: Action,
    /// The rule that decided; none if no rule matched.
    pub(crate) rule: Option<String>,
    /// Rules in shadow that would have demanded more.
    pub(crate) shadowed: Vec<String>,
    /// Places of all rules that want a person asked, if that is what happens.
    pub(crate) asking: Vec<usize>,
    /// Places of the rules in force that match.
    in_force: Vec<usize>,
}

/// Decides over the findings of a direction, counted by detector, and over the tool calls among the
/// items.
///
/// The strongest action of the matching rules wins; of equal ones the first. If there is a finding
/// that no matching rule speaks of, it is at least masking. Where people are asked, those of every
/// rule that asks are.
pub(crate) fn decide(
    rules: Rules<'_>,
    direction: Direction,
    findings: &BTreeMap<&str, u64>,
    items: &[ContentItem],
) -> Verdict {
    let matches = |place: usize, rule: &Rule| match &rule.condition {
        Condition::Findings { at_least, .. } => {
            let covered = findings.iter();
            let covered = covered.filter(|(name, _)| covers(rule, direction, name));
            covered.map(|(_, count)| count).sum::<u64>() >= *at_least
        }
        Condition::ToolCall => items.iter().any(|item| item.met.contains(&place)),
    };
    let matching = rules.all.iter().enumerate();
    let (in_force, in_shadow): (Vec<_>, Vec<_>) = matching
        .filter(|(place, rule)| matches(*place, rule))
        .partition(|(_, rule)| rules.is_enforced(rule));
    let decided = strongest(in_force.iter().map(|(_, rule)| *rule));
    let spoken_of = |detector: &&str| {
        let mut in_force = in_force.iter();
        in_force.any(|(_, rule)| covers(rule, direction, detector))
    };
    let least = if rules.observes || findings.keys().all(spoken_of) {
        Action::Allow
    } else {
        Action::Mask
    };
    let action = decided.map_or(least, |rule| rule.action).max(least);
    let shadowed = in_shadow
        .iter()
        .filter(|(_, rule)| rule.action > action)
        .map(|(_, rule)| rule.name.clone())
        .collect();
    let asking = in_force
        .iter()
        .filter(|(_, rule)| action == Action::AskApproval && rule.action == action)
        .map(|(place, _)| *place)
        .collect();
    Verdict {
        action,
        rule: decided.map(|rule| rule.name.clone()),
        shadowed,
        asking,
        in_force: in_force.iter().map(|(place, _)| *place).collect(),
    }
}

impl Verdict {
    /// The rule that decided over one finding: the strongest that speaks of its detector; of a value
    /// that stays the one that allows it. `rules` and `direction` are those of the verdict.
    pub(crate) fn rule_of<'r>(
        &self,
        rules: Rules<'r>,
        direction: Direction,
        detector: &str,
        stays: bool,
    ) -> Option<&'r str> {
        let in_force = self.in_force.iter();
        let in_force = in_force.filter_map(|place| rules.all.get(*place));
        let decided = strongest(in_force.filter(|rule| {
            covers(rule, direction, detector) && (!stays || rule.action == Action::Allow)
        }));
        decided.map(|rule| &*rule.name)
    }
}

/// The rule with the strongest action; of equal ones the first.
fn strongest<'r>(rules: impl Iterator<Item = &'r Rule>) -> Option<&'r Rule> {
    rules.reduce(|best, rule| {
        if rule.action > best.action {
            rule
        } else {
            best
        }
    })
}

/// The items that made a rule match: its cause set.
pub(crate) fn cause<'i>(
    place: usize,
    rule: &Rule,
    items: &'i [ContentItem],
) -> impl Iterator<Item = &'i ContentItem> {
    items.iter().filter(move |item| match rule.condition {
        Condition::Findings { .. } => {
            let mut found = item.by_detector.keys();
            found.any(|name| covers(rule, Direction::Request, name))
        }
        Condition::ToolCall => item.met.contains(&place),
    })
}

/// Whether a rule speaks of a detector's findings in a direction.
pub(crate) fn covers(rule: &Rule, direction: Direction, detector: &str) -> bool {
    match &rule.condition {
        Condition::Findings {
            direction: spoken_of,
            detectors,
            ..
        } => {
            spoken_of.includes(direction) && (detectors.is_empty() || detectors.contains(&detector))
        }
        Condition::ToolCall => false,
    }
}

/// Detectors whose values the rules let pass in a direction: a rule allows them, and none masks them
/// or asks for them.
pub(crate) fn passing(
    rules: &[Rule],
    direction: Direction,
    detectors: &[&'static str],
) -> HashSet<&'static str> {
    let speaks = |detector: &str, actions: &[Action]| {
        rules.iter().any(|rule| {
            let counts = rule.mode == Mode::Enforce && actions.contains(&rule.action);
            counts && covers(rule, direction, detector)
        })
    };
    let passes = |detector: &&str| {
        speaks(detector, &[Action::Allow])
            && !speaks(detector, &[Action::Mask, Action::AskApproval])
    };
    detectors.iter().copied().filter(passes).collect()
}

#[cfg(test)]
mod tests {
    use contract::approval::{Covers, Digest};

    use super::*;

    fn rule(name: &str, at_least: u64, action: Action) -> Rule {
        Rule {
            name: name.to_owned(),
            condition: Condition::Findings {
                at_least,
                direction: Direction::Any,
                detectors: Vec::new(),
            },
            action,
            mode: Mode::Enforce,
            approvers: String::new(),
            covers: Covers::Content,
            digest: Digest([0; 32]),
        }
    }

    fn only_jwts(rule: Rule) -> Rule {
        let detectors = vec!["jwt"];
        Rule {
            condition: Condition::Findings {
                at_least: 1,
                direction: Direction::Request,
                detectors,
            },
            ..rule
        }
    }

    fn item(detectors: &[&'static str], met: &[usize]) -> ContentItem {
        ContentItem {
            digest: Digest([0; 32]),
            role: String::new(),
            kind: "text",
            name: String::new(),
            excerpt: String::new(),
            by_detector: detectors.iter().map(|name| (*name, 1)).collect(),
            met: met.to_vec(),
        }
    }

    fn in_force(all: &[Rule]) -> Rules<'_> {
        Rules {
            all,
            observes: false,
        }
    }

    fn judge(rules: &[Rule], findings: &BTreeMap<&str, u64>) -> Verdict {
        decide(in_force(rules), Direction::Request, findings, &[])
    }

    #[test]
    fn a_call_matches_the_rule_whose_pattern_it_meets() {
        let call = |name, action| Rule {
            condition: Condition::ToolCall,
            ..rule(name, 1, action)
        };
        let rules = [
            call("never", Action::Deny),
            call("ask", Action::AskApproval),
            rule("secrets", 1, Action::AskApproval),
        ];
        let none = BTreeMap::new();
        assert_eq!(
            decide(in_force(&rules), Direction::Request, &none, &[]).action,
            Action::Allow
        );
        let asked = decide(
            in_force(&rules),
            Direction::Request,
            &none,
            &[item(&[], &[1])],
        );
        assert_eq!(
            (asked.action, &*asked.asking),
            (Action::AskApproval, &[1][..])
        );
        let both = decide(
            in_force(&rules),
            Direction::Request,
            &jwts(1),
            &[item(&["jwt"], &[1])],
        );
        assert_eq!(both.asking, [1, 2]);
        assert_eq!(both.rule.as_deref(), Some("ask"));
        let denied = decide(
            in_force(&rules),
            Direction::Request,
            &jwts(1),
            &[item(&[], &[0, 1])],
        );
        assert_eq!((denied.action, denied.asking.len()), (Action::Deny, 0));
    }

    #[test]
    fn the_cause_of_a_rule_is_what_it_speaks_of() {
        let items = [
            item(&["jwt"], &[]),
            item(&["github-pat"], &[3]),
            item(&[], &[3]),
        ];
        let count = |place, rule: &Rule| cause(place, rule, &items).count();
        let all = rule("all", 1, Action::AskApproval);
        assert_eq!(count(0, &all), 2);
        assert_eq!(count(0, &only_jwts(all.clone())), 1);
        let call = Rule {
            condition: Condition::ToolCall,
            ..all
        };
        assert_eq!((count(3, &call), count(0, &call)), (2, 0));
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
            let verdict = judge(&rules, &jwts(count));
            assert_eq!(verdict.action, action, "{count}");
            assert_eq!(verdict.rule.as_deref(), name, "{count}");
        }
    }

    #[test]
    fn findings_that_no_rule_speaks_of_are_masked() {
        assert_eq!(judge(&[], &jwts(1)).action, Action::Mask);
        let rules = [only_jwts(rule("ours", 1, Action::Allow))];
        assert_eq!(judge(&rules, &jwts(1)).action, Action::Allow);
        // What one rule allows is no reason to let something else pass.
        let both = BTreeMap::from([("jwt", 1), ("github-pat", 1)]);
        assert_eq!(judge(&rules, &both).action, Action::Mask);
        let other = BTreeMap::from([("github-pat", 1)]);
        assert_eq!(judge(&rules, &other).action, Action::Mask);
    }

    #[test]
    fn a_rule_speaks_of_its_direction_and_each_of_any() {
        let deny = only_jwts(rule("ours", 1, Action::Deny));
        let rules = [deny];
        let action = |direction| decide(in_force(&rules), direction, &jwts(1), &[]).action;
        assert_eq!(action(Direction::Request), Action::Deny);
        assert_eq!(action(Direction::Any), Action::Deny);
        assert_eq!(action(Direction::Answer), Action::Mask);
    }

    #[test]
    fn a_rule_in_shadow_is_named_and_decides_nothing() {
        let shadow = Rule {
            mode: Mode::Shadow,
            ..rule("no_secrets", 1, Action::Deny)
        };
        let verdict = judge(&[shadow], &jwts(1));
        assert_eq!((verdict.action, verdict.rule), (Action::Mask, None));
        assert_eq!(verdict.shadowed, ["no_secrets"]);
    }

    #[test]
    fn adding_a_deny_rule_never_allows_more() {
        let actions = [
            Action::Allow,
            Action::Mask,
            Action::AskApproval,
            Action::Deny,
        ];
        for first in actions {
            for second in actions {
                let rules = [rule("a", 1, first), rule("b", 2, second)];
                for count in 0..4 {
                    let before = judge(&rules, &jwts(count)).action;
                    let mut more = rules.to_vec();
                    more.push(rule("c", 1, Action::Deny));
                    assert!(judge(&more, &jwts(count)).action >= before);
                }
            }
        }
    }
}
