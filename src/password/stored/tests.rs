use zeroize::Zeroizing;

use super::*;

/// Of "correct horse", by passlib 1.7.4 (PBKDF2, scrypt, Argon2), argon2-cffi 25.1.0 (version 16), bcrypt
/// 5.0.0, and by hand (PBKDF2 in PHC's format); long salts, long hashes and padding by Python's hashlib
/// and argon2-cffi.
const HASHES: [&str; 27] = [
    "$pbkdf2-sha256$29000$UwrBmBMCwNgbgzAmJCRE6A$KVts2BHUGiwHdcOzetLbGuPAHUeLtElrmf.nygnfsdU",
    "$pbkdf2-sha256$1$Zeydcy7lnLMWgjCGECLkfA$3KdTRR2NGqbYJnQQ.oEBtFLG5JAT8r1k5AWFCbUhN5o",
    "$pbkdf2-sha256$1$$ZMA1N448/D1ij7XRKSAknopAy.7TubfJpGo0A/RBrGM",
    "$pbkdf2-sha256$1$LeX8/38vJQTgPEcoJaTU2tvbGyMkJCREKKU0ZkzJWevde./9H2PMuZeydq61Nqb0PkfIeS9F6H0vxbhXao1RCg$8V4ZxZH7KtdUjMTDc6HdJuDmzU.zMmYOASMetvXpP6M",
    "$pbkdf2-sha256$i=1,l=32$Zeydcy7lnLMWgjCGECLkfA$3KdTRR2NGqbYJnQQ+oEBtFLG5JAT8r1k5AWFCbUhN5o",
    "$pbkdf2-sha256$i=1$Zeydcy7lnLMWgjCGECLkfA$3KdTRR2NGqbYJnQQ+oEBtFLG5JAT8r1k5AWFCbUhN5o",
    "$pbkdf2-sha512$1000$PofQOgeAkBJCiFGKMea8lw$fHgYr.KglUhkzYQ1KjrHqEHePFYHe4H7r2bI/hPj2Dtbqf57hqU6r3n1.Uiw6vOGWfEcH/EO9n41bnYWaWSylA",
    "$scrypt$ln=4,r=8,p=1$AYAQIkQoxVirNUZorVXKWQ$nSe7pDQPABHeyZ/Nh5hi4lwQjl3cVQqGPRnsdGG7vNI",
    "$argon2id$v=19$m=64,t=2,p=1$AOC8lxLivNfa27sXYowxRg$ZRkg6gT4Ap57ndt5lD38qKa00yjnoVUbVba1+UxquZM",
    "$argon2i$v=19$m=64,t=2,p=2$0hoDoFTK2du7d855b825tw$Cy3rm6XgF7K/QTiZDqxEgYoOnMyAephA0ctoTMbR2b0",
    "$argon2id$v=16$m=64,t=1,p=1$c2FsdHNhbHQ$fcsR7NILJ8YrRSnGTFDhs02ROu/zZkH+iB4TE2Ji7gA",
    "$argon2id$m=64,t=1,p=1$c2FsdHNhbHQ$fcsR7NILJ8YrRSnGTFDhs02ROu/zZkH+iB4TE2Ji7gA",
    "$argon2d$v=19$m=64,t=1,p=1$ce49R6i1VkqJ8Z4TAqC0Fg$bOTEXjOPujHzDFcRK14Hb4Ba20ji9NXUJt9bbh7n+YU",
    "$2a$04$VH1DwKZILL4pxUJ/FEyaSO9TwjD9It/ChkmgAKcXwYe7LtkJOiUk6",
    "$2b$04$EnFywPkpMPXnP/37iDRHputCB83bVp/DtG93EeWBEUgitiCqkwAMu",
    "$2y$04$EnFywPkpMPXnP/37iDRHputCB83bVp/DtG93EeWBEUgitiCqkwAMu",
    "$pbkdf2-sha256$1000$AAECAwQFBgcICQoLDA0ODw==$yRTMTwbMbo9G0VfjobWqerzuuxe7BETNTErBbKKumGQVykgYqFUkGDPSqmamlmDo91gX1JZ69LgWiJuFkmT+UQ==",
    "$pbkdf2-sha256$1000$AAECAwQFBgcICQoLDA0ODw$yRTMTwbMbo9G0VfjobWqerzuuxe7BETNTErBbKKumGQVykgYqFUkGDPSqmamlmDo91gX1JZ69LgWiJuFkmT+UQ",
    "$pbkdf2-sha512$2$AAECAwQFBgcICQoLDA0ODw==$VvixzmwQWelT4xbX/ij8CrKLArt3lEglmmDvVm543T5n1+XVwxPoErBOvBmA5E5cAmt49TFU1K8pISfPZzLQGA==",
    "$pbkdf2-sha512$i=2,l=128$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw$Ii+xZ1RZ7wBUrFqPwGRkkGFouFavYZmAeoukfuMAi6dInbhP6yinYztusJJ6NE2XrYkWIzj46kFNHgx/wx47mbOtQaM6IXU+NKJajZQzJSZlxSy1KnkM/VdU1W3xjchUITmuAUIDb9Ja0CgFWaYyeO46yQIFZ/ThFWyP68X8eYU",
    "$scrypt$ln=4,r=8,p=1$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw$MhNFjv7ZHLwjkq+7BMVJsKBTrn5AFxlWNjQ/dgn5LTc",
    "$scrypt$ln=4,r=8,p=1$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw==$MhNFjv7ZHLwjkq+7BMVJsKBTrn5AFxlWNjQ/dgn5LTfFOrJJURYqCjBjB1T4HfcP6oqC5Cu/nYi+TYG6jo3bfw==",
    "$scrypt$ln=4,r=8,p=2$c2FsdA$ZEZDdma1I9R4roXGh6VspZ/SpnfIZUbUPPTgE3NNwYqIsxkKleqY7hVBDwTVYWUKPsQ+v4hXkANusWk8x7+b83BpRMHGmDhoKC8gVmpf4nETrpK7y0zo1EWHzUmeR5RU",
    "$argon2id$v=19$m=64,t=2,p=1$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw$4fG3lsk6Z2DOu06c6tEPSdvl5g1FhQJt/m5f1bMRKPY",
    "$argon2id$v=19$m=64,t=2,p=1$AAECAwQFBgcICQoLDA0ODw$D3bOQzziitddrqPOzG0JU/dNrSaqeJM6CwopehEslRBynoU/3oxNxgqT6GPcwMwYet/n/7lhSaxxVTm+N/l7UaD8UO9f8UXk53tdjyRxw7toUbVNl0imt86T3ZiOGBORd1Zx+1QMu31gsqTYQz/zMJHaiBcagPQJzencODe3PSU",
    "$argon2i$v=19$m=64,t=1,p=2$c2FsdHNhbHQ=$HS3OgVWM2xa0UnFPCtIria0GfHB1oxe2JiRjXTD5rMOId4+beHfROMF18q7J/aRGFrsxny698lMMQBJ7TCvSFA==",
    "$pbkdf2-sha256$i=1000,l=64$AAECAwQFBgcICQoLDA0ODw$yRTMTwbMbo9G0VfjobWqerzuuxe7BETNTErBbKKumGQVykgYqFUkGDPSqmamlmDo91gX1JZ69LgWiJuFkmT+UQ",
];

