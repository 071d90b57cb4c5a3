//! Which command runs a flow: `cloud-flow` in containers older than Prefect 0.13.0, `flow-run` since.

use crate::config::Rules;
use crate::model::RunRefusal;
use crate::python_text::{accident, text_repr};

const SINCE: &str = "0.13.0";

/// The shell command of the flow's container.
///
/// Prefect 0.15 compares as `distutils.LooseVersion` does (`0.13.0rc1` is newer than `0.13.0`), Prefect 1.4 as
/// PEP 440 says (it is older). A missing or empty version is `0.0.0`.
pub(crate) fn flow_run_command(core_version: Option<&str>, rules: Rules) -> Result<&'static str, RunRefusal> {
    let version = core_version.filter(|version| !version.is_empty()).unwrap_or("0.0.0");
    let is_old = match rules {
        Rules::V0_15 => is_loosely_older(version),
        Rules::V1 => is_older(version),
    };
    let is_old = is_old.map_err(|python| {
        accident(format!("The flow's core_version {} cannot be compared with {SINCE}", text_repr(version)), python)
    })?;
    Ok(if is_old { "prefect execute cloud-flow" } else { "prefect execute flow-run" })
}

/// A piece of a loose version: digits, or a run of anything else.
#[derive(Debug, PartialEq)]
enum Piece<'a> {
    Number(&'a str),
    Text(&'a str),
}

fn is_loosely_older(version: &str) -> Result<bool, String> {
    let ours = pieces(version);
    let since = pieces(SINCE);
    for (ours, since) in ours.iter().zip(&since) {
        match (ours, since) {
            (a, b) if a == b => {}
            (Piece::Number(a), Piece::Number(b)) => return Ok((a.len(), a) < (b.len(), b)),
            _ => return Err("'<' not supported between instances of 'str' and 'int'".into()),
        }
    }
    Ok(ours.len() < since.len())
}

/// Splits into numbers, lower-case words and what lies between them; dots separate.
fn pieces(version: &str) -> Vec<Piece<'_>> {
    #[derive(PartialEq, Clone, Copy)]
    enum Class {
        Digit,
        Lower,
        Dot,
        Other,
    }
    let class = |c: char| match c {
        '0'..='9' => Class::Digit,
        'a'..='z' => Class::Lower,
        '.' => Class::Dot,
        _ => Class::Other,
    };
    let mut rest = version;
    let mut out = Vec::new();
    while let Some(first) = rest.chars().next().map(class) {
        let end = rest.find(|c| class(c) != first).unwrap_or(rest.len());
        let (piece, after) = rest.split_at(end);
        match first {
            Class::Dot => {}
            Class::Digit => {
                let significant = piece.trim_start_matches('0');
                out.push(Piece::Number(if significant.is_empty() { "0" } else { significant }));
            }
            Class::Lower | Class::Other => out.push(Piece::Text(piece)),
        }
        rest = after;
    }
    out
}

fn is_older(version: &str) -> Result<bool, String> {
    let parsed = parse(version).ok_or_else(|| format!("Invalid version: {}", text_repr(version)))?;
    let mut release = parsed.release;
    while release.last() == Some(&"") {
        release.pop();
    }
    let key = |number: &&str| (number.len(), (*number).to_owned());
    let (ours, since): (Vec<_>, Vec<_>) = (release.iter().map(key).collect(), ["", "13"].iter().map(key).collect());
    Ok(!parsed.has_epoch && (ours < since || (ours == since && parsed.is_early)))
}

/// A PEP 440 version, as far as an order against a final release needs it.
struct Version<'a> {
    /// An epoch other than 0: newer than all that have none.
    has_epoch: bool,
    /// Numbers without leading zeros.
    release: Vec<&'a str>,
    /// Older than the final release of the same numbers: a pre-release, or a development version before it.
    is_early: bool,
}

fn parse(version: &str) -> Option<Version<'_>> {
    let mut rest = Rest(version.trim());
    let _ = rest.word(&["v"]);
    let mut first = rest.number()?;
    let mut has_epoch = false;
    if rest.eat(|c| c == '!') {
        has_epoch = !first.is_empty();
        first = rest.number()?;
    }
    let mut release = vec![first];
    while let Some(number) = rest.number_after('.') {
        release.push(number);
    }
    let is_pre = rest.segment(&["alpha", "a", "beta", "b", "preview", "pre", "c", "rc"]);
    let is_post = rest.number_after('-').is_some() || rest.segment(&["post", "rev", "r"]);
    let is_dev = rest.segment(&["dev"]);
    let ends_well = if rest.eat(|c| c == '+') {
        rest.0.split(is_separator).all(|part| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric()))
    } else {
        rest.0.is_empty()
    };
    ends_well.then_some(Version { has_epoch, release, is_early: is_pre || (is_dev && !is_post) })
}

fn is_separator(c: char) -> bool {
    matches!(c, '-' | '_' | '.')
}

/// What is left to parse.
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn eat(&mut self, accepts: impl Fn(char) -> bool) -> bool {
        let after = self.0.strip_prefix(accepts);
        self.0 = after.unwrap_or(self.0);
        after.is_some()
    }

    /// Digits, without leading zeros.
    fn number(&mut self) -> Option<&'a str> {
        let end = self.0.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.0.len());
        let (digits, after) = self.0.split_at(end);
        self.0 = after;
        (!digits.is_empty()).then(|| digits.trim_start_matches('0'))
    }

    /// Digits right after `separator`; nothing is taken if there are none.
    fn number_after(&mut self, separator: char) -> Option<&'a str> {
        let mut after = Rest(self.0.strip_prefix(separator)?);
        let number = after.number()?;
        *self = after;
        Some(number)
    }

    /// One of `words`, in any case; the first that fits.
    fn word(&mut self, words: &[&str]) -> bool {
        let found =
            words.iter().find(|word| self.0.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word)));
        self.0 = found.map_or(self.0, |word| &self.0[word.len()..]);
        found.is_some()
    }

    /// `[separator] word [separator] [number]`.
    fn segment(&mut self, words: &[&str]) -> bool {
        let before = self.0;
        self.eat(is_separator);
        if !self.word(words) {
            self.0 = before;
            return false;
        }
        self.eat(is_separator);
        let _ = self.number();
        true
    }
}

#[cfg(test)]
mod tests;
