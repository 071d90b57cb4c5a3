use super::*;

#[test]
fn a_regions_name_tells_its_partition() {
    for (region, expected) in [
        ("eu-west-1", "aws"),
        ("us-east-1", "aws"),
        ("cn-north-1", "aws-cn"),
        ("us-gov-west-1", "aws-us-gov"),
        ("us-iso-east-1", "aws-iso"),
        ("us-isob-east-1", "aws-iso-b"),
    ] {
        assert_eq!(partition(region), expected, "{region}");
    }
}

#[test]
fn services_are_named_after_their_partition() {
    for (region, expected) in
        [("eu-west-1", "amazonaws.com"), ("us-gov-west-1", "amazonaws.com"), ("cn-north-1", "amazonaws.com.cn")]
    {
        assert_eq!(dns_suffix(region), expected, "{region}");
    }
}

#[test]
fn an_arn_names_an_account_or_none() {
    assert_eq!(account_of("arn:aws:iam::123456789012:role/a/b"), Some("123456789012"));
    for none in ["arn:aws:s3:::bucket/key", "ecsTaskExecutionRole", "", "arn:"] {
        assert_eq!(account_of(none), None, "{none}");
    }
}

#[test]
fn names_are_spelled_out_for_their_own_place() {
    let place = Home::new(Ok("123456789012".into()), "us-gov-west-1").place();
    assert_eq!(
        place.arn("ecs", "us-gov-west-1", "cluster/x"),
        "arn:aws-us-gov:ecs:us-gov-west-1:123456789012:cluster/x"
    );
    assert_eq!(place.arn("iam", "", "role/x"), "arn:aws-us-gov:iam::123456789012:role/x");
}
