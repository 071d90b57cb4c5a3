//! The requests of a launch → all that they ask for, and where. What is there but of another type than ECS takes is no
//! matter here: [`members`](super::members) finds it.

use super::{Rule, VolumeKind};
use serde_json::{Map, Value};

mod routers;
mod sizes;

pub(super) use sizes::NO_LIMIT;

/// The requests of a launch, as they will be sent.
#[derive(Debug, Clone)]
pub struct Requests<'a> {
    /// The body of `RegisterTaskDefinition`, or what AWS says of a definition that exists.
    pub definition: &'a Map<String, Value>,
    /// Where the definition comes from.
    pub origin: DefinitionOrigin,
    /// The body of `RunTask`.
    pub run_task: &'a Map<String, Value>,
    /// Whose choice its network is.
    pub network: NetworkOrigin,
    /// The launch is made with the agent's own credentials: names mean what they mean in its account.
    pub names_are_ours: bool,
}

/// Where a task definition comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum DefinitionOrigin {
    /// The agent registers it, from its own or the work pool's template.
    Own,
    /// The same, in a family that the run chose: what names this family starts its newest revision.
    OwnInFamily(String),
    /// The run brings it, or parts of it that the template does not have.
    Brought,
    /// It exists, and is named like this.
    Named(String),
}

/// Whose choice a network is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkOrigin {
    /// The run, its deployment or the work pool brings it, if there is one.
    Brought,
    /// They chose the VPC; its subnets were looked up.
    OfVpc,
    /// The agent inferred it.
    Inferred,
}

/// One thing that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Where: `RunTask.overrides.containerOverrides[0].command`.
    pub place: String,
    /// What.
    pub asked: Asked,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the fields say what they are")]
pub enum Asked {
    /// A task definition that is not the agent's own.
    Definition(DefinitionOrigin),
    /// An image.
    Image(String),
    /// A size by this rule; `None` = it cannot be read.
    Size { rule: Rule, units: Option<u64>, written: String },
    /// The role of a task.
    TaskRole(String),
    /// A role that ECS itself uses for the task.
    ExecutionRole(String),
    /// A cluster.
    Cluster(String),
    /// A subnet.
    Subnet(String),
    /// A security group, `default` where none is named.
    SecurityGroup(String),
    /// A launch type.
    LaunchType(String),
    /// A capacity provider, `default` where neither one nor a launch type is named.
    CapacityProvider(String),
    /// A public address; `whole`: the network that it is asked for in.
    PublicIp { address: String, whole: String },
    /// What a container starts with, or is watched by.
    Command(Vec<String>),
    /// A variable.
    Variable { name: String, value: String },
    /// A file of variables.
    VariablesFile(String),
    /// A secret.
    Secret(String),
    /// Power over the machine.
    Privilege(String),
    /// A volume; `whole`: all that is said of it.
    Volume { kind: VolumeKind, whole: String },
    /// A network mode.
    NetworkMode(String),
}

impl Asked {
    /// Whether this text is in what is asked for.
    pub fn says(&self, text: &str) -> bool {
        let says = |said: &String| said.contains(text);
        match self {
            Self::Definition(DefinitionOrigin::Own | DefinitionOrigin::Brought) => false,
            Self::Definition(DefinitionOrigin::OwnInFamily(said) | DefinitionOrigin::Named(said))
            | Self::Image(said)
            | Self::TaskRole(said)
            | Self::ExecutionRole(said)
            | Self::Cluster(said)
            | Self::Subnet(said)
            | Self::SecurityGroup(said)
            | Self::LaunchType(said)
            | Self::CapacityProvider(said)
            | Self::VariablesFile(said)
            | Self::Secret(said)
            | Self::Privilege(said)
            | Self::Volume { whole: said, .. }
            | Self::Size { written: said, .. }
            | Self::NetworkMode(said) => says(said),
            Self::PublicIp { address, whole } => says(address) || says(whole),
            Self::Variable { name, value } => says(name) || says(value),
            Self::Command(words) => words.iter().any(says),
        }
    }
}

/// What stands for "nothing is named" where AWS then has a default of its own.
pub(super) const DEFAULT: &str = "default";

/// What a text asks for.
type OfText = fn(String) -> Asked;

/// The members that name roles, in definitions and overrides.
const ROLES: [(&str, OfText); 2] = [("taskRoleArn", Asked::TaskRole), ("executionRoleArn", Asked::ExecutionRole)];

