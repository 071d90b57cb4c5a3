//! The shapes of ECS requests, as the service's API model has them.

/// What a value may be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    Text,
    /// A text with at least one character.
    Name,
    Integer,
    Boolean,
    List(&'static Shape),
    TextMap,
    Object(Object),
}

impl Shape {
    /// The Python types that botocore takes.
    pub(super) fn valid_types(self) -> &'static str {
        match self {
            Self::Text | Self::Name => "<class 'str'>",
            Self::Integer => "<class 'int'>",
            Self::Boolean => "<class 'bool'>",
            Self::List(_) => "<class 'list'>, <class 'tuple'>",
            Self::TextMap | Self::Object(_) => "<class 'dict'>",
        }
    }
}

/// An object with known members.
#[derive(Debug, Clone, Copy)]
pub(super) struct Object {
    pub(super) members: &'static [(&'static str, Shape)],
    pub(super) required: &'static [&'static str],
    /// Whether `members` are all there are.
    pub(super) closed: bool,
}

const fn all(members: &'static [(&'static str, Shape)], required: &'static [&'static str]) -> Shape {
    Shape::Object(Object { members, required, closed: true })
}

const fn some(members: &'static [(&'static str, Shape)], required: &'static [&'static str]) -> Shape {
    Shape::Object(Object { members, required, closed: false })
}

use Shape::{Boolean, Integer, List, Name, Text, TextMap};

const TEXTS: Shape = List(&Text);
const TAGS: Shape = List(&all(&[("key", Name), ("value", Text)], &[]));
const ENVIRONMENT: Shape = List(&all(&[("name", Text), ("value", Text)], &[]));
const TYPED_VALUES: Shape = List(&all(&[("value", Text), ("type", Text)], &["value", "type"]));

const STRATEGY: Shape =
    List(&all(&[("capacityProvider", Text), ("weight", Integer), ("base", Integer)], &["capacityProvider"]));
const NETWORK: Shape = all(
    &[(
        "awsvpcConfiguration",
        all(&[("subnets", TEXTS), ("securityGroups", TEXTS), ("assignPublicIp", Text)], &["subnets"]),
    )],
    &[],
);
const CONTAINER_OVERRIDE: Shape = all(
    &[
        ("name", Text),
        ("command", TEXTS),
        ("environment", ENVIRONMENT),
        ("environmentFiles", TYPED_VALUES),
        ("cpu", Integer),
        ("memory", Integer),
        ("memoryReservation", Integer),
        ("resourceRequirements", TYPED_VALUES),
    ],
    &[],
);
const OVERRIDES: Shape = all(
    &[
        ("containerOverrides", List(&CONTAINER_OVERRIDE)),
        ("cpu", Text),
        ("inferenceAcceleratorOverrides", List(&all(&[("deviceName", Text), ("deviceType", Text)], &[]))),
        ("executionRoleArn", Text),
        ("memory", Text),
        ("taskRoleArn", Text),
        ("ephemeralStorage", all(&[("sizeInGiB", Integer)], &["sizeInGiB"])),
    ],
    &[],
);
const VOLUME: Shape =
    some(&[("name", Text), ("managedEBSVolume", some(&[("roleArn", Text)], &["roleArn"]))], &["name"]);

/// `RunTask`.
pub(super) const RUN_TASK: Object = Object {
    members: &[
        ("capacityProviderStrategy", STRATEGY),
        ("cluster", Text),
        ("count", Integer),
        ("enableECSManagedTags", Boolean),
        ("enableExecuteCommand", Boolean),
        ("group", Text),
        ("launchType", Text),
        ("networkConfiguration", NETWORK),
        ("overrides", OVERRIDES),
        ("placementConstraints", List(&all(&[("type", Text), ("expression", Text)], &[]))),
        ("placementStrategy", List(&all(&[("type", Text), ("field", Text)], &[]))),
        ("platformVersion", Text),
        ("propagateTags", Text),
        ("referenceId", Text),
        ("startedBy", Text),
        ("tags", TAGS),
        ("taskDefinition", Text),
        ("clientToken", Text),
        ("volumeConfigurations", List(&VOLUME)),
    ],
    required: &[],
    closed: true,
};

const NAMED_SECRETS: Shape = List(&all(&[("name", Text), ("valueFrom", Text)], &["name", "valueFrom"]));
const CONTAINER: Shape = some(
    &[
        ("name", Text),
        ("image", Text),
        ("cpu", Integer),
        ("memory", Integer),
        ("memoryReservation", Integer),
        ("essential", Boolean),
        ("entryPoint", TEXTS),
        ("command", TEXTS),
        ("environment", ENVIRONMENT),
        ("environmentFiles", TYPED_VALUES),
        ("secrets", NAMED_SECRETS),
        ("dockerLabels", TextMap),
        (
            "logConfiguration",
            all(&[("logDriver", Text), ("options", TextMap), ("secretOptions", NAMED_SECRETS)], &["logDriver"]),
        ),
    ],
    &[],
);

/// The basics of `RegisterTaskDefinition`.
pub(super) const REGISTER_TASK_DEFINITION: Object = Object {
    members: &[
        ("family", Text),
        ("taskRoleArn", Text),
        ("executionRoleArn", Text),
        ("networkMode", Text),
        ("containerDefinitions", List(&CONTAINER)),
        ("requiresCompatibilities", TEXTS),
        ("cpu", Text),
        ("memory", Text),
        ("tags", TAGS),
    ],
    required: &["family", "containerDefinitions"],
    closed: false,
};
