//! Who may ask, and how they prove it (pure).

use contract::Token;

/// Somebody who may ask.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    /// As in records.
    pub(super) name: String,
    token: Token,
}

/// The place of the person whose token this is; all are compared.
pub(super) fn find(people: &[Person], token: &str) -> Option<usize> {
    let token = Token::new(token);
    let mut found = None;
    for (place, person) in people.iter().enumerate() {
        if person.token.is(&token) {
            found = Some(place);
        }
    }
    found
}

/// Reads `name:token[,name:token]`; a name may have several tokens.
pub(super) fn read(text: &str) -> Result<Vec<Person>, String> {
    let mut people: Vec<Person> = Vec::new();
    for (place, entry) in text.split(',').enumerate() {
        let fault = |what: &str| Err(format!("entry {}: {what}", place + 1));
        let Some((name, token)) = entry.trim().rsplit_once(':') else {
            return fault("not name:token");
        };
        let visible = |byte: u8| byte.is_ascii_graphic();
        if !(1..=MAX_NAME).contains(&name.len()) || !name.bytes().all(visible) {
            return fault("the name is not 1 to 256 visible characters");
        }
        let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if !(MIN_TOKEN..=MAX_TOKEN).contains(&token.len()) || !token.bytes().all(good) {
            return fault("the token is not 16 to 512 of A-Z, a-z, 0-9, _ and -");
        }
        if find(&people, token).is_some() {
            return fault("its token is another entry's too");
        }
        people.push(Person {
            name: name.to_owned(),
            token: Token::new(token),
        });
    }
    Ok(people)
}

const MAX_NAME: usize = 256;

const MIN_TOKEN: usize = 16;

const MAX_TOKEN: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_found_by_their_tokens() {
        let (ana, bo) = ("a".repeat(16), "b".repeat(16));
        let text = format!("ana:{ana}, https://login.example#bo:{bo}");
        let people = read(&text).unwrap();
        let name = |token: &str| find(&people, token).map(|at| people[at].name.as_str());
        assert_eq!(name(&ana), Some("ana"));
        assert_eq!(name(&bo), Some("https://login.example#bo"));
        assert_eq!(name(""), None);
        assert_eq!(name(&"a".repeat(17)), None);
        assert!(!format!("{people:?}").contains("aaaa"));
    }

    #[test]
    fn faults_do_not_repeat_what_was_written() {
        let token = "c".repeat(16);
        for text in [
            "canary".to_owned(),
            "ana:canary".to_owned(),
            format!(":{token}"),
            format!("canary canary:{token}"),
            format!("ana:{token},canary:{token}"),
            format!("ana:{token}canary!"),
        ] {
            let fault = read(&text).unwrap_err();
            assert!(fault.starts_with("entry "), "{fault}");
            assert!(
                !fault.contains("canary") && !fault.contains("ccc"),
                "{fault}"
            );
        }
    }
}
