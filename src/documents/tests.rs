#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use crate::aws::test_server::{Request, Server, closed_port, json as reply, text};
use serde_json::json;

const YAML: &str = "networkMode: awsvpc\ncpu: 256\ncontainerDefinitions:\n  - name: flow\n    image: a/b:1\n";

fn expected() -> Value {
    json!({"networkMode": "awsvpc", "cpu": 256, "containerDefinitions": [{"name": "flow", "image": "a/b:1"}]})
}

async fn world() -> Server {
    Server::start(|request: &Request| match (request.operation(), request.target.as_str()) {
        ("GetParameter", _) => match request.json()["Name"].as_str().unwrap() {
            "/team/td" | "td" => reply(200, &json!({"Parameter": {"Name": "n", "Value": YAML, "Version": 1}})),
            _ => reply(400, &json!({"__type": "ParameterNotFound"})),
        },
        (_, "/bucket/td.yaml" | "/td.yaml?signature=secret") => text(200, YAML),
        (_, "/td.json") => text(200, &expected().to_string()),
        (_, "/list") => text(200, "- a\n- b\n"),
        (_, "/broken") => text(200, "password: hunter2\n  bad: [\n"),
        (_, "/large") => text(200, &"x".repeat(MAX_BYTES + 1)),
        (_, target) if target.starts_with("/bucket/") => text(404, "<Error><Code>NoSuchKey</Code></Error>"),
        _ => text(404, "not here"),
    })
    .await
}

async fn load(server: &Server, path: &str) -> Result<Map<String, Value>, String> {
    let aws = server.clients().await;
    load_document(path, &aws, &plain_client(), LocalFiles::Refused).await.map_err(|error| error.to_string())
}

fn plain_client() -> Http {
    Http::network(crate::http::Options::PREFECT1, None).unwrap()
}

#[tokio::test]
async fn documents_are_loaded_from_all_places() {
    let server = world().await;
    let web = server.url();
    let paths = [
        "s3://bucket/td.yaml".to_owned(),
        "ssm://team/td".to_owned(),
        "ssm:///team/td".to_owned(),
        "ssm://td".to_owned(),
        format!("{web}/td.yaml?signature=secret"),
        format!("{web}/td.json"),
    ];
    for path in paths {
        assert_eq!(load(&server, &path).await.map(Value::Object), Ok(expected()), "{path}");
    }
}

#[tokio::test]
async fn errors_name_the_path_and_no_secret() {
    let server = world().await;
    let (web, nowhere) = (server.url(), closed_port());
    let large = format!("{web}/large is larger than 1048576 bytes");
    let cases = [
        ("s3://bucket/gone.yaml".to_owned(), "cannot read s3://bucket/gone.yaml: NoSuchKey: "),
        ("s3://bucket".to_owned(), "s3://bucket is not of the form s3://bucket/key"),
        ("ssm://gone".to_owned(), "cannot read ssm://gone: there is no such parameter in eu-west-1"),
        ("ssm://".to_owned(), "ssm:// names no parameter"),
        (format!("{web}/gone?signature=secret"), &format!("cannot read {web}/gone: HTTP 404")),
        (format!("{nowhere}/x?signature=secret"), &format!("cannot read {nowhere}/x: ")),
        (format!("{web}/list"), &format!("{web}/list must be a mapping, but is a list")),
        (format!("{web}/broken"), &format!("{web}/broken cannot be used: found a text that cannot be read")),
        (format!("{web}/large"), &large),
        ("ftp://x/td.yaml".to_owned(), "Unsupported file scheme ftp://x/td.yaml"),
        ("/etc/td.yaml".to_owned(), "/etc/td.yaml is a local file, which a function does not have"),
    ];
    for (path, expected) in cases {
        let error = load(&server, &path).await.unwrap_err();
        assert!(error.starts_with(expected), "{path}: {error}");
        assert!(!error.contains("secret") && !error.contains("hunter2"), "{error}");
    }
}

#[tokio::test]
async fn a_refused_object_says_which_parameter_of_the_template_lets_it_be_read() {
    let server = Server::start(|request: &Request| {
        // As S3 says it, of itself and of the key.
        let wanting = if request.target.contains("encrypted") {
            "kms:Decrypt on resource: arn:aws:kms:eu-west-1:123456789012:key/k"
        } else {
            "s3:GetObject on resource: &quot;arn:aws:s3:::bucket/td.yaml&quot;"
        };
        let said =
            format!("User: arn:aws:sts::123456789012:assumed-role/poll/x is not authorized to perform: {wanting}");
        text(403, &format!("<Error><Code>AccessDenied</Code><Message>{said}</Message></Error>"))
    })
    .await;
    for (path, wanting, parameter) in [
        ("s3://bucket/td.yaml", "s3:GetObject on resource", "`S3ObjectArns`"),
        ("s3://bucket/encrypted.yaml", "kms:Decrypt on resource", "`S3KeyArns`"),
    ] {
        let error = load(&server, path).await.unwrap_err();
        assert!(error.starts_with(&format!("cannot read {path}: AccessDenied: User: arn:aws:sts")), "{error}");
        assert!(error.contains(wanting) && error.contains(parameter), "{error}");
        assert_eq!(error.matches("template's parameter").count(), 1, "{error}");
    }
}

#[tokio::test]
async fn local_files_are_read_where_allowed() {
    let server = world().await;
    let aws = server.clients().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("td.yaml");
    std::fs::write(&file, YAML).unwrap();
    let file = file.to_str().unwrap();
    for path in [file.to_owned(), format!("file://{file}"), format!("agent://{file}")] {
        let loaded = load_document(&path, &aws, &plain_client(), LocalFiles::Allowed).await;
        assert_eq!(loaded.map(Value::Object), Ok(expected()), "{path}");
    }
    let gone = format!("{file}.gone");
    let error = load_document(&gone, &aws, &plain_client(), LocalFiles::Allowed).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot read {gone}: No such file")), "{error}");
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn certificates_are_given_or_kept_in_parameters() {
    let server = world().await;
    let aws = server.clients().await;
    assert_eq!(resolve_text("-----BEGIN CERTIFICATE-----", &aws).await.unwrap(), "-----BEGIN CERTIFICATE-----");
    assert_eq!(resolve_text("ssm://td", &aws).await.unwrap(), YAML);
    assert!(resolve_text("ssm://gone", &aws).await.unwrap_err().to_string().contains("ssm://gone"));
}
