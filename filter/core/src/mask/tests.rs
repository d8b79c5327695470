#![expect(clippy::string_slice, reason = "a slip fails the test")]

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;

mod forms;

#[test]
fn every_example_is_found_and_no_counter_example() {
    let mut wrong = Vec::new();
    for detector in detectors() {
        for example in detector.examples {
            let (text, start, end) = unmarked(example);
            let (_, findings) = mask(&text);
            let found: Vec<_> = findings
                .iter()
                .map(|f| (f.detector, f.offset, f.offset + f.length))
                .collect();
            if found != [(detector.name, start as u64, end as u64)] {
                wrong.push(format!(
                    "{}: {start}..{end} is {found:?}: {text}",
                    detector.name
                ));
            }
        }
        for example in detector.counter_examples {
            let text = format!("{example}\n");
            let (_, findings) = mask(&text);
            if !findings.is_empty() {
                wrong.push(format!(
                    "{}: touched {example}: {findings:?}",
                    detector.name
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_detector_has_an_example_and_a_name_of_its_own() {
    let mut names = std::collections::BTreeSet::new();
    for detector in detectors() {
        let name = detector.name;
        assert!(names.insert(name), "{name} stands twice");
        assert!(name.len() <= 40, "{name} is too long for a placeholder");
        assert!(
            name.bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'),
            "{name}"
        );
        assert!(!detector.examples.is_empty(), "{name} has no example");
    }
    assert!(names.len() >= 170, "{} detectors", names.len());
}

#[test]
fn every_key_name_contains_an_anchor() {
    for detector in detectors() {
        let detector::Rule::Named { names: ends, .. } = detector.rule else {
            continue;
        };
        for end in ends {
            // `pat` alone would be in every path
            assert!(names::has_anchor(end.as_bytes()) || *end == "pat", "{end}");
            let shouted = format!("MY_{}", end.to_uppercase());
            assert!(names::has_anchor(shouted.as_bytes()), "{shouted}");
        }
    }
}

#[test]
fn placeholders_are_the_same_for_one_person_and_differ_between_persons() {
    let text = concat!("a ghp", "_jIUnA23PAKkQWF0oNemVaEORxEfzuZNoiXXk b");
    let (mine, _) = mask(text);
    assert_eq!(mine, mask(text).0);
    let theirs = person("bo").mask(text, &mut Vec::new()).unwrap();
    assert_ne!(mine, theirs);
    let placeholder = mine
        .strip_prefix("a MASKED_GITHUB_PAT_")
        .unwrap()
        .strip_suffix(" b")
        .unwrap();
    assert_eq!(placeholder.len(), 16);
    assert!(
        placeholder
            .bytes()
            .all(|b| matches!(b, b'A'..=b'Z' | b'2'..=b'7'))
    );
}

#[test]
fn a_word_that_goes_beyond_the_reach_of_a_url_is_a_name_in_any_cut() {
    let name = "AWS_SECRET_ACCESS_KEY=";
    let text = format!("e://AWS_SECRET{name}I{name}{name}{name}gIBADANBgkqhkiG9");
    let pieces = text
        .char_indices()
        .map(|(at, character)| &text[at..at + character.len_utf8()]);
    let whole = mask(&text);
    assert_eq!(whole.1.len(), 1);
    assert_eq!(in_pieces(pieces), whole);
}

#[test]
fn a_token_may_begin_with_any_byte_that_its_pattern_allows() {
    for first in ["O", "0", "_", "~", "."] {
        let secret = format!("{first}HJ5{}6PV.0aSKGnK9~vR2xW7bTq4LmZc8dEf1", "Q~");
        let text = format!("we use [\"{secret}\"] for now");
        let whole = mask(&text);
        assert_eq!(whole.1.len(), 1, "{first}");
        assert!(!whole.0.contains(&secret), "{first}");
        for (at, _) in text.char_indices() {
            let (left, right) = text.split_at(at);
            assert_eq!(in_pieces([left, right].into_iter()), whole, "{first} {at}");
        }
    }
}

#[test]
fn a_token_may_begin_with_the_letters_of_an_escape() {
    // once a whole text was read on behind the escape, and a text in pieces at its letters
    for text in [
        concat!("C:\\npm", "_q7Zk2LmX9vTb4RnW8sYc1dHf3gJk5pQrStUv "),
        concat!(
            "%00Df0DPR4Dsj30r!",
            "UdoK_ShKpyUIYaqh8phX1RTpPZ6TVPGC2Qr7izlZoCR7M98k97CHDzksoIcDGPimtPhgbKpB01NaKu.ni.KQ9.4U9aMchqrK "
        ),
    ] {
        let whole = mask(text);
        assert_eq!(whole.1.len(), 1, "{text}");
        for (at, _) in text.char_indices() {
            let (left, right) = text.split_at(at);
            assert_eq!(in_pieces([left, right].into_iter()), whole, "{at}");
        }
    }
}

#[test]
fn deployment_and_person_cannot_be_shifted_into_each_other() {
    let text = concat!("a ghp", "_jIUnA23PAKkQWF0oNemVaEORxEfzuZNoiXXk b");
    let catalog = Rc::new(Catalog::new());
    let masked = |deployment, person| {
        Masker::new(Rc::clone(&catalog), &keys(), deployment, person).mask(text, &mut Vec::new())
    };
    assert_ne!(masked("acme", "mia"), masked("acmem", "ia"));
}

#[test]
fn fingerprints_depend_on_their_own_key_only() {
    let text = concat!("DB_PASSWORD = \"", "hunter2-Xq\"");
    let catalog = Rc::new(Catalog::new());
    let masked = |keys: &MaskKeys, who| {
        let mut findings = Vec::new();
        let out = Masker::new(Rc::clone(&catalog), keys, "acme", who).mask(text, &mut findings);
        (out.unwrap(), findings.remove(0).fingerprint)
    };
    let (out, fingerprint) = masked(&keys(), "mia");
    assert_eq!(fingerprint, masked(&keys(), "bo").1);
    let (same_out, other) = masked(
        &MaskKeys {
            fingerprint_key: b"other".to_vec(),
            ..keys()
        },
        "mia",
    );
    assert_eq!(out, same_out);
    assert_ne!(fingerprint, other);
    let (id, base32) = fingerprint.split_once(':').unwrap();
    assert_eq!((id, base32.len()), ("k1", 20));
    let (other_out, same) = masked(
        &MaskKeys {
            placeholder_key: b"other".to_vec(),
            ..keys()
        },
        "mia",
    );
    assert_ne!(out, other_out);
    assert_eq!(fingerprint, same);
}

#[test]
fn one_key_has_one_fingerprint_in_every_shape_of_its_block() {
    let body = [
        "MIIBVgIBADANBgkqhkiG9w0BAQEFQ2xhc3NpY2FsTXVzaWNJc0dyZWF0",
        "c3Npbm5FbmQ=",
    ];
    let shapes = ["\n", "\\n", "\\\\n", "\n    ", "\\n\" +\n  \"", "\r\n"];
    let fingerprints: std::collections::BTreeSet<_> = shapes
        .iter()
        .map(|gap| {
            let [first, last] = body;
            let begin = concat!("-----BEGIN ", "PRIVATE KEY-----");
            let text = format!("k {begin}{gap}{first}{gap}{last}{gap}-----END PRIVATE KEY----- e");
            let (out, findings) = mask(&text);
            assert_eq!(findings.len(), 1, "{text}");
            assert!(out.ends_with(" e") && out.len() < 60, "{out}");
            findings[0].fingerprint.clone()
        })
        .collect();
    assert_eq!(fingerprints.len(), 1);
}

#[test]
fn block_without_end_takes_no_prose() {
    let begin = concat!("-----BEGIN ", "PRIVATE KEY-----");
    let text = format!(
        "{begin}\nMIIBVgIBADANBgkqhkiG9w0BAQEF\nMIIBVgIBADANBgkqhkiG9w0BAQEF\nThis is prose.\n"
    );
    assert!(mask(&text).0.ends_with("\nThis is prose.\n"));
}

#[test]
fn text_cut_off_in_a_token_is_masked() {
    for cut in [
        concat!("x ghp", "_jIUnA23PA"),
        concat!("x sk-ant", "-api03-q7Zk2LmX9v"),
    ] {
        assert_eq!(mask(cut).1.len(), 1, "{cut}");
        assert_eq!(mask(&format!("{cut} ")).1.len(), 0, "{cut}");
    }
    assert_eq!(mask("x ghp_jIUn").1.len(), 0);
}

#[test]
fn secret_key_behind_its_id_is_masked() {
    let text = concat!(
        "new Credentials(\"AKIA",
        "BJ6R5MDZ3IDV7PNW\", \"tYX25GTMPi1eRpqr",
        "W6s/F1xLASxqtQyavLoxubUF\")"
    );
    let (out, findings) = mask(text);
    let detectors: Vec<_> = findings.iter().map(|f| f.detector).collect();
    assert_eq!(
        detectors,
        ["aws-access-key-id", "aws-secret-access-key-pair"]
    );
    assert!(out.starts_with("new Credentials(\"MASKED_AWS_ACCESS_KEY_ID_"));
}

#[test]
fn placeholder_with_text_glued_to_it_is_recognised() {
    // once it was not, and the word behind it became a value in the second pass
    let text = concat!(
        "password: CCIPAT",
        "_mA5JnZBf1bMsOoWc4ickOm_8d0c04aed2b2a5309f636b3a2659dee578ec115f_x=>patV6OINLJtI"
    );
    let (out, findings) = mask(text);
    assert_eq!((findings.len(), mask(&out).1.len()), (1, 0), "{out}");
}

#[test]
fn beginning_of_a_placeholder_proves_no_token() {
    // once the first letters of the second placeholder completed the first token
    let text = concat!(
        "ops_eyJ",
        "LSpSwjcJh6M+oeKV1PRAX5aCDO0yYJdU3/",
        "tk-us",
        "-TAKXf9qE9bgfo0K_MLBNGsBlSyGScI6PGPjqrNpKykUm49-0"
    );
    let (out, findings) = mask(text);
    assert_eq!((findings.len(), mask(&out).1.len()), (1, 0), "{out}");
}

#[test]
fn nothing_is_held_behind_a_delimiter_of_prose_or_code() {
    let masker = masker();
    let text = "The quick brown fox: let x = compute(a, b); // https://example.org/a?b=c\n\"ok\" ";
    let mut mask = TextMask::new();
    let mut out = String::new();
    for (at, character) in text.char_indices() {
        mask.push(&masker, &character.to_string(), &mut out, &mut Vec::new());
        if matches!(character, ' ' | ';' | ',' | ')' | '\n' | '"') {
            assert_eq!(mask.held(), 0, "{}", &text[..at]);
        }
    }
    assert_eq!(out, text);
}

#[test]
fn common_words_leave_with_their_piece() {
    let masker = masker();
    let (mut mask, mut out) = (TextMask::new(), String::new());
    for piece in [
        "Rows sorted",
        " by",
        " name",
        ", by",
        " and",
        " all",
        " files",
        " end",
    ] {
        mask.push(&masker, piece, &mut out, &mut Vec::new());
        assert_eq!(mask.held(), 0, "{piece}");
    }
    assert!(out.ends_with(" and all files end"), "{out}");
}

#[test]
fn open_ends_are_not_held() {
    let masker = masker();
    let (mut mask, mut out, mut findings) = (TextMask::new(), String::new(), Vec::new());
    mask.push(
        &masker,
        concat!("x ghp", "_jIUnA23PAKkQWF0oNemVaEORxEfzuZNoiXXk"),
        &mut out,
        &mut findings,
    );
    for _ in 0..1000 {
        mask.push(&masker, "abcdefgh", &mut out, &mut findings);
        assert_eq!((mask.held(), out.as_str()), (0, "x "));
    }
    mask.finish(&masker, &mut out, &mut findings);
    assert_eq!(findings[0].length, 8040);
}

#[test]
fn big_hostile_texts_are_read_in_linear_time_and_bounded_memory() {
    const SIZE: usize = 1 << 20;
    for part in [
        "eyJ",
        "a",
        "\"",
        "eyJ-",
        "-----BEGIN PRIVATE KEY-----",
        "password=",
        "password=\"",
        "://",
        "://a:",
        "\n",
        "MASKED_",
        "glpat-",
        "key: ",
        "\\",
        "é",
        "-----BEGIN PRIVATE KEY-----\nMIIBVgIBADANBgkqhkiG9w0\n",
        "https://hooks.slack.com/",
        "AKIA",
        "token \\\"",
        "a-",
        "password=\\",
        "4539 ",
        "4539-",
        "DE16 ",
        "ssn 284-73-9106 ",
        "1234.",
    ] {
        let text = part.repeat(SIZE / part.len());
        let (out, _) = mask(&text);
        assert!(out.len() <= text.len() * 3, "{part}");
        let masker = masker();
        let (mut mask, mut out, mut findings) = (TextMask::new(), String::new(), Vec::new());
        for character in text.chars().take(20_000) {
            let mut piece = [0; 4];
            mask.push(
                &masker,
                character.encode_utf8(&mut piece),
                &mut out,
                &mut findings,
            );
            assert!(mask.held() <= 1024, "{part} holds {}", mask.held());
            assert!(mask.capacity() < 64 * 1024, "{part}");
        }
    }
}

#[test]
fn places_behind_escapes_and_options_are_read_alike_in_every_cut() {
    let token = concat!(
        "rdme",
        "_kpg1spjzqrsg2cbmn75myy1uxysmlsk2apo1ikr0zo7e1igabumm98ht4mc3it99ku68qz"
    );
    let texts = [
        format!("\\{token}"),
        format!("\\n{token}"),
        format!("%20{token} 100% %2"),
        "mysql -p0connectPassword = \"v4x9MlWGI9_lnX2\"".to_owned(),
        "%7B%22password%22%3A%22hunter2-Xq%22%7D %".to_owned(),
        concat!(
            "%EAAMdhhBkokIqwiy1hjSx31tS8uPkSAIOQZ72a4QPbVFSgclADsxrWQihBPKb3Fp",
            "NSPH3LunDZDUhUQd6q9vs5N3kxk5lXQYccQFTbVI"
        )
        .to_owned(),
        concat!(
            "mysql -pGR1348941",
            "XdYaxo6qhQb5SMBKtv_Laws_secret_access_key = a0n0VeSPCQdyMoYuNmqjA3pJeffR1Z5ndXk0jY07\n"
        )
        .to_owned(),
    ];
    for text in texts {
        let (whole, findings) = mask(&text);
        assert_eq!(findings.len(), 1, "{text}");
        assert_eq!(mask(&whole), (whole.clone(), Vec::new()));
        for (at, _) in text.char_indices() {
            let (start, rest) = text.split_at(at);
            let cut = in_pieces([start, rest].into_iter());
            assert_eq!(cut, (whole.clone(), findings.clone()), "{at}");
        }
    }
}

#[test]
fn confidence_is_that_of_what_announced_the_value() {
    let cases = [
        (
            concat!("ghp", "_jIUnA23PAKkQWF0oNemVaEORxEfzuZNoiXXk "),
            Confidence::High,
        ),
        ("DB_PASSWORD = \"hunter2-Xq\"\n", Confidence::Medium),
        ("the password is q7Zk2LmX9vTb4RnW8sYc\n", Confidence::Low),
        ("postgres://app:q7Zk2LmX9v@db/x", Confidence::High),
    ];
    for (text, confidence) in cases {
        let (_, findings) = mask(text);
        let found: Vec<_> = findings
            .iter()
            .map(|it| (it.confidence, it.passed))
            .collect();
        assert_eq!(found, [(confidence, None)], "{text}");
    }
}

#[test]
fn a_value_that_is_too_long_to_be_kept_does_not_pass() {
    let passes = Passes {
        detectors: ["jwt"].into(),
        ..Passes::default()
    };
    let masker = masker().passing(Rc::new(passes));
    let head = concat!("eyJhbGciOiJIUzI1NiJ9.", "eyJzdWIiOiIxIn0.");
    for (length, passed) in [(64, Some(Passed::Rule)), (17 * 1024, None)] {
        let text = format!("{head}{} ", "Ab3_".repeat(length / 4));
        let mut findings = Vec::new();
        let masked = masker.mask(&text, &mut findings).unwrap();
        assert!(masked.starts_with("MASKED_JWT_"));
        let mut originals = Originals::default();
        for finding in &mut findings {
            originals.take(finding);
        }
        let mut sent = masked.clone().into_bytes();
        originals.put_back(&mut sent, 0);
        assert_eq!(findings[0].passed, passed);
        let expected = if passed.is_some() { &text } else { &masked };
        assert_eq!(String::from_utf8(sent).as_ref(), Ok(expected));
    }
}

/// A masker with one detector of the deployment, `acme-key`.
fn with_custom(pattern: &str, check: CustomCheck) -> Masker {
    let custom = Custom {
        name: "acme-key",
        pattern,
        check,
    };
    let customs = Rc::new(Customs::compile(&[custom]).unwrap());
    let catalog = Rc::new(Catalog::new().with(customs));
    Masker::new(catalog, &keys(), "acme", "mia")
}

#[test]
fn a_detector_of_the_deployment_may_begin_with_a_sign() {
    let masker = with_custom("~acme[a-z0-9]{12}", CustomCheck::Plain);
    // one that its check refuses, and one that it does not
    let text = "see ~acmexxxxxxxxxxxx and ~acmeq7zk2lmx9vtb on ~";
    let mut findings = Vec::new();
    let masked = masker.mask(text, &mut findings).unwrap();
    assert!(
        masked.starts_with("see ~acmexxxxxxxxxxxx and MASKED_ACME_KEY_"),
        "{masked}"
    );
    assert_eq!(findings.len(), 1);
}

#[test]
fn an_address_directly_behind_a_masked_value_is_read() {
    let password = concat!("v4x9Ml", "WGI9_lnX2");
    let text = format!(
        "q7Zk-2LmX9vT%3A%2F%2Fapp%3Aq7Zk2LmX9v%40db.example%2Fxpostgres://app:{password}@db.example/crm"
    );
    let (masked, _) = mask(&text);
    assert!(!masked.contains(password), "{masked}");
    assert_eq!(mask(&masked).1.len(), 0, "{masked}");
}

#[test]
fn a_detector_of_the_deployment_finds_its_values_in_any_cut() {
    let pattern = "(?:acme)-(?:[a-z0-9]{8}-){1,3}[A-F]{4}";
    let masker = with_custom(pattern, CustomCheck::None);
    let text = "x acme-q7zk2lmx-9vtb4rnw-ABCD, acme-q7zk2lmx- and a long word, \
                \"acme-q7zk2lmx-ABCD\" xacme-q7zk2lmx-ABCD acme-q7zk2lmx-ABCDE MASKED_ACME_KEY_ABCDEFGHIJKLMNOP";
    let mut findings = Vec::new();
    let whole = masker.mask(text, &mut findings).unwrap();
    let spans: Vec<_> = findings.iter().map(|it| (it.offset, it.length)).collect();
    assert_eq!(spans, [(2, 27), (64, 18)]);
    assert!(findings.iter().all(|it| it.detector == "acme-key"));
    assert!(
        whole
            .ends_with(" xacme-q7zk2lmx-ABCD acme-q7zk2lmx-ABCDE MASKED_ACME_KEY_ABCDEFGHIJKLMNOP")
    );
    for cut in 0..text.len() {
        let (mut mask, mut out, mut found) = (TextMask::new(), String::new(), Vec::new());
        let (start, rest) = text.split_at(cut);
        for piece in [start, rest] {
            mask.push(&masker, piece, &mut out, &mut found);
        }
        mask.finish(&masker, &mut out, &mut found);
        assert_eq!((&out, &found), (&whole, &findings), "{cut}");
    }
}

#[test]
fn a_pack_that_is_off_finds_nothing_and_leaves_the_others_whole() {
    for off in Pack::ALL {
        let on = Pack::ALL.into_iter().filter(|pack| *pack != off);
        let catalog = Rc::new(Catalog::of(on.collect()));
        let masker = Masker::new(catalog, &keys(), "acme", "mia");
        for (pack, detector) in packs::detectors() {
            for example in detector.examples {
                let (text, start, end) = unmarked(example);
                let mut findings = Vec::new();
                masker.mask(&text, &mut findings);
                let found: Vec<_> = findings.iter().map(|it| it.detector).collect();
                if pack == off {
                    assert!(!found.contains(&detector.name), "{off:?}: {text}");
                    continue;
                }
                if matches!(detector.rule, detector::Rule::Encoded(_)) {
                    continue; // what it hides is another detector's
                }
                assert_eq!(found, [detector.name], "{off:?}: {text}");
                let span = (findings[0].offset, findings[0].length);
                assert_eq!(span, (start as u64, (end - start) as u64), "{text}");
            }
        }
    }
    let default = Packs::default();
    assert!(Pack::ALL.into_iter().filter(|pack| default.has(*pack)).eq([
        Pack::Vendors,
        Pack::Structures,
        Pack::Generic
    ]));
}

#[test]
fn numbers_are_certain_and_one_in_every_spelling() {
    let text = concat!(
        "a 4539 2752",
        " 6018 1599, b 4539-2752",
        "-6018-1599, c 453927526",
        "0181599"
    );
    let (out, findings) = mask(text);
    assert_eq!(findings.len(), 3, "{out}");
    for finding in &findings {
        assert_eq!(finding.fingerprint, findings[0].fingerprint);
        let verdict = (finding.confidence, finding.checksum);
        assert_eq!(verdict, (Confidence::Certain, Some(true)));
    }
    let (_, findings) = mask(concat!("ssn: 284-73", "-9106"));
    let verdict = (findings[0].confidence, findings[0].checksum);
    assert_eq!(verdict, (Confidence::Medium, None));
}

#[test]
fn the_next_id_of_a_list_needs_no_name() {
    let list = concat!("ssns = [\n  \"284-73", "-9106\",\n  \"391-24", "-8057\"\n]");
    assert_eq!(mask(list).1.len(), 2);
    let apart = concat!("ssn \"284-73", "-9106\", part \"391-24", "-8057\"");
    assert_eq!(mask(apart).1.len(), 1);
}

#[test]
fn what_stands_before_a_placeholder_takes_nothing_of_it() {
    let text = concat!("LTAI5tefSIt9", "GGD%3A%2F%2Fapp%3Aq7Zk2LmX9v%40");
    let (out, findings) = mask(text);
    assert_eq!(findings.len(), 1, "{out}");
    assert_eq!(mask(&out), (out.clone(), Vec::new()));
    let pieces = (0..out.len()).map(|at| &out[at..=at]);
    assert_eq!(in_pieces(pieces), (out.clone(), Vec::new()));
}

#[test]
fn of_a_name_so_much_counts_in_every_cut() {
    for (before, end) in [
        (
            "",
            concat!("request.basic_auth(\"ci\", \"v4x9MlWGI9", "_lnX2\")"),
        ),
        ("Cookie: ", concat!("session=v4x9MlWGI9", "lnX2kQ7rT3uW8y")),
        ("", concat!("db_password = \"v4x9MlWGI9", "_lnX2\"")),
    ] {
        for length in 0..300 {
            let name = "a.b-c_d9".chars().cycle().take(length);
            let text: String = before.chars().chain(name).chain(end.chars()).collect();
            let pieces = (0..text.len()).map(|at| &text[at..=at]);
            assert_eq!(in_pieces(pieces), mask(&text), "{text}");
            let words = "x ".chars().cycle().take(length);
            let text: String = before.chars().chain(words).chain(end.chars()).collect();
            let pieces = (0..text.len()).map(|at| &text[at..=at]);
            assert_eq!(in_pieces(pieces), mask(&text), "{text}");
        }
    }
}

#[test]
fn numbers_are_held_no_longer_than_they_are() {
    let catalog = Rc::new(Catalog::of([Pack::Pii].into_iter().collect()));
    let masker = Masker::new(catalog, &keys(), "acme", "mia");
    for part in [
        "4539 ", "4539", "DE16 ", "DE16", "2 84 07 ", "453-", "MT60AB",
    ] {
        let (mut mask, mut out) = (TextMask::new(), String::new());
        for character in format!("x {}", part.repeat(40)).chars() {
            let mut piece = [0; 4];
            let piece = character.encode_utf8(&mut piece);
            mask.push(&masker, piece, &mut out, &mut Vec::new());
            assert!(mask.held() <= 64, "{part} holds {}", mask.held());
        }
    }
}

#[test]
fn numbers_in_code_are_not_of_people() {
    for text in [
        "const N: [u64; 3] = [4539275260181598, 18446744073709551615, 9007199254740991];",
        "t = 1700000000123; ns = 1700000000123456789; at = \"2026-11-23T05:47:46.123456789Z\"",
        "call +1 415 555 2671 or (415) 555-2671, +49 30 901820",
        "v1.2.3-rc.4539275260181599 and 4539.2752.6018.1599",
        "f47ac10b-58cc-4372-a567-0e02b2c3d479 453927526018-1599-4539-2752-601815994539",
        "sha256:4539275260181599453927526018159945392752601815994539275260181599",
        "deadbeef4539275260181599 0x4539275260181599 4539275260181599u64 4_539_275_260_181_599",
        "pi = 3.4539275260181599, x = -4539275260181599, y = 4539275260181599.25",
        "0001 4539 2752 6018 1599 0002",
        "[\n    1561842305134808950,\n    4539275260181599,\n    4104017706432470283\n]",
        "mul(4104017706432470283)",
        "account 284739106, ticket 911862523, order 84071926384",
    ] {
        assert_eq!(mask(text).1, [], "{text}");
    }
}

#[test]
fn nothing_secret_is_printed() {
    let masker = masker();
    let mut mask = TextMask::new();
    mask.push(
        &masker,
        concat!("x ghp", "_jIUnA23PA"),
        &mut String::new(),
        &mut Vec::new(),
    );
    let printed = format!("{mask:?} {masker:?} {:?}", keys());
    assert!(
        !printed.contains("jIUn") && !printed.contains("[102, 105"),
        "{printed}"
    );
    assert!(
        !printed.contains("fingerprint_key:") && !printed.contains("placeholder_key"),
        "{printed}"
    );
}

proptest! {
    #[test]
    fn any_cut_gives_the_same_text(text in text(), cuts in prop::collection::vec(any::<Index>(), 0..12)) {
        let mut cuts: Vec<_> = cuts.iter().map(|cut| boundary(&text, *cut)).collect();
        cuts.push(0);
        cuts.push(text.len());
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|cut| &text[cut[0]..cut[1]]);
        prop_assert_eq!(in_pieces(pieces), mask(&text));
    }

    #[test]
    fn single_characters_give_the_same_text(text in text()) {
        let pieces = text.char_indices().map(|(at, character)| &text[at..at + character.len_utf8()]);
        prop_assert_eq!(in_pieces(pieces), mask(&text));
    }

    #[test]
    fn pieces_as_models_send_them_give_the_same_text(
        text in text(),
        lengths in prop_oneof![
            prop::collection::vec(1_usize..=10, 1..40),
            prop::collection::vec(1_usize..=60, 1..40),
        ],
    ) {
        let mut lengths = lengths.iter().cycle();
        let mut at = 0;
        let pieces = std::iter::from_fn(|| {
            let rest = text.get(at..).filter(|rest| !rest.is_empty())?;
            let end = rest.char_indices().nth(*lengths.next()?).map_or(rest.len(), |(end, _)| end);
            at += end;
            Some(&rest[..end])
        });
        prop_assert_eq!(in_pieces(pieces), mask(&text));
    }

    #[test]
    fn nothing_is_held_once_prose_goes_on(text in text()) {
        let masker = masker();
        let (mut mask, mut out) = (TextMask::new(), String::new());
        mask.push(&masker, &text, &mut out, &mut Vec::new());
        for word in ["\n", "So ", "it ", "goes ", "on, ", "and ", "that ", "is ", "all.\n"] {
            mask.push(&masker, word, &mut out, &mut Vec::new());
        }
        prop_assert!(!mask.waits(), "{} bytes are held", mask.held());
        prop_assert!(out.ends_with("that is all.\n"), "{}", out);
    }

    #[test]
    fn bytes_outside_findings_stay(text in text()) {
        let (out, mut findings) = mask(&text);
        // what a run hides is found in one place
        findings.dedup_by_key(|finding| (finding.offset, finding.length));
        let mut rest = out.as_str();
        let mut at = 0;
        for finding in &findings {
            let start = usize::try_from(finding.offset).unwrap();
            prop_assert!(start >= at && finding.length > 0);
            rest = rest.strip_prefix(&text[at..start]).expect("text before a finding");
            let kind = finding.detector.to_ascii_uppercase().replace('-', "_");
            rest = rest.strip_prefix(&format!("MASKED_{kind}_")).expect("a placeholder");
            rest = &rest[16..];
            at = start + usize::try_from(finding.length).unwrap();
        }
        prop_assert_eq!(rest, &text[at..]);
    }

    #[test]
    fn masked_text_has_no_findings(text in text()) {
        let (out, _) = mask(&text);
        let (again, findings) = mask(&out);
        prop_assert_eq!((again, findings), (out, Vec::new()));
    }

    #[test]
    fn every_cut_in_two_gives_the_same_text(text in short_text()) {
        let whole = mask(&text);
        for (at, _) in text.char_indices() {
            let (left, right) = text.split_at(at);
            prop_assert_eq!(&in_pieces([left, right].into_iter()), &whole, "cut at {}", at);
        }
    }
}

/// Masks a text in pieces and checks on the way that what has left stays and how much is held.
fn in_pieces<'a>(pieces: impl Iterator<Item = &'a str>) -> (String, Vec<Finding>) {
    let masker = masker();
    let (mut mask, mut out, mut findings) = (TextMask::new(), String::new(), Vec::new());
    let mut left = String::new();
    for piece in pieces {
        mask.push(&masker, piece, &mut out, &mut findings);
        assert!(mask.held() <= 1024, "holds {}", mask.held());
        let more = out.strip_prefix(&left).expect("what has left stays");
        left.push_str(more);
    }
    mask.finish(&masker, &mut out, &mut findings);
    assert!(out.starts_with(&left), "what has left stays");
    assert_eq!(mask.held(), 0);
    (out, findings)
}

pub(super) fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(fragment(), 0..14).prop_map(|parts| parts.concat())
}

fn short_text() -> impl Strategy<Value = String> {
    prop::collection::vec(fragment(), 0..5).prop_map(|parts| parts.concat())
}

/// Secrets, near misses, and what stands around them.
fn fragment() -> impl Strategy<Value = String> {
    let examples: Vec<String> = detectors()
        .flat_map(|d| d.examples.iter().map(|e| unmarked(e).0))
        .collect();
    let values: Vec<String> = detectors()
        .flat_map(|d| d.examples.iter().map(|e| unmarked(e)))
        .map(|(text, start, end)| text[start..end].to_owned())
        .collect();
    let misses: Vec<String> = detectors()
        .flat_map(|d| d.counter_examples.iter().map(|e| (*e).to_owned()))
        .collect();
    let cut = (select(values.clone()), any::<Index>())
        .prop_map(|(value, cut)| value[..boundary(&value, cut)].to_owned());
    let pieces = [
        " ",
        "\n",
        "\t",
        "\"",
        "'",
        "`",
        "\\",
        "\\n",
        "\\\"",
        "=",
        ": ",
        ":",
        ", ",
        ";",
        "&",
        "(",
        ")",
        "{",
        "}",
        "<",
        ">",
        "@",
        "/",
        "://",
        "-",
        "--",
        ".",
        "_",
        "%",
        "+",
        "$",
        "${",
        "password",
        "token",
        "api_key",
        "secret = \"",
        "password: ",
        "DB_PASSWORD=",
        "Authorization: ",
        "Bearer ",
        "Basic ",
        "https://",
        "postgres://user:",
        "value",
        "default = ",
        "MASKED_",
        "MASKED_PASSWORD_",
        "MASKED_PASSWORD_ABCDEFGHIJKLMNOP",
        "-----BEGIN ",
        "-----END ",
        "PRIVATE KEY-----",
        "eyJ",
        "ghp_",
        "AKIA",
        "\u{0}",
        "é",
        "🦀",
        "\u{fffd}",
        "The quick brown fox ",
        "let x = compute(a, b);\n",
        "was ",
        "string = ",
        "auth",
        "\r\n",
        "%20",
        "basic",
        "=>",
        "-p ",
        "-u ",
        "curl ",
        "login ",
        ":5432:",
        "db:",
        "hunter2-Xq",
        "==",
        "kind: Secret\n",
        "data:\n  a: ",
        "apiVersion: v1\n",
        "\"kty\":\"oct\",",
        "mysql -p",
        "ssn: ",
        "DNI ",
        " 4539",
        "4539 2752 ",
        "6018 1599",
        "-60",
        "+1 ",
        "DE16 5069",
        " 1284 0271",
        "284-73-9106",
        "911862523",
        "API key ",
        "\"\"\"",
        "|\n",
    ];
    prop_oneof![
        3 => select(values),
        2 => select(examples),
        2 => select(forms::texts()),
        1 => select(misses),
        2 => cut,
        6 => select(pieces.map(str::to_owned).to_vec()),
        1 => "[ -~]{0,12}",
        1 => "[A-Za-z0-9]{1,48}",
        1 => "\\PC{0,6}",
    ]
}

#[test]
fn what_a_detector_records_is_found_again_by_the_value_alone() {
    let mut wrong = Vec::new();
    for detector in detectors() {
        let Some(example) = detector.examples.first() else {
            continue;
        };
        let (text, start, end) = unmarked(example);
        let (_, findings) = mask(&text);
        let recorded = recorded_as(&text[start..end], None, &[keys()]);
        for finding in findings {
            let known = recorded
                .iter()
                .any(|it| it.fingerprint == finding.fingerprint);
            if !known {
                wrong.push(detector.name);
            }
        }
    }
    assert_eq!(wrong, Vec::<&str>::new());
}

#[test]
fn a_value_is_known_under_each_key_as_all_that_it_may_be() {
    let old = MaskKeys {
        fingerprint_key_id: "k0".to_owned(),
        fingerprint_key: b"fingerprints of last year".to_vec(),
        ..MaskKeys::default()
    };
    let named = |value: &str, detector| {
        let recorded = recorded_as(value, detector, &[keys(), old.clone()]);
        let names = recorded.iter().map(|it| {
            let key = it.fingerprint.split(':').next().unwrap();
            (it.detector.clone(), key.to_owned())
        });
        names.collect::<Vec<_>>()
    };
    let chosen = named("Zephyr!1988", None);
    for detector in ["command-password", "password", "url-password"] {
        for key in ["k0", "k1"] {
            let wanted = (detector.to_owned(), key.to_owned());
            assert!(chosen.contains(&wanted), "{wanted:?} in {chosen:?}");
        }
    }
    assert_eq!(named("password", None), []);
    let own = ["k0", "k1"].map(|key| ("acme-badge".to_owned(), key.to_owned()));
    assert_eq!(named("password", Some("acme-badge")), own);
}

#[test]
fn a_password_is_known_however_a_url_writes_it() {
    let value = "q7Zk/2L:mX9@vT";
    let (_, findings) = mask("postgres://svc:q7Zk%2F2L%3AmX9%40vT@db.corp.internal:5432/crm");
    let recorded = recorded_as(value, None, &[keys()]);
    let expected = Recorded {
        detector: "url-password".to_owned(),
        fingerprint: findings[0].fingerprint.clone(),
    };
    assert!(recorded.contains(&expected), "{recorded:?}");
}

#[test]
fn a_part_of_a_value_is_not_the_value() {
    let (_, findings) = mask("password=Qv1JB55fbgEW3kSBld\n");
    let recorded = recorded_as("Qv1JB55fbgEW3kSBld and more", None, &[keys()]);
    let fingerprint = &findings[0].fingerprint;
    assert!(recorded.iter().all(|it| it.fingerprint != *fingerprint));
}

/// The character boundary at or before an index.
fn boundary(text: &str, index: Index) -> usize {
    text.floor_char_boundary(index.index(text.len() + 1))
}

/// An example without its marks, and where its value is.
pub(super) fn unmarked(example: &str) -> (String, usize, usize) {
    match example.split_once('«') {
        None => (format!("x {example} y"), 2, 2 + example.len()),
        Some((before, rest)) => {
            let (value, after) = rest.split_once('»').unwrap();
            (
                format!("{before}{value}{after}"),
                before.len(),
                before.len() + value.len(),
            )
        }
    }
}

pub(super) fn detectors() -> impl Iterator<Item = &'static detector::Detector> {
    patterns::detectors()
}

fn mask(text: &str) -> (String, Vec<Finding>) {
    let mut findings = Vec::new();
    let out = masker().mask(text, &mut findings);
    (out.unwrap_or_else(|| text.to_owned()), findings)
}

pub(super) fn masker() -> Masker {
    person("mia")
}

fn person(name: &str) -> Masker {
    Masker::new(catalog(), &keys(), "acme", name)
}

fn catalog() -> Rc<Catalog> {
    thread_local!(static CATALOG: Rc<Catalog> =
        Rc::new(Catalog::of(Pack::ALL.into_iter().collect())));
    CATALOG.with(Rc::clone)
}

fn keys() -> MaskKeys {
    MaskKeys {
        fingerprint_key_id: "k1".to_owned(),
        fingerprint_key: b"fingerprints".to_vec(),
        placeholder_key: b"placeholders".to_vec(),
    }
}
