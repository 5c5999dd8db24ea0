//! Hashes that other services wrote, from the import to the first login.

use crate::import_command::{import, kind, status};
use crate::support::{Process, secrets, temporary};
use crate::{PASSWORD, stop_well};

/// Of `PASSWORD`, by Python's hashlib and argon2-cffi 25.1.0: as Keycloak and others with long salts and hashes have them,
/// with the padding of base64 and without.
const LONG: [&str; 6] = [
    "$pbkdf2-sha256$1000$AAECAwQFBgcICQoLDA0ODw==$yRTMTwbMbo9G0VfjobWqerzuuxe7BETNTErBbKKumGQVykgYqFUkGDPSqmamlmDo91gX1JZ69LgWiJuFkmT+UQ==",
    "$pbkdf2-sha512$2$AAECAwQFBgcICQoLDA0ODw==$VvixzmwQWelT4xbX/ij8CrKLArt3lEglmmDvVm543T5n1+XVwxPoErBOvBmA5E5cAmt49TFU1K8pISfPZzLQGA==",
    "$scrypt$ln=4,r=8,p=1$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw$MhNFjv7ZHLwjkq+7BMVJsKBTrn5AFxlWNjQ/dgn5LTc",
    "$argon2id$v=19$m=64,t=2,p=1$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw$4fG3lsk6Z2DOu06c6tEPSdvl5g1FhQJt/m5f1bMRKPY",
    "$argon2id$v=19$m=64,t=2,p=1$AAECAwQFBgcICQoLDA0ODw$D3bOQzziitddrqPOzG0JU/dNrSaqeJM6CwopehEslRBynoU/3oxNxgqT6GPcwMwYet/n/7lhSaxxVTm+N/l7UaD8UO9f8UXk53tdjyRxw7toUbVNl0imt86T3ZiOGBORd1Zx+1QMu31gsqTYQz/zMJHaiBcagPQJzencODe3PSU",
    "scrypt$16$seasalt$8$1$Qxil8nWcIy12YNMYpeV1hXKvwFi5h+x4wHI8WQTJ3/j1NecrriM2mkKB8IaqWjz6RUXfHzR5O5kG1jYWwbPuBA==",
];

#[test]
fn hashes_with_long_salts_long_outputs_and_padding_let_their_owners_in() {
    let dir = temporary();
    let users = LONG.iter().enumerate().map(|(number, hash)| format!("user-{number},\"{hash}\"\n"));
    let said = import(dir.path(), &["--apply", "--json"], &users.collect::<String>());
    assert_eq!((said.code, said.counts()), (Some(0), [6, 0, 0, 0]), "{said:?}");
    let server = Process::start(dir.path(), &[]);
    for number in 0..LONG.len() {
        let name = format!("user-{number}");
        assert_eq!(status(&server, &name, "correct hors"), 401);
        assert_eq!(status(&server, &name, PASSWORD), 200, "{name}");
        assert_eq!(kind(dir.path(), &name), "scrypt");
        assert_eq!(status(&server, &name, PASSWORD), 200, "{name}");
    }
    stop_well(server);
}

#[test]
fn a_hash_that_is_refused_is_refused_for_the_reason_that_is_so() {
    let dir = temporary();
    let hash = LONG[3];
    for (hash, reason) in [
        (hash[..hash.len() - 1].to_owned(), "the hash is damaged or cut off"),
        (
            hash.replace("p=1", "p=1,keyid=Hj5+dsK0"),
            "the hash was made with a secret key besides the password",
        ),
        (
            hash.replace("m=64", "m=1"),
            "the hash's parameters are missing, or its algorithm is not defined for them",
        ),
        (
            LONG[2].replace(",p=1", ""),
            "the hash's parameters are missing, or its algorithm is not defined for them",
        ),
        (
            "pbkdf2:sha256$Kns8DAF82ULKqt7E$42d4105fa622b0711901fc298907a042".to_owned(),
            "the hash's parameters are missing, or its algorithm is not defined for them",
        ),
        (
            "$pbkdf2-sha256$1$Zeydcy7lnLMWgjCGECLkfA$3KdTRR2NGqbYJnQQ".to_owned(),
            "the hash has fewer than 16 bytes: cut off, or too weak",
        ),
        (format!("{hash}{}", "A".repeat(400)), "the hash is longer than 512 characters"),
        (
            "$7$C6..../....SodiumChloride$kBGj9fHznVYFQMEn/qDCfrDevf9YDtcDdKvEqHJLV8D".to_owned(),
            "the hash is in no known form of PBKDF2 with SHA-256 or SHA-512, scrypt, Argon2 or bcrypt",
        ),
    ] {
        let said = import(dir.path(), &["--json"], &format!("anna,\"{hash}\"\n"));
        assert_eq!((said.code, said.counts()), (Some(1), [0, 0, 0, 1]), "{said:?}");
        assert_eq!(said.json()["problems"][0]["problem"], reason, "{hash}");
    }
}

/// "Zoë ﬁne Å passé" with a ligature and the sign for Ångström: in each normal form another text.
const TYPED: &str = "Zo\u{eb} \u{fb01}ne \u{212b} pass\u{e9}";

#[test]
fn a_password_that_was_hashed_in_another_normal_form_lets_its_owner_in_and_is_one_guess() {
    secrets::password(TYPED);
    let dir = temporary();
    let users = [
        ("typed", "$pbkdf2-sha256$1$AAECAwQFBgcICQoLDA0ODw$N45x5ZyOjykw2kik6g4ooVLRMLEqD6qcoXHBGgn+Wb0"),
        ("nfc", "$pbkdf2-sha256$1$AAECAwQFBgcICQoLDA0ODw$aMk4maD4uj9BzwMduhPB/OFyVKDkg+ahUAVmntZdMzc"),
        ("nfd", "$pbkdf2-sha256$1$AAECAwQFBgcICQoLDA0ODw$dSKvxOAkuiVPYx09fp4IP4aP9IMEOdusjjErPuktb9g"),
        ("nfkc", "$pbkdf2-sha256$1$AAECAwQFBgcICQoLDA0ODw$d/pGLP9E/2II6RWgM2TpOmBxY0q3oEaZ8lg9VWsNshk"),
    ];
    let lines: String = users.iter().map(|(name, hash)| format!("{name},{hash}\n")).collect();
    let said = import(dir.path(), &["--apply", "--json"], &lines);
    assert_eq!((said.code, said.counts()), (Some(0), [4, 0, 0, 0]), "{said:?}");
    let server = Process::start(dir.path(), &["--account-limit", "3,1h"]);
    for (name, _) in users {
        let wrong = TYPED.replace("ne", "xx");
        for _ in 0..2 {
            assert_eq!(status(&server, name, &wrong), 401);
        }
        // A third guess is left, whatever the number of forms that were tried.
        assert_eq!(status(&server, name, TYPED), 200, "{name}");
        assert_eq!(kind(dir.path(), name), "scrypt");
        assert_eq!(status(&server, name, TYPED), 200, "{name}");
        assert_eq!(status(&server, name, "Zo\u{eb} \u{fb01}ne \u{c5} pass\u{e9}"), 200, "{name} composed");
    }
    stop_well(server);
}
