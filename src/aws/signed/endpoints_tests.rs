#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
use super::*;
use serde::Deserialize;

fn endpoints(variables: &[(&str, &str)]) -> Endpoints {
    Endpoints::from_env(&variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()).unwrap()
}

#[test]
fn a_services_own_variable_beats_the_general_one() {
    let both = endpoints(&[("AWS_ENDPOINT_URL", "http://all:1/"), ("AWS_ENDPOINT_URL_EC2", "http://ec2:2")]);
    assert_eq!(both.url(Service::Ec2, "eu-west-1").unwrap(), "http://ec2:2");
    assert_eq!(both.url(Service::S3, "eu-west-1").unwrap(), "http://all:1");
    let one = endpoints(&[("AWS_ENDPOINT_URL_EC2", "http://ec2:2"), ("AWS_ENDPOINT_URL_S3", "")]);
    assert_eq!(one.overridden(Service::S3), None);
}

#[test]
fn overrides_can_be_ignored() {
    let ignored = endpoints(&[
        ("AWS_ENDPOINT_URL", "http://all:1"),
        ("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true"),
        ("AWS_USE_FIPS_ENDPOINT", "TRUE"),
    ]);
    assert_eq!(ignored.url(Service::Lambda, "eu-west-1").unwrap(), "https://lambda-fips.eu-west-1.amazonaws.com");
}

#[test]
fn an_overridden_endpoint_is_taken_as_it_is() {
    let own = endpoints(&[("AWS_ENDPOINT_URL", "http://all:1"), ("AWS_USE_FIPS_ENDPOINT", "true")]);
    assert_eq!(own.url(Service::Ec2, "eu-west-1").unwrap(), "http://all:1");
}

#[test]
fn a_switch_is_on_or_off() {
    for name in ["AWS_USE_FIPS_ENDPOINT", "AWS_USE_DUALSTACK_ENDPOINT"] {
        let error = Endpoints::from_env(&[(name.to_owned(), "yes".to_owned())].into()).unwrap_err();
        assert_eq!(error, format!("{name} is \"yes\": allowed are true and false"));
    }
}

/// What botocore answers for a service in a region.
#[derive(Deserialize)]
struct Case {
    service: String,
    region: String,
    fips: bool,
    dual_stack: bool,
    /// `None`: botocore refuses.
    url: Option<String>,
}

/// `cases.json` is written by `scripts/endpoints.py`; a conformance test holds it to botocore.
#[test]
fn endpoints_are_those_that_botocore_resolves() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("endpoint_cases.json")).unwrap();
    assert!(cases.len() >= 13 * 4 * 8, "{}", cases.len());
    for case in cases {
        let name = if case.service == "cloudwatch" { "monitoring".into() } else { case.service.replace('-', "") };
        let service = Service::ALL.into_iter().find(|service| service.name() == name).unwrap();
        let endpoints = Endpoints { fips: Some(case.fips), dual_stack: Some(case.dual_stack), ..Endpoints::default() };
        let found = endpoints.url(service, &case.region);
        let (fips, dual) = (case.fips, case.dual_stack);
        assert_eq!(found.as_ref().ok(), case.url.as_ref(), "{service:?} {} fips {fips} dual {dual}", case.region);
    }
}

/// Of a partition there is one, which botocore's rules say and not its regions' names.
#[test]
fn iam_is_that_of_the_partition() {
    for (region, fips, host, signed_for) in [
        ("eu-west-1", false, "iam.amazonaws.com", "us-east-1"),
        ("us-east-1", true, "iam-fips.amazonaws.com", "us-east-1"),
        ("us-gov-east-1", true, "iam.us-gov.amazonaws.com", "us-gov-west-1"),
        ("cn-northwest-1", false, "iam.cn-north-1.amazonaws.com.cn", "cn-north-1"),
    ] {
        let endpoints = Endpoints { fips: Some(fips), ..Endpoints::default() };
        assert_eq!(endpoints.url(Service::Iam, region).unwrap(), format!("https://{host}"), "{region}");
        assert_eq!(region_of_iam(region), signed_for, "{region}");
    }
}