const TODAY: Cost = Cost::DEFAULT;

fn typed(text: &str) -> Password {
    Password::typed(&Zeroizing::new(text.to_owned()))
}

fn is_of(hash: &str, password: &str) -> bool {
    Stored::parse(hash).unwrap().right_spelling(&typed(password), TODAY).unwrap().is_some()
}

fn error(hash: &str) -> HashError {
    Stored::parse(hash).map(drop).expect_err(hash)
}

#[test]
fn hashes_of_every_algorithm_know_their_password_and_no_other() {
    for hash in HASHES {
        assert!(is_of(hash, "correct horse"), "{hash}");
        for wrong in ["", "correct hors", "correct horse ", "Correct horse", "correct horse\0"] {
            assert!(!is_of(hash, wrong), "{hash} is of {wrong:?}");
        }
    }
}

#[test]
fn how_a_hash_was_made_is_told_without_the_hash() {
    for (hash, scheme) in [
        (HASHES[0], "pbkdf2-sha256 i=29000"),
        (HASHES[6], "pbkdf2-sha512 i=1000"),
        (HASHES[7], "scrypt ln=4,r=8,p=1"),
        (HASHES[8], "argon2id m=64,t=2,p=1"),
        (HASHES[14], "bcrypt cost=04"),
    ] {
        assert_eq!(Stored::parse(hash).unwrap().scheme(), scheme);
    }
}

