//! Questions to whoever sits at the terminal. A key is typed unseen.

use super::output::printable;
use super::{CliError, say};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use secrecy::SecretString;
use std::io::{self, BufRead, IsTerminal, Read, Write};

/// The largest answer.
const MAX_BYTES: u64 = 64 * 1024;

/// Whether somebody is there to be asked.
pub(super) fn is_there() -> bool {
    io::stdin().is_terminal()
}

/// Asks for one line. The question goes to standard error: standard output is for what comes of it.
pub(super) fn ask(question: &str) -> Result<String, CliError> {
    ask_on(question, &mut io::stderr())
}

fn ask_on(question: &str, to: &mut impl Write) -> Result<String, CliError> {
    say(to, &format!("{} ", printable(question)));
    let mut answer = String::new();
    let read = io::stdin().lock().take(MAX_BYTES).read_line(&mut answer);
    match read {
        Ok(0) => Err(CliError::new("no answer", "nothing was written")),
        Ok(_) => Ok(answer.trim().to_owned()),
        Err(error) => Err(CliError::new(format!("no answer: {error}"), "nothing was written")),
    }
}

/// Somebody must be there.
pub(super) fn somebody() -> Result<(), CliError> {
    let advice = "add --yes to write without a question";
    if is_there() { Ok(()) } else { Err(CliError::new("nobody is there to be asked", advice)) }
}

/// Asks whether something is to be done.
pub(super) fn agreed(question: &str, to: &mut impl Write) -> Result<bool, CliError> {
    somebody()?;
    Ok(matches!(ask_on(&format!("{question} [y/N]"), to)?.to_lowercase().as_str(), "y" | "yes"))
}

/// All of standard input, as a secret.
pub(super) fn secret_of_stdin() -> Result<SecretString, CliError> {
    let mut text = String::new();
    let read = io::stdin().lock().take(MAX_BYTES).read_to_string(&mut text);
    read.map_err(|error| CliError::new(format!("no key on standard input: {error}"), "pipe the key in"))?;
    Ok(SecretString::from(text.trim()))
}

/// Asks for a secret, which is not shown while it is typed; empty = there is none.
pub(super) fn ask_secret(question: &str) -> Result<SecretString, CliError> {
    say(&mut io::stderr(), &format!("{} ", printable(question)));
    let trouble = |error: &dyn std::fmt::Display| {
        CliError::new(
            format!("the terminal cannot hide what is typed: {error}"),
            "set the key in the environment, or use --key-stdin",
        )
    };
    let hidden = Hidden::begin().map_err(|error| trouble(&error))?;
    let typed = typed(&mut io::stdin().lock());
    drop(hidden);
    say(&mut io::stderr(), "\n");
    match typed {
        Ok(Some(text)) => Ok(SecretString::from(text.trim())),
        Ok(None) => Err(CliError::new("interrupted", "nothing was written")),
        Err(error) => Err(CliError::new(format!("no key: {error}"), "nothing was written")),
    }
}

/// What is typed until the end of the line, key by key; `None` = given up (ctrl-c, ctrl-d).
fn typed(input: &mut impl Read) -> io::Result<Option<String>> {
    let (mut bytes, mut byte) = (Vec::new(), [0_u8]);
    loop {
        if input.read(&mut byte)? == 0 {
            return Ok(None);
        }
        match byte {
            [b'\n' | b'\r'] => break,
            [3 | 4] => return Ok(None),
            [8 | 127] => {
                // A character may be several bytes.
                while bytes.pop().is_some_and(|byte: u8| byte & 0b1100_0000 == 0b1000_0000) {}
            }
            [21] => bytes.clear(),
            [byte] if bytes.len() < 8192 => bytes.push(byte),
            _ => return Err(io::Error::other("it is too long")),
        }
    }
    String::from_utf8(bytes).map(Some).map_err(|_| io::Error::other("it is no text"))
}

/// The terminal shows nothing and interprets nothing until this is dropped: an interrupt must not leave it like that.
struct Hidden(Termios);

impl Hidden {
    fn begin() -> io::Result<Self> {
        let stdin = io::stdin();
        let before = tcgetattr(&stdin)?;
        let mut hidden = before.clone();
        hidden.make_raw();
        tcsetattr(&stdin, OptionalActions::Flush, &hidden)?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    #[test]
    fn what_is_typed_can_be_mended_and_given_up() {
        let typed = |text: &str| super::typed(&mut text.as_bytes()).unwrap();
        assert_eq!(typed("pnu_1\nrest").as_deref(), Some("pnu_1"));
        assert_eq!(typed("pnu_x\u{7f}1\r").as_deref(), Some("pnu_1"));
        assert_eq!(typed("aé\u{7f}\u{7f}b\n").as_deref(), Some("b"));
        assert_eq!(typed("wrong\u{15}right\n").as_deref(), Some("right"));
        assert_eq!(typed("\n").as_deref(), Some(""));
        assert_eq!((typed("half\u{3}"), typed("no end")), (None, None));
    }
}
