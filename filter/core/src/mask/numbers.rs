//! Numbers of people and their accounts: which of them are what they look like.
//!
//! What is here has the form of its kind. Issuers, countries, dates and check digits tell it from
//! other numbers; numbers that are published for tests and in examples are nobody's.

use super::detector::Number;

/// Whether a value, with or without separators, is a number of this kind.
pub(super) fn holds(number: Number, value: &str) -> bool {
    let plain = compact(value);
    let digits: Vec<u32> = plain.chars().filter_map(|c| c.to_digit(10)).collect();
    match number {
        Number::Card => is_card(&plain, &digits, plain.len() < value.len()),
        Number::Iban => is_iban(&plain),
        Number::Ssn => is_ssn(&plain),
        Number::Bsn => is_bsn(&plain, &digits),
        Number::Nir => is_nir(&plain),
        Number::Dni => is_dni(&plain),
        Number::Pesel => is_pesel(&plain, &digits),
        Number::CodiceFiscale => is_codice_fiscale(&plain),
        Number::Cpf => is_cpf(&plain, &digits),
        Number::Snils => is_snils(&plain, &digits),
        Number::Aadhaar => is_aadhaar(&digits),
        Number::SteuerId => is_steuer_id(&digits),
        Number::Resident => is_resident(&plain, &digits),
    }
}

/// Letters in upper case and digits, without separators.
pub(super) fn compact(value: &str) -> String {
    let kept = value.chars().filter(char::is_ascii_alphanumeric);
    kept.map(|c| c.to_ascii_uppercase()).collect()
}

/// A part of a number as a number.
fn part(plain: &str, from: usize, to: usize) -> Option<u64> {
    plain.get(from..to)?.parse().ok()
}

fn sum(digits: &[u32], weights: &[u32]) -> u32 {
    digits.iter().zip(weights).map(|(a, b)| a * b).sum()
}

fn distinct(digits: &[u32]) -> u32 {
    let seen = digits.iter().fold(0_u32, |seen, digit| seen | 1 << digit);
    seen.count_ones()
}

/// First four digits, from and to, and the lengths of an issuer's cards.
const ISSUERS: [(u64, u64, &[usize]); 24] = [
    (2200, 2204, &[16]),             // Mir
    (2221, 2720, &[16]),             // Mastercard
    (3000, 3059, &[14]),             // Diners
    (3095, 3095, &[14]),             // Diners
    (3400, 3499, &[15]),             // American Express
    (3528, 3589, &[16, 17, 18, 19]), // JCB
    (3600, 3699, &[14]),             // Diners
    (3700, 3799, &[15]),             // American Express
    (3800, 3999, &[14]),             // Diners
    (4000, 4999, &[13, 16, 19]),     // Visa
    (5018, 5018, MAESTRO),           // Maestro
    (5020, 5020, MAESTRO),           // Maestro
    (5038, 5038, MAESTRO),           // Maestro
    (5085, 5089, &[16]),             // RuPay
    (5100, 5599, &[16]),             // Mastercard
    (5893, 5893, MAESTRO),           // Maestro
    (6011, 6011, &[16, 17, 18, 19]), // Discover
    (6070, 6084, &[16]),             // RuPay
    (6200, 6299, &[16, 17, 18, 19]), // UnionPay
    (6304, 6304, MAESTRO),           // Maestro
    (6440, 6599, &[16, 17, 18, 19]), // Discover, RuPay
    (6759, 6759, MAESTRO),           // Maestro
    (6761, 6763, MAESTRO),           // Maestro
    (6799, 6799, MAESTRO),           // Maestro
];
const MAESTRO: &[usize] = &[13, 14, 15, 16, 17, 18, 19];

/// Numbers that processors publish for tests; others of them have few different digits.
const TEST_CARDS: [&str; 16] = [
    "2223000048400011",
    "2223003122003222",
    "30569309025904",
    "3566002020360505",
    "36227206271667",
    "36700102000000",
    "371449635398431",
    "378282246310005",
    "378734493671000",
    "38520000023237",
    "4012888888881881",
    "5200828282828210",
    "5610591081018250",
    "6011000990139424",
    "6555900000604105",
    "6759649826438453",
];

