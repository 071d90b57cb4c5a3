#![allow(clippy::unwrap_used)]
use super::super::testing::{codes, denied, without_each};
use super::*;
use serde_json::json;

fn named() -> WantedNetwork {
    WantedNetwork {
        region: "us-east-1".into(),
        subnets: Subnets::Named(vec!["subnet-a".into()]),
        security_groups: vec!["sg-1".into()],
        occupant: Occupant::Tasks { is_public: false },
        services: ["ecr.api", "ecr.dkr", "logs", "s3", "ssm"].into(),
        docker_hub_image: None,
    }
}

fn to(gateway: &str) -> WayOut {
    WayOut::To(gateway.into())
}

fn private() -> ObservedNetwork {
    let subnet = Subnet { id: "subnet-a".into(), vpc: "vpc-1".into(), free: Some(100) };
    let group = SecurityGroup { id: "sg-1".into(), vpc: "vpc-1".into(), https: HttpsEgress::Anywhere };
    let main = RouteTable { id: "rtb-main".into(), is_main: true, way_out: to("igw-1"), ..RouteTable::default() };
    let own = RouteTable {
        id: "rtb-a".into(),
        subnets: vec!["subnet-a".into()],
        way_out: to("nat-1"),
        ..RouteTable::default()
    };
    ObservedNetwork {
        subnets: vec![subnet],
        security_groups: vec![group],
        route_tables: vec![main, own],
        endpoints: Vec::new(),
    }
}

fn judged(network: &WantedNetwork, observed: ObservedNetwork) -> Vec<&'static str> {
    codes(&judge(network, &["hello/prod".to_owned()].into(), &Ok(observed)))
}