/// The members of a volume that say what it is.
const VOLUME_KINDS: [(&str, VolumeKind); 4] = [
    ("efsVolumeConfiguration", VolumeKind::Efs),
    ("s3filesVolumeConfiguration", VolumeKind::S3Files),
    ("fsxWindowsFileServerVolumeConfiguration", VolumeKind::Fsx),
    ("dockerVolumeConfiguration", VolumeKind::Docker),
];

/// All that the requests of a launch ask for.
pub fn asks(requests: &Requests<'_>) -> Vec<Ask> {
    let overrides = requests.run_task.get("overrides").and_then(Value::as_object);
    let mut found = Found { requests, overrides, asks: Vec::new() };
    found.definition();
    found.run_task();
    found.sizes();
    found.asks
}

/// What was found so far.
struct Found<'a> {
    requests: &'a Requests<'a>,
    overrides: Option<&'a Map<String, Value>>,
    asks: Vec<Ask>,
}

impl<'a> Found<'a> {
    fn ask(&mut self, place: impl Into<String>, asked: Asked) {
        self.asks.push(Ask { place: place.into(), asked });
    }

    fn texts(&mut self, place: &str, value: Option<&Value>, asked: impl Fn(String) -> Asked) {
        for (index, text) in listed(value).filter_map(|(index, item)| Some((index, item.as_str()?))) {
            self.ask(format!("{place}[{index}]"), asked(text.to_owned()));
        }
    }

