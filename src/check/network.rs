//! The networks that tasks and functions are put into: whether their parts exist and belong together, have addresses left
//! and a way out to what a task needs before its flow begins, and a function at every poll.

use super::codes::{
    EGRESS_CLOSED, EGRESS_LIMITED, NETWORK_UNKNOWN, NO_ADDRESSES, NO_DEFAULT_VPC, NO_WAY_OUT, SECURITY_GROUP_MISSING,
    SUBNET_MISSING, VPCS_DIFFER,
};
use super::ecs::who;
use super::wishes::{Askers, Occupant, Subnets, WantedNetwork};
use super::{Group, Looked, why};
use crate::aws::AwsError;
use crate::aws::reads::{self, Reads};
use crate::aws::signed::Service;
use crate::panics::lock;
use crate::transport::shape::{items_at, text_at};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use tokio::sync::OnceCell;

#[cfg(test)]
mod tests;

/// A subnet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subnet {
    /// Id.
    pub id: String,
    /// Its VPC.
    pub vpc: String,
    /// `availableIpAddressCount`; `None` = not told.
    pub free: Option<u64>,
}

/// A security group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecurityGroup {
    /// Id.
    pub id: String,
    /// Its VPC.
    pub vpc: String,
    /// Whose port 443 can be reached.
    pub https: HttpsEgress,
}

/// To whom security groups let port 443 out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum HttpsEgress {
    /// Nobody.
    #[default]
    Nowhere,
    /// These addresses, prefix lists and groups.
    To(BTreeSet<String>),
    /// Everybody.
    Anywhere,
}

impl HttpsEgress {
    /// What both let out.
    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Anywhere, _) | (_, Self::Anywhere) => Self::Anywhere,
            (Self::Nowhere, one) | (one, Self::Nowhere) => one,
            (Self::To(one), Self::To(other)) => Self::To(one.into_iter().chain(other).collect()),
        }
    }
}

/// A route table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouteTable {
    /// Id.
    pub id: String,
    /// Subnets that it is associated with.
    pub subnets: Vec<String>,
    /// It holds for subnets without one.
    pub is_main: bool,
    /// Where `0.0.0.0/0` goes.
    pub way_out: WayOut,
}

/// Where a default route goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum WayOut {
    /// There is none.
    #[default]
    Nowhere,
    /// `igw-…`, `nat-…`, …
    To(String),
    /// To something of a kind that is not known here.
    Unknown,
}

/// An endpoint of a service in a VPC.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// What follows the region in its service's name: `ecr.api`, `s3`, …
    pub service: String,
    /// Route tables that a gateway endpoint is in; `None` = an interface endpoint.
    pub route_tables: Option<Vec<String>>,
}

/// What was seen of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObservedNetwork {
    /// Those that exist.
    pub subnets: Vec<Subnet>,
    /// Those that exist.
    pub security_groups: Vec<SecurityGroup>,
    /// Of the VPC.
    pub route_tables: Vec<RouteTable>,
    /// Of the VPC.
    pub endpoints: Vec<Endpoint>,
}

type Filters = Vec<(String, String)>;

fn filter(name: &str, values: &[&str]) -> Filters {
    let values = values.iter().enumerate();
    let values = values.map(|(number, value)| (format!("Filter.1.Value.{}", number + 1), (*value).to_owned()));
    std::iter::once(("Filter.1.Name".to_owned(), name.to_owned())).chain(values).collect()
}

/// Lists of EC2 by region, action and filters, each asked for once: networks share VPCs.
#[derive(Default)]
pub struct Lists(Mutex<BTreeMap<ListKey, Arc<OnceCell<Rows>>>>);

type ListKey = (String, String, Filters);

type Rows = Result<Vec<Value>, AwsError>;

impl Lists {
    async fn describe(&self, reads: &Reads, action: &str, list: &str, filters: Filters) -> Rows {
        let key = (reads.region().to_owned(), action.to_owned(), filters.clone());
        let cell = Arc::clone(lock(&self.0).entry(key).or_default());
        let asking = || reads.pages(Service::Ec2, action, &filters, (list, "nextToken", "NextToken"));
        cell.get_or_init(asking).await.clone()
    }
}

