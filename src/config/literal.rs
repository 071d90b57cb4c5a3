//! The literals that Prefect's environment variables hold: Python's lists, tuples, sets, dicts and strings, and JSON.

use std::iter::Peekable;
use std::str::Chars;

/// Deeper nesting is refused.
const MAX_DEPTH: usize = 8;

/// A literal. Bare words keep their spelling: numbers, `True`, `None`.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    /// A string.
    Text(String),
    /// A number, truth value or null, as written.
    Word(String),
    /// A list, tuple or set.
    List(Vec<Literal>),
    /// A dict or JSON object, in the order written.
    Map(Vec<(Literal, Literal)>),
}

impl Literal {
    /// Reads a whole text; items side by side (`'a', 'b'`) are a tuple.
    pub(super) fn read(text: &str) -> Option<Self> {
        let mut parser = Parser { chars: text.chars().peekable() };
        let first = parser.value(0)?;
        if parser.end() {
            return Some(first);
        }
        let mut items = vec![first];
        while !parser.end() {
            parser.expect(',')?;
            if !parser.end() {
                items.push(parser.value(0)?);
            }
        }
        Some(Self::List(items))
    }

    /// Whether it is null.
    pub(super) fn is_null(&self) -> bool {
        matches!(self, Self::Word(word) if word == "None" || word == "null")
    }
}

struct Parser<'a> {
    chars: Peekable<Chars<'a>>,
}

impl Parser<'_> {
    /// Skips white space; the next character.
    fn peek(&mut self) -> Option<char> {
        while self.chars.next_if(|c| c.is_whitespace()).is_some() {}
        self.chars.peek().copied()
    }

    fn end(&mut self) -> bool {
        self.peek().is_none()
    }

    fn expect(&mut self, wanted: char) -> Option<()> {
        (self.peek()? == wanted).then(|| self.chars.next())?.map(|_| ())
    }

    fn value(&mut self, depth: usize) -> Option<Literal> {
        if depth > MAX_DEPTH {
            return None;
        }
        match self.peek()? {
            '[' => self.list('[', ']', depth),
            '(' => self.list('(', ')', depth),
            '{' => self.braces(depth),
            quote @ ('"' | '\'') => self.string(quote).map(Literal::Text),
            _ => self.word(),
        }
    }

    fn list(&mut self, open: char, close: char, depth: usize) -> Option<Literal> {
        self.expect(open)?;
        let mut items = Vec::new();
        while self.peek()? != close {
            items.push(self.value(depth + 1)?);
            if self.peek()? != close {
                self.expect(',')?;
            }
        }
        self.expect(close)?;
        Some(Literal::List(items))
    }

    /// A dict, or a set where the first item has no colon. `{}` is a dict.
    fn braces(&mut self, depth: usize) -> Option<Literal> {
        self.expect('{')?;
        let mut pairs = Vec::new();
        let mut items = Vec::new();
        while self.peek()? != '}' {
            let item = self.value(depth + 1)?;
            if self.peek()? == ':' {
                self.expect(':')?;
                pairs.push((item, self.value(depth + 1)?));
            } else {
                items.push(item);
            }
            if self.peek()? != '}' {
                self.expect(',')?;
            }
        }
        self.expect('}')?;
        match (pairs.is_empty(), items.is_empty()) {
            (_, true) => Some(Literal::Map(pairs)),
            (true, false) => Some(Literal::List(items)),
            (false, false) => None,
        }
    }

    fn word(&mut self) -> Option<Literal> {
        let mut word = String::new();
        while let Some(c) = self.chars.next_if(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '-' | '_')) {
            word.push(c);
        }
        (word.parse::<f64>().is_ok() || matches!(word.as_str(), "True" | "False" | "None" | "true" | "false" | "null"))
            .then_some(Literal::Word(word))
    }

    fn string(&mut self, quote: char) -> Option<String> {
        self.chars.next()?;
        let mut text = String::new();
        loop {
            match self.chars.next()? {
                '\\' => self.escape(&mut text)?,
                c if c == quote => return Some(text),
                c => text.push(c),
            }
        }
    }

    /// What follows a backslash. Like Python, an unknown escape is kept as it is.
    fn escape(&mut self, text: &mut String) -> Option<()> {
        match self.chars.next()? {
            'n' => text.push('\n'),
            't' => text.push('\t'),
            'r' => text.push('\r'),
            'b' => text.push('\u{8}'),
            'f' => text.push('\u{c}'),
            'x' => text.push(char::from_u32(self.hex(2)?)?),
            'u' => text.push(self.unicode()?),
            'U' => text.push(char::from_u32(self.hex(8)?)?),
            '\n' => {}
            c @ ('\\' | '\'' | '"' | '/') => text.push(c),
            other => text.extend(['\\', other]),
        }
        Some(())
    }

    /// Four hexadecimal digits, or two such groups that are a surrogate pair, as JSON writes them.
    fn unicode(&mut self) -> Option<char> {
        let first = self.hex(4)?;
        if !(0xD800..0xDC00).contains(&first) {
            return char::from_u32(first);
        }
        if self.chars.next()? != '\\' || self.chars.next()? != 'u' {
            return None;
        }
        let second = self.hex(4)?.checked_sub(0xDC00).filter(|low| *low < 0x400)?;
        char::from_u32(0x10000 + ((first - 0xD800) << 10) + second)
    }

    fn hex(&mut self, digits: usize) -> Option<u32> {
        (0..digits).try_fold(0_u32, |number, _| Some((number << 4) | self.chars.next()?.to_digit(16)?))
    }
}
