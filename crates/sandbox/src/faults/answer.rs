//! What a misbehaving service says: the texts of the original, or of what stands in front of it.

use super::{Cut, Fault, Misbehaviour, Service};
use crate::zone::Zone;
use axum::body::{Body, to_bytes};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use std::time::Duration;

const PORTAL: &str = "<!DOCTYPE html><html><body>Welcome to the guest network. Please log in.</body></html>";

/// What is asked for, as far as faults tell it apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    /// `None` is a VM on its way up.
    pub(crate) service: Option<Service>,
    /// As the caller says: nobody's token is looked at here.
    pub(crate) vm: Option<u32>,
    pub(crate) role: Option<&'a str>,
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
}

impl Asked<'_> {
    /// Everything of a fault that does not change with time.
    pub(super) fn meets(&self, fault: &Fault) -> bool {
        let service = match self.service {
            Some(service) => {
                !fault.answer.is_of_vms() && (fault.service == service || fault.service == Service::All)
            }
            None => fault.answer.is_of_vms(),
        };
        service
            && fault.vm.is_none_or(|id| self.vm == Some(id))
            && fault.role.as_deref().is_none_or(|role| self.role == Some(role))
            && fault.method.as_ref().is_none_or(|m| m.eq_ignore_ascii_case(self.method))
            && fault.path.as_ref().is_none_or(|path| self.path.starts_with(path))
    }
}

/// What becomes of a request.
pub(crate) enum Verdict {
    /// It is answered as it should be.
    Behave,
    /// This is the answer, and nothing is done.
    Instead(Response),
    /// It is carried out, and then the answer is spoiled.
    Spoil(Spoiled),
}

pub(crate) enum Spoiled {
    Truncated,
    Lost,
}

impl Verdict {
    /// Never returns for a request that is left hanging: the task ends with its connection.
    pub(crate) async fn on(zone: &Zone, asked: &Asked<'_>, cut: &Cut) -> Self {
        let (fault, delay) = match zone.strike(asked) {
            Ok(Some(struck)) => struck,
            Ok(None) => return Self::Behave,
            Err(why) => {
                tracing::error!(zone = %zone.name, %why, "the faults cannot be read");
                let text = format!("The sandbox's faults cannot be read: {why}");
                return Self::Instead((StatusCode::INTERNAL_SERVER_ERROR, text).into_response());
            }
        };
        tracing::info!(zone = %zone.name, ?asked, ?fault, ?delay, "misbehaves as it was told");
        zone.delay(delay).await;
        match fault {
            Misbehaviour::Slow | Misbehaviour::PrologFailure | Misbehaviour::BootFailure => Self::Behave,
            Misbehaviour::Truncated => Self::Spoil(Spoiled::Truncated),
            Misbehaviour::Lost => Self::Spoil(Spoiled::Lost),
            Misbehaviour::Hang => std::future::pending().await,
            Misbehaviour::Close => {
                cut.cut();
                // Never arrives.
                Self::Instead(StatusCode::OK.into_response())
            }
            Misbehaviour::Unavailable => Self::Instead(proxy(StatusCode::SERVICE_UNAVAILABLE)),
            Misbehaviour::Garbage => Self::Instead(page(StatusCode::OK, PORTAL.to_owned())),
            _ => Self::Instead(match asked.service {
                Some(Service::OneFlow) => oneflow(fault, asked),
                Some(Service::XmlRpc) => xmlrpc(fault, asked),
                _ => onegate(zone, fault, asked),
            }),
        }
    }
}

impl Spoiled {
    /// What arrives of an answer.
    pub(crate) async fn spoil(self, answer: Response, cut: &Cut) -> Response {
        match self {
            Self::Lost => {
                cut.cut();
                answer
            }
            Self::Truncated => {
                let (mut parts, body) = answer.into_parts();
                let whole = to_bytes(body, usize::MAX).await.unwrap_or_default();
                parts.headers.remove(header::CONTENT_LENGTH);
                Response::from_parts(parts, Body::from(whole.slice(..whole.len() / 2)))
            }
        }
    }
}

impl Zone {
    /// Whether a VM of that role comes up this time.
    pub(crate) fn boot_fault(&self, vm: u32, role: Option<&str>) -> Option<Misbehaviour> {
        let struck = self.strike(&Asked { service: None, vm: Some(vm), role, method: "", path: "" });
        struck.ok().flatten().map(|(fault, _): (_, Duration)| fault)
    }
}

fn onegate(zone: &Zone, fault: Misbehaviour, asked: &Asked<'_>) -> Response {
    let id = asked.vm.unwrap_or_default();
    let service = asked.path.trim_start_matches('/').starts_with("service");
    let (status, text) = match fault {
        Misbehaviour::Unauthorized => (401, "Not authorized".to_owned()),
        Misbehaviour::Forbidden => {
            let action = if asked.method == "GET" { "show" } else { "update" };
            let resource = if service { "service" } else { "vm" };
            (403, format!("Action ({action}) on resource ({resource}) not supported"))
        }
        Misbehaviour::NotFound if service => {
            (404, format!("Service {} not found", zone.service_of(id).unwrap_or_default()))
        }
        Misbehaviour::NotFound => (404, format!("[one.vm.info] Error getting virtual machine [{id}].")),
        _ => (500, "Internal server error".to_owned()),
    };
    typed(status, "application/json;charset=utf-8", text)
}

fn oneflow(fault: Misbehaviour, asked: &Asked<'_>) -> Response {
    let document = asked.path.split('/').find(|part| part.parse::<u32>().is_ok()).unwrap_or("-1");
    let (status, text) = match fault {
        Misbehaviour::Unauthorized => (401, "Invalid credentials".to_owned()),
        Misbehaviour::Forbidden => {
            (403, "[one.document.info] User couldn't be authenticated, aborting call.".to_owned())
        }
        Misbehaviour::NotFound => (404, format!("[one.document.info] Error getting document [{document}].")),
        _ => {
            let reason = "Failed to open TCP connection to oned (Connection refused - connect(2))";
            (500, json!({"message": "Internal server error", "reason": reason}).to_string())
        }
    };
    typed(status, "text/html;charset=utf-8", text)
}

fn xmlrpc(fault: Misbehaviour, asked: &Asked<'_>) -> Response {
    let id = asked.vm.map_or(-1, i64::from);
    let (code, text) = match fault {
        Misbehaviour::Unauthorized => (256, "User couldn't be authenticated, aborting call.".to_owned()),
        Misbehaviour::Forbidden => (512, format!("User [0] : Not authorized to perform USE VM [{id}].")),
        Misbehaviour::NotFound => (1024, format!("Error getting virtual machine [{id}].")),
        _ => return proxy(StatusCode::INTERNAL_SERVER_ERROR),
    };
    typed(200, "text/xml; charset=utf-8", crate::xmlrpc::refusal(asked.method, code, &text))
}

/// The page of a proxy in front of the service.
fn proxy(status: StatusCode) -> Response {
    let word = match status {
        StatusCode::SERVICE_UNAVAILABLE => "503 Service Temporarily Unavailable",
        _ => "500 Internal Server Error",
    };
    page(
        status,
        format!(
            "<html>\r\n<head><title>{word}</title></head>\r\n<body>\r\n<center><h1>{word}</h1></center>\r\n\
             <hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
        ),
    )
}

fn page(status: StatusCode, text: String) -> Response {
    typed(status.as_u16(), "text/html", text)
}

fn typed(status: u16, kind: &'static str, text: String) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, kind)], text).into_response()
}
