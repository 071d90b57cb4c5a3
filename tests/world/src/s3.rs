//! S3: objects, path style.

use crate::{
    World,
    answer::{ServiceError, answer, service_error},
};
use axum::{http::Uri, response::Response};
use std::collections::{BTreeMap, BTreeSet};

/// Buckets and objects.
#[derive(Default)]
pub struct S3 {
    /// The buckets; a bucket with an object exists without being named here.
    pub buckets: BTreeSet<String>,
    /// Bodies by bucket and key.
    pub objects: BTreeMap<(String, String), Vec<u8>>,
}

impl S3 {
    /// Stores an object.
    pub fn put(&mut self, bucket: &str, key: &str, body: impl Into<Vec<u8>>) {
        self.buckets.insert(bucket.to_owned());
        self.objects.insert((bucket.to_owned(), key.to_owned()), body.into());
    }
}

/// Answers `GET /bucket/key`.
pub fn handle(world: &World, uri: &Uri) -> Response {
    let path = percent_decode(uri.path().trim_start_matches('/'));
    let (bucket, key) = path.split_once('/').unwrap_or((path.as_str(), ""));
    let state = world.lock();
    if let Some(body) = state.s3.objects.get(&(bucket.to_owned(), key.to_owned())) {
        return answer(200, "binary/octet-stream", body.clone());
    }
    let error = if state.s3.buckets.contains(bucket) {
        ServiceError::new("NoSuchKey", "The specified key does not exist.")
    } else {
        ServiceError::new("NoSuchBucket", "The specified bucket does not exist")
    };
    service_error("s3", error.status(404))
}

/// `%41` becomes `A`; what is no such triple stays.
/// Text of a path, decoded.
pub(crate) fn percent_decode(text: &str) -> String {
    // The form parser also knows `+` and `&`, which mean themselves in a path.
    let guarded = text.replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
    form_urlencoded::parse(guarded.as_bytes()).next().map(|(key, _)| key.into_owned()).unwrap_or_default()
}
