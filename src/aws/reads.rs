//! Calls that only look, for the doctor: any operation of a service by its name, its answer as JSON whatever the service
//! speaks. No function reaches them, so they are not in the functions' zip.

use super::AwsError;
use super::answers::{self, answer_error};
use super::clients::{AgentAws, AwsClients};
use super::signed::{Call, Service, Signed, region_of_iam};
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use roxmltree::Node;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Requests to a service that are on their way at once: one that does not answer keeps nobody from the others.
const IN_FLIGHT: usize = 6;
/// Pages of one list at most.
const MAX_PAGES: usize = 20;
/// What may stand in a part of a path as it is.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Looks, with one set of credentials and in one region. Clones share the budget of requests.
#[derive(Debug, Clone)]
pub struct Reads {
    signed: Signed,
    budget: Budget,
}

/// How many requests may be sent in all, and at once.
#[derive(Debug, Clone)]
pub struct Budget {
    left: Arc<AtomicUsize>,
    slots: Arc<HashMap<&'static str, Semaphore>>,
}

impl Budget {
    /// So many requests.
    pub fn of(requests: usize) -> Self {
        let slots = Service::ALL.map(|service| (service.name(), Semaphore::new(IN_FLIGHT)));
        Self { left: Arc::new(AtomicUsize::new(requests)), slots: Arc::new(slots.into()) }
    }

    /// One of the service's slots, once there is one.
    async fn slot(&self, service: Service) -> Result<SemaphorePermit<'_>, AwsError> {
        let slots = self.slots.get(service.name()).ok_or_else(|| AwsError::NotSent("no such service".into()))?;
        slots.acquire().await.map_err(|error| AwsError::NotSent(error.to_string()))
    }

    fn spend(&self) -> Result<(), AwsError> {
        let spent = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        spent.map(drop).map_err(|_| AwsError::NotSent("so many requests were sent that this one is left out".into()))
    }
}

impl AwsClients {
    /// Looks as the process itself.
    pub fn reads(&self, budget: &Budget) -> Reads {
        Reads { signed: self.own.clone(), budget: budget.clone() }
    }
}

impl AgentAws {
    /// Looks where an agent launches, with its credentials.
    pub fn reads(&self, budget: &Budget) -> Reads {
        Reads { signed: self.signed.clone(), budget: budget.clone() }
    }
}

impl Reads {
    /// The region that is looked at.
    pub fn region(&self) -> &str {
        &self.signed.region
    }

    /// The same in another region.
    #[must_use]
    pub fn in_region(&self, region: &str) -> Self {
        Self { signed: self.signed.in_region(region), budget: self.budget.clone() }
    }

    /// An operation of a service that speaks JSON. `target`: e.g. `AWSEvents.DescribeRule`.
    pub async fn json(&self, service: Service, target: &str, body: &Value) -> Result<Value, AwsError> {
        let version = if service == Service::Sqs { "1.0" } else { "1.1" };
        let call = Call {
            service,
            method: ::http::Method::POST,
            url: format!("{}/", self.signed.endpoint(service)?),
            headers: vec![
                ("content-type", format!("application/x-amz-json-{version}")),
                ("x-amz-target", target.to_owned()),
            ],
            body: body.to_string().into(),
        };
        self.answer(&self.signed, &call, target).await
    }

    /// A resource of a service that speaks REST; `path`: its parts, percent-encoded here, then a query as it is.
    pub async fn rest(&self, service: Service, path: &[&str], query: &str) -> Result<Value, AwsError> {
        let parts = path.iter().map(|part| utf8_percent_encode(part, SEGMENT).to_string());
        let path = parts.collect::<Vec<_>>().join("/");
        let query = if query.is_empty() { String::new() } else { format!("?{query}") };
        let call = Call {
            service,
            method: ::http::Method::GET,
            url: format!("{}/{path}{query}", self.signed.endpoint(service)?),
            headers: Vec::new(),
            body: Bytes::new(),
        };
        self.answer(&self.signed, &call, &path).await
    }

    /// What an address that ECR gave leads to: signed by itself.
    pub async fn fetch(&self, url: &str) -> Result<Value, AwsError> {
        self.budget.spend()?;
        let _slot = self.budget.slot(Service::Ecr).await?;
        let request = ::http::Request::get(url).body(Bytes::new());
        let request = request.map_err(|_| AwsError::NotSent("AWS gave an address that is none".into()))?;
        let answer = self.signed.http.send(request).await?;
        if !(200..300).contains(&answer.status) {
            return Err(answers::xml_error(&answer));
        }
        serde_json::from_slice(&answer.body).map_err(|_| AwsError::Malformed("no JSON".into()))
    }

