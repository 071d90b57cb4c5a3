//! Function URLs: HTTP in front of a function process, in payload format 2.0.

use crate::{
    LambdaOptions, LambdaProcess,
    answer::{answer, json},
};
use axum::{
    Router,
    body::to_bytes,
    extract::{Request, State},
    http::{
        HeaderName, HeaderValue,
        header::{COOKIE, SET_COOKIE},
    },
    response::Response,
};
use serde_json::{Map, Value, json};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::OnceCell, task::JoinHandle};

/// The largest payload that Lambda takes.
const BODY_LIMIT: usize = 6 * 1024 * 1024;
/// How long an invocation may take.
const DEADLINE: Duration = Duration::from_secs(15);

/// Who may call a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlAuth {
    /// Everybody.
    None,
    /// Who signs; nobody does here.
    Iam,
}

/// A served function URL. Dropping it stops the server and the function.
pub struct FunctionUrl {
    addr: SocketAddr,
    task: JoinHandle<()>,
}

impl FunctionUrl {
    /// Serves a function on a free port of 127.0.0.1. It is started by its first request, as on AWS.
    pub async fn serve(function: LambdaOptions, auth: UrlAuth) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let addr = listener.local_addr()?;
        let served = Arc::new(Served { options: function, process: OnceCell::new(), auth });
        let app = Router::new().fallback(receive).with_state(served);
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, app).await;
        });
        Ok(Self { addr, task })
    }

    /// Its address, which ends with a slash as AWS's do.
    pub fn url(&self) -> String {
        format!("http://{}/", self.addr)
    }
}

impl Drop for FunctionUrl {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Served {
    options: LambdaOptions,
    process: OnceCell<LambdaProcess>,
    auth: UrlAuth,
}

async fn receive(State(served): State<Arc<Served>>, request: Request) -> Response {
    if served.auth == UrlAuth::Iam {
        return json(403, &json!({"Message": "Forbidden"}));
    }
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_LIMIT).await else { return answer(413, "text/plain", "") };
    let mut headers = Map::new();
    // Cookies come by themselves, not among the headers.
    let cookies = parts.headers.get_all(COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
    let cookies: Vec<_> = cookies.flat_map(|cookies| cookies.split(';').map(str::trim)).collect();
    for (name, value) in parts.headers.iter().filter(|(name, _)| *name != COOKIE) {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        // What comes several times is joined.
        let joined = headers.get(name.as_str()).and_then(Value::as_str).map(|before| format!("{before},{value}"));
        headers.insert(name.as_str().to_owned(), json!(joined.unwrap_or(value)));
    }
    let path = percent_encoding::percent_decode_str(parts.uri.path()).decode_utf8_lossy();
    let mut event = json!({
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": parts.uri.query().unwrap_or_default(),
        "headers": headers, "isBase64Encoded": false,
        "requestContext": {
            "accountId": "anonymous", "apiId": "world", "domainName": "world.lambda-url", "stage": "$default",
            "http": {"method": parts.method.as_str(), "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1"},
        },
    });
    if !cookies.is_empty() {
        event["cookies"] = json!(cookies);
    }
    if !body.is_empty() {
        event["body"] = json!(String::from_utf8_lossy(&body));
    }
    let process = served.process.get_or_try_init(|| LambdaProcess::start(served.options.clone())).await;
    let Ok(process) = process else { return answer(502, "application/json", "Internal Server Error") };
    match process.invoke(event, DEADLINE).await {
        Ok(said) => answered(&said),
        Err(_) => answer(502, "application/json", "Internal Server Error"),
    }
}

/// What a function's answer becomes.
fn answered(said: &Value) -> Response {
    let status = said["statusCode"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or(502);
    let mut response = answer(status, "application/json", said["body"].as_str().unwrap_or_default().to_owned());
    let headers = said["headers"].as_object().into_iter().flatten();
    for (name, value) in headers.filter_map(|(name, value)| Some((name.parse::<HeaderName>().ok()?, value.as_str()?))) {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    for cookie in said["cookies"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if let Ok(cookie) = HeaderValue::from_str(cookie) {
            response.headers_mut().append(SET_COOKIE, cookie);
        }
    }
    response
}