/// Looks.
pub async fn observe(reads: &Reads, lists: &Lists, network: &WantedNetwork) -> Result<ObservedNetwork, AwsError> {
    let reads = reads.in_region(&network.region);
    let describe =
        async |action: &str, list: &str, filters: Filters| lists.describe(&reads, action, list, filters).await;
    let subnet_filter = match &network.subnets {
        Subnets::Named(ids) => filter("subnet-id", &ids.iter().map(String::as_str).collect::<Vec<_>>()),
        Subnets::OfVpc(id) => filter("vpc-id", &[id]),
        Subnets::OfDefaultVpc => {
            let vpcs = describe("DescribeVpcs", "vpcSet", filter("isDefault", &["true"])).await?;
            let Some(vpc) = vpcs.first() else { return Ok(ObservedNetwork::default()) };
            filter("vpc-id", &[reads::text(vpc, "vpcId")?])
        }
    };
    let subnets = describe("DescribeSubnets", "subnetSet", subnet_filter).await?;
    let subnets: Vec<Subnet> = subnets.iter().map(subnet_of).collect::<Result<_, _>>()?;
    let groups: Vec<&str> = network.security_groups.iter().map(String::as_str).collect();
    let security_groups = async {
        if groups.is_empty() {
            return Ok(Vec::new());
        }
        describe("DescribeSecurityGroups", "securityGroupInfo", filter("group-id", &groups)).await
    };
    let vpcs: BTreeSet<&str> = subnets.iter().map(|subnet| subnet.vpc.as_str()).collect();
    let of_vpcs = async |action: &str, list: &str| {
        let mut rows = Vec::new();
        for vpc in &vpcs {
            rows.extend(describe(action, list, filter("vpc-id", &[vpc])).await?);
        }
        Ok::<_, AwsError>(rows)
    };
    let (security_groups, route_tables, endpoints) = tokio::join!(
        security_groups,
        of_vpcs("DescribeRouteTables", "routeTableSet"),
        of_vpcs("DescribeVpcEndpoints", "vpcEndpointSet")
    );
    Ok(ObservedNetwork {
        security_groups: security_groups?.iter().map(group_of).collect::<Result<_, _>>()?,
        route_tables: route_tables?.iter().map(table_of).collect::<Result<_, _>>()?,
        endpoints: endpoints?.iter().filter_map(|row| endpoint_of(row).transpose()).collect::<Result<_, _>>()?,
        subnets,
    })
}

fn subnet_of(row: &Value) -> Result<Subnet, AwsError> {
    Ok(Subnet {
        id: reads::text(row, "subnetId")?.to_owned(),
        vpc: reads::text(row, "vpcId")?.to_owned(),
        free: text_at(row, &["availableIpAddressCount"]).and_then(|count| count.parse().ok()),
    })
}

fn group_of(row: &Value) -> Result<SecurityGroup, AwsError> {
    let port = |rule: &Value, key| {
        let written = reads::text(rule, key)?;
        written.parse::<i32>().map_err(|_| AwsError::Malformed(format!("`{key}` must be a port")))
    };
    let lets_out = |rule: &Value| -> Result<HttpsEgress, AwsError> {
        let is_of_https = match reads::text(rule, "ipProtocol")? {
            "-1" => true,
            "tcp" | "6" => (port(rule, "fromPort")?..=port(rule, "toPort")?).contains(&443),
            _ => false,
        };
        Ok(if is_of_https { egress_to(rule)? } else { HttpsEgress::Nowhere })
    };
    let rules = reads::list(row, "ipPermissionsEgress")?.iter();
    Ok(SecurityGroup {
        id: reads::text(row, "groupId")?.to_owned(),
        vpc: reads::text(row, "vpcId")?.to_owned(),
        https: rules.map(lets_out).try_fold(HttpsEgress::Nowhere, |all, rule| rule.map(|rule| all.or(rule)))?,
    })
}