/// What changes in a network that is well, and what is found then.
type Change = (&'static str, fn(&mut WantedNetwork, &mut ObservedNetwork), &'static [&'static str]);

#[test]
#[allow(clippy::too_many_lines, reason = "a table")]
fn a_network_is_well_or_is_named_for_what_it_lacks() {
    let changes: &[Change] = &[
        ("a NAT gateway", |_, _| {}, &[]),
        (
            "a missing subnet",
            |network, _| network.subnets = Subnets::Named(vec!["subnet-a".into(), "subnet-b".into()]),
            &["PSA501"],
        ),
        ("a missing group", |_, seen| seen.security_groups.clear(), &["PSA502"]),
        ("a group of another VPC", |_, seen| seen.security_groups[0].vpc = "vpc-2".into(), &["PSA503"]),
        ("no address", |_, seen| seen.subnets[0].free = Some(0), &["PSA505"]),
        ("addresses that are not told", |_, seen| seen.subnets[0].free = None, &[]),
        ("no egress", |_, seen| seen.security_groups[0].https = HttpsEgress::Nowhere, &["PSA506"]),
        ("egress to some", |_, seen| seen.security_groups[0].https = egress_to_some(), &["PSA508"]),
        (
            "egress to some, and to all by another group",
            |_, seen| {
                let other =
                    SecurityGroup { id: "sg-2".into(), https: egress_to_some(), ..seen.security_groups[0].clone() };
                seen.security_groups.insert(0, other);
            },
            &[],
        ),
        (
            "egress to some, and endpoints",
            |_, seen| {
                seen.security_groups[0].https = egress_to_some();
                seen.endpoints = endpoints(&["ecr.api", "ecr.dkr", "logs", "ssm"], "rtb-a");
            },
            &[],
        ),
        (
            "functions, and an internet gateway",
            |network, seen| {
                network.occupant = Occupant::Functions;
                seen.route_tables[1].way_out = to("igw-1");
            },
            &["PSA504"],
        ),
        (
            "the VPC's own group",
            |network, seen| {
                network.security_groups.clear();
                seen.security_groups.clear();
            },
            &[],
        ),
        ("a gateway and no address", |_, seen| seen.route_tables[1].way_out = to("igw-1"), &["PSA504"]),
        (
            "a gateway and an address",
            |network, seen| {
                network.occupant = Occupant::Tasks { is_public: true };
                seen.route_tables[1].way_out = to("igw-1");
            },
            &[],
        ),
        (
            "the main table",
            |network, seen| {
                network.occupant = Occupant::Tasks { is_public: true };
                seen.route_tables.pop();
            },
            &[],
        ),
        ("a kind that is not known", |_, seen| seen.route_tables[1].way_out = WayOut::Unknown, &["PSA599"]),
        ("no table at all", |_, seen| seen.route_tables.clear(), &["PSA599"]),
        ("nothing", |_, seen| seen.route_tables[1].way_out = WayOut::Nowhere, &["PSA504"]),
        (
            "a public address and nothing",
            |network, seen| {
                network.occupant = Occupant::Tasks { is_public: true };
                seen.route_tables[1].way_out = WayOut::Nowhere;
            },
            &["PSA504"],
        ),
        (
            "endpoints",
            |_, seen| {
                seen.route_tables[1].way_out = WayOut::Nowhere;
                seen.endpoints = endpoints(&["ecr.api", "ecr.dkr", "logs", "ssm"], "rtb-a");
            },
            &[],
        ),
        (
            "an endpoint too few",
            |_, seen| {
                seen.route_tables[1].way_out = WayOut::Nowhere;
                seen.endpoints = endpoints(&["ecr.api", "ecr.dkr", "ssm"], "rtb-a");
            },
            &["PSA504"],
        ),
        (
            "S3 of another table",
            |_, seen| {
                seen.route_tables[1].way_out = WayOut::Nowhere;
                seen.endpoints = endpoints(&["ecr.api", "ecr.dkr", "logs", "ssm"], "rtb-main");
            },
            &["PSA504"],
        ),
        (
            "S3 of no table",
            |_, seen| {
                seen.route_tables[1].way_out = WayOut::Nowhere;
                seen.endpoints = endpoints(&["ecr.api", "ecr.dkr", "logs", "ssm"], "rtb-a");
                seen.endpoints.last_mut().unwrap().route_tables = Some(Vec::new());
            },
            &["PSA504"],
        ),
        (
            "nothing needed",
            |network, seen| {
                seen.route_tables[1].way_out = WayOut::Nowhere;
                network.services.clear();
            },
            &[],
        ),
        (
            "nothing but an image of Docker Hub",
            |network, seen| {
                seen.route_tables[1].way_out = WayOut::Nowhere;
                network.services.clear();
                network.docker_hub_image = Some("prefecthq/prefect:3-latest".into());
            },
            &["PSA504"],
        ),
        (
            "Secrets Manager",
            |network, seen| {
                seen.route_tables[1].way_out = WayOut::Nowhere;
                network.services.remove("ssm");
                network.services.insert("secretsmanager");
                seen.endpoints = endpoints(&["ecr.api", "ecr.dkr", "logs", "ssm"], "rtb-a");
            },
            &["PSA504"],
        ),
        (
            "no default VPC",
            |network, seen| {
                network.subnets = Subnets::OfDefaultVpc;
                *seen = ObservedNetwork::default();
            },
            &["PSA507"],
        ),
        ("all of a VPC", |network, _| network.subnets = Subnets::OfVpc("vpc-1".into()), &[]),
    ];
    for (name, change, found) in changes {
        let (mut network, mut observed) = (named(), private());
        change(&mut network, &mut observed);
        assert_eq!(judged(&network, observed), *found, "{name}");
    }
    let unknown = judge(&named(), &["hello/prod".to_owned()].into(), &Err(denied()));
    assert_eq!(codes(&unknown), ["PSA599"]);
}

fn egress_to_some() -> HttpsEgress {
    HttpsEgress::To(["10.0.0.0/8".to_owned()].into())
}

fn endpoints(interfaces: &[&str], table_of_s3: &str) -> Vec<Endpoint> {
    let s3 = Endpoint { service: "s3".into(), route_tables: Some(vec![table_of_s3.into()]) };
    let interface = |service: &&str| Endpoint { service: (*service).to_owned(), route_tables: None };
    interfaces.iter().map(interface).chain([s3]).collect()
}

#[test]
fn rows_of_ec2_are_read() {
    let egress = |rules: Value| group_of(&json!({"groupId": "sg", "vpcId": "v", "ipPermissionsEgress": rules}));
    let everybody = json!([{"cidrIp": "10.0.0.0/8"}, {"cidrIp": "0.0.0.0/0"}]);
    let some = |to: &[&str]| HttpsEgress::To(to.iter().map(|to| (*to).to_owned()).collect());
    for (rules, https) in [
        (json!([{"ipProtocol": "-1", "ipRanges": everybody}]), HttpsEgress::Anywhere),
        (
            json!([{"ipProtocol": "tcp", "fromPort": "443", "toPort": "443", "ipRanges": everybody}]),
            HttpsEgress::Anywhere,
        ),
        (
            json!([{"ipProtocol": "tcp", "fromPort": "0", "toPort": "65535", "ipRanges": everybody}]),
            HttpsEgress::Anywhere,
        ),
        (
            json!([{"ipProtocol": "tcp", "fromPort": "5432", "toPort": "5432", "ipRanges": everybody}]),
            HttpsEgress::Nowhere,
        ),
        (
            json!([{"ipProtocol": "udp", "fromPort": "0", "toPort": "65535", "ipRanges": everybody}]),
            HttpsEgress::Nowhere,
        ),
        (json!(""), HttpsEgress::Nowhere),
        (json!([{"ipProtocol": "-1", "ipRanges": [{"cidrIp": "10.0.0.0/8"}]}]), some(&["10.0.0.0/8"])),
        (
            json!([
                {"ipProtocol": "-1", "ipRanges": "", "ipv6Ranges": [{"cidrIpv6": "::/0"}], "prefixListIds": [{"prefixListId": "pl-1"}]},
                {"ipProtocol": "tcp", "fromPort": "443", "toPort": "443", "ipRanges": "", "groups": [{"groupId": "sg-2"}]},
            ]),
            some(&["::/0", "pl-1", "sg-2"]),
        ),
    ] {
        assert_eq!(egress(rules.clone()).map(|group| group.https), Ok(https), "{rules}");
    }
    let to_nobody = json!([{"ipProtocol": "-1", "ipRanges": ""}]);
    assert!(matches!(egress(to_nobody), Err(AwsError::Malformed(_))));
    let table = |route: Value| {
        table_of(&json!({"routeTableId": "r", "associationSet": [{"main": "true"}], "routeSet": [
        {"destinationCidrBlock": "10.0.0.0/16", "gatewayId": "local", "state": "active"}, route]}))
    };
    let route = |cidr: &str, key: &str, state: &str| json!({"destinationCidrBlock": cidr, key: "x-1", "state": state});
    for (route, way_out) in [
        (route("0.0.0.0/0", "gatewayId", "active"), to("x-1")),
        (route("0.0.0.0/0", "natGatewayId", "active"), to("x-1")),
        (route("0.0.0.0/0", "natGatewayId", "blackhole"), WayOut::Nowhere),
        (route("192.168.0.0/16", "transitGatewayId", "active"), WayOut::Nowhere),
        (route("0.0.0.0/0", "quantumGatewayId", "active"), WayOut::Unknown),
        (json!({"destinationCidrBlock": "0.0.0.0/0", "natGatewayId": "x-1"}), WayOut::Unknown),
        (json!({"destinationPrefixListId": "pl-1", "transitGatewayId": "x-1", "state": "active"}), WayOut::Unknown),
        (json!({"destinationPrefixListId": "pl-1", "gatewayId": "vpce-1", "state": "active"}), WayOut::Nowhere),
    ] {
        let table = table(route.clone()).unwrap();
        assert_eq!((table.way_out, table.is_main), (way_out, true), "{route}");
    }
    for (name, service) in [
        ("com.amazonaws.us-east-1.ecr.api", "ecr.api"),
        ("cn.com.amazonaws.cn-north-1.logs", "logs"),
        ("com.amazonaws.eu-west-1.s3", "s3"),
    ] {
        let endpoint = endpoint_of(
            &json!({"vpcEndpointType": "Gateway", "serviceName": name, "state": "available", "routeTableIdSet": ""}),
        );
        assert_eq!(endpoint.unwrap().map(|endpoint| endpoint.service).as_deref(), Some(service));
    }
    for none in [
        json!({"vpcEndpointType": "Gateway", "serviceName": "com.amazonaws.eu-west-1.s3", "state": "deleting"}),
        json!({"vpcEndpointType": "Resource", "state": "Available"}),
    ] {
        assert_eq!(endpoint_of(&none), Ok(None));
    }
}

#[test]
fn a_row_that_lacks_something_is_none() {
    let subnet = json!({"subnetId": "s", "vpcId": "v"});
    let group = json!({"groupId": "g", "vpcId": "v", "ipPermissionsEgress": []});
    let table = json!({"routeTableId": "r", "associationSet": [], "routeSet": []});
    let endpoint = json!({
        "vpcEndpointType": "Gateway", "serviceName": "com.amazonaws.eu-west-1.s3", "state": "available", "routeTableIdSet": [],
    });
    let is_odd = |error: Option<AwsError>| matches!(error, Some(AwsError::Malformed(_)));
    assert!(without_each(&subnet).into_iter().all(|(_, row)| is_odd(subnet_of(&row).err())));
    let rule = json!({"ipProtocol": "tcp", "fromPort": "0", "toPort": "65535", "ipRanges": [{"cidrIp": "0.0.0.0/0"}]});
    for (_, rule) in without_each(&rule) {
        let row = json!({"groupId": "g", "vpcId": "v", "ipPermissionsEgress": [rule]});
        assert!(is_odd(group_of(&row).err()), "{row}");
    }
    assert!(without_each(&group).into_iter().all(|(_, row)| is_odd(group_of(&row).err())));
    assert!(without_each(&table).into_iter().all(|(_, row)| is_odd(table_of(&row).err())));
    assert!(without_each(&endpoint).into_iter().all(|(_, row)| is_odd(endpoint_of(&row).err())));
}
