//! Services of which we need a call or two, which we sign ourselves: S3, Lambda, `CloudWatch` Logs and EC2.

use super::AwsError;
use super::answers::{self, answer_error};
use super::signed::{Call, Service, Signed};
use crate::transport::shape::{at, text_at};
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

#[cfg(test)]
mod ec2_tests;
#[cfg(test)]
mod lambda_tests;
#[cfg(test)]
mod logs_tests;
#[cfg(test)]
mod s3_tests;

/// A client for one set of credentials.
#[derive(Debug, Clone)]
pub struct S3 {
    signed: Signed,
}

/// What may stand in a path as it is.
const PATH: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

impl S3 {
    /// Calls S3 with these credentials.
    pub fn new(signed: Signed) -> Self {
        Self { signed }
    }

    /// `GetObject`. A bucket of another region is found there.
    pub async fn get_object(&self, bucket: &str, key: &str) -> Result<Bytes, AwsError> {
        let answer = self.signed.read(&call(&self.signed, bucket, key)?).await?;
        let elsewhere = answer.headers.get("x-amz-bucket-region").and_then(|region| region.to_str().ok());
        let answer = match elsewhere {
            Some(region) if matches!(answer.status, 301 | 307 | 400) && region != self.signed.region => {
                let there = self.signed.in_region(region);
                there.read(&call(&there, bucket, key)?).await?
            }
            _ => answer,
        };
        match answer.status {
            200 => Ok(answer.body),
            _ => Err(answers::xml_error(&answer)),
        }
    }
}

fn call(signed: &Signed, bucket: &str, key: &str) -> Result<Call, AwsError> {
    let key = utf8_percent_encode(key, &PATH);
    // A bucket with dots does not fit the certificate of virtual hosts.
    let url = match signed.endpoints.overridden(Service::S3) {
        Some(endpoint) => format!("{endpoint}/{bucket}/{key}"),
        None if bucket.contains('.') => format!("{}/{bucket}/{key}", signed.endpoint(Service::S3)?),
        None => {
            let host = signed.endpoints.host(Service::S3, &signed.region).map_err(AwsError::NotSent)?;
            format!("https://{bucket}.{host}/{key}")
        }
    };
    Ok(Call { service: Service::S3, method: http::Method::GET, url, headers: Vec::new(), body: Bytes::new() })
}

// Lambda: asking for an invocation without waiting for it.

/// What a part of a path is encoded to is signed, so it must be encoded as AWS does: without the unreserved characters.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A client for one region and one set of credentials.
#[derive(Debug, Clone)]
pub struct Lambda {
    signed: Signed,
}

impl Lambda {
    /// Calls Lambda with these credentials.
    pub fn new(signed: Signed) -> Self {
        Self { signed }
    }

    /// `Invoke` with `InvocationType: Event`: returns once the event is queued. Function: name or ARN, with or
    /// without a qualifier. Sent once; a repetition may queue a second event.
    pub async fn invoke_event(&self, function: &str, payload: Bytes) -> Result<(), AwsError> {
        self.invoke(&self.signed, function, "Event", payload).await.map(drop)
    }

    /// `Invoke` of a function that changes nothing, whose answer is waited for up to `patience`. A function that failed
    /// answers with an object that has `errorMessage`.
    pub async fn ask(&self, function: &str, payload: Bytes, patience: Duration) -> Result<Bytes, AwsError> {
        self.invoke(&self.signed.within(patience), function, "RequestResponse", payload).await
    }

    async fn invoke(
        &self,
        signed: &Signed,
        function: &str,
        kind: &'static str,
        payload: Bytes,
    ) -> Result<Bytes, AwsError> {
        let function = utf8_percent_encode(function, IN_PATH);
        let endpoint = signed.endpoint(Service::Lambda)?;
        let call = Call {
            service: Service::Lambda,
            method: http::Method::POST,
            url: format!("{endpoint}/2015-03-31/functions/{function}/invocations"),
            headers: vec![("x-amz-invocation-type", kind.into()), ("content-type", "application/json".into())],
            body: payload,
        };
        let answer = signed.send(&call).await?;
        match answer.status {
            200..300 => Ok(answer.body),
            _ => Err(answer_error(&answer)),
        }
    }
}

// `CloudWatch` Logs: the last lines of a container.

/// A client for one region and one set of credentials.
#[derive(Debug, Clone)]
pub struct Logs {
    signed: Signed,
}

impl Logs {
    /// Calls `CloudWatch` Logs with these credentials.
    pub fn new(signed: Signed) -> Self {
        Self { signed }
    }

