//! Names of container images: which registry they lie in. Pure.

/// An image of ECR, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EcrImage {
    /// Whose registry.
    pub account: String,
    /// Its region.
    pub region: String,
    /// Name of the repository.
    pub repository: String,
    /// Tag, unless there is a digest.
    pub tag: Option<String>,
    /// `sha256:…`
    pub digest: Option<String>,
}

impl EcrImage {
    /// `None`: the image is of another registry.
    pub fn of(image: &str) -> Option<Self> {
        let (host, rest) = image.split_once('/')?;
        let mut parts = host.split('.');
        let account = parts.next().filter(|part| part.len() == 12 && part.bytes().all(|byte| byte.is_ascii_digit()))?;
        let is_ecr = parts.next() == Some("dkr") && parts.next().is_some_and(|part| part.starts_with("ecr"));
        let region = parts.next().filter(|_| is_ecr)?;
        let (rest, digest) = match rest.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.to_owned())),
            None => (rest, None),
        };
        let (repository, tag) = match rest.rsplit_once(':') {
            Some((repository, tag)) => (repository, Some(tag.to_owned())),
            None => (rest, None),
        };
        let tag = if digest.is_some() { None } else { Some(tag.unwrap_or_else(|| "latest".into())) };
        let (account, region, repository) = (account.to_owned(), region.to_owned(), repository.to_owned());
        Some(Self { account, region, repository, tag, digest })
    }
}

/// The registry that an image's name begins with; `None` = Docker Hub is meant. The first part of a name is a registry where it has
/// a dot or a port, or is `localhost`; capitals make it one, too, since no repository of Docker Hub has any.
pub fn registry(image: &str) -> Option<&str> {
    let (first, _) = image.split_once('/')?;
    let is_registry =
        first == "localhost" || first.contains(|c: char| matches!(c, '.' | ':') || c.is_ascii_uppercase());
    is_registry.then_some(first)
}

/// Whether an image is pulled from Docker Hub.
pub fn is_of_docker_hub(image: &str) -> bool {
    registry(image).is_none_or(|registry| matches!(registry, "docker.io" | "index.docker.io" | "registry-1.docker.io"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_of_ecr_are_taken_apart() {
        let host = "123456789012.dkr.ecr.eu-west-1.amazonaws.com";
        let parts =
            |image: &str| EcrImage::of(image).map(|registry| (registry.repository, registry.tag, registry.digest));
        let tag = |tag: &str| Some(tag.to_owned());
        for (image, expected) in [
            (format!("{host}/flows:1"), Some(("flows".to_owned(), tag("1"), None))),
            (format!("{host}/team/flows"), Some(("team/flows".to_owned(), tag("latest"), None))),
            (format!("{host}/flows@sha256:ab"), Some(("flows".to_owned(), None, tag("sha256:ab")))),
            (format!("{host}/flows:1@sha256:ab"), Some(("flows".to_owned(), None, tag("sha256:ab")))),
            (
                "123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com/flows:1".into(),
                Some(("flows".to_owned(), tag("1"), None)),
            ),
            ("prefecthq/prefect:3-latest".into(), None),
            ("public.ecr.aws/prefect/prefect:3".into(), None),
            ("localhost:5000/flows:1".into(), None),
            ("ecr".into(), None),
        ] {
            assert_eq!(parts(&image), expected, "{image}");
        }
    }

    #[test]
    fn an_image_that_names_no_registry_is_of_docker_hub() {
        for image in
            ["busybox", "prefecthq/prefect:3-latest", "docker.io/prefecthq/prefect", "index.docker.io/library/x"]
        {
            assert!(is_of_docker_hub(image), "{image}");
        }
        for image in [
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com/flows:1",
            "public.ecr.aws/prefect/prefect:3",
            "ghcr.io/a/b",
            "localhost/flows",
            "registry:5000/flows",
        ] {
            assert!(!is_of_docker_hub(image), "{image}");
        }
    }
}