fn is_card(plain: &str, digits: &[u32], grouped: bool) -> bool {
    let Some(first) = part(plain, 0, 4) else {
        return false;
    };
    // constants of 64 bits have 19 digits, few cards of this issuer do
    if first / 1000 == 4 && plain.len() == 19 && !grouped {
        return false;
    }
    let fits = |(from, to, lengths): &(u64, u64, &[usize])| {
        (*from..=*to).contains(&first) && lengths.contains(&plain.len())
    };
    let mut run = (0, u32::MAX);
    let mut longest = 0;
    for digit in digits {
        run = (if run.1 == *digit { run.0 + 1 } else { 1 }, *digit);
        longest = longest.max(run.0);
    }
    let is_test = plain.starts_with("400000")
        || distinct(digits) <= 4
        || longest >= 6
        || TEST_CARDS.contains(&plain);
    ISSUERS.iter().any(fits) && luhn(digits) && !is_test
}

fn luhn(digits: &[u32]) -> bool {
    let doubled = |(place, digit): (usize, &u32)| match (place % 2, digit) {
        (0, digit) => *digit,
        (_, 0..=4) => digit * 2,
        _ => digit * 2 - 9,
    };
    let sum: u32 = digits.iter().rev().enumerate().map(doubled).sum();
    sum.is_multiple_of(10)
}

/// Countries and the form of their numbers behind the check digits: so many digits (`n`), letters
/// (`a`) or either (`c`). Of the registry, and those that use the form without being in it.
const COUNTRIES: &str = "\
AD n8c12 AE n19 AL n8c16 AO n21 AT n16 AZ a4c20 BA n16 BE n12 BF c2n22 BG a4n6c8 BH a4c14 BI n23 \
BJ c2n22 BR n23a1c1 BY c4n4c16 CF n23 CG n23 CH n5c12 CI a2n22 CM n23 CR n18 CV n21 CY n8c16 CZ n20 \
DE n18 DJ n23 DK n14 DO c4n20 DZ n22 EE n16 EG n25 ES n20 FI n14 FK a2n12 FO n14 FR n10c11n2 GA n23 \
GB a4n14 GE a2n16 GI a4c15 GL n14 GR n7c16 GT c24 HN a4n20 HR n17 HU n24 IE a4n14 IL n19 IQ a4n15 \
IR n22 IS n22 IT a1n10c12 JO a4n4c18 KW a4c22 KZ n3c13 LB n4c20 LC a4c24 LI n5c12 LT n16 LU n3c13 \
LV a4c13 LY n21 MA n24 MC n10c11n2 MD c20 ME n18 MG n23 MK n3c10n2 ML c2n22 MN n16 MR n23 MT a4n5c18 \
MU a4n19a3 MZ n21 NE a2n22 NI a4n20 NL a4n10 NO n11 OM n3c16 PK a4c16 PL n24 PS a4c21 PT n21 QA a4c21 \
RO a4c16 RS n18 RU n14c15 SA n2c18 SC a4n20a3 SD n14 SE n20 SI n15 SK n20 SM a1n10c12 SN a2n22 SO n19 \
ST n21 SV a4n20 TD n23 TG a2n22 TL n19 TN n20 TR n6c16 UA n6c19 VA n18 VG a4n16 XK n16 YE a4n4c18";

/// Numbers of the registry's examples, which stand in documentation and tests.
const EXAMPLE_IBANS: [&str; 24] = [
    "AE070331234567890123456",
    "AT611904300234573201",
    "BE68539007547034",
    "BR1800360305000010009795493C1",
    "CH9300762011623852957",
    "CZ6508000000192000145399",
    "DE89370400440532013000",
    "DK5000400440116243",
    "EE382200221020145685",
    "ES9121000418450200051332",
    "FI2112345600000785",
    "FR1420041010050500013M02606",
    "GB29NWBK60161331926819",
    "GB33BUKB20201555555555",
    "GB82WEST12345698765432",
    "GR1601101250000000012300695",
    "IE29AIBK93115212345678",
    "IT60X0542811101000000123456",
    "LU280019400644750000",
    "NL91ABNA0417164300",
    "NO9386011117947",
    "PL61109010140000071219812874",
    "PT50000201231234567890154",
    "SE4550000000058398257466",
];

