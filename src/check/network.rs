//! The networks that tasks are put into: whether their parts exist and belong together, have addresses left and a way
//! out to what a task needs before its flow begins.

use super::codes::{
    EGRESS_CLOSED, NETWORK_UNKNOWN, NO_ADDRESSES, NO_DEFAULT_VPC, NO_WAY_OUT, SECURITY_GROUP_MISSING, SUBNET_MISSING,
    VPCS_DIFFER,
};
use super::ecs::who;
use super::wishes::{Askers, Subnets, WantedNetwork};
use super::{Group, Looked, why};
use crate::aws::AwsError;
use crate::aws::reads::{self, Reads};
use crate::aws::signed::Service;
use crate::transport::shape::text_at;
use serde_json::Value;
use std::collections::BTreeSet;

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
    /// Port 443 of somebody outside can be reached.
    pub lets_https_out: bool,
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
    /// Route tables that a gateway endpoint is in; none = an interface endpoint.
    pub route_tables: Vec<String>,
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

/// Looks.
pub async fn observe(reads: &Reads, network: &WantedNetwork) -> Result<ObservedNetwork, AwsError> {
    let reads = reads.in_region(&network.region);
    let describe = async |action: &str, list: &str, filters: Filters| {
        reads.pages(Service::Ec2, action, &filters, (list, "nextToken", "NextToken")).await
    };
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
    let vpcs: Vec<&str> = vpcs.into_iter().collect();
    let of_vpcs = async |action: &str, list: &str| {
        if vpcs.is_empty() {
            return Ok(Vec::new());
        }
        describe(action, list, filter("vpc-id", &vpcs)).await
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
    let port = |rule: &Value, key| text_at(rule, &[key]).and_then(|port| port.parse::<i32>().ok());
    let lets_out = |rule: &Value| match text_at(rule, &["ipProtocol"]) {
        Some("-1") => true,
        Some("tcp" | "6") => {
            port(rule, "fromPort").is_some_and(|from| from <= 443) && port(rule, "toPort").is_some_and(|to| to >= 443)
        }
        _ => false,
    };
    Ok(SecurityGroup {
        id: reads::text(row, "groupId")?.to_owned(),
        vpc: reads::text(row, "vpcId")?.to_owned(),
        lets_https_out: reads::list(row, "ipPermissionsEgress")?.iter().any(lets_out),
    })
}

fn table_of(row: &Value) -> Result<RouteTable, AwsError> {
    let associations = reads::list(row, "associationSet")?;
    let is_default = |route: &&Value| {
        text_at(route, &["destinationCidrBlock"]) == Some("0.0.0.0/0")
            && text_at(route, &["state"]) != Some("blackhole")
    };
    // Whatever a route goes to stands under a key of its own.
    let target = |route: &Value| {
        let keys = [
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
        let known = keys.iter().find_map(|key| text_at(route, &[key]));
        known.map_or(WayOut::Unknown, |target| WayOut::To(target.to_owned()))
    };
    Ok(RouteTable {
        id: reads::text(row, "routeTableId")?.to_owned(),
        subnets: associations.iter().filter_map(|one| text_at(one, &["subnetId"])).map(str::to_owned).collect(),
        is_main: associations.iter().any(|one| text_at(one, &["main"]) == Some("true")),
        way_out: reads::list(row, "routeSet")?.iter().find(is_default).map(target).unwrap_or_default(),
    })
}

/// `None`: it is not there yet or any more, or leads to no service.
fn endpoint_of(row: &Value) -> Result<Option<Endpoint>, AwsError> {
    let kind = text_at(row, &["vpcEndpointType"]).unwrap_or("Gateway");
    if !reads::text(row, "state")?.eq_ignore_ascii_case("available") || matches!(kind, "Resource" | "ServiceNetwork") {
        return Ok(None);
    }
    // com.amazonaws.<region>.<service>
    let name = reads::text(row, "serviceName")?;
    let service =
        name.split_once("amazonaws.").and_then(|(_, rest)| rest.split_once('.')).map_or(name, |(_, service)| service);
    let tables = if kind == "Gateway" { reads::list(row, "routeTableIdSet")? } else { &[] };
    let tables = tables.iter().filter_map(Value::as_str);
    Ok(Some(Endpoint { service: service.to_owned(), route_tables: tables.map(str::to_owned).collect() }))
}

/// Whether tasks in this network start.
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
    let groups = &observed.security_groups;
    if !groups.is_empty() && !groups.iter().any(|group| group.lets_https_out) {
        let id = groups.first().map(|group| group.id.as_str()).unwrap_or_default();
        let sentence = "no security group lets port 443 out: neither images nor Prefect are reached";
        let mend = format!(
            "aws ec2 authorize-security-group-egress --group-id {id} --protocol tcp --port 443 --cidr 0.0.0.0/0"
        );
        looked.found(EGRESS_CLOSED.found(id, sentence, mend));
    }
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

/// Whether each subnet leads to images, logs and secrets.
fn ways_out(network: &WantedNetwork, askers: &Askers, observed: &ObservedNetwork, looked: &mut Looked) {
    for subnet in &observed.subnets {
        let own = observed.route_tables.iter().find(|table| table.subnets.contains(&subnet.id));
        let subject = &subnet.id;
        let Some(table) = own.or_else(|| observed.route_tables.iter().find(|table| table.is_main)) else {
            let sentence = "which route table is its own was not told, and so not where it leads to";
            let mend = format!("aws ec2 describe-route-tables --filters Name=vpc-id,Values={}", subnet.vpc);
            looked.found(NETWORK_UNKNOWN.found(subject, sentence, mend));
            continue;
        };
        match &table.way_out {
            WayOut::To(gateway) if gateway.starts_with("igw-") && !network.is_public => {
                let sentence = format!(
                    "it leads out by an internet gateway, which serves public addresses only, and {} get none",
                    who(askers)
                );
                let mend = "set assignPublicIp to ENABLED, or name subnets that lead to a NAT gateway";
                looked.found(NO_WAY_OUT.found(subject, sentence, mend));
            }
            WayOut::To(_) => {}
            WayOut::Unknown => {
                let sentence = "its default route leads to something of a kind that is not known here";
                let mend = format!("aws ec2 describe-route-tables --route-table-ids {}", table.id);
                looked.found(NETWORK_UNKNOWN.found(subject, sentence, mend));
            }
            WayOut::Nowhere => {
                let lacking = lacking_endpoints(network, observed, &table.id);
                if !lacking.is_empty() {
                    let lacking = lacking.join(", ");
                    let sentence = format!("nothing leads out of it, and its VPC has no endpoint of {lacking}");
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

/// The services that tasks would look for in vain.
fn lacking_endpoints(network: &WantedNetwork, observed: &ObservedNetwork, table: &str) -> Vec<&'static str> {
    let (images, logs) = network.uses;
    let (parameters, secrets) = network.secrets;
    let wanted = [
        ("ecr.api", images),
        ("ecr.dkr", images),
        ("s3", images),
        ("logs", logs),
        ("ssm", parameters),
        ("secretsmanager", secrets),
    ];
    let is_there = |service: &str| {
        observed.endpoints.iter().any(|endpoint| {
            let reaches = endpoint.route_tables.is_empty() || endpoint.route_tables.iter().any(|id| id == table);
            endpoint.service == service && reaches
        })
    };
    wanted.into_iter().filter(|(service, wanted)| *wanted && !is_there(service)).map(|(service, _)| service).collect()
}