/// To whom a rule lets something out; a rule always says it in one of these lists.
fn egress_to(rule: &Value) -> Result<HttpsEgress, AwsError> {
    let ranges = reads::list(rule, "ipRanges")?.iter().map(|range| reads::text(range, "cidrIp"));
    let ranges: Vec<&str> = ranges.collect::<Result<_, _>>()?;
    if ranges.contains(&"0.0.0.0/0") {
        return Ok(HttpsEgress::Anywhere);
    }
    let others = [("ipv6Ranges", "cidrIpv6"), ("prefixListIds", "prefixListId"), ("groups", "groupId")];
    let others = others.iter().flat_map(|(list, key)| items_at(rule, &[list]).iter().map(|one| text_at(one, &[key])));
    let to: BTreeSet<String> = ranges.into_iter().map(Some).chain(others).flatten().map(str::to_owned).collect();
    if to.is_empty() {
        return Err(AwsError::Malformed("a rule of `ipPermissionsEgress` lets out to nobody".to_owned()));
    }
    Ok(HttpsEgress::To(to))
}

fn table_of(row: &Value) -> Result<RouteTable, AwsError> {
    let associations = reads::list(row, "associationSet")?;
    Ok(RouteTable {
        id: reads::text(row, "routeTableId")?.to_owned(),
        subnets: associations.iter().filter_map(|one| text_at(one, &["subnetId"])).map(str::to_owned).collect(),
        is_main: associations.iter().any(|one| text_at(one, &["main"]) == Some("true")),
        way_out: way_out(reads::list(row, "routeSet")?),
    })
}

/// Where the routes of a table lead whoever wants to go anywhere.
fn way_out(routes: &[Value]) -> WayOut {
    // Whatever a route goes to stands under a key of its own.
    const TARGETS: [&str; 9] = [
        "gatewayId",
        "natGatewayId",
        "transitGatewayId",
        "networkInterfaceId",
        "vpcPeeringConnectionId",
        "instanceId",
        "localGatewayId",
        "carrierGatewayId",
        "coreNetworkArn",
    ];
    let default = routes.iter().find(|route| text_at(route, &["destinationCidrBlock"]) == Some("0.0.0.0/0"));
    let Some(default) = default else {
        // A prefix list may hold all addresses. Those of gateway endpoints hold their service's.
        let is_endpoint = |route: &Value| text_at(route, &["gatewayId"]).is_some_and(|id| id.starts_with("vpce-"));
        let of_list = |route: &Value| text_at(route, &["destinationPrefixListId"]).is_some() && !is_endpoint(route);
        return if routes.iter().any(of_list) { WayOut::Unknown } else { WayOut::Nowhere };
    };
    match (text_at(default, &["state"]), TARGETS.iter().find_map(|key| text_at(default, &[key]))) {
        (Some("blackhole"), _) => WayOut::Nowhere,
        (Some("active"), Some(target)) => WayOut::To(target.to_owned()),
        _ => WayOut::Unknown,
    }
}

/// `None`: it is not there yet or any more, or leads to no service.
fn endpoint_of(row: &Value) -> Result<Option<Endpoint>, AwsError> {
    let kind = reads::text(row, "vpcEndpointType")?;
    if !reads::text(row, "state")?.eq_ignore_ascii_case("available") || matches!(kind, "Resource" | "ServiceNetwork") {
        return Ok(None);
    }
    // com.amazonaws.<region>.<service>
    let name = reads::text(row, "serviceName")?;
    let service =
        name.split_once("amazonaws.").and_then(|(_, rest)| rest.split_once('.')).map_or(name, |(_, service)| service);
    let tables = (kind == "Gateway").then(|| reads::list(row, "routeTableIdSet")).transpose()?;
    let route_tables = tables.map(|tables| tables.iter().filter_map(Value::as_str).map(str::to_owned).collect());
    Ok(Some(Endpoint { service: service.to_owned(), route_tables }))
}