fn is_iban(plain: &str) -> bool {
    let Some((head, body)) = plain.split_at_checked(4) else {
        return false;
    };
    let mut words = COUNTRIES.split(' ');
    let country = head.get(..2).unwrap_or_default();
    if !words.any(|word| word == country) || !words.next().is_some_and(|form| fits(form, body)) {
        return false;
    }
    let turned = body.chars().chain(head.chars());
    let rest = turned
        .filter_map(|c| c.to_digit(36))
        .fold(0, |rest, value| {
            let shifted = if value < 10 { rest * 10 } else { rest * 100 };
            (shifted + value) % 97
        });
    let varied = distinct(
        &body
            .chars()
            .filter_map(|c| c.to_digit(10))
            .collect::<Vec<_>>(),
    );
    rest == 1 && varied > 2 && !EXAMPLE_IBANS.contains(&plain)
}

/// Whether a text is of a form like `a4n14`.
fn fits(form: &str, text: &str) -> bool {
    let mut rest = text.bytes();
    let (mut kind, mut count, mut good) = ('c', 0, true);
    for character in form.chars().chain(['c']) {
        if let Some(digit) = character.to_digit(10) {
            count = count * 10 + digit;
            continue;
        }
        for _ in 0..count {
            good &= rest.next().is_some_and(|byte| match kind {
                'n' => byte.is_ascii_digit(),
                'a' => byte.is_ascii_uppercase(),
                _ => byte.is_ascii_alphanumeric(),
            });
        }
        (kind, count) = (character, 0);
    }
    good && rest.next().is_none()
}

/// Numbers that were printed or are used as examples.
const EXAMPLE_SSNS: [&str; 8] = [
    "078051120",
    "111223333",
    "111111111",
    "123121234",
    "123456789",
    "219099999",
    "333333333",
    "555555555",
];

fn is_ssn(plain: &str) -> bool {
    let parts = (part(plain, 0, 3), part(plain, 3, 5), part(plain, 5, 9));
    match parts {
        (Some(0 | 666 | 900..), ..) | (_, Some(0), _) | (_, _, Some(0)) => false,
        (Some(_), Some(_), Some(_)) => !EXAMPLE_SSNS.contains(&plain),
        _ => false,
    }
}

fn is_bsn(plain: &str, digits: &[u32]) -> bool {
    let Some((last, first)) = digits.split_last() else {
        return false;
    };
    let sum = sum(first, &[9, 8, 7, 6, 5, 4, 3, 2]);
    sum % 11 == *last && sum > 0 && !["111222333", "123456782"].contains(&plain)
}

fn is_nir(plain: &str) -> bool {
    // departments of Corsica have letters
    let digits = plain.replace("2A", "19").replace("2B", "18");
    let (number, key) = (part(&digits, 0, 13), part(&digits, 13, 15));
    let month = part(&digits, 3, 5);
    let is_date = month.is_some_and(|month| matches!(month, 1..=12 | 20..=42 | 50..=99));
    is_date
        && number
            .zip(key)
            .is_some_and(|(number, key)| 97 - number % 97 == key)
}

fn is_dni(plain: &str) -> bool {
    const LETTERS: &[u8] = b"TRWAGMYFPDXBNJZSQVHLCKE";
    let Some((number, letter)) = plain.split_at_checked(plain.len().saturating_sub(1)) else {
        return false;
    };
    let number = match number.split_at_checked(1) {
        Some(("X", rest)) => format!("0{rest}"),
        Some(("Y", rest)) => format!("1{rest}"),
        Some(("Z", rest)) => format!("2{rest}"),
        _ => number.to_owned(),
    };
    let place = number
        .parse()
        .map_or(usize::MAX, |number: usize| number % 23);
    let is_example = matches!(number.as_str(), "12345678" | "00000000" | "01234567");
    LETTERS.get(place).copied() == letter.bytes().next() && !is_example
}

