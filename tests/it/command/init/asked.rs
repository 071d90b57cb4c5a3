//! What is typed at a terminal.

use super::{API_KEY, POOL, init, pool, stock};
use crate::command::process::{LIMIT, end};
use crate::support::Deployment;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::json;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::process::Stdio;
use tokio::io::AsyncReadExt;
use world::prefect3::Auth;

/// Both ends of a terminal: where a person sits, and what a program has for one.
fn terminal() -> (File, File) {
    let person = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&person).unwrap();
    unlockpt(&person).unwrap();
    let name = ptsname(&person, Vec::new()).unwrap().into_string().unwrap();
    let program = OpenOptions::new().read(true).write(true).open(name).unwrap();
    (File::from(person), program)
}

#[tokio::test]
async fn a_key_is_asked_for_unseen_and_a_pool_by_its_number() {
    let deployment = Deployment::empty().await;
    let folder = tempfile::tempdir().unwrap();
    pool(&deployment, "first", "ecs", &json!({}));
    pool(&deployment, POOL, "ecs", &stock());
    deployment.world.prefect3(|prefect3| prefect3.switches.auth = Auth::Keys { keys: vec![API_KEY.into()] });
    let (mut person, program) = terminal();
    let mut command = init(&deployment, folder.path(), "");
    command.env_remove("PREFECT_API_KEY").env_remove("PREFECT_API_URL").stdin(Stdio::from(program));
    let mut child = command.spawn().unwrap();
    // The program's end is the program's alone.
    drop(command);
    // Questions come on standard error.
    let mut asked = child.stderr.take().unwrap();
    let mut seen = String::new();
    for (question, answer) in [
        ("Address of the Prefect API", deployment.world.prefect3_url()),
        ("API key", API_KEY.into()),
        ("Which one", "1".into()),
    ] {
        let wait = async {
            while !seen.contains(question) {
                let mut bytes = [0; 512];
                let count = asked.read(&mut bytes).await.unwrap();
                assert!(count > 0, "it ended without asking {question:?}: {seen}");
                seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        };
        tokio::time::timeout(LIMIT, wait).await.unwrap_or_else(|_| panic!("it does not ask {question:?}: {seen}"));
        // What is hidden is hidden a moment after the question.
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        person.write_all(format!("{answer}\n").as_bytes()).unwrap();
    }
    let output = tokio::time::timeout(LIMIT, child.wait_with_output()).await.unwrap().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said} {seen}");
    // By name: `ecs-pool` comes before `first`.
    assert!(said.contains(&format!("Work pool {POOL}")), "{said}");
    // The program's end is closed: all that was shown can be read.
    let mut shown = Vec::new();
    let mut bytes = [0; 1024];
    while let Ok(count) = person.read(&mut bytes) {
        if count == 0 {
            break;
        }
        shown.extend_from_slice(&bytes[..count]);
    }
    let shown = String::from_utf8_lossy(&shown).into_owned();
    assert!(shown.contains(&deployment.world.prefect3_url()), "what may be seen is echoed: {shown:?}");
    assert!(!shown.contains(API_KEY) && !said.contains(API_KEY) && !seen.contains(API_KEY), "{shown:?}");
}

#[tokio::test]
async fn a_key_comes_from_standard_input_and_beats_the_environment() {
    let deployment = Deployment::empty().await;
    let folder = tempfile::tempdir().unwrap();
    pool(&deployment, POOL, "ecs", &stock());
    deployment.world.prefect3(|prefect3| prefect3.switches.auth = Auth::Keys { keys: vec!["pnu_of-stdin".into()] });
    let mut command = init(&deployment, folder.path(), "--yes --key-stdin");
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stdin, b"pnu_of-stdin\n").await.unwrap();
    drop(stdin);
    let output = tokio::time::timeout(LIMIT, child.wait_with_output()).await.unwrap().unwrap();
    let said = format!("{output:?}");
    assert!(output.status.success() && !said.contains("pnu_of-stdin"), "{said}");

    let empty = end(init(&deployment, folder.path(), "--yes --key-stdin")).await;
    assert!(empty.stderr.contains("standard input holds no key"), "{empty:?}");
}
