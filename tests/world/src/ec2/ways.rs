//! What tasks get out by: security groups, route tables, endpoints.

use super::{Ec2, Filters, accepted};
use crate::{REGION, answer::ServiceError, answer::escape};
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// A security group.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SecurityGroup {
    /// `groupId`
    pub group_id: String,
    /// `vpcId`
    pub vpc_id: String,
    /// What it lets out: protocol, first and last port, to whom.
    pub egress: Vec<(String, u16, u16, String)>,
}

/// A route table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RouteTable {
    /// `routeTableId`
    pub route_table_id: String,
    /// `vpcId`
    pub vpc_id: String,
    /// Whether it is the VPC's main one.
    #[serde(default)]
    pub is_main: bool,
    /// Subnets that it is associated with.
    #[serde(default)]
    pub subnets: Vec<String>,
    /// Where `0.0.0.0/0` goes: `igw-…` or `nat-…`.
    #[serde(default)]
    pub way_out: Option<String>,
}

/// An endpoint of a service.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Endpoint {
    /// `vpcId`
    pub vpc_id: String,
    /// E.g. `ecr.api`.
    pub service: String,
    /// Route tables of a gateway endpoint; none: an interface endpoint.
    #[serde(default)]
    pub route_tables: Vec<String>,
}

impl Ec2 {
    pub(super) fn describe_security_groups(&self, filters: &Filters) -> Result<String, ServiceError> {
        let mut items = String::new();
        for group in &self.security_groups {
            let fields = [("group-id", group.group_id.as_str()), ("vpc-id", group.vpc_id.as_str())];
            if !accepted(filters, &fields)? {
                continue;
            }
            let rules = group.egress.iter().map(|(protocol, from, to, cidr)| {
                let ports = if protocol == "-1" { String::new() } else { format!("<fromPort>{from}</fromPort><toPort>{to}</toPort>") };
                format!("<item><ipProtocol>{protocol}</ipProtocol>{ports}<ipRanges><item><cidrIp>{}</cidrIp></item></ipRanges></item>", escape(cidr))
            });
            let _ = writeln!(
                items,
                "        <item><groupId>{}</groupId><groupName>tasks</groupName><vpcId>{}</vpcId><ipPermissions/><ipPermissionsEgress>{}</ipPermissionsEgress></item>",
                escape(&group.group_id),
                escape(&group.vpc_id),
                rules.collect::<String>()
            );
        }
        Ok(format!("    <securityGroupInfo>\n{items}    </securityGroupInfo>\n"))
    }

    pub(super) fn describe_route_tables(&self, filters: &Filters) -> Result<String, ServiceError> {
        let mut items = String::new();
        for table in &self.route_tables {
            if !accepted(filters, &[("vpc-id", table.vpc_id.as_str())])? {
                continue;
            }
            let key = |gateway: &String| if gateway.starts_with("nat-") { "natGatewayId" } else { "gatewayId" };
            let route = table.way_out.as_ref().map(|gateway| {
                let key = key(gateway);
                format!("<item><destinationCidrBlock>0.0.0.0/0</destinationCidrBlock><{key}>{gateway}</{key}><state>active</state><origin>CreateRoute</origin></item>")
            });
            let main = table.is_main.then(|| "<item><main>true</main></item>".to_owned());
            let others =
                table.subnets.iter().map(|id| format!("<item><subnetId>{id}</subnetId><main>false</main></item>"));
            let _ = writeln!(
                items,
                "        <item><routeTableId>{}</routeTableId><vpcId>{}</vpcId><routeSet><item><destinationCidrBlock>172.31.0.0/16</destinationCidrBlock><gatewayId>local</gatewayId><state>active</state></item>{}</routeSet><associationSet>{}</associationSet></item>",
                escape(&table.route_table_id),
                escape(&table.vpc_id),
                route.unwrap_or_default(),
                main.into_iter().chain(others).collect::<String>()
            );
        }
        Ok(format!("    <routeTableSet>\n{items}    </routeTableSet>\n"))
    }

    pub(super) fn describe_endpoints(&self, filters: &Filters) -> Result<String, ServiceError> {
        let mut items = String::new();
        for endpoint in &self.endpoints {
            if !accepted(filters, &[("vpc-id", endpoint.vpc_id.as_str())])? {
                continue;
            }
            let kind = if endpoint.route_tables.is_empty() { "Interface" } else { "Gateway" };
            let tables = endpoint.route_tables.iter().map(|id| format!("<item>{id}</item>"));
            let _ = writeln!(
                items,
                "        <item><vpcEndpointType>{kind}</vpcEndpointType><vpcId>{}</vpcId><serviceName>com.amazonaws.{REGION}.{}</serviceName><state>available</state><routeTableIdSet>{}</routeTableIdSet></item>",
                escape(&endpoint.vpc_id),
                endpoint.service,
                tables.collect::<String>()
            );
        }
        Ok(format!("    <vpcEndpointSet>\n{items}    </vpcEndpointSet>\n"))
    }
}
