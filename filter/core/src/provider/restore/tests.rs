use proptest::prelude::*;

use super::surroundings::Surroundings;
use super::{blocks, context, patch};

#[test]
fn the_context_is_counted_in_characters() {
    let cases = [
        ("", ""),
        ("short", "short"),
        ("é234567890123456789012345", "234567890123456789012345"),
        ("xé23456789012345678901234", "é23456789012345678901234"),
    ];
    for (text, expected) in cases {
        assert_eq!(context(text), expected, "{text}");
    }
}

#[test]
fn prompts_name_files_in_two_forms() {
    let cases = [
        ("<file path=\"/a\">\nx=", Some(("/a", "x="))),
        ("<file path=\"/a\">\n```\nx=", Some(("/a", "x="))),
        (
            "<attachment id=\"1\" filePath=\"/a\">\ntext\n````ini\n```\nx=",
            Some(("/a", "```\nx=")),
        ),
        ("```\n// filepath: /a\nx=", Some(("/a", "x="))),
        (
            "<!-- -->\n```html\n<!-- filepath: /a -->\nx=",
            Some(("/a", "x=")),
        ),
        (
            "<file path=\"/a\">\n<file path=\"/b\">\nx=",
            Some(("/b", "x=")),
        ),
        (
            "<file path=\"/a\">\n```\n<file path=\"/b\">\nx=",
            Some(("/a", "<file path=\"/b\">\nx=")),
        ),
        // Not in a file, or in none that is named once.
        ("x=", None),
        ("<file path=\"/a\">x=", None),
        ("<file path=\"/a\">\ny\n</file>\nx=", None),
        ("<file path=\"/a\">\n```\ny\n```\nx=", None),
        ("<file path=\"/a\" filePath=\"/b\">\nx=", None),
        ("<file path=\"\">\nx=", None),
        ("<a path=\"/a\">\nx=", None),
        ("```\nx = 1\n// filepath: /a\nx=", None),
        ("```\nsee filepath: /a\nx=", None),
        ("filepath: /a\nx=", None),
    ];
    for (text, expected) in cases {
        let found = blocks::block(text);
        let found = found.as_ref().map(|(path, before)| (&**path, *before));
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn a_tool_shows_a_file_plain_fenced_or_numbered() {
    let cases: [(&str, &[&str]); 6] = [
        ("A=", &["A="]),
        ("head\n```env\nA=", &["head\n```env\nA=", "A="]),
        ("1. A\n2. B=", &["1. A\n2. B=", "A\nB="]),
        ("     9\tA\n    10\tB=", &["     9\tA\n    10\tB=", "A\nB="]),
        ("  7→A\n  9→B=", &["  7→A\n  9→B="]),
        (
            "```\n1: A\n2: B=",
            &["```\n1: A\n2: B=", "1: A\n2: B=", "A\nB="],
        ),
    ];
    for (text, expected) in cases {
        let expected: Vec<&str> = expected.iter().map(|text| context(text)).collect();
        assert_eq!(blocks::readings(text), expected, "{text}");
    }
}

#[test]
fn a_patch_is_read_in_the_lines_of_its_file() {
    let text = "*** Begin Patch\n*** Update File: a\n@@ x\n one\n-two MASKED_1\n+2 MASKED_2\n\n three\n\
                +MASKED_3\n@@\n+MASKED_4\n*** Delete File: b\n+MASKED_5\n*** Add File: c\n+MASKED_6\n\
                *** End Patch\n+MASKED_7\n";
    let found = patch::places(text);
    let found: Vec<_> = found
        .iter()
        .map(|place| {
            (
                &*place.path,
                &*place.before,
                text.get(place.at..place.at + 8).unwrap(),
            )
        })
        .collect();
    let expected = [
        ("a", "one\ntwo ", "MASKED_1"),
        ("a", "one\n2 ", "MASKED_2"),
        ("a", "one\n2 MASKED_2\n\nthree\n", "MASKED_3"),
        ("a", "", "MASKED_4"),
        ("c", "", "MASKED_6"),
    ];
    assert_eq!(found, expected);
    assert_eq!(patch::lines("a\nb", '+'), "a\n+b");
}

fn is_plain_behind(text: &str) -> bool {
    let mut surroundings = Surroundings::default();
    surroundings.pass(text);
    surroundings.is_plain()
}

/// Where a browser is in a tag.
#[derive(Clone, Copy, PartialEq)]
enum Html {
    Text,
    Name,
    BeforeAttribute,
    Attribute,
    BeforeValue,
    Unquoted,
    Quoted(char),
}

/// Reads a text that begins with `<` as a browser does (HTML, 13.2.5); written without the code
/// under test.
fn browse(text: &str) -> Html {
    let mut state = Html::Name;
    for character in text.chars().skip(1) {
        let is_space = matches!(character, ' ' | '\n' | '\t');
        state = match (state, character) {
            (Html::Quoted(quote), _) if character != quote => state,
            (Html::Text, _) | (_, '>') if !matches!(state, Html::Quoted(_)) => Html::Text,
            (Html::BeforeValue, '"' | '\'') => Html::Quoted(character),
            // Behind a name and spaces `=` still begins a value.
            (Html::BeforeValue | Html::BeforeAttribute | Html::Attribute, _) if is_space => state,
            (Html::BeforeValue, _) => Html::Unquoted,
            (Html::Attribute, '=') => Html::BeforeValue,
            (Html::Name | Html::Unquoted, _) if is_space => Html::BeforeAttribute,
            (Html::Quoted(_), _) => Html::BeforeAttribute,
            (Html::BeforeAttribute, _) => Html::Attribute,
            (Html::Name | Html::Unquoted | Html::Attribute | Html::Text, _) => state,
        };
    }
    state
}

proptest! {
    #[test]
    fn nothing_is_plain_that_a_browser_may_read_within_a_tag(
        words in prop::collection::vec(prop::sample::select(vec![
            "<a", "<", ">", "\"", "'", "=", " ", "\n", "\n> ", "\n\n", "x", "\\", "`", "/",
        ]), 0..24),
    ) {
        let text = words.concat();
        for quoted in [false, true] {
            // Marks of a quote are no text.
            let read = if quoted { text.replace("\n> ", "\n") } else { text.clone() };
            let tags = read.match_indices('<').filter_map(|(at, _)| read.get(at..));
            for tag in tags.filter(|tag| tag.starts_with("<a") || tag.starts_with("</")) {
                if browse(tag) != Html::Text {
                    prop_assert!(!is_plain_behind(&text), "{text:?}");
                }
            }
        }
    }

    #[test]
    fn any_cut_leaves_the_same_surroundings(text in "[<>\"'=a \\n\\](:/&#>.]{0,40}", at in 0_usize..40) {
        let mut cut = Surroundings::default();
        let (first, second) = text.split_at(text.floor_char_boundary(at));
        cut.pass(first);
        cut.pass(second);
        prop_assert_eq!(cut.is_plain(), is_plain_behind(&text));
    }
}
