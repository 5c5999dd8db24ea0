//! `gatelet completions`: what a shell then completes.

use std::process::{Command, Stdio};

use crate::run;
use crate::support::{gatelet, temporary};

fn script(shell: &str) -> String {
    let output = run(gatelet().args(["completions", shell]));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn bash_completes_commands_flags_and_values() {
    let dir = temporary();
    let file = dir.path().join("gatelet");
    std::fs::write(&file, script("bash")).unwrap();
    for (line, expected) in [
        ("gatelet ", "user"),
        ("gatelet user ", "add delete disable enable end-sessions help list set-password set-role show"),
        ("gatelet user set-", "set-password set-role"),
        ("gatelet user list --", "--disabled"),
        ("gatelet user list --role ", "admin user"),
        ("gatelet completions ", "bash"),
        ("gatelet serve --registration ", "open closed"),
        ("gatelet serve --refresh-rotation ", "on off"),
        ("gatelet --log-format ", "text json"),
    ] {
        // As the shell does on a tab: the word before the cursor, and the one before that.
        let complete = r#"
            source "$1"
            read -ra COMP_WORDS <<< "$2"
            [[ $2 == *' ' ]] && COMP_WORDS+=('')
            COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
            COMP_LINE=$2 COMP_POINT=${#2}
            _gatelet gatelet "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
            printf '%s\n' "${COMPREPLY[@]}""#;
        let mut bash = Command::new("bash");
        bash.args(["--norc", "-c", complete, "bash"]).arg(&file).arg(line).stdin(Stdio::null());
        let output = run(&mut bash);
        let words = String::from_utf8(output.stdout).unwrap();
        let words: Vec<_> = words.lines().collect();
        for word in expected.split(' ') {
            assert!(words.contains(&word), "{line:?}: {words:?}");
        }
    }
}

#[test]
fn every_shell_gets_a_script_that_names_every_command() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = script(shell);
        for word in ["serve", "set-password", "rotate", "explain", "completions"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    let output = run(gatelet().args(["completions", "tcsh"]));
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}