/// Whether tasks in this network start, and functions reach what they ask.
pub fn judge(network: &WantedNetwork, askers: &Askers, observed: &Result<ObservedNetwork, AwsError>) -> Looked {
    let mut looked = Looked::default();
    let place = match &network.subnets {
        Subnets::Named(ids) => ids.join(", "),
        Subnets::OfVpc(id) => id.clone(),
        Subnets::OfDefaultVpc => format!("the default VPC of {}", network.region),
    };
    let observed = match observed {
        Ok(observed) => observed,
        Err(error) => {
            let sentence = format!("it could not be asked: {}", why(error));
            let mend =
                "allow ec2:DescribeSubnets, DescribeSecurityGroups, DescribeRouteTables and DescribeVpcEndpoints";
            looked.found(NETWORK_UNKNOWN.found(format!("network of {}", who(askers)), sentence, mend));
            return looked;
        }
    };
    if observed.subnets.is_empty() && !matches!(network.subnets, Subnets::Named(_)) {
        let sentence = format!("{place} has no subnets, or is not there; {} would not start", who(askers));
        let mend = "name subnets: the job variables `vpc_id` or `network_configuration`, with Prefect 1 run_task_kwargs; or \
                    aws ec2 create-default-vpc";
        looked.found(NO_DEFAULT_VPC.found(&place, sentence, mend));
        return looked;
    }
    missing(network, askers, observed, &mut looked);
    let vpcs: BTreeSet<&str> = observed.subnets.iter().map(|subnet| subnet.vpc.as_str()).collect();
    let of_groups: BTreeSet<&str> = observed.security_groups.iter().map(|group| group.vpc.as_str()).collect();
    let all: BTreeSet<&str> = vpcs.union(&of_groups).copied().collect();
    if all.len() > 1 {
        let all = all.into_iter().collect::<Vec<_>>().join(" and ");
        let sentence = format!("subnets and security groups of {} belong to several VPCs: {all}", who(askers));
        looked.found(VPCS_DIFFER.found(&place, sentence, "name subnets and security groups of one VPC"));
        return looked;
    }
    if observed.subnets.iter().all(|subnet| subnet.free == Some(0)) && !observed.subnets.is_empty() {
        let sentence = format!("no address is left; {} would not start", who(askers));
        looked.found(NO_ADDRESSES.found(&place, sentence, "name larger subnets, or more of them"));
    }
    egress(network, observed, &mut looked);
    ways_out(network, askers, observed, &mut looked);
    if looked.findings.is_empty() {
        let count = observed.subnets.len();
        looked.is_well(
            Group::Network,
            format!("{place}: {} with a way out", super::configuration::counted(count, "subnet")),
        );
    }
    looked
}

fn missing(network: &WantedNetwork, askers: &Askers, observed: &ObservedNetwork, looked: &mut Looked) {
    if let Subnets::Named(ids) = &network.subnets {
        for id in ids.iter().filter(|id| !observed.subnets.iter().any(|subnet| subnet.id == **id)) {
            let sentence = format!("{} has no such subnet; {} would not start", network.region, who(askers));
            looked.found(SUBNET_MISSING.found(id, sentence, "aws ec2 describe-subnets, and correct the job template"));
        }
    }
    for id in network.security_groups.iter().filter(|id| !observed.security_groups.iter().any(|group| group.id == **id))
    {
        let sentence = format!("{} has no such security group; {} would not start", network.region, who(askers));
        let mend = "aws ec2 describe-security-groups, and correct the job template";
        looked.found(SECURITY_GROUP_MISSING.found(id, sentence, mend));
    }
}

/// Whether the security groups let through what is asked.
fn egress(network: &WantedNetwork, observed: &ObservedNetwork, looked: &mut Looked) {
    let Some(SecurityGroup { id, .. }) = observed.security_groups.first() else { return };
    let all = observed.security_groups.iter().map(|group| group.https.clone());
    let mend =
        format!("aws ec2 authorize-security-group-egress --group-id {id} --protocol tcp --port 443 --cidr 0.0.0.0/0");
    match all.fold(HttpsEgress::Nowhere, HttpsEgress::or) {
        HttpsEgress::Anywhere => {}
        HttpsEgress::Nowhere => {
            let unreached = match network.occupant {
                Occupant::Tasks { .. } => "neither images nor Prefect are reached",
                Occupant::Functions => "neither AWS nor Prefect is reached",
            };
            let sentence = format!("no security group lets port 443 out: {unreached}");
            looked.found(EGRESS_CLOSED.found(id, sentence, mend));
        }
        HttpsEgress::To(to) => {
            // Where the VPC has endpoints of all that is needed, somebody has closed it with care.
            let is_served =
                |subnet| table_of_subnet(observed, subnet).is_some_and(|table| lacks_nothing(network, observed, table));
            if !observed.subnets.iter().all(is_served) {
                let sentence = format!(
                    "security groups let port 443 out to {} only: whether all that is needed is among them is not known here",
                    who(&to)
                );
                looked.found(EGRESS_LIMITED.found(id, sentence, format!("where it is not, {mend}")));
            }
        }
    }
}

