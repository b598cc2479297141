//! What a misbehaving OneGate says: the texts of the original, or of what stands in front of it.

use super::{Cut, Misbehaviour};
use crate::zone::Zone;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

const PROXY: &str = "<html>\r\n<head><title>503 Service Temporarily Unavailable</title></head>\r\n<body>\r\n\
    <center><h1>503 Service Temporarily Unavailable</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n";
const PORTAL: &str = "<!DOCTYPE html><html><body>Welcome to the guest network. Please log in.</body></html>";

/// The answer to a request that a fault is set for; `None` when OneGate is to behave. Never returns for one that is left
/// hanging: the task ends with its connection.
pub(crate) async fn misbehaves(
    zone: &Zone,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    cut: &Cut,
) -> Option<Response> {
    // As the caller says: nobody's token is looked at here.
    let vm = headers.get("x-onegate-vmid").and_then(|h| h.to_str().ok()?.parse().ok());
    let fault = match zone.strike(vm, method.as_str()) {
        Ok(fault) => fault?,
        Err(why) => {
            tracing::error!(zone = %zone.name, %why, "OneGate's faults cannot be read");
            return Some(plain(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("OneGate's faults cannot be read: {why}"),
            ));
        }
    };
    tracing::info!(zone = %zone.name, vm, %method, path = uri.path(), ?fault, "OneGate misbehaves as it was told");
    let id = vm.unwrap_or_default();
    let service = uri.path().trim_start_matches('/').starts_with("service");
    Some(match fault {
        Misbehaviour::Unauthorized => plain(StatusCode::UNAUTHORIZED, "Not authorized"),
        Misbehaviour::Forbidden => {
            let action = if *method == Method::GET { "show" } else { "update" };
            let resource = if service { "service" } else { "vm" };
            let text = format!("Action ({action}) on resource ({resource}) not supported");
            plain(StatusCode::FORBIDDEN, text)
        }
        Misbehaviour::NotFound if service => {
            let service = zone.service_of(id).unwrap_or_default();
            plain(StatusCode::NOT_FOUND, format!("Service {service} not found"))
        }
        Misbehaviour::NotFound => {
            plain(StatusCode::NOT_FOUND, format!("[one.vm.info] Error getting virtual machine [{id}]."))
        }
        Misbehaviour::Broken => plain(StatusCode::INTERNAL_SERVER_ERROR, "Internal server error"),
        Misbehaviour::Unavailable => page(StatusCode::SERVICE_UNAVAILABLE, PROXY),
        Misbehaviour::Garbage => page(StatusCode::OK, PORTAL),
        Misbehaviour::Hang => std::future::pending().await,
        Misbehaviour::Close => {
            cut.cut();
            // Never arrives.
            StatusCode::OK.into_response()
        }
    })
}

fn plain(status: StatusCode, text: impl Into<String>) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json;charset=utf-8")], text.into()).into_response()
}

fn page(status: StatusCode, text: &'static str) -> Response {
    (status, [(header::CONTENT_TYPE, "text/html")], text).into_response()
}
