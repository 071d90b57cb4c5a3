//! `prefect-serverless-agent bundle`: what a deployment needs, as files: nothing has to be built.
//!
//! A wheel brings the functions' zips and the templates along, beside the command:
//! `<prefix>/bin/prefect-serverless-agent` and `<prefix>/share/prefect-serverless-agent/…`.

use super::CliError;
use super::args::{Architecture, BundleArgs};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What the folder says to whoever finds it.
const README: &str = "\
# prefect-serverless-agent, ready to deploy

`sam deploy --guided`, or without SAM: `aws cloudformation package --template-file template.yaml --s3-bucket BUCKET \\
--output-template-file packaged.yaml && aws cloudformation deploy --template-file packaged.yaml --s3-bucket BUCKET \\
--stack-name prefect-serverless-agent --capabilities CAPABILITY_IAM`. A cluster, if there is none: infra/cluster.yaml.
";

/// Writes the folder.
pub(super) fn bundle(args: &BundleArgs) -> Result<String, CliError> {
    let share = share().map_err(|error| CliError::new(format!("this program's own file: {error}"), ""))?;
    let architecture = args.architecture.or_else(|| held(&share).next()).unwrap_or(Architecture::Arm64);
    let files = files(&share, architecture)?;
    let is_empty = fs::read_dir(&args.directory).map_or(true, |mut entries| entries.next().is_none());
    if !is_empty && !args.force {
        let message = format!("{} is not empty", args.directory.display());
        return Err(CliError::new(message, "name a new folder, or write over what is there with --force"));
    }
    let written = |path: &Path, error: &io::Error| {
        CliError::new(format!("cannot write {}: {error}", path.display()), "name a folder that can be written to")
    };
    for (from, to) in &files {
        let to = args.directory.join(to);
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).map_err(|error| written(parent, &error))?;
        }
        fs::copy(from, &to).map_err(|error| written(&to, &error))?;
    }
    let readme = args.directory.join("README.md");
    fs::write(&readme, README).map_err(|error| written(&readme, &error))?;
    Ok(format!(
        "{} holds the template and the functions for {}.\n  next: cd {} && sam deploy --guided\n",
        args.directory.display(),
        architecture.name(),
        args.directory.display()
    ))
}

/// Where a wheel puts what it brings along. Links (of pipx, of uvx) are followed: it lies beside the real command.
fn share() -> io::Result<PathBuf> {
    let program = std::env::current_exe()?.canonicalize()?;
    let prefix = program.parent().and_then(Path::parent).unwrap_or(&program);
    Ok(prefix.join("share/prefect-serverless-agent"))
}

/// The processors that this installation holds functions for.
fn held(share: &Path) -> impl Iterator<Item = Architecture> {
    let all = [Architecture::Arm64, Architecture::X86_64].into_iter();
    all.filter(|one| share.join(format!("lambda-{}.zip", one.name())).is_file())
}

/// The files of a bundle: where they lie, and what they are called in it.
fn files(share: &Path, architecture: Architecture) -> Result<Vec<(PathBuf, PathBuf)>, CliError> {
    let name = architecture.name();
    let zip = share.join(format!("lambda-{name}.zip"));
    if !zip.is_file() {
        return Err(match held(share).next() {
            Some(other) => CliError::new(
                format!("this installation holds no functions for {name}"),
                format!(
                    "deploy for --architecture {}: the flow runs' own processors have nothing to do with it",
                    other.name()
                ),
            ),
            None => CliError::new(
                format!("this command brings no functions along ({} is not there)", share.display()),
                "install the wheel (`pip install prefect-serverless-agent`); from source, `sam build` makes the functions",
            ),
        });
    }
    let mut files = vec![
        (zip, PathBuf::from("lambda.zip")),
        (share.join(format!("template-{name}.yaml")), PathBuf::from("template.yaml")),
        (share.join("samconfig.toml"), PathBuf::from("samconfig.toml")),
        (share.join("LICENSE"), PathBuf::from("LICENSE")),
    ];
    let unread = |error: io::Error| {
        let advice = "install the wheel again: something of it is missing";
        CliError::new(format!("{}: {error}", share.join("infra").display()), advice)
    };
    for entry in fs::read_dir(share.join("infra")).map_err(unread)? {
        let entry = entry.map_err(unread)?;
        files.push((entry.path(), Path::new("infra").join(entry.file_name())));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn share(architectures: &[&str]) -> tempfile::TempDir {
        let share = tempfile::tempdir().unwrap();
        fs::create_dir(share.path().join("infra")).unwrap();
        fs::write(share.path().join("infra/cluster.yaml"), "").unwrap();
        for architecture in architectures {
            fs::write(share.path().join(format!("lambda-{architecture}.zip")), "").unwrap();
        }
        share
    }

    #[test]
    fn a_bundle_has_one_template_one_zip_and_the_stacks_beside_it() {
        let share = share(&["x86_64"]);
        let files = files(share.path(), Architecture::X86_64).unwrap();
        let names: Vec<_> = files.iter().map(|(_, name)| name.display().to_string()).collect();
        assert_eq!(names, ["lambda.zip", "template.yaml", "samconfig.toml", "LICENSE", "infra/cluster.yaml"]);
    }

    #[test]
    fn what_is_not_there_is_said_with_what_to_do() {
        let one = share(&["x86_64"]);
        let trouble = files(one.path(), Architecture::Arm64).unwrap_err();
        assert!(trouble.message.contains("arm64") && trouble.advice.contains("--architecture x86_64"), "{trouble:?}");
        let none = files(share(&[]).path(), Architecture::Arm64).unwrap_err();
        assert!(none.advice.contains("pip install prefect-serverless-agent"), "{none:?}");
    }
}