#[test]
fn how_much_memory_a_hash_takes_is_known_before_computing() {
    for (hash, bytes) in [
        (HASHES[0], 0),
        (HASHES[7], Cost::new(4, 8, 1).unwrap().memory()),
        (HASHES[8], 64 << 10),
        (HASHES[14], 0),
    ] {
        assert_eq!(Stored::parse(hash).unwrap().memory(), bytes, "{hash}");
    }
}

#[test]
fn a_hash_of_another_algorithm_is_renewed_at_the_right_password() {
    let today = Cost::new(4, 8, 1).unwrap();
    for hash in HASHES {
        assert_eq!(
            Stored::parse(hash).unwrap().is_of(today),
            hash.starts_with("$scrypt$ln=4,r=8,p=1"),
            "{hash}"
        );
    }
    let hash = super::super::PasswordHash::import(HASHES[0].to_owned()).unwrap();
    let checked = super::super::check(&typed("correct horse"), &hash, today).unwrap();
    let super::super::Checked::RightRenewed(renewed) = checked else {
        unreachable!("renewed");
    };
    assert!(
        renewed.as_str().starts_with("$scrypt$ln=4,r=8,p=1$") && is_of(renewed.as_str(), "correct horse")
    );
}

#[test]
fn a_password_is_recognised_composed_and_decomposed() {
    let (composed, decomposed) = ("Zo\u{eb}'s password", "Zoe\u{308}'s password");
    for of_decomposed in [
        "$pbkdf2-sha256$1$zdm7914L4fwfw5hTai2FcA$OFheu44XcIKx5WZ8VO26/BAzC76owr1JjukIlDfy6xk",
        "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$9MDyrvtwjf0v+/uvaENkSaRsxjmXUyxT9vXQIuCRKog",
        "$2b$04$MrYI2wgervdBLTi/n73wUu61mygc50M8nje5kQMXlszTjFVce//8u",
        "$scrypt$ln=4,r=8,p=1$4nxPqbXW+l8rZewdAyDE2A$ErVD+iXYnogQsp0aGX+mORzz8FOo3VyI1Njmeiy/ujU",
    ] {
        assert!(is_of(of_decomposed, decomposed) && is_of(of_decomposed, composed), "{of_decomposed}");
    }
    let of_composed = "$2b$04$QvE/D8p3fA2xS0gF1V9Ph./Dk53avoakTqnTqzi00Jrl3slxzvQqq";
    assert!(is_of(of_composed, composed) && is_of(of_composed, decomposed));
}

#[test]
fn bcrypt_takes_72_bytes_as_it_did_when_the_hash_was_made() {
    for (hash, letter) in [
        ("$2b$04$P3y2Go2Z3VRAiOQB9kfooOOog5JeWMaMN.RFJMHrZfIkGBccoh.zm", "x"),
        ("$2b$04$.U8MnQeqZFKDC.FBzaHGv.QfxuThI5L2U/0pHbtQjSmxdbxLqqAou", "\u{fc}"),
    ] {
        let letters = |bytes: usize| letter.repeat(bytes / letter.len());
        assert!(is_of(hash, &letters(72)) && is_of(hash, &letters(100)) && !is_of(hash, &letters(70)));
    }
}

#[test]
fn nuls_make_no_second_password() {
    let bcrypt = "$2b$04$tuwjidf.15noi6C0ZM/z7.dD0oZKSf4e6JMqyrlhUYI.YbS6Kilre";
    let pbkdf2 = "$pbkdf2-sha256$1$iPGe857TulcqhdC6l1IKoQ$xwbCOihFE2awngW.sDDT88nEvedW9QuEGQrpQNtb4Sc";
    for hash in [bcrypt, pbkdf2] {
        assert!(is_of(hash, "a"));
        for wrong in ["a\0", "a\0a", "a\0\0"] {
            assert!(!is_of(hash, wrong), "{hash} is of {wrong:?}");
        }
    }
    let inside = "$pbkdf2-sha256$1$tFbKmbPW2nuvda61ltLaGw$ddUGi/2v5W2WVp71sjzYBR2cnHAaYGJKg.iMss.AfYc";
    assert!(is_of(inside, "nul\0 inside"));
}

