//! Calls that only look, for the doctor: any operation of a service by its name, its answer as JSON whatever the service
//! speaks. The check function reaches them too, so whatever answers must not be able to end the process.

use super::AwsError;
use super::answers::{self, answer_error};
use super::clients::AwsClients;
use super::signed::{Call, Service, Signed, region_of_iam};
use crate::http::Http;
use crate::transport::shape::{described, text_at};
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
/// Deeper than any answer is nested: reading, writing and dropping JSON takes stack for each level.
const MAX_DEPTH: usize = 32;
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
    /// How requests to AWS leave that nobody signs: those to function URLs.
    pub fn unsigned(&self) -> &Http {
        self.own.http.way()
    }

    /// Looks as the process itself.
    pub fn reads(&self, budget: &Budget) -> Reads {
        Reads { signed: self.own.clone(), budget: budget.clone() }
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
        let call = Call::json(&self.signed, service, target, body)?;
        self.answer(&self.signed, &call, target).await
    }

    /// A resource of a service that speaks REST; `path`: its parts, percent-encoded here.
    pub async fn rest(&self, service: Service, path: &[&str]) -> Result<Value, AwsError> {
        self.rest_of(service, path, &[]).await
    }

    /// The same with a query.
    pub async fn rest_of(&self, service: Service, path: &[&str], query: &[(&str, &str)]) -> Result<Value, AwsError> {
        let encoded = |part: &str| utf8_percent_encode(part, SEGMENT).to_string();
        let mut path = path.iter().map(|part| encoded(part)).collect::<Vec<_>>().join("/");
        let pairs: Vec<_> = query.iter().map(|(name, value)| [encoded(name), encoded(value)].join("=")).collect();
        if !pairs.is_empty() {
            path = [path, pairs.join("&")].join("?");
        }
        let call = Call {
            service,
            method: ::http::Method::GET,
            url: format!("{}/{path}", self.signed.endpoint(service)?),
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
            Service::CloudWatch => "2010-08-01",
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
        let name = if service == Service::Ec2 { format!("{action}Response") } else { format!("{action}Result") };
        let result = if service == Service::Ec2 { Some(root) } else { answers::child(root, &name) };
        let result = result.filter(|result| result.tag_name().name() == name);
        let result = result.ok_or_else(|| AwsError::Malformed(format!("{action} answered no {name}")))?;
        match as_json(result, 0)? {
            Value::Object(fields) => Ok(Value::Object(fields)),
            _ => Err(AwsError::Malformed(format!("{action} answered nothing"))),
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
            let page = self.query(service, action, &fields).await?;
            found.extend(self::list(&page, list)?.iter().cloned());
            let Some(next) = page.get(answered).and_then(Value::as_str).filter(|next| !next.is_empty()) else {
                return Ok(found);
            };
            fields.retain(|(name, _)| name != asked);
            fields.push((asked.to_owned(), next.to_owned()));
        }
        Err(AwsError::Malformed(format!("{action} does not come to an end")))
    }
}

/// A list of an answer, or of something in it. An empty one is there too: without it this is no answer of AWS's, and says
/// nothing of what there is. XML has an element without content for it.
pub fn list<'a>(answer: &'a Value, key: &str) -> Result<&'a [Value], AwsError> {
    match answer.get(key) {
        Some(Value::Array(items)) => Ok(items),
        Some(Value::String(text)) if text.is_empty() => Ok(&[]),
        other => Err(AwsError::Malformed(format!("`{key}` must be a list, but is {}", described(other)))),
    }
}

/// A text of an answer that is always there.
pub fn text<'a>(answer: &'a Value, key: &str) -> Result<&'a str, AwsError> {
    let odd = || AwsError::Malformed(format!("`{key}` must be a text, but is {}", described(answer.get(key))));
    text_at(answer, &[key]).ok_or_else(odd)
}