    /// What an entry of `containerOverrides` says of the container of this name.
    fn overridden(&self, name: Option<&str>, key: &str) -> Option<&'a Value> {
        let of_container = |entry: &&Value| name.is_some() && entry.get("name").and_then(Value::as_str) == name;
        let entries = listed(self.overrides.and_then(|overrides| overrides.get("containerOverrides")));
        entries.map(|(_, entry)| entry).filter(of_container).filter_map(|entry| given(entry.get(key))).last()
    }

    fn definition(&mut self) {
        let definition = self.requests.definition;
        let root = match &self.requests.origin {
            DefinitionOrigin::Named(_) => "DescribeTaskDefinition",
            _ => "RegisterTaskDefinition",
        };
        match &self.requests.origin {
            DefinitionOrigin::Own => {}
            DefinitionOrigin::OwnInFamily(_) => {
                self.ask(format!("{root}.family"), Asked::Definition(self.requests.origin.clone()));
            }
            DefinitionOrigin::Brought => self.ask(root, Asked::Definition(DefinitionOrigin::Brought)),
            named @ DefinitionOrigin::Named(_) => self.ask("RunTask.taskDefinition", Asked::Definition(named.clone())),
        }
        for (key, asked) in ROLES {
            // A role is passed when a definition is registered, too. One that exists was registered by somebody else.
            let is_effective = text(self.overrides, key).is_none() || root == "RegisterTaskDefinition";
            if let Some(role) = text(Some(definition), key).filter(|_| is_effective) {
                self.ask(format!("{root}.{key}"), asked(role.to_owned()));
            }
        }
        // What AWS takes where nothing is said.
        let mode = text(Some(definition), "networkMode").unwrap_or("bridge");
        self.ask(format!("{root}.networkMode"), Asked::NetworkMode(mode.to_owned()));
        for key in ["pidMode", "ipcMode"] {
            if let Some(mode) = text(Some(definition), key).filter(|mode| !["task", "none"].contains(mode)) {
                self.ask(format!("{root}.{key}"), Asked::Privilege(format!("{key} {mode}")));
            }
        }
        for (index, container) in listed(definition.get("containerDefinitions")) {
            self.container(&format!("{root}.containerDefinitions[{index}]"), container);
        }
        for (index, volume) in listed(definition.get("volumes")) {
            self.volume(&format!("{root}.volumes[{index}]"), volume);
        }
    }

    fn container(&mut self, place: &str, container: &'a Value) {
        let at = |path: &[&str]| path.iter().try_fold(container, |value, key| value.get(*key));
        let name = text_of(container.get("name"));
        if let Some(image) = text_of(at(&["image"])) {
            self.ask(format!("{place}.image"), Asked::Image(image.to_owned()));
        }
        if let Some(secret) = text_of(at(&["repositoryCredentials", "credentialsParameter"])) {
            let place = format!("{place}.repositoryCredentials.credentialsParameter");
            self.ask(place, Asked::Secret(secret.to_owned()));
        }
        let is_replaced = self.overridden(name, "command").is_some();
        let commands: [(&str, &[&str]); 3] = [
            ("command", &["command"]),
            ("entryPoint", &["entryPoint"]),
            ("healthCheck.command", &["healthCheck", "command"]),
        ];
        for (key, path) in commands {
            if let Some(words) = words(at(path)).filter(|_| key != "command" || !is_replaced) {
                self.ask(format!("{place}.{key}"), Asked::Command(words));
            }
        }
        self.routers(place, container);
        self.variables(place, container);
        for (key, list) in
            [("secrets", at(&["secrets"])), ("secretOptions", at(&["logConfiguration", "secretOptions"]))]
        {
            let path = if key == "secrets" { key.to_owned() } else { format!("logConfiguration.{key}") };
            for (index, secret) in listed(list) {
                let from = text_of(secret.get("valueFrom")).unwrap_or_default();
                self.ask(format!("{place}.{path}[{index}].valueFrom"), Asked::Secret(from.to_owned()));
                if let Some(name) = text_of(secret.get("name")).filter(|_| key == "secrets") {
                    let variable = Asked::Variable { name: name.to_owned(), value: from.to_owned() };
                    self.ask(format!("{place}.{path}[{index}].name"), variable);
                }
            }
        }
        let file = |text: String| {
            let of = ["credentialspec:", "credentialspecdomainless:"].iter().find_map(|kind| text.strip_prefix(kind));
            Asked::Secret(of.unwrap_or(&text).to_owned())
        };
        self.texts(&format!("{place}.credentialSpecs"), at(&["credentialSpecs"]), file);
        self.privileges(place, container);
    }

    fn variables(&mut self, place: &str, container: &Value) {
        for (index, entry) in listed(container.get("environment")) {
            let part = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            let variable = Asked::Variable { name: part("name"), value: part("value") };
            self.ask(format!("{place}.environment[{index}].name"), variable);
        }
        for (index, entry) in listed(container.get("environmentFiles")) {
            let file = entry.get("value").and_then(Value::as_str).unwrap_or_default();
            self.ask(format!("{place}.environmentFiles[{index}].value"), Asked::VariablesFile(file.to_owned()));
        }
    }

    fn privileges(&mut self, place: &str, container: &Value) {
        if container.get("privileged").is_some_and(|value| *value != Value::Bool(false)) {
            self.ask(format!("{place}.privileged"), Asked::Privilege("privileged".to_owned()));
        }
        let linux =
            |path: &[&str]| path.iter().try_fold(container.get("linuxParameters")?, |value, key| value.get(*key));
        let added = |text: String| Asked::Privilege(format!("capability {text}"));
        self.texts(&format!("{place}.linuxParameters.capabilities.add"), linux(&["capabilities", "add"]), added);
        for (index, device) in listed(linux(&["devices"])) {
            let path = device.get("hostPath").and_then(Value::as_str).unwrap_or_default();
            self.ask(
                format!("{place}.linuxParameters.devices[{index}].hostPath"),
                Asked::Privilege(format!("device {path}")),
            );
        }
        let option = |text: String| Asked::Privilege(format!("security option {text}"));
        self.texts(&format!("{place}.dockerSecurityOptions"), container.get("dockerSecurityOptions"), option);
    }

    fn volume(&mut self, place: &str, volume: &Value) {
        let whole = volume.to_string();
        let mut is = |key: &str, kind| self.ask(format!("{place}.{key}"), Asked::Volume { kind, whole: whole.clone() });
        for (key, kind) in VOLUME_KINDS {
            if volume.get(key).is_some_and(|value| !value.is_null()) {
                is(key, kind);
            }
        }
        // Without a path, it is room of the task's own.
        if volume.get("host").and_then(|host| host.get("sourcePath")).is_some_and(|path| *path != "" && !path.is_null())
        {
            is("host.sourcePath", VolumeKind::Host);
        }
        if volume.get("configuredAtLaunch").is_some_and(|value| *value != Value::Bool(false)) {
            is("configuredAtLaunch", VolumeKind::ConfiguredAtLaunch);
        }
        let path = ["fsxWindowsFileServerVolumeConfiguration", "authorizationConfig", "credentialsParameter"];
        let secret = path.iter().try_fold(volume, |value, key| value.get(*key));
        if let Some(secret) = text_of(secret) {
            self.ask(format!("{place}.{}", path.join(".")), Asked::Secret(secret.to_owned()));
        }
    }

    fn run_task(&mut self) {
        let run_task = self.requests.run_task;
        let cluster = text(Some(run_task), "cluster").unwrap_or(DEFAULT);
        self.ask("RunTask.cluster", Asked::Cluster(cluster.to_owned()));
        self.capacity();
        self.network();
        for (key, asked) in ROLES {
            if let Some(role) = text(self.overrides, key) {
                self.ask(format!("RunTask.overrides.{key}"), asked(role.to_owned()));
            }
        }
        for (index, entry) in listed(self.overrides.and_then(|overrides| overrides.get("containerOverrides"))) {
            let place = format!("RunTask.overrides.containerOverrides[{index}]");
            if let Some(words) = words(entry.get("command")) {
                self.ask(format!("{place}.command"), Asked::Command(words));
            }
            self.variables(&place, entry);
        }
        for (index, volume) in listed(run_task.get("volumeConfigurations")) {
            let place = format!("RunTask.volumeConfigurations[{index}].managedEBSVolume");
            let Some(disk) = volume.get("managedEBSVolume").filter(|disk| !disk.is_null()) else { continue };
            self.ask(place.clone(), Asked::Volume { kind: VolumeKind::Ebs, whole: volume.to_string() });
            if let Some(role) = text_of(disk.get("roleArn")) {
                self.ask(format!("{place}.roleArn"), Asked::ExecutionRole(role.to_owned()));
            }
        }
    }

    fn capacity(&mut self) {
        let run_task = self.requests.run_task;
        let mut is_named = false;
        for (index, entry) in listed(run_task.get("capacityProviderStrategy")) {
            let provider = entry.get("capacityProvider").and_then(Value::as_str).unwrap_or_default();
            let place = format!("RunTask.capacityProviderStrategy[{index}].capacityProvider");
            self.ask(place, Asked::CapacityProvider(provider.to_owned()));
            is_named = true;
        }
        if let Some(launch_type) = text(Some(run_task), "launchType") {
            self.ask("RunTask.launchType", Asked::LaunchType(launch_type.to_owned()));
            is_named = true;
        }
        if !is_named {
            self.ask("RunTask.capacityProviderStrategy", Asked::CapacityProvider(DEFAULT.to_owned()));
        }
    }

    fn network(&mut self) {
        const PLACE: &str = "RunTask.networkConfiguration.awsvpcConfiguration";
        let network = self.requests.run_task.get("networkConfiguration");
        let network = network.and_then(|network| network.get("awsvpcConfiguration")).and_then(Value::as_object);
        let (Some(network), false) = (network, self.requests.network == NetworkOrigin::Inferred) else { return };
        self.texts(&format!("{PLACE}.subnets"), network.get("subnets"), Asked::Subnet);
        if listed(network.get("securityGroups")).next().is_none() {
            self.ask(format!("{PLACE}.securityGroups"), Asked::SecurityGroup(DEFAULT.to_owned()));
        }
        self.texts(&format!("{PLACE}.securityGroups"), network.get("securityGroups"), Asked::SecurityGroup);
        let address = given(network.get("assignPublicIp")).filter(|address| **address != "DISABLED");
        let whole = Value::Object(network.clone()).to_string();
        // Of a VPC's subnets the agent itself says whether they are public.
        if let Some(address) = address.filter(|_| self.requests.network == NetworkOrigin::Brought) {
            let address = address.as_str().map_or_else(|| address.to_string(), str::to_owned);
            self.ask(format!("{PLACE}.assignPublicIp"), Asked::PublicIp { address, whole });
        }
    }
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The items of a list, with their places.
fn listed(value: Option<&Value>) -> impl Iterator<Item = (usize, &Value)> {
    value.and_then(Value::as_array).into_iter().flatten().enumerate()
}

/// A value that says something.
fn given(value: Option<&Value>) -> Option<&Value> {
    value.filter(|value| match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => true,
    })
}

fn text_of(value: Option<&Value>) -> Option<&str> {
    value?.as_str().filter(|text| !text.is_empty())
}

fn text<'m>(map: Option<&'m Map<String, Value>>, key: &str) -> Option<&'m str> {
    text_of(map?.get(key))
}

/// A command that is not empty.
fn words(value: Option<&Value>) -> Option<Vec<String>> {
    let words: Vec<String> = listed(value).map(|(_, word)| shown(word)).collect();
    (!words.is_empty()).then_some(words)
}
