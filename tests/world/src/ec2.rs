//! EC2: VPCs and subnets, and the ways out of them, with filters, in the query protocol's XML.

mod ways;

pub use ways::{Endpoint, RouteTable, SecurityGroup};

use crate::{
    World,
    answer::{ServiceError, escape, service_error, xml},
    route::{Form, Scope},
};
use axum::{body::Bytes, response::Response};
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// The networks of all accounts and regions.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ec2 {
    /// VPCs, in the order they are answered.
    pub vpcs: Vec<Vpc>,
    /// Subnets, in the order they are answered.
    pub subnets: Vec<Subnet>,
    /// Security groups.
    #[serde(default)]
    pub security_groups: Vec<SecurityGroup>,
    /// Route tables.
    #[serde(default)]
    pub route_tables: Vec<RouteTable>,
    /// Endpoints of services.
    #[serde(default)]
    pub endpoints: Vec<Endpoint>,
}

/// A VPC.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Vpc {
    /// `vpcId`
    pub vpc_id: String,
    /// `isDefault`
    #[serde(default)]
    pub is_default: bool,
    /// Only seen in this region; none: in all.
    #[serde(default)]
    pub region: Option<String>,
}

/// A subnet.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Subnet {
    /// `subnetId`
    pub subnet_id: String,
    /// `vpcId`
    pub vpc_id: String,
    /// `availabilityZone`, e.g. `us-east-1a`.
    #[serde(default)]
    pub availability_zone: String,
    /// `availableIpAddressCount`
    #[serde(default = "plenty")]
    pub free: u64,
}

fn plenty() -> u64 {
    4091
}

impl Default for Ec2 {
    /// One default VPC with three subnets that lead out by an internet gateway, as a fresh account has.
    fn default() -> Self {
        let subnet = |zone: &str| Subnet {
            subnet_id: format!("subnet-default-{zone}"),
            vpc_id: "vpc-default".to_owned(),
            availability_zone: format!("{}{zone}", crate::REGION),
            free: plenty(),
        };
        Self {
            vpcs: vec![Vpc { vpc_id: "vpc-default".to_owned(), is_default: true, region: None }],
            subnets: vec![subnet("a"), subnet("b"), subnet("c")],
            security_groups: vec![SecurityGroup {
                group_id: "sg-default".to_owned(),
                vpc_id: "vpc-default".to_owned(),
                egress: vec![("-1".to_owned(), 0, 0, "0.0.0.0/0".to_owned())],
            }],
            route_tables: vec![RouteTable {
                route_table_id: "rtb-default".to_owned(),
                vpc_id: "vpc-default".to_owned(),
                is_main: true,
                subnets: Vec::new(),
                way_out: Some("igw-default".to_owned()),
            }],
            endpoints: Vec::new(),
        }
    }
}

/// Answers one request of the query protocol.
pub fn handle(world: &World, scope: &Scope, operation: &str, body: &Bytes) -> Response {
    let form = Form::parse(body);
    let filters = filters(&form);
    let state = world.lock();
    let result = match operation {
        "DescribeVpcs" => state.ec2.describe_vpcs(scope, &filters, &form.list("VpcId")),
        "DescribeSubnets" => state.ec2.describe_subnets(scope, &filters, &form.list("SubnetId")),
        "DescribeSecurityGroups" => state.ec2.describe_security_groups(&filters),
        "DescribeRouteTables" => state.ec2.describe_route_tables(&filters),
        "DescribeVpcEndpoints" => state.ec2.describe_endpoints(&filters),
        _ => Err(ServiceError::new(
            "InvalidAction",
            format!("The action {operation} is not valid for this web service."),
        )),
    };
    match result {
        Ok(fields) => xml(format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{operation}Response xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">\n    <requestId>{}</requestId>\n{fields}</{operation}Response>",
            crate::ids::uuid()
        )),
        Err(error) => service_error("ec2", error),
    }
}

/// Name and accepted values of each filter of a request.
type Filters = Vec<(String, Vec<String>)>;

fn filters(form: &Form) -> Filters {
    (1..)
        .map_while(|n| {
            let values = form.list(&format!("Filter.{n}.Value")).into_iter().map(str::to_owned).collect();
            form.get(&format!("Filter.{n}.Name")).map(|name| (name.to_owned(), values))
        })
        .collect()
}

/// Whether all filters accept a resource. AWS's older spelling `isDefault` and its newer `is-default` are the same.
fn accepted(filters: &Filters, fields: &[(&str, &str)]) -> Result<bool, ServiceError> {
    for (name, values) in filters {
        let Some((_, value)) = fields.iter().find(|(field, _)| field == name) else {
            return Err(ServiceError::new("InvalidParameterValue", format!("The filter '{name}' is invalid")));
        };
        if !values.iter().any(|accepted| accepted == value) {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Ec2 {
    fn describe_vpcs(&self, scope: &Scope, filters: &Filters, ids: &[&str]) -> Result<String, ServiceError> {
        if let Some(id) = ids.iter().find(|id| !self.vpcs.iter().any(|vpc| vpc.vpc_id == **id)) {
            return Err(ServiceError::new("InvalidVpcID.NotFound", format!("The vpc ID '{id}' does not exist")));
        }
        let mut items = String::new();
        for vpc in &self.vpcs {
            let default = if vpc.is_default { "true" } else { "false" };
            let fields = [
                ("isDefault", default),
                ("is-default", default),
                ("vpc-id", vpc.vpc_id.as_str()),
                ("state", "available"),
            ];
            let here = vpc.region.as_ref().is_none_or(|region| *region == scope.region);
            if here && (ids.is_empty() || ids.contains(&vpc.vpc_id.as_str())) && accepted(filters, &fields)? {
                let _ = writeln!(
                    items,
                    "        <item><vpcId>{}</vpcId><ownerId>{}</ownerId><state>available</state><cidrBlock>172.31.0.0/16</cidrBlock><isDefault>{default}</isDefault></item>",
                    escape(&vpc.vpc_id),
                    scope.account
                );
            }
        }
        Ok(format!("    <vpcSet>\n{items}    </vpcSet>\n"))
    }

    fn describe_subnets(&self, scope: &Scope, filters: &Filters, ids: &[&str]) -> Result<String, ServiceError> {
        if let Some(id) = ids.iter().find(|id| !self.subnets.iter().any(|subnet| subnet.subnet_id == **id)) {
            return Err(ServiceError::new("InvalidSubnetID.NotFound", format!("The subnet ID '{id}' does not exist")));
        }
        let mut items = String::new();
        for subnet in &self.subnets {
            let fields = [
                ("vpc-id", subnet.vpc_id.as_str()),
                ("subnet-id", subnet.subnet_id.as_str()),
                ("availability-zone", subnet.availability_zone.as_str()),
                ("state", "available"),
            ];
            if (ids.is_empty() || ids.contains(&subnet.subnet_id.as_str())) && accepted(filters, &fields)? {
                let _ = writeln!(
                    items,
                    "        <item><subnetId>{}</subnetId><subnetArn>{}</subnetArn><state>available</state><vpcId>{}</vpcId><availabilityZone>{}</availabilityZone><availableIpAddressCount>{}</availableIpAddressCount><defaultForAz>true</defaultForAz></item>",
                    escape(&subnet.subnet_id),
                    escape(&scope.arn("ec2", &format!("subnet/{}", subnet.subnet_id))),
                    escape(&subnet.vpc_id),
                    escape(&subnet.availability_zone),
                    subnet.free
                );
            }
        }
        Ok(format!("    <subnetSet>\n{items}    </subnetSet>\n"))
    }
}