fn is_pesel(plain: &str, digits: &[u32]) -> bool {
    let (month, day) = (part(plain, 2, 4), part(plain, 4, 6));
    let is_date = month.is_some_and(|month| (1..=12).contains(&(month % 20)))
        && day.is_some_and(|day| (1..=31).contains(&day));
    is_date && sum(digits, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1]).is_multiple_of(10)
}

fn is_codice_fiscale(plain: &str) -> bool {
    /// What a letter or digit counts in an odd place.
    const ODD: [u32; 26] = [
        1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24,
        23,
    ];
    let Some((body, check)) = plain.split_at_checked(15) else {
        return false;
    };
    let value = |c: char| match c.to_digit(36) {
        Some(letter @ 10..) => letter - 10,
        digit => digit.unwrap_or_default(),
    };
    let counted = body.chars().map(value).enumerate().map(|(place, value)| {
        let odd = ODD.get(value as usize).copied().unwrap_or_default();
        if place % 2 == 0 { odd } else { value }
    });
    let sum: u32 = counted.sum();
    let is_example = plain == "RSSMRA85T10A562S" || plain.starts_with("RSSMRA80A01");
    check.len() == 1 && check.chars().all(|c| value(c) == sum % 26) && !is_example
}

fn is_cpf(plain: &str, digits: &[u32]) -> bool {
    let check = |sum: u32| sum * 10 % 11 % 10;
    let first = check(sum(digits, &[10, 9, 8, 7, 6, 5, 4, 3, 2]));
    let second = check(sum(digits, &[11, 10, 9, 8, 7, 6, 5, 4, 3, 2]));
    let is_example = ["12345678909", "52998224725", "11144477735"].contains(&plain);
    digits.get(9..) == Some(&[first, second]) && distinct(digits) > 1 && !is_example
}

fn is_snils(plain: &str, digits: &[u32]) -> bool {
    let check = sum(digits, &[9, 8, 7, 6, 5, 4, 3, 2, 1]) % 101 % 100;
    let is_checked = part(plain, 0, 9).is_some_and(|number| number > 1_001_998);
    is_checked && part(plain, 9, 11) == Some(check.into()) && plain != "11223344595"
}

fn is_aadhaar(digits: &[u32]) -> bool {
    // Verhoeff: a permutation for each place, in the group of the pentagon
    const PLACES: [[u32; 10]; 8] = [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        [1, 5, 7, 6, 2, 8, 3, 0, 9, 4],
        [5, 8, 0, 3, 7, 9, 6, 1, 4, 2],
        [8, 9, 1, 6, 0, 4, 3, 5, 2, 7],
        [9, 4, 5, 3, 1, 2, 6, 8, 7, 0],
        [4, 2, 8, 6, 5, 7, 3, 9, 0, 1],
        [2, 7, 9, 3, 8, 0, 6, 4, 1, 5],
        [7, 0, 4, 6, 9, 1, 3, 2, 5, 8],
    ];
    let product = |a: u32, b: u32| match (a < 5, b < 5) {
        (true, true) => (a + b) % 5,
        (true, false) => 5 + (a + b) % 5,
        (false, true) => 5 + (a - b) % 5,
        (false, false) => (a + 5 - b) % 5,
    };
    let check = digits.iter().rev().zip(PLACES.iter().cycle());
    let check = check.fold(0, |check, (digit, place)| {
        product(
            check,
            place.get(*digit as usize).copied().unwrap_or_default(),
        )
    });
    digits.len() == 12 && check == 0 && distinct(digits) > 3
}