#[test]
fn too_costly_hashes_are_refused_before_computing() {
    const MEMORY: HashError = HashError::TooCostly(CostError::TooMuchMemory);
    const WORK: HashError = HashError::TooCostly(CostError::TooMuchWork);
    let rest = "AOC8lxLivNfa27sXYowxRg$ZRkg6gT4Ap57ndt5lD38qKa00yjnoVUbVba1+UxquZM";
    for (params, expected) in [
        ("scrypt$ln=18,r=8,p=1", MEMORY),
        ("scrypt$ln=15,r=8,p=49", WORK),
        ("argon2id$v=19$m=262145,t=1,p=1", MEMORY),
        ("argon2id$v=19$m=4294967295,t=4294967295,p=1", MEMORY),
        ("argon2id$v=19$m=262144,t=25,p=1", WORK),
        ("argon2id$v=19$m=64,t=4294967295,p=1", WORK),
        ("pbkdf2-sha256$12582913", WORK),
        ("pbkdf2-sha512$i=4294967295,l=32", WORK),
    ] {
        assert_eq!(error(&format!("${params}${rest}")), expected, "{params}");
    }
    let bcrypt = "$EnFywPkpMPXnP/37iDRHputCB83bVp/DtG93EeWBEUgitiCqkwAMu";
    for cost in [17, 31] {
        assert_eq!(error(&format!("$2b${cost}{bcrypt}")), WORK);
    }
    for within in ["argon2id$v=19$m=262144,t=24,p=1", "pbkdf2-sha256$12582912", "scrypt$ln=17,r=8,p=8"] {
        assert!(Stored::parse(&format!("${within}${rest}")).is_ok(), "{within}");
    }
    assert!(Stored::parse(&format!("$2b$16{bcrypt}")).is_ok());
}