    /// `GetLogEvents`: the last `limit` lines of a stream, oldest first; none if there is no such stream. `region`: `None` =
    /// the client's own.
    pub async fn last_lines(
        &self,
        region: Option<&str>,
        group: &str,
        stream: &str,
        limit: u32,
    ) -> Result<Vec<String>, AwsError> {
        let signed = region.map_or_else(|| self.signed.clone(), |region| self.signed.in_region(region));
        let body = json!({"logGroupName": group, "logStreamName": stream, "limit": limit, "startFromHead": false});
        let call = Call::json(&signed, Service::Logs, "Logs_20140328.GetLogEvents", &body)?;
        let answer = signed.read(&call).await?;
        if answer.status != 200 {
            return match answer_error(&answer) {
                AwsError::Answer { code, .. } if code == "ResourceNotFoundException" => Ok(Vec::new()),
                error => Err(error),
            };
        }
        let body: Value =
            serde_json::from_slice(&answer.body).map_err(|error| AwsError::Malformed(error.to_string()))?;
        // An empty list is there too.
        let Some(events) = at(&body, &["events"]).and_then(Value::as_array) else {
            return Err(AwsError::Malformed("GetLogEvents answered no list of events".into()));
        };
        Ok(events.iter().filter_map(|event| event.get("message")?.as_str()).map(str::to_owned).collect())
    }

    /// `StartQuery` of Logs Insights over one group, between two times in seconds since 1970 → its id. Asked again after
    /// a lost answer, there are two queries, and nobody looks at the first.
    pub async fn start_query(&self, group: &str, query: &str, (from, to): (i64, i64)) -> Result<String, AwsError> {
        let body = json!({"logGroupName": group, "queryString": query, "startTime": from, "endTime": to});
        let answer = self.ask("StartQuery", &body).await?;
        let id = text_at(&answer, &["queryId"]);
        id.map(str::to_owned).ok_or_else(|| AwsError::Malformed("StartQuery answered no queryId".into()))
    }

    /// `GetQueryResults`: the rows, once the query is `Complete`.
    pub async fn query_results(&self, id: &str) -> Result<QueryState, AwsError> {
        let answer = self.ask("GetQueryResults", &json!({"queryId": id})).await?;
        match text_at(&answer, &["status"]) {
            Some("Complete") => {}
            Some("Scheduled" | "Running") => return Ok(QueryState::Running),
            Some(status) => return Ok(QueryState::Ended(status.to_owned())),
            None => return Err(AwsError::Malformed("GetQueryResults answered no status".into())),
        }
        let Some(rows) = at(&answer, &["results"]).and_then(Value::as_array) else {
            return Err(AwsError::Malformed("GetQueryResults answered no list of results".into()));
        };
        let field =
            |cell: &Value| Some((text_at(cell, &["field"])?.to_owned(), cell.get("value")?.as_str()?.to_owned()));
        let row = |row: &Value| row.as_array().into_iter().flatten().filter_map(field).collect();
        Ok(QueryState::Complete(rows.iter().map(row).collect()))
    }

    /// `StopQuery`, of which nobody waits for the results any more.
    pub async fn stop_query(&self, id: &str) -> Result<(), AwsError> {
        self.ask("StopQuery", &json!({"queryId": id})).await.map(drop)
    }

    async fn ask(&self, operation: &str, body: &Value) -> Result<Value, AwsError> {
        let call = Call::json(&self.signed, Service::Logs, &format!("Logs_20140328.{operation}"), body)?;
        let answer = self.signed.read(&call).await?;
        if answer.status != 200 {
            return Err(answer_error(&answer));
        }
        serde_json::from_slice(&answer.body).map_err(|error| AwsError::Malformed(error.to_string()))
    }
}

/// One row of a query's results: values by field. What has no value is left out.
pub type QueryRow = BTreeMap<String, String>;

/// How far a query is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueryState {
    /// Ask again.
    Running,
    /// These are its rows.
    Complete(Vec<QueryRow>),
    /// It has ended without them, as this.
    Ended(String),
}

// EC2: networks.

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
            let page = answers::expect_xml(&answer)?;
            let page = page.root_element();
            // An empty list is there too: without it this is a page of somebody between us and EC2.
            let items = answers::child(page, list)
                .ok_or_else(|| AwsError::Malformed(format!("{action} answered no {list}")))?
                .children();
            found.extend(items.filter_map(|item| answers::text_of(item, id)).map(ToOwned::to_owned));
            next = answers::text_of(page, "nextToken").map(ToOwned::to_owned);
            if next.is_none() {
                return Ok(found);
            }
        }
        Err(AwsError::Malformed(format!("{action} does not come to an end")))
    }
}