fn is_steuer_id(digits: &[u32]) -> bool {
    let Some((last, first)) = digits.split_last() else {
        return false;
    };
    let product = first.iter().fold(10, |product, digit| {
        let sum = (digit + product) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    // of ten digits one stands twice or three times, the others once
    first.len() == 10 && matches!(distinct(first), 8 | 9) && (11 - product) % 10 == *last
}

fn is_resident(plain: &str, digits: &[u32]) -> bool {
    const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
    let date = (part(plain, 6, 10), part(plain, 10, 12), part(plain, 12, 14));
    let is_date = matches!(date, (Some(1900..=2099), Some(1..=12), Some(1..=31)));
    let place = sum(digits, &WEIGHTS) as usize % 11;
    is_date && b"10X98765432".get(place).copied() == plain.as_bytes().get(17).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_by_their_check_digits() {
        let cases = [
            (Number::Card, concat!("4539 2752", " 6018 1599")),
            (Number::Card, concat!("3718-291860", "-91396")),
            (Number::Card, concat!("62180996030", "82462818")),
            (Number::Card, concat!("36079482", "199355")),
            (Number::Card, concat!("49297975", "43234")),
            (Number::Iban, concat!("DE16 5069 1284", " 0271 8359 46")),
            (Number::Iban, concat!("GB07KLMZ4091", "7283645120")),
            (Number::Iban, concat!("MT60ABCD70129", "4K7Q29Z031685XWE27")),
            (Number::Ssn, concat!("284-73", "-9106")),
            (Number::Bsn, concat!("91186", "2523")),
            (Number::Nir, concat!("2 84 07 63", " 294 071 48")),
            (Number::Nir, concat!("185102B0", "4211895")),
            (Number::Dni, concat!("4829", "1736-Q")),
            (Number::Dni, concat!("X709", "3415P")),
            (Number::Pesel, concat!("032417", "85930")),
            (Number::CodiceFiscale, concat!("GRNLCU84", "T19F205O")),
            (Number::Cpf, concat!("384.719", ".256-64")),
            (Number::Snils, concat!("074-826", "-193 89")),
            (Number::Aadhaar, concat!("5827 3914", " 6020")),
            (Number::SteuerId, concat!("48627", "139087")),
            (Number::Resident, concat!("32040619840", "7192608")),
        ];
        for (number, value) in cases {
            assert!(holds(number, value), "{number:?} {value}");
            if number == Number::Ssn {
                continue;
            }
            // another digit in any place
            let plain = compact(value);
            for at in 4..plain.len() {
                let (before, rest) = plain.split_at(at);
                let Some(digit) = rest.chars().next().and_then(|c| c.to_digit(10)) else {
                    continue;
                };
                let other = format!(
                    "{before}{}{}",
                    (digit + 1) % 10,
                    rest.get(1..).unwrap_or_default()
                );
                assert!(!holds(number, &other), "{number:?} {other}");
            }
        }
    }

    #[test]
    fn numbers_of_tests_and_examples_are_nobodys() {
        for (number, value) in [
            (Number::Card, "4111111111111111"),
            (Number::Card, "4242 4242 4242 4242"),
            (Number::Card, "5555-5555-5555-4444"),
            (Number::Card, "5105105105105100"),
            (Number::Card, "378282246310005"),
            (Number::Card, "4000056655665556"),
            (Number::Card, "6011111111111117"),
            (Number::Iban, "DE89 3704 0044 0532 0130 00"),
            (Number::Iban, "GB82WEST12345698765432"),
            (Number::Ssn, "078-05-1120"),
            (Number::Ssn, "123-45-6789"),
            (Number::Ssn, "000-12-3456"),
            (Number::Ssn, "666-12-3456"),
            (Number::Ssn, "912-12-3456"),
            (Number::Ssn, "284-00-9106"),
            (Number::Ssn, "284-73-0000"),
            (Number::Bsn, "000000000"),
            (Number::Dni, "12345678Z"),
            (Number::Cpf, "111.111.111-11"),
        ] {
            assert!(!holds(number, value), "{number:?} {value}");
        }
    }

    #[test]
    fn every_country_has_a_form_for_15_to_34_characters() {
        let words: Vec<_> = COUNTRIES.split(' ').collect();
        assert_eq!(words.len() % 2, 0);
        for pair in words.chunks(2) {
            let [country, form] = pair else { continue };
            let long = (11..=30).filter(|length| fits(form, &"0".repeat(*length)));
            let lettered = form.contains('a');
            assert_eq!(country.len(), 2, "{country}");
            assert!(lettered || long.count() == 1, "{country} {form}");
        }
        for example in EXAMPLE_IBANS {
            let body = example.get(4..).unwrap_or_default();
            let place = words.iter().position(|word| example.starts_with(*word));
            assert!(
                place.is_some_and(|place| fits(words[place + 1], body)),
                "{example}"
            );
        }
    }
}