#[test]
fn invalid_hashes_are_refused_with_the_reason() {
    for text in
        ["", "correct horse", "correct$horse$battery", "$", "$$", "$x", "5f4dcc3b5aa765d61d8327deb882cf99"]
    {
        let expected = if text == "$$" { HashError::UnknownAlgorithm } else { HashError::NotAHash };
        assert_eq!(error(text), expected, "{text:?}");
    }
    for text in [
        "$1$salt$x",
        "$2$04$x",
        "$2x$04$EnFywPkpMPXnP/37iDRHputCB83bVp/DtG93EeWBEUgitiCqkwAMu",
        "$SCRYPT$x",
        "$md5$x",
        "$pbkdf2$1$x$y",
        "pbkdf2:sha1:2$p27MwmtSha2yR9Ow$eb21cf0975912791e8ce0261033565e51378a791",
        "pbkdf2:sha256$salt$eb21cf09",
        "bcrypt_sha256$$2b$04$x",
        "sha1$salt$x",
    ] {
        assert_eq!(error(text), HashError::UnknownAlgorithm, "{text}");
    }
    use HashError::{Keyed, Malformed, Parameters, TooLong, TooShort};
    for (text, expected) in [
        ("$2b$03$EnFywPkpMPXnP/37iDRHputCB83bVp/DtG93EeWBEUgitiCqkwAMu", Parameters),
        ("$2b$32$EnFywPkpMPXnP/37iDRHputCB83bVp/DtG93EeWBEUgitiCqkwAMu", Parameters),
        ("$2b$04$EnFywPkpMPXnP/37iDRHputCB83bVp/DtG93EeWBEUgitiCqkwAM", Malformed),
        (
            "$argon2id$v=18$m=64,t=2,p=1$AOC8lxLivNfa27sXYowxRg$ZRkg6gT4Ap57ndt5lD38qKa00yjnoVUbVba1+UxquZM",
            Parameters,
        ),
        (
            "$argon2id$v=19$m=64,t=2,p=1,keyid=Hj5+dsK0$AOC8lxLivNfa27sXYowxRg$ZRkg6gT4Ap57ndt5lD38qKa00yjnoVUbVba1+UxquZM",
            Keyed,
        ),
        (
            "$argon2id$v=19$m=7,t=2,p=1$AOC8lxLivNfa27sXYowxRg$ZRkg6gT4Ap57ndt5lD38qKa00yjnoVUbVba1+UxquZM",
            Parameters,
        ),
        ("$argon2id$v=19$m=64,t=2,p=1$c2FsdA$ZRkg6gT4Ap57ndt5lD38qKa00yjnoVUbVba1+UxquZM", Parameters),
        ("$argon2id$v=19$m=64,t=2$c2FsdHNhbHQ$ZRkg6gT4Ap57ndt5lD38qKa00yjnoVUbVba1+UxquZM", Parameters),
        ("$argon2id$v=19$$c2FsdHNhbHQ$ZRkg6gT4Ap57ndt5lD38qKa00yjnoVUbVba1+UxquZM", Parameters),
        ("$scrypt$ln=4,r=8,p=1$AYAQIkQoxVirNUZorVXKWQ", Malformed),
        ("$scrypt$ln=4,r=8,p=1$AYAQIkQoxVirNUZorVXKWQ$nSe7pDQPABHeyZ/NhA", TooShort),
        ("$scrypt$ln=4,r=8$AYAQIkQoxVirNUZorVXKWQ$nSe7pDQPABHeyZ/Nh5hi4lwQjl3cVQqGPRnsdGG7vNI", Parameters),
        (
            "$scrypt$v=1$ln=4,r=8,p=1$AYAQIkQoxVirNUZorVXKWQ$nSe7pDQPABHeyZ/Nh5hi4lwQjl3cVQqGPRnsdGG7vNI",
            Parameters,
        ),
        ("$pbkdf2-sha256$0$Zeydcy7lnLMWgjCGECLkfA$3KdTRR2NGqbYJnQQ.oEBtFLG5JAT8r1k5AWFCbUhN5o", Parameters),
        ("$pbkdf2-sha256$1$Zeydcy7lnLMWgjCGECLkfA$", TooShort),
        ("$pbkdf2-sha256$1$Zeydcy7lnLMWgjCGECLkfA$3KdTRR2NGqbYJnQQ", TooShort),
        (
            "$pbkdf2-sha256$i=1,l=33$Zeydcy7lnLMWgjCGECLkfA$3KdTRR2NGqbYJnQQ.oEBtFLG5JAT8r1k5AWFCbUhN5o",
            Malformed,
        ),
        ("$pbkdf2-sha256$1$Zeydcy7lnLMWgjCGECLkfA$3KdTRR2NGqbYJnQQ.oEBtFLG5JAT8r1k5AWFCbUhN5o$", Malformed),
        ("$pbkdf2-sha256$1$Zeydcy7lnLMWgjCGECLkfA=$3KdTRR2NGqbYJnQQ.oEBtFLG5JAT8r1k5AWFCbUhN5o", Malformed),
        ("$pbkdf2-sha256$1$Zeydcy7lnLMWgjCGECLkfA===$3KdTRR2NGqbYJnQQ.oEBtFLG5JAT8r1k5AWFCbUhN5o", Malformed),
        ("$pbkdf2-sha256$1$Zeydcy7lnLMWgjCGECLkfA$3KdTRR2NGqbYJnQQ=oEBtFLG5JAT8r1k5AWFCbUhN5o", Malformed),
        ("$pbkdf2-sha256$1$*$3KdTRR2NGqbYJnQQ.oEBtFLG5JAT8r1k5AWFCbUhN5o", Malformed),
    ] {
        assert_eq!(error(text), expected, "{text}");
    }
    let salt = "A".repeat(MAX_BYTES);
    assert_eq!(
        error(&format!("$pbkdf2-sha256$1${salt}$3KdTRR2NGqbYJnQQ.oEBtFLG5JAT8r1k5AWFCbUhN5o")),
        TooLong
    );
}

#[test]
fn all_of_a_long_hash_is_compared() {
    for hash in HASHES.iter().filter(|hash| hash.len() > 120) {
        let (head, last) = hash.trim_end_matches('=').split_at(hash.trim_end_matches('=').len() - 4);
        let other = if last.starts_with('A') { "B" } else { "A" };
        let padding = &hash[head.len() + 4..];
        let altered = format!("{head}{other}{}{padding}", &last[1..]);
        assert!(!is_of(&altered, "correct horse"), "{altered}");
    }
}

