//! Images as a container runtime reads them.

use crate::image::registry;

/// The names of an image that a pattern may stand for: as it is written, and in full. Where a digest decides, the tag beside
/// it decides nothing and is left out. None for what no runtime takes for an image.
pub(super) fn names(image: &str) -> Vec<String> {
    let (name, digest) = match image.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (image, None),
    };
    let (repository, tag) = without_tag(name);
    if repository.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Vec::new();
    }
    let full = in_full(repository);
    match (digest, tag) {
        (Some(digest), _) => vec![format!("{repository}@{digest}"), format!("{full}@{digest}")],
        (None, Some(tag)) => vec![image.to_owned(), format!("{full}:{tag}")],
        (None, None) => vec![image.to_owned(), format!("{repository}:latest"), format!("{full}:latest")],
    }
}

/// The pattern of all tags, or all digests, of an image's repository; `None` for what no pattern stands for.
pub(super) fn pattern(image: &str) -> Option<String> {
    if names(image).is_empty() || !super::glob::is_plain(image) {
        return None;
    }
    let (repository, _) = without_tag(image.split_once('@').map_or(image, |(name, _)| name));
    Some(if image.contains('@') { format!("{repository}@*") } else { format!("{repository}:*") })
}

/// Whether the image can only be one: its digest says which.
pub(super) fn has_digest(image: &str) -> bool {
    let hash = image.split_once('@').and_then(|(_, digest)| digest.strip_prefix("sha256:"));
    hash.is_some_and(|hash| hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// A colon before the last slash belongs to the registry's port.
fn without_tag(name: &str) -> (&str, Option<&str>) {
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
        _ => (name, None),
    }
}

/// With its registry: Docker Hub where none is named.
fn in_full(repository: &str) -> String {
    match repository.split_once('/') {
        Some(_) if registry(repository).is_some() => repository.to_owned(),
        Some(_) => format!("docker.io/{repository}"),
        None => format!("docker.io/library/{repository}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_its_name_as_written_and_in_full() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (image, expected) in [
            ("python", vec!["python".to_owned(), "python:latest".into(), "docker.io/library/python:latest".into()]),
            ("prefecthq/prefect:3", vec!["prefecthq/prefect:3".into(), "docker.io/prefecthq/prefect:3".into()]),
            ("host:5000/flows:1", vec!["host:5000/flows:1".into(), "host:5000/flows:1".into()]),
            ("localhost/a", vec!["localhost/a".into(), "localhost/a:latest".into(), "localhost/a:latest".into()]),
            (&format!("a.b/c:1@{digest}"), vec![format!("a.b/c@{digest}"), format!("a.b/c@{digest}")]),
            ("Host/a:1", vec!["Host/a:1".into(), "Host/a:1".into()]),
            ("a.b/flows/../c", vec![]),
            ("a.b//c", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(names(image), expected, "{image}");
        }
        assert!(has_digest(&format!("a@{digest}")) && has_digest(&format!("a:1@sha256:{}", "F".repeat(64))));
        for odd in ["a", "a@sha256:", "a@sha512:aa", &format!("a@{digest}0"), &format!("a:{}", &digest[7..])] {
            assert!(!has_digest(odd), "{odd}");
        }
    }
}