    async fn answer(&self, signed: &Signed, call: &Call, name: &str) -> Result<Value, AwsError> {
        let answer = self.sent(signed, call).await?;
        if !(200..300).contains(&answer.status) {
            return Err(answer_error(&answer));
        }
        let body: Value = serde_json::from_slice(&answer.body)
            .map_err(|_| AwsError::Malformed(format!("{name} answered no JSON")))?;
        if body.is_object() { Ok(body) } else { Err(AwsError::Malformed(format!("{name} answered no object"))) }
    }

    async fn sent(&self, signed: &Signed, call: &Call) -> Result<crate::http::Answer, AwsError> {
        self.budget.spend()?;
        let _slot = self.budget.slot(call.service).await?;
        signed.read(call).await
    }

    /// An operation of a service that speaks the query protocol. Lists become lists, whatever their elements are called.
    pub async fn query(&self, service: Service, action: &str, fields: &[(String, String)]) -> Result<Value, AwsError> {
        let version = match service {
            Service::Iam => "2010-05-08",
            Service::CloudFormation => "2010-05-15",
            _ => "2016-11-15",
        };
        let region = if service == Service::Iam { region_of_iam(&self.signed.region) } else { &self.signed.region };
        let signed = self.signed.in_region(region);
        let named = [("Action", action), ("Version", version)].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let fields: Vec<_> = named.iter().chain(fields).cloned().collect();
        let answer = self.sent(&signed, &Call::query(&signed, service, &fields)?).await?;
        let document = answers::expect_xml(&answer)?;
        let root = document.root_element();
        // EC2 answers without the element around the result.
        let result = answers::child(root, &format!("{action}Result")).unwrap_or(root);
        match as_json(result) {
            Value::Object(fields) => Ok(Value::Object(fields)),
            _ => Ok(Value::Object(Map::new())),
        }
    }

    /// All pages of a query. `token`: how the answer and the next request call the place to go on from.
    pub async fn pages(
        &self,
        service: Service,
        action: &str,
        fields: &[(String, String)],
        (list, answered, asked): (&str, &str, &str),
    ) -> Result<Vec<Value>, AwsError> {
        let mut found = Vec::new();
        let mut fields = fields.to_vec();
        for _ in 0..MAX_PAGES {
            let mut page = self.query(service, action, &fields).await?;
            if let Some(Value::Array(items)) = page.get_mut(list).map(Value::take) {
                found.extend(items);
            }
            let Some(next) = page.get(answered).and_then(Value::as_str).filter(|next| !next.is_empty()) else {
                return Ok(found);
            };
            fields.retain(|(name, _)| name != asked);
            fields.push((asked.to_owned(), next.to_owned()));
        }
        Err(AwsError::Malformed(format!("{action} does not come to an end")))
    }
}

/// An element as JSON: a list where all that is in it is called `item` or `member`, an object where there are other
/// elements, else its text.
fn as_json(element: Node<'_, '_>) -> Value {
    let children: Vec<_> = element.children().filter(Node::is_element).collect();
    if children.is_empty() {
        return Value::String(element.text().unwrap_or_default().trim().to_owned());
    }
    if children.iter().all(|child| matches!(child.tag_name().name(), "item" | "member")) {
        return Value::Array(children.into_iter().map(as_json).collect());
    }
    Value::Object(children.into_iter().map(|child| (child.tag_name().name().to_owned(), as_json(child))).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn what_xml_says_is_read_as_json() {
        let text = "<R xmlns='x'><subnetSet><item><subnetId>a</subnetId><n/></item></subnetSet><empty/>\
                    <Roles><member><Name> b </Name></member></Roles></R>";
        let document = roxmltree::Document::parse(text).unwrap();
        let expected = json!({"subnetSet": [{"subnetId": "a", "n": ""}], "empty": "", "Roles": [{"Name": "b"}]});
        assert_eq!(as_json(document.root_element()), expected);
    }

    #[test]
    fn a_budget_ends() {
        let budget = Budget::of(2);
        assert!(budget.spend().is_ok() && budget.clone().spend().is_ok());
        assert!(matches!(budget.spend(), Err(AwsError::NotSent(_))));
    }
}
