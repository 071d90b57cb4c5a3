//! What goes wrong, for which requests, and how.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Something that goes wrong for some requests.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fault {
    /// The service as in the journal; `*` for any.
    #[serde(default = "any")]
    pub service: String,
    /// The operation as in the journal (one root field of a GraphQL document is enough); `*` for any.
    #[serde(default = "any")]
    pub operation: String,
    /// Only requests whose body contains this.
    #[serde(default)]
    pub body_contains: Option<String>,
    /// So many matching requests are let through first.
    #[serde(default)]
    pub skip: u32,
    /// So many requests are then hit.
    #[serde(default = "once")]
    pub count: u32,
    /// What happens to them.
    #[serde(flatten)]
    pub kind: FaultKind,
}

fn any() -> String {
    "*".to_owned()
}

fn once() -> u32 {
    1
}

/// What happens to a request that is hit.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FaultKind {
    /// Answers this instead; the request has no effect.
    Status {
        /// The HTTP status.
        status: u16,
        /// The body.
        body: String,
        /// `content-type`
        content_type: String,
    },
    /// Closes the connection without an answer; the request has no effect.
    DropBefore,
    /// The request has its effect, then the connection is closed without an answer.
    DropAfter,
    /// Waits before the effect.
    DelayBefore {
        /// Milliseconds.
        ms: u64,
    },
    /// Waits between effect and answer.
    DelayAfter {
        /// Milliseconds.
        ms: u64,
    },
    /// An error in the service's own format; the request has no effect.
    AwsError {
        /// The HTTP status.
        status: u16,
        /// The error's code, e.g. `ThrottlingException`.
        code: String,
        /// Its message.
        message: String,
    },
    /// A proxy's HTML error page; the request has no effect.
    Html {
        /// The HTTP status, e.g. 502 or 503.
        status: u16,
    },
    /// The request has its effect, then this is answered: what a proxy says that lost the service's own answer.
    StatusAfter {
        /// The HTTP status.
        status: u16,
        /// The body.
        body: String,
        /// `content-type`
        content_type: String,
    },
    /// Asks to come again later; the request has no effect.
    ComeAgain {
        /// The HTTP status, e.g. 429 or 503.
        status: u16,
        /// `retry-after`: seconds or an HTTP date.
        #[serde(default)]
        retry_after: Option<String>,
        /// As Prefect Cloud in maintenance: `prefect-maintenance: true`.
        #[serde(default)]
        maintenance: bool,
    },
    /// Sends to another address; the request has no effect.
    Redirect {
        /// The HTTP status, e.g. 301 or 308.
        status: u16,
        /// `location`
        location: String,
    },
    /// The request has its effect; the answer has status 200 and a body that is neither JSON nor XML.
    MalformedBody,
    /// The request has its effect; the connection is closed in the middle of the body.
    TruncatedBody,
    /// The request has its effect; its answer is changed in one place: [`mutated`](crate::mutation::mutated).
    Mutated {
        /// In which way, and where.
        seed: u64,
    },
}

impl Fault {
    /// Hits the first matching request.
    pub fn new(service: &str, operation: &str, kind: FaultKind) -> Self {
        Self {
            service: service.to_owned(),
            operation: operation.to_owned(),
            body_contains: None,
            skip: 0,
            count: 1,
            kind,
        }
    }

    /// Lets the first `skip` matching requests through.
    #[must_use]
    pub fn skip(mut self, skip: u32) -> Self {
        self.skip = skip;
        self
    }

    /// Hits `count` requests.
    #[must_use]
    pub fn times(mut self, count: u32) -> Self {
        self.count = count;
        self
    }

    /// Hits every matching request.
    #[must_use]
    pub fn always(self) -> Self {
        self.times(u32::MAX)
    }

    /// Only requests whose body contains `text`.
    #[must_use]
    pub fn when_body_contains(mut self, text: &str) -> Self {
        self.body_contains = Some(text.to_owned());
        self
    }

    fn matches(&self, service: &str, operation: &str, body: &str) -> bool {
        (self.service == "*" || self.service == service)
            && (self.operation == "*"
                || self.operation == operation
                || operation.split(',').any(|one| one == self.operation))
            && self.body_contains.as_ref().is_none_or(|text| body.contains(text.as_str()))
    }
}

/// The faults that wait for their requests.
#[derive(Default)]
pub struct Faults {
    /// Added to every answer.
    pub latency: Duration,
    waiting: Vec<Fault>,
}

impl Faults {
    /// Adds one.
    pub fn add(&mut self, fault: Fault) {
        self.waiting.push(fault);
    }

    /// Forgets all faults; the latency stays.
    pub fn clear(&mut self) {
        self.waiting.clear();
    }

    /// The faults that still wait.
    pub fn waiting(&self) -> &[Fault] {
        &self.waiting
    }

    /// What hits this request, in the order the faults were added. Each fault counts every request it matches.
    pub fn hit(&mut self, service: &str, operation: &str, body: &str) -> Vec<FaultKind> {
        let mut kinds = Vec::new();
        for fault in self.waiting.iter_mut().filter(|fault| fault.matches(service, operation, body)) {
            if fault.skip > 0 {
                fault.skip -= 1;
            } else {
                fault.count = fault.count.saturating_sub(1);
                kinds.push(fault.kind.clone());
            }
        }
        self.waiting.retain(|fault| fault.count > 0);
        kinds
    }
}
