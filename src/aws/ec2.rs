//! EC2: networks.

use super::AwsError;
use super::endpoints::Service;
use super::signed::{Call, Signed};
use super::xml;

#[cfg(test)]
mod tests;

/// A client for one region and one set of credentials.
#[derive(Debug, Clone)]
pub struct Ec2 {
    signed: Signed,
}

/// More pages than any account has.
const MAX_PAGES: usize = 50;

impl Ec2 {
    /// Calls EC2 with these credentials.
    pub fn new(signed: Signed) -> Self {
        Self { signed }
    }

    /// `DescribeVpcs` of the default VPC → ids, in answer order.
    pub async fn default_vpcs(&self) -> Result<Vec<String>, AwsError> {
        self.describe("DescribeVpcs", ("isDefault", "true"), ("vpcSet", "vpcId")).await
    }

    /// `DescribeVpcs` of one VPC: whether there is such a VPC in the region.
    pub async fn vpc_exists(&self, vpc_id: &str) -> Result<bool, AwsError> {
        Ok(!self.describe("DescribeVpcs", ("vpc-id", vpc_id), ("vpcSet", "vpcId")).await?.is_empty())
    }

    /// `DescribeSubnets` of a VPC → ids, in answer order.
    pub async fn subnets(&self, vpc_id: &str) -> Result<Vec<String>, AwsError> {
        self.describe("DescribeSubnets", ("vpc-id", vpc_id), ("subnetSet", "subnetId")).await
    }

    /// All pages of a list: the ids of the items that match one filter.
    async fn describe(
        &self,
        action: &str,
        (filter, value): (&str, &str),
        (list, id): (&str, &str),
    ) -> Result<Vec<String>, AwsError> {
        let mut found = Vec::new();
        let mut next: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let mut fields = vec![
                ("Action", action),
                ("Version", "2016-11-15"),
                ("Filter.1.Name", filter),
                ("Filter.1.Value.1", value),
            ];
            fields.extend(next.as_deref().map(|token| ("NextToken", token)));
            let answer = self.signed.read(&Call::query(&self.signed, Service::Ec2, &fields)?).await?;
            let page = xml::expect(&answer)?;
            let page = page.root_element();
            // An empty list is there too: without it this is a page of somebody between us and EC2.
            let items = xml::child(page, list)
                .ok_or_else(|| AwsError::Malformed(format!("{action} answered no {list}")))?
                .children();
            found.extend(items.filter_map(|item| xml::text_of(item, id)).map(ToOwned::to_owned));
            next = xml::text_of(page, "nextToken").map(ToOwned::to_owned);
            if next.is_none() {
                return Ok(found);
            }
        }
        Err(AwsError::Malformed(format!("{action} does not come to an end")))
    }
}
