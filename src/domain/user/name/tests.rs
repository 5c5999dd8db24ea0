use super::*;

fn new(text: &str) -> Result<NewName, UsernameError> {
    Usernames::Folded.new_name(text)
}

#[test]
fn names_are_compared_after_normalisation() {
    let composed: Username = "Zo\u{eb}".parse().unwrap();
    let decomposed: Username = "Zoe\u{308}".parse().unwrap();
    assert_eq!(composed, decomposed);
    assert_ne!(composed, "zo\u{eb}".parse().unwrap());
    assert_eq!(composed.fold(), "zo\u{eb}".parse::<Username>().unwrap().fold());
}

#[test]
fn names_of_people_are_names_in_any_script() {
    let long = "x".repeat(128);
    for name in [
        "a b",
        "anna",
        "O'Brien",
        "Zoë Müller",
        "名前",
        "山田 太郎",
        "ラーメン",
        "李小龙",
        "김철수",
        "ㄅㄆ",
        "Ольга",
        "Ђорђе",
        "Ελένη",
        "مريم",
        "שרה",
        "प्रिया",
        "สมชาย",
        "ⵎⴰⵙⵙⵉⵏ",
        "ᏣᎳᎩ",
        "Dvořák 3",
        "Tanaka田中",
        "a/b",
        "<b>",
        "\\",
        "me",
        "...a",
        "1",
        "№ 5",
        "€",
        "٣ مريم",
        "ʻOkina",
        "l·l",
        long.as_str(),
    ] {
        assert_eq!(new(name).map(|name| name.as_str().to_owned()), Ok(name.to_owned()), "{name:?}");
    }
}

#[test]
fn emoji_are_names_with_what_joins_and_colours_them() {
    for name in [
        "👩",
        "👩\u{200d}🚀",
        "❤\u{fe0f}",
        "❤",
        "👩🏽\u{200d}🚀",
        "❤\u{fe0f}\u{200d}🔥",
        "🇩🇪",
        "1\u{fe0f}\u{20e3}",
        "🏳\u{fe0f}\u{200d}🌈",
        "anna 🚀",
    ] {
        assert!(new(name).is_ok(), "{name:?}");
    }
    for name in [
        "a\u{200d}b",
        "\u{200d}",
        "👩\u{200d}",
        "\u{200d}👩",
        "👩\u{200d}\u{200d}🚀",
        "a\u{fe0f}",
        "1\u{fe0f}",
        "👩\u{fe0f}\u{fe0f}",
        "🏴\u{e0067}\u{e0062}\u{e007f}",
    ] {
        assert_eq!(new(name), Err(UsernameError::Invisible), "{name:?}");
    }
}

#[test]
fn names_that_are_empty_long_or_hold_control_characters_are_refused_by_either_rule() {
    for rule in [Usernames::Folded, Usernames::Exact] {
        assert_eq!(rule.new_name(""), Err(UsernameError::Empty));
        assert_eq!(rule.new_name(&"x".repeat(129)), Err(UsernameError::TooLong));
        for name in ["a\nb", "\u{1b}[31m", "\0", "\u{85}"] {
            assert_eq!(rule.new_name(name), Err(UsernameError::ControlCharacter));
        }
    }
}

#[test]
fn names_that_could_pass_for_others_are_refused_unless_names_are_compared_exactly() {
    use UsernameError::{Dots, Invisible, MixedScripts, OuterSpace, Unassigned};
    for (error, names) in [
        (OuterSpace, &["anna ", " anna", "\u{a0}anna", "anna\u{3000}", " ", "anna\u{2003}"][..]),
        (
            Invisible,
            &[
                "an\u{200b}na",
                "\u{feff}anna",
                "anna\u{200e}",
                "\u{202e}anna",
                "an\u{ad}na",
                "\u{3164}",
                "a\u{2060}b",
                "a\u{2028}b",
                "a\u{115f}",
                "\u{2800}",
                "a\u{61c}",
                "a\u{180e}b",
                "\u{600}1",
                "a\u{e0061}",
                "葛\u{e0100}",
            ],
        ),
        (
            MixedScripts,
            &["аnna", "annа", "Аdmin", "αdmin", "µtorrent", "annaשרה", "ひらがなㄅ", "김ひ", "Ⅻя", "ոanna"],
        ),
        (Dots, &[".", "..", "...", "…", "．．", "‥"]),
        (Unassigned, &["anna\u{378}", "\u{10ffff}"]),
    ] {
        for name in names {
            assert_eq!(new(name), Err(error), "{name:?}");
            assert!(Usernames::Exact.new_name(name).is_ok(), "{name:?}");
            assert!(name.parse::<Username>().is_ok(), "{name:?}");
        }
    }
}

#[test]
fn guesses_are_counted_for_all_spellings_together() {
    let key = |rule: Usernames, name: &str| rule.guessed_name(&name.parse().unwrap());
    assert_eq!(key(Usernames::Folded, "ANNA "), key(Usernames::Folded, "anna"));
    assert_ne!(key(Usernames::Exact, "Anna"), key(Usernames::Exact, "anna"));
}
