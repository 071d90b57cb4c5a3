//! What Prefect's own command line has been set up with: the environment, then the active profile. Pure but for reading the
//! file.

use crate::config::Environment;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The largest file of profiles.
const MAX_BYTES: u64 = 256 * 1024;

/// The settings of a profile, by their names (`PREFECT_API_URL`, …).
pub(super) type Settings = BTreeMap<String, String>;

/// Where Prefect keeps its profiles: `PREFECT_PROFILES_PATH`, else `profiles.toml` of `PREFECT_HOME`, else of `~/.prefect`.
pub(super) fn path(environment: &Environment) -> Option<PathBuf> {
    let get = |name: &str| environment.get(name).filter(|value| !value.is_empty());
    let expanded = |path: &str| match (path.strip_prefix("~/"), get("HOME")) {
        (Some(rest), Some(home)) => Path::new(home).join(rest),
        _ => PathBuf::from(path),
    };
    if let Some(path) = get("PREFECT_PROFILES_PATH") {
        return Some(expanded(path));
    }
    let home = get("PREFECT_HOME").map(|home| expanded(home));
    let home = home.or_else(|| Some(Path::new(get("HOME")?).join(".prefect")));
    home.map(|home| home.join("profiles.toml"))
}

/// The active profile of this file; `None` = there is no file, or no such profile in it.
pub(super) fn read(path: &Path, environment: &Environment) -> Result<Option<Settings>, String> {
    let is_small = std::fs::metadata(path).map(|metadata| metadata.len() <= MAX_BYTES);
    let text = match is_small {
        Ok(true) => std::fs::read_to_string(path).map_err(|error| error.to_string())?,
        Ok(false) => return Err("it is too large for a file of profiles".into()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    active(&text, environment.get("PREFECT_PROFILE").map(String::as_str))
}

/// The active profile of a text; `chosen` beats what the text says.
fn active(text: &str, chosen: Option<&str>) -> Result<Option<Settings>, String> {
    let mut profiles: BTreeMap<String, Settings> = BTreeMap::new();
    let (mut named, mut table) = (None, Vec::new());
    for (number, line) in text.lines().enumerate() {
        let odd = |what: &str| format!("line {}: {what}", number + 1);
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(header) = line.strip_prefix('[') {
            let (path, rest) = key(header).ok_or_else(|| odd("a table's name cannot be understood"))?;
            rest.strip_prefix(']').filter(|rest| is_end(rest)).ok_or_else(|| odd("a table's name has no end"))?;
            if let [profiles_word, profile] = path.as_slice()
                && profiles_word == "profiles"
            {
                profiles.entry(profile.clone()).or_default();
            }
            table = path;
            continue;
        }
        let (mut path, rest) = key(line).ok_or_else(|| odd("a name cannot be understood"))?;
        let value = rest.strip_prefix('=').ok_or_else(|| odd("a name without a value"))?.trim_start();
        path.splice(0..0, table.iter().cloned());
        match path.as_slice() {
            [active] if active == "active" => named = Some(scalar(value).ok_or_else(|| odd("no text"))?),
            [word, profile, setting] if word == "profiles" => {
                // Not said aloud what stands there: it may be a key.
                let value = scalar(value).ok_or_else(|| odd("a value that is neither a text nor a number"))?;
                profiles.entry(profile.clone()).or_default().insert(setting.clone(), value);
            }
            _ => {}
        }
    }
    let Some(name) = chosen.map(str::to_owned).or(named) else { return Ok(None) };
    Ok(profiles.remove(&name))
}

fn is_end(rest: &str) -> bool {
    let rest = rest.trim_start();
    rest.is_empty() || rest.starts_with('#')
}

/// The parts of a dotted key, and what follows it.
fn key(text: &str) -> Option<(Vec<String>, &str)> {
    let (mut parts, mut rest) = (Vec::new(), text.trim_start());
    loop {
        let part;
        (part, rest) = match rest.chars().next()? {
            '"' | '\'' => quoted(rest)?,
            _ => {
                let is_bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
                let end = rest.find(|c| !is_bare(c)).unwrap_or(rest.len());
                let (part, rest) = rest.split_at_checked(end).filter(|(part, _)| !part.is_empty())?;
                (part.to_owned(), rest)
            }
        };
        parts.push(part);
        rest = rest.trim_start();
        match rest.strip_prefix('.') {
            Some(more) => rest = more.trim_start(),
            None => return Some((parts, rest)),
        }
    }
}

/// A text in quotes, a number or a truth value; `None` = something else, which no setting of ours is.
fn scalar(text: &str) -> Option<String> {
    if text.starts_with("\"\"\"") || text.starts_with("'''") {
        return None;
    }
    if text.starts_with(['"', '\'']) {
        let (value, rest) = quoted(text)?;
        return is_end(rest).then_some(value);
    }
    let bare = text.split('#').next()?.trim();
    let is_bare =
        !bare.is_empty() && bare.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '-' | '_' | ':'));
    is_bare.then(|| bare.to_owned())
}

