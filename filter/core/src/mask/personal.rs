//! Numbers of people and their accounts: cards, accounts, and ids of nations behind their names.
//!
//! All numbers in examples are invented; their check digits are right.

use super::detector::{Detector, Number, Rule};

/// Detectors of the pack `pii`, which is off unless a deployment wants it.
pub(super) static PERSONAL: [Detector; 13] = [
    Detector {
        name: "payment-card",
        rule: Rule::Personal {
            number: Number::Card,
            proof: r"[2-6][0-9]{12,18}|[2-6][0-9]{3}(?:(?: [0-9]{4}){3}(?: [0-9]{1,3})?|(?:-[0-9]{4}){3}(?:-[0-9]{1,3})?)|3[0-9]{3}(?: [0-9]{6} [0-9]{4,5}|-[0-9]{6}-[0-9]{4,5})",
            names: &[],
        },
        examples: &[
            concat!("\"card\": \"«45392", "75260181599»\", \"cvc\": \"123\""),
            concat!("pay with «5284 ", "9108 3016 6134» 12/27"),
            concat!("Amex «3718-", "291860-91396»."),
            concat!("mia;«62180", "99603082462818»;2027"),
        ],
        counter_examples: &[
            "4111111111111111",
            "4242 4242 4242 4242",
            "const MAX: u64 = 4539275260181598;",
            "0.4539275260181599",
            "4539275260181599.5",
            "x = 4539275260181599e3",
            "0x4539275260181599",
            "a4539275260181599",
            "4539275260181599f",
            "id-4539275260181599",
            "4539275260181599-abc",
            "+4539275260181599",
            "2001 4539 2752 6018 1599",
            "4539 2752 6018 1599 2001",
            "1700000000000000",
            "f47ac10b-58cc-4372-a567-0e02b2c3d479",
            "4539-2752 6018-1599",
            "https://social.example/status/4539275260181599",
            "18446744073709551615",
        ],
    },
    Detector {
        name: "iban",
        rule: Rule::Personal {
            number: Number::Iban,
            proof: r"[A-Z]{2}[0-9]{2}(?:[0-9A-Z]{11,30}|(?: [0-9A-Z]{4}){2,7}(?: [0-9A-Z]{1,3})?)",
            names: &[],
        },
        examples: &[
            concat!("IBAN: «DE16 ", "5069 1284 0271 8359 46» BIC"),
            concat!("account = \"«GB07K", "LMZ40917283645120»\""),
            concat!("an «NO58 ", "7294 0618 352»."),
            concat!("to «FR503", "0648209174K7Q29Z031685», thanks"),
        ],
        counter_examples: &[
            "DE89 3704 0044 0532 0130 00",
            "GB82WEST12345698765432",
            "DE17506912840271835946",
            "XX16506912840271835946",
            "DE165069128402718359467",
            "aDE16506912840271835946",
            "BE64A3640192853C",
            "sha: DE16AB91F84027D835946E",
        ],
    },
    Detector {
        name: "us-ssn",
        rule: Rule::Personal {
            number: Number::Ssn,
            proof: r"[0-9]{3}(?:-[0-9]{2}-| [0-9]{2} )[0-9]{4}|[0-9]{9}",
            names: &["ssn", "socialsecurity", "socialsecuritynumber"],
        },
        examples: &[
            concat!("\"ssn\": \"«284-7", "3-9106»\""),
            concat!("my Social Security Number is «284 7", "3 9106»."),
            concat!("customerSSN = \"«28473", "9106»\""),
        ],
        counter_examples: &[
            "284-73-9106",
            "phone: 284-73-9106",
            "ssn: 123-45-6789",
            "ssn: 666-73-9106",
            "ssn = get_ssn(284739106u32)",
            "ssn: 284-73-91065",
            "session = 284739106",
            "part no 284-73-9106",
        ],
    },
    Detector {
        name: "nl-bsn",
        rule: Rule::Personal {
            number: Number::Bsn,
            proof: r"[0-9]{9}|[0-9]{4}\.[0-9]{2}\.[0-9]{3}|[0-9]{3} [0-9]{3} [0-9]{3}",
            names: &["bsn", "burgerservicenummer", "sofinummer"],
        },
        examples: &[
            concat!("bsn = «91186", "2523»\n"),
            concat!("Burgerservicenummer: «911 8", "62 523»"),
        ],
        counter_examples: &["911862523", "bsn: 911862524", "bsn: 111222333"],
    },
    Detector {
        name: "fr-nir",
        rule: Rule::Personal {
            number: Number::Nir,
            proof: r"[1-478][0-9]{4}(?:[0-9]{2}|2[AB])[0-9]{8}|[1-478] [0-9]{2} [0-9]{2} (?:[0-9]{2}|2[AB]) [0-9]{3} [0-9]{3} [0-9]{2}",
            names: &[
                "nir",
                "insee",
                "securitesociale",
                "sécuritésociale",
                "secu",
                "sécu",
                "numerosecu",
            ],
        },
        examples: &[
            concat!("NIR : «2 84 ", "07 63 294 071 48»"),
            concat!("numéro de sécurité sociale «18510", "2B04211895»"),
        ],
        counter_examples: &[
            "284076329407148",
            "nir = 284076329407149",
            "souvenir 284076329407148",
        ],
    },
    Detector {
        name: "es-dni",
        rule: Rule::Personal {
            number: Number::Dni,
            proof: r"(?:[0-9]{8}|[XYZ]-?[0-9]{7}|[0-9]{2}\.[0-9]{3}\.[0-9]{3})-?[A-Z]",
            names: &["dni", "nie", "nif"],
        },
        examples: &[
            concat!("DNI: «48291", "736Q»"),
            concat!("\'nie\': \'«X7093", "415P»\'"),
            concat!("dni «48.29", "1.736-Q»"),
        ],
        counter_examples: &["48291736Q", "dni: 48291736R", "dni: 12345678Z"],
    },
    Detector {
        name: "pl-pesel",
        rule: Rule::Personal {
            number: Number::Pesel,
            proof: r"[0-9]{11}",
            names: &["pesel"],
        },
        examples: &[concat!("PESEL: «84071", "926384»")],
        counter_examples: &["84071926384", "pesel = 84071926385", "pesel = 84991926384"],
    },
    Detector {
        name: "it-codice-fiscale",
        rule: Rule::Personal {
            number: Number::CodiceFiscale,
            proof: r"[A-Z]{6}[0-9LMNPQRSTUV]{2}[A-EHLMPRST][0-9LMNPQRSTUV]{2}[A-Z][0-9LMNPQRSTUV]{3}[A-Z]",
            names: &["codicefiscale", "codfiscale", "cf"],
        },
        examples: &[
            concat!("Codice Fiscale: «GRNLC", "U84T19F205O»"),
            concat!("\"codice_fiscale\": \"«GRNLC", "U84T19F205O»\""),
        ],
        counter_examples: &["GRNLCU84T19F205O", "codice_fiscale = GRNLCU84T19F205P"],
    },
    Detector {
        name: "br-cpf",
        rule: Rule::Personal {
            number: Number::Cpf,
            proof: r"[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}|[0-9]{11}",
            names: &["cpf"],
        },
        examples: &[
            concat!("CPF «384.7", "19.256-64»"),
            concat!("cpf=«38471", "925664»&x=1"),
        ],
        counter_examples: &[
            "384.719.256-64",
            "cpf: 384.719.256-65",
            "cpf: 111.111.111-11",
        ],
    },
    Detector {
        name: "ru-snils",
        rule: Rule::Personal {
            number: Number::Snils,
            proof: r"[0-9]{3}-[0-9]{3}-[0-9]{3}[ -][0-9]{2}|[0-9]{11}",
            names: &["snils", "снилс"],
        },
        examples: &[
            concat!("snils: «074-8", "26-193 89»"),
            concat!("СНИЛС «07482", "619389»"),
        ],
        counter_examples: &["074-826-193 89", "snils: 074-826-193 88"],
    },
    Detector {
        name: "in-aadhaar",
        rule: Rule::Personal {
            number: Number::Aadhaar,
            proof: r"[2-9][0-9]{3}(?: [0-9]{4} |-[0-9]{4}-|[0-9]{4})[0-9]{4}",
            names: &["aadhaar", "aadhar", "uidai"],
        },
        examples: &[
            concat!("Aadhaar number is «5827 ", "3914 6020»"),
            concat!("aadhaarNo: \"«73018", "4265954»\""),
        ],
        counter_examples: &[
            "5827 3914 6020",
            "aadhaar: 5827 3914 6021",
            "aadhaar: 5827 3914 6020 1234",
        ],
    },
    Detector {
        name: "de-tax-id",
        rule: Rule::Personal {
            number: Number::SteuerId,
            proof: r"[1-9][0-9](?:[0-9]{9}| [0-9]{3} [0-9]{3} [0-9]{3})",
            names: &[
                "steuerid",
                "steueridnr",
                "steueridentifikationsnummer",
                "identifikationsnummer",
                "idnr",
                "taxid",
                "tin",
            ],
        },
        examples: &[
            concat!("steuer_id: «48627", "139087»"),
            concat!("Steuer-IdNr. «48 62", "7 139 087»"),
            concat!("\"taxId\": \"«48627", "139087»\""),
        ],
        counter_examples: &["48627139087", "steuer_id: 48627139086", "satin 48627139087"],
    },
    Detector {
        name: "cn-resident-id",
        rule: Rule::Personal {
            number: Number::Resident,
            proof: r"[1-9][0-9]{16}[0-9Xx]",
            names: &[
                "idcard",
                "residentid",
                "identitycard",
                "sfz",
                "身份证",
                "身份证号",
                "身份证号码",
            ],
        },
        examples: &[
            concat!("id_card: «32040", "6198407192608»"),
            concat!("身份证号码：«32040", "6198407192608»"),
        ],
        counter_examples: &["320406198407192608", "id_card: 320406198407192609"],
    },
];
