//! `CloudWatch`: what of a quota is used.

use crate::{
    World,
    answer::{ServiceError, service_error, xml},
    route::Form,
};
use axum::{body::Bytes, response::Response};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Answers one request to `CloudWatch`: what is used of a quota, five minutes ago and before.
pub fn handle(world: &World, operation: &str, body: &Bytes) -> Response {
    let form = Form::parse(body);
    let is_of_vcpus = form.get("Namespace") == Some("AWS/Usage")
        && form.get("MetricName") == Some("ResourceCount")
        && (1..=4).any(|number| form.get(&format!("Dimensions.member.{number}.Value")) == Some("vCPU"));
    let statistic = form.get("Statistics.member.1").unwrap_or_default();
    let Some(end) = form
        .get("EndTime")
        .and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok())
        .filter(|_| operation == "GetMetricStatistics")
    else {
        return service_error("monitoring", ServiceError::new("InvalidParameterValue", "EndTime"));
    };
    let state = world.lock();
    let counted = state.quotas.vcpus_used.filter(|_| is_of_vcpus);
    let points: String = counted.map_or_else(String::new, |used| {
        [(10, used + 1.0), (5, used)]
            .map(|(minutes, value)| {
                let at = (end - time::Duration::minutes(minutes)).format(&Rfc3339).unwrap_or_default();
                format!(
                    "<member><Timestamp>{at}</Timestamp><{statistic}>{value:?}</{statistic}><Unit>None</Unit></member>"
                )
            })
            .concat()
    });
    xml(format!(
        "<GetMetricStatisticsResponse xmlns=\"http://monitoring.amazonaws.com/doc/2010-08-01/\"><GetMetricStatisticsResult><Datapoints>{points}</Datapoints><Label>ResourceCount</Label></GetMetricStatisticsResult></GetMetricStatisticsResponse>"
    ))
}