/// A text in quotes, without them, and what follows it. Only double quotes know escapes.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut chars = text.char_indices();
    let (_, quote) = chars.next()?;
    let mut value = String::new();
    while let Some((at, c)) = chars.next() {
        if c == quote {
            return Some((value, text.get(at + c.len_utf8()..)?));
        }
        if c != '\\' || quote == '\'' {
            value.push(c);
            continue;
        }
        let (_, escaped) = chars.next()?;
        let mut hex = |digits: usize| {
            let code = (0..digits).try_fold(0_u32, |number, _| Some((number << 4) | chars.next()?.1.to_digit(16)?))?;
            char::from_u32(code)
        };
        value.push(match escaped {
            'b' => '\u{8}',
            't' => '\t',
            'n' => '\n',
            'f' => '\u{c}',
            'r' => '\r',
            '"' | '\\' => escaped,
            'u' => hex(4)?,
            'U' => hex(8)?,
            _ => return None,
        });
    }
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// As `prefect profile` and `prefect cloud login` write it.
    const FILE: &str = r#"active = "cloud"

[profiles.default]

[profiles.cloud]
PREFECT_API_URL = "https://api.prefect.cloud/api/accounts/a/workspaces/w"
PREFECT_API_KEY = "pnu_1\"2\u0033"
PREFECT_LOGGING_LEVEL = 'DEBUG' # loud
PREFECT_API_REQUEST_TIMEOUT = 30.0

[profiles."with space"]
PREFECT_API_URL = "http://127.0.0.1:4200/api"
"#;

    fn setting(profile: &Settings, name: &str) -> String {
        profile.get(name).cloned().unwrap_or_default()
    }

    #[test]
    fn the_active_profile_is_read_and_the_environment_chooses_another() {
        let cloud = active(FILE, None).unwrap().unwrap();
        assert_eq!(setting(&cloud, "PREFECT_API_KEY"), "pnu_1\"23");
        assert_eq!(setting(&cloud, "PREFECT_LOGGING_LEVEL"), "DEBUG");
        assert_eq!(setting(&cloud, "PREFECT_API_REQUEST_TIMEOUT"), "30.0");
        let other = active(FILE, Some("with space")).unwrap().unwrap();
        assert_eq!(setting(&other, "PREFECT_API_URL"), "http://127.0.0.1:4200/api");
        assert!(active(FILE, Some("default")).unwrap().unwrap().is_empty());
        assert_eq!(active(FILE, Some("none")), Ok(None));
        assert_eq!(active("", None), Ok(None));
    }

    #[test]
    fn what_cannot_be_understood_is_told_by_its_line_and_never_quoted() {
        for text in [
            "active = \"a\"\n[profiles.a]\nK = \"geheim",
            "[profiles.a]\nK = [\"geheim\"]",
            "[profiles.a\nK = 1",
            "[profiles.a]\nK = \"\"\"geheim\"\"\"",
            "= geheim",
            "K",
        ] {
            let said = active(text, Some("a")).unwrap_err();
            assert!(said.starts_with("line ") && !said.contains("geheim"), "{text}: {said}");
        }
    }

    #[test]
    fn other_tables_are_of_no_concern_and_dotted_names_lead_where_tables_do() {
        let text = "profiles.a.K = \"v\"\n[[x.y]]\n";
        assert!(active(text, Some("a")).is_err(), "a list of tables is not understood");
        let text = "profiles.a.K = \"v\"\n[other]\nK = \"w\"\n";
        assert_eq!(setting(&active(text, Some("a")).unwrap().unwrap(), "K"), "v");
    }

    #[test]
    fn the_file_lies_where_prefect_has_it() {
        let of = |pairs: &[(&str, &str)]| {
            path(&pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[("HOME", "/h")]), Some("/h/.prefect/profiles.toml".into()));
        assert_eq!(of(&[("HOME", "/h"), ("PREFECT_HOME", "~/p")]), Some("/h/p/profiles.toml".into()));
        assert_eq!(of(&[("HOME", "/h"), ("PREFECT_PROFILES_PATH", "/x.toml")]), Some("/x.toml".into()));
    }
}
