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