/// An element as JSON: a list where all that is in it is called `item` or `member`, an object where there are other
/// elements, else its text. `depth`: of elements around it.
fn as_json(element: Node<'_, '_>, depth: usize) -> Result<Value, AwsError> {
    if depth > MAX_DEPTH {
        return Err(AwsError::Malformed(format!("it is nested more than {MAX_DEPTH} deep")));
    }
    let children: Vec<_> = element.children().filter(Node::is_element).collect();
    if children.is_empty() {
        return Ok(Value::String(element.text().unwrap_or_default().trim().to_owned()));
    }
    if children.iter().all(|child| matches!(child.tag_name().name(), "item" | "member")) {
        return children.into_iter().map(|child| as_json(child, depth + 1)).collect::<Result<_, _>>().map(Value::Array);
    }
    let mut fields = Map::new();
    for child in children {
        fields.insert(child.tag_name().name().to_owned(), as_json(child, depth + 1)?);
    }
    Ok(Value::Object(fields))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::test_server::{self, Server};
    use super::*;
    use serde_json::json;

    #[test]
    fn what_xml_says_is_read_as_json() {
        let written = "<R xmlns='x'><subnetSet><item><subnetId>a</subnetId><n/></item></subnetSet><empty/>\
                    <Roles><member><Name> b </Name></member></Roles></R>";
        let document = roxmltree::Document::parse(written).unwrap();
        let expected = json!({"subnetSet": [{"subnetId": "a", "n": ""}], "empty": "", "Roles": [{"Name": "b"}]});
        assert_eq!(as_json(document.root_element(), 0).unwrap(), expected);
        assert_eq!(list(&expected, "empty").unwrap(), &[] as &[Value]);
        assert_eq!(list(&expected, "subnetSet").unwrap().len(), 1);
        for odd in [json!({}), json!({"a": null}), json!({"a": {}}), json!({"a": "x"}), json!([]), json!("a")] {
            assert!(matches!(list(&odd, "a"), Err(AwsError::Malformed(_))), "{odd}");
        }
        for odd in [json!({}), json!({"a": null}), json!({"a": ""}), json!({"a": 7}), json!("a")] {
            assert!(matches!(text(&odd, "a"), Err(AwsError::Malformed(_))), "{odd}");
        }
    }

    fn nested(levels: usize, list: bool) -> String {
        let name = if list { "item" } else { "a" };
        format!("{}b{}", format!("<{name}>").repeat(levels), format!("</{name}>").repeat(levels))
    }

    /// Also where there is little stack, as on the threads of a runtime.
    #[test]
    fn no_depth_ends_the_process() {
        let small = std::thread::Builder::new().stack_size(512 * 1024);
        let reading = small.spawn(|| {
            for list in [false, true] {
                let read = |levels| {
                    let text = nested(levels, list);
                    as_json(roxmltree::Document::parse(&text).unwrap().root_element(), 0)
                };
                assert!(read(MAX_DEPTH + 1).is_ok());
                for levels in [MAX_DEPTH + 2, 100_000] {
                    assert!(matches!(read(levels), Err(AwsError::Malformed(_))), "{levels}");
                }
            }
        });
        reading.unwrap().join().unwrap();
    }

    async fn reads(answer: &str) -> (Server, Reads) {
        let answer = answer.to_owned();
        let server = Server::start(move |_| test_server::text(200, &answer)).await;
        let reads = server.clients().await.reads(&Budget::of(100));
        (server, reads)
    }

    #[tokio::test]
    async fn an_answer_without_its_list_is_none() {
        let vpcs = |body: &str| format!("<DescribeVpcsResponse>{body}</DescribeVpcsResponse>");
        for (answer, found) in [
            (vpcs("<vpcSet/>"), Some(0)),
            (vpcs("<vpcSet><item><vpcId>a</vpcId></item></vpcSet>"), Some(1)),
            (vpcs("<requestId>1</requestId>"), None),
            (vpcs(""), None),
            (vpcs(&nested(100_000, false)), None),
            ("<html><body>Sign in</body></html>".into(), None),
            ("<html><vpcSet/></html>".into(), None),
        ] {
            let (_server, reads) = reads(&answer).await;
            let pages = reads.pages(Service::Ec2, "DescribeVpcs", &[], ("vpcSet", "nextToken", "NextToken")).await;
            let short: String = answer.chars().take(80).collect();
            match found {
                Some(count) => assert_eq!(pages.unwrap().len(), count, "{short}"),
                None => assert!(matches!(pages, Err(AwsError::Malformed(_))), "{short}: {pages:?}"),
            }
        }
        let stacks = ("Stacks", "NextToken", "NextToken");
        for (answer, is_one) in [
            ("<R><DescribeStacksResult><Stacks/></DescribeStacksResult></R>", true),
            ("<R><Stacks/></R>", false),
            ("<R><DescribeStacksResult/></R>", false),
        ] {
            let (_server, reads) = reads(answer).await;
            let pages = reads.pages(Service::CloudFormation, "DescribeStacks", &[], stacks).await;
            assert_eq!(pages.is_ok(), is_one, "{answer}: {pages:?}");
        }
    }

    #[test]
    fn a_budget_ends() {
        let budget = Budget::of(2);
        assert!(budget.spend().is_ok() && budget.clone().spend().is_ok());
        assert!(matches!(budget.spend(), Err(AwsError::NotSent(_))));
    }
}
