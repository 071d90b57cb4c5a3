#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::needless_pass_by_value)]

use super::*;
use proptest::prelude::*;

#[test]
fn words_are_those_of_a_posix_shell() {
    for (command, expected) in [
        ("prefect flow-run execute", vec!["prefect", "flow-run", "execute"]),
        ("bash -c 'a b' \"c d\"", vec!["bash", "-c", "a b", "c d"]),
        ("a  #b", vec!["a", "#b"]),
        ("x\\ y \"a\\$b\" '\\n' \"q\\\"q\"", vec!["x y", "a\\$b", "\\n", "q\"q"]),
        ("a''b \"\" ''", vec!["ab", "", ""]),
        (" \t\r\n", vec![]),
    ] {
        assert_eq!(split_command(command).unwrap(), expected, "{command}");
    }
}

#[test]
fn unfinished_commands_are_refused() {
    assert_eq!(split_command("a \"b").unwrap_err().0, "ValueError: No closing quotation");
    assert_eq!(split_command("a 'b").unwrap_err().0, "ValueError: No closing quotation");
    assert_eq!(split_command("a\\").unwrap_err().0, "ValueError: No escaped character");
}

proptest! {
    #[test]
    fn quoted_words_come_back(words in prop::collection::vec("[^']{0,8}", 0..6)) {
        let command: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
        prop_assert_eq!(split_command(&command.join(" ")).unwrap(), words);
    }

    #[test]
    fn nothing_makes_it_panic(command in ".{0,40}") {
        let _ = split_command(&command);
    }
}
