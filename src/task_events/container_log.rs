//! Where a container's own log is: what its task definition says about it.

use crate::model::run::Generation;
use crate::transport::shape::text_at;
use serde_json::{Map, Value};

/// A log stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogStream {
    /// Log group.
    pub group: String,
    /// `<prefix>/<container>/<task id>`.
    pub stream: String,
    /// Region; `None` = the task's.
    pub region: Option<String>,
}

/// The log of a task's container. `definition`: as ECS describes it, also one that is deregistered; `container`: `None` =
/// the flow's, by its usual name or because it is the only one.
///
/// `None` = it logs elsewhere than to `awslogs`, or without a prefix, so that its stream cannot be known.
pub fn log_stream(
    definition: &Map<String, Value>,
    container: Option<&str>,
    task_id: &str,
    generation: Generation,
) -> Option<LogStream> {
    let containers = definition.get("containerDefinitions")?.as_array()?;
    let named = |name: &str| containers.iter().find(|container| text_at(container, &["name"]) == Some(name));
    let container = match container {
        Some(name) => named(name),
        None => named(generation.usual_container()).or_else(|| containers.first().filter(|_| containers.len() == 1)),
    }?;
    let option = |name: &str| text_at(container, &["logConfiguration", "options", name]);
    if text_at(container, &["logConfiguration", "logDriver"]) != Some("awslogs") {
        return None;
    }
    Some(LogStream {
        group: option("awslogs-group")?.to_owned(),
        stream: format!("{}/{}/{task_id}", option("awslogs-stream-prefix")?, text_at(container, &["name"])?),
        region: option("awslogs-region").map(ToOwned::to_owned),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn container(name: &str) -> Value {
        let options =
            json!({"awslogs-group": "/prefect/x", "awslogs-stream-prefix": "p", "awslogs-region": "eu-west-1"});
        json!({"name": name, "logConfiguration": {"logDriver": "awslogs", "options": options}})
    }

    fn stream(containers: &Value, name: Option<&str>) -> Option<LogStream> {
        let definition = json!({"containerDefinitions": containers});
        log_stream(definition.as_object().unwrap(), name, "0123", Generation::TwoOrThree)
    }

    #[test]
    fn the_stream_is_made_of_prefix_container_and_task() {
        let found = stream(&json!([container("otel"), container("prefect")]), Some("otel")).unwrap();
        assert_eq!((found.group.as_str(), found.stream.as_str()), ("/prefect/x", "p/otel/0123"));
        assert_eq!(found.region.as_deref(), Some("eu-west-1"));
    }

    #[test]
    fn without_a_name_it_is_the_flows_container() {
        let name = |containers| stream(&containers, None).map(|found| found.stream);
        assert_eq!(name(json!([container("otel"), container("prefect")])).as_deref(), Some("p/prefect/0123"));
        assert_eq!(name(json!([container("main")])).as_deref(), Some("p/main/0123"));
        assert_eq!(name(json!([container("main"), container("otel")])), None);
        assert_eq!(name(json!([])), None);
    }

    #[test]
    fn a_log_elsewhere_or_without_a_prefix_cannot_be_read() {
        for (pointer, value) in [
            ("/0/logConfiguration", json!(null)),
            ("/0/logConfiguration/logDriver", json!("splunk")),
            ("/0/logConfiguration/options/awslogs-group", json!("")),
            ("/0/logConfiguration/options/awslogs-stream-prefix", json!(null)),
            ("/0/name", json!("other")),
        ] {
            let mut containers = json!([container("prefect")]);
            *containers.pointer_mut(pointer).unwrap() = value;
            assert_eq!(stream(&containers, Some("prefect")), None, "{pointer}");
        }
        let mut containers = json!([container("prefect")]);
        containers[0]["logConfiguration"]["options"].as_object_mut().unwrap().remove("awslogs-region");
        assert_eq!(stream(&containers, None).unwrap().region, None, "the task's own region");
    }
}
