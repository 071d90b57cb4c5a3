//! S3: objects that configurations point to.

use super::AwsError;
use super::endpoints::Service;
use super::signed::{Call, Signed};
use super::xml;
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

#[cfg(test)]
mod tests;

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
            _ => Err(xml::error(&answer)),
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