#[test]
fn a_hash_that_takes_several_digests_costs_as_many_times_the_rounds() {
    let work = |hash| Stored::parse(hash).unwrap().work(&typed("x"), TODAY);
    let (of_64, of_32) = (HASHES[17], HASHES[1].replace("$1$", "$1000$"));
    assert_eq!(work(of_64), 2 * work(&of_32));
    let beyond = of_64.replace("$1000$", "$6291457$"); // half of the limit for 32 bytes
    assert_eq!(error(&beyond), HashError::TooCostly(CostError::TooMuchWork));
}

/// "Zoë ﬁne Å passé" with a precomposed é, a ligature and the Ångström sign: every normal form is a
/// different text.
const TYPED: &str = "Zo\u{eb} \u{fb01}ne \u{212b} pass\u{e9}";

#[test]
fn a_hash_of_the_password_in_another_normal_form_knows_it() {
    for (form, hash) in [
        ("typed", "$pbkdf2-sha256$1$AAECAwQFBgcICQoLDA0ODw$N45x5ZyOjykw2kik6g4ooVLRMLEqD6qcoXHBGgn+Wb0"),
        ("NFC", "$pbkdf2-sha256$1$AAECAwQFBgcICQoLDA0ODw$aMk4maD4uj9BzwMduhPB/OFyVKDkg+ahUAVmntZdMzc"),
        ("NFD", "$pbkdf2-sha256$1$AAECAwQFBgcICQoLDA0ODw$dSKvxOAkuiVPYx09fp4IP4aP9IMEOdusjjErPuktb9g"),
        ("NFKC", "$pbkdf2-sha256$1$AAECAwQFBgcICQoLDA0ODw$d/pGLP9E/2II6RWgM2TpOmBxY0q3oEaZ8lg9VWsNshk"),
        ("NFKC", "$scrypt$ln=4,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$DKJU7GUOUl9yKIH4KJ0knC9NPPSmBbyZ5EDrU5F1YQg"),
    ] {
        assert!(is_of(hash, TYPED), "{form}");
        assert!(!is_of(hash, &TYPED.replace('\u{e9}', "e")), "{form}");
    }
}

#[test]
fn how_many_forms_are_tried_is_bounded_and_paid_for() {
    let hash = "$scrypt$ln=4,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$DKJU7GUOUl9yKIH4KJ0knC9NPPSmBbyZ5EDrU5F1YQg";
    let (stored, its_own) = (Stored::parse(hash).unwrap(), Cost::new(4, 8, 1).unwrap());
    for (text, today, forms) in [
        ("correct horse", TODAY, 1),
        ("Zo\u{eb}'s password", TODAY, 2), // NFD is another text
        (TYPED, TODAY, 4),
        (TYPED, its_own, 2), // an imported scrypt hash may be of the original text
    ] {
        assert_eq!(stored.work(&typed(text), today), forms * its_own.work(), "{text}");
    }
    assert!(stored.right_spelling(&typed(TYPED), its_own).unwrap().is_none());
    // At the largest cost, not all four spellings are tried.
    let costly = Stored::parse(
        "$scrypt$ln=17,r=8,p=8$AAECAwQFBgcICQoLDA0ODw$DKJU7GUOUl9yKIH4KJ0knC9NPPSmBbyZ5EDrU5F1YQg",
    )
    .unwrap();
    assert!(costly.work(&typed(TYPED), TODAY) <= 2 * Cost::MAX_WORK);
}

proptest::proptest! {
    #[test]
    fn no_text_and_no_truncated_hash_makes_the_parser_panic(
        which in 0..HASHES.len(), at in 0_usize..200, put in ".{0,8}", noise in "\\PC{0,100}",
    ) {
        let _ = Stored::parse(&noise);
        let _ = Stored::parse(&format!("${noise}"));
        let hash = HASHES[which];
        let _ = Stored::parse(&format!("{}{put}{}", &hash[..at.min(hash.len())], &hash[at.min(hash.len())..]));
        // A truncated hash matches nothing, or is as good as the whole.
        let cut = &hash[..at.min(hash.len())];
        if let Ok(stored) = Stored::parse(cut) {
            assert!(stored.right_spelling(&typed("correct hors"), TODAY).unwrap().is_none());
        }
    }
}
