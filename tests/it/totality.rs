//! Production code indexes into no JSON: `value["key"] = …` and `value["key"].take()` end the process where the value is
//! no object, and reading so tells nothing apart. There is `transport::shape` instead.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let is_test = name.starts_with("test")
            || name.ends_with("_tests.rs")
            || name.ends_with("_tests")
            || name == "fakes"
            || name == "nothing_lost.rs";
        if path.is_dir() && !is_test {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") && !is_test {
            found.push(path);
        }
    }
}

/// Whether a line has an index that is a text or a constant.
fn indexes(line: &str) -> bool {
    let line = line.split("//").next().unwrap_or_default();
    let mut before = ' ';
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        let is_place = before.is_alphanumeric() || "_)]?".contains(before);
        let is_key = characters.peek().is_some_and(|next| *next == '"' || next.is_ascii_uppercase());
        if character == '[' && is_place && is_key {
            return true;
        }
        before = character;
    }
    false
}

#[test]
fn no_production_code_indexes_into_json() {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    assert!(files.len() > 130, "{}", files.len());
    let mut found = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        // Tests within a file stand at its end.
        let is_tests =
            |pair: &[&str]| pair[0] == "#[cfg(test)]" && pair[1].starts_with("mod ") && pair[1].ends_with('{');
        let end = lines.windows(2).position(is_tests).unwrap_or(lines.len());
        let indexed = lines[..end].iter().enumerate().filter(|(_, line)| indexes(line));
        found.extend(indexed.map(|(number, line)| format!("{}:{}: {}", file.display(), number + 1, line.trim())));
    }
    assert!(found.is_empty(), "use `get`, or `transport::shape`:\n{}", found.join("\n"));
}

#[test]
fn an_index_is_told_from_a_list() {
    for line in ["row[\"id\"].as_str()", "body[\"a\"] = json!(1);", "answer()?[\"a\"]", "data[KEY]", "x[\"a\"][\"b\"]"]
    {
        assert!(indexes(line), "{line}");
    }
    for line in
        ["#[derive(A)]", "vec![\"a\"]", "&[\"a\"]", "fn f(x: [A; 2])", "rows[0]", "// row[\"id\"]", "[\"a\", \"b\"]"]
    {
        assert!(!indexes(line), "{line}");
    }
}