/// The route table of a subnet: its own, or the VPC's.
fn table_of_subnet<'a>(observed: &'a ObservedNetwork, subnet: &Subnet) -> Option<&'a RouteTable> {
    let own = observed.route_tables.iter().find(|table| table.subnets.contains(&subnet.id));
    own.or_else(|| observed.route_tables.iter().find(|table| table.is_main))
}

/// Whether each subnet leads to images, logs and secrets.
fn ways_out(network: &WantedNetwork, askers: &Askers, observed: &ObservedNetwork, looked: &mut Looked) {
    for subnet in &observed.subnets {
        let subject = &subnet.id;
        let Some(table) = table_of_subnet(observed, subnet) else {
            let sentence = "which route table is its own was not told, and so not where it leads to";
            let mend = format!("aws ec2 describe-route-tables --filters Name=vpc-id,Values={}", subnet.vpc);
            looked.found(NETWORK_UNKNOWN.found(subject, sentence, mend));
            continue;
        };
        match &table.way_out {
            WayOut::To(gateway)
                if gateway.starts_with("igw-") && network.occupant != (Occupant::Tasks { is_public: true }) =>
            {
                let sentence = format!(
                    "it leads out by an internet gateway, which serves public addresses only, and {} get none",
                    who(askers)
                );
                let mend = match network.occupant {
                    Occupant::Tasks { .. } => {
                        "set assignPublicIp to ENABLED, or name subnets that lead to a NAT gateway"
                    }
                    Occupant::Functions => "name subnets that lead to a NAT gateway in the stack's VpcSubnetIds",
                };
                looked.found(NO_WAY_OUT.found(subject, sentence, mend));
            }
            WayOut::To(_) => {}
            WayOut::Unknown => {
                let sentence = "where its routes lead whoever wants out is not understood here";
                let mend = format!("aws ec2 describe-route-tables --route-table-ids {}", table.id);
                looked.found(NETWORK_UNKNOWN.found(subject, sentence, mend));
            }
            WayOut::Nowhere => {
                let lacking = lacking_endpoints(network, observed, &table.id);
                let lacking = match &network.docker_hub_image {
                    _ if !lacking.is_empty() => Some(format!("its VPC has no endpoint of {}", lacking.join(", "))),
                    Some(image) => Some(format!("the image {image} is pulled from Docker Hub")),
                    None => None,
                };
                if let Some(lacking) = lacking {
                    let sentence = format!("nothing leads out of it, and {lacking}");
                    let mend = format!(
                        "aws ec2 create-route --route-table-id {} --destination-cidr-block 0.0.0.0/0 --nat-gateway-id nat-…, \
                         or create these endpoints",
                        table.id
                    );
                    looked.found(NO_WAY_OUT.found(subject, sentence, mend));
                }
            }
        }
    }
}

/// The services that would be looked for in vain.
fn lacking_endpoints(network: &WantedNetwork, observed: &ObservedNetwork, table: &str) -> Vec<&'static str> {
    let is_there = |service: &str| {
        observed.endpoints.iter().any(|endpoint| {
            let reaches = endpoint.route_tables.as_ref().is_none_or(|tables| tables.iter().any(|id| id == table));
            endpoint.service == service && reaches
        })
    };
    network.services.iter().copied().filter(|service| !is_there(service)).collect()
}

fn lacks_nothing(network: &WantedNetwork, observed: &ObservedNetwork, table: &RouteTable) -> bool {
    network.docker_hub_image.is_none() && lacking_endpoints(network, observed, &table.id).is_empty()
}
