//! XML-RPC of oned, as far as onefed calls it.

use crate::addresses::{FIRST, SIZE};
use crate::attributes::{Attributes, cdata, parse, xml};
use crate::machine::NETWORK;
use crate::zone::{State as ZoneState, Zone};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::{Router, body::Bytes};
use onefed_opennebula::xml::{Element, escape};
use onefed_opennebula::xmlrpc::wire::{Value, value};
use std::sync::Arc;

/// The version that the sandbox answers like.
const VERSION: &str = "7.4.0";

/// The server of one zone.
pub(crate) fn router(zone: Arc<Zone>) -> Router {
    Router::new().fallback(serve).layer(DefaultBodyLimit::max(64 << 20)).with_state(zone)
}

/// How a call ends if not in a result.
enum Failure {
    /// `[false, text, code, object, -1]`.
    Refused { text: String, code: i32, object: i64 },
    /// `<fault>`.
    Fault(i32, String),
}

impl Failure {
    fn new(code: i32, object: i64, text: impl Into<String>) -> Self {
        Self::Refused { text: text.into(), code, object }
    }
}

/// A result is a string or an int.
enum Outcome {
    Text(String),
    Number(u32),
}

async fn serve(
    State(zone): State<Arc<Zone>>,
    method: Method,
    uri: Uri,
    _: HeaderMap,
    body: Bytes,
) -> Response {
    let close = (header::CONNECTION, "close");
    if method != Method::POST || uri.path() != "/RPC2" {
        return (StatusCode::NOT_FOUND, [close], "Not Found").into_response();
    }
    let body = respond(&zone, &body);
    ([close, (header::CONTENT_TYPE, "text/xml; charset=utf-8")], body).into_response()
}

fn respond(zone: &Arc<Zone>, body: &[u8]) -> String {
    let outcome = read(body).and_then(|(method, params)| call(zone, &method, &params));
    let inner = match outcome {
        Ok(result) => {
            let result = match result {
                Outcome::Text(text) => format!("<string>{}</string>", escape(&text)),
                Outcome::Number(number) => format!("<i4>{number}</i4>"),
            };
            array(&["<boolean>1</boolean>".to_owned(), result, "<i4>0</i4>".to_owned()])
        }
        Err(Failure::Refused { text, code, object }) => array(&[
            "<boolean>0</boolean>".to_owned(),
            format!("<string>{}</string>", escape(&text)),
            format!("<i4>{code}</i4>"),
            format!("<i4>{object}</i4>"),
            "<i8>-1</i8>".to_owned(),
        ]),
        Err(Failure::Fault(code, text)) => format!(
            "<fault>\r\n<value><struct>\r\n<member><name>faultCode</name>\r\n<value><i4>{code}</i4></value></member>\r\n\
             <member><name>faultString</name>\r\n<value><string>{}</string></value></member>\r\n</struct></value>\r\n</fault>\r\n",
            escape(&text)
        ),
    };
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<methodResponse>\r\n{inner}</methodResponse>\r\n")
}

fn array(values: &[String]) -> String {
    let values: String = values.iter().map(|v| format!("<value>{v}</value>\r\n")).collect();
    format!(
        "<params>\r\n<param><value><array><data>\r\n{values}</data></array></value></param>\r\n</params>\r\n"
    )
}

fn read(body: &[u8]) -> Result<(String, Vec<Value>), Failure> {
    let bad = |why: &str| Failure::Fault(-503, format!("Call XML not a proper XML-RPC call: {why}"));
    let root = Element::parse(body).map_err(|e| bad(&e.to_string()))?;
    let method =
        root.text_of("methodName").filter(|_| root.name == "methodCall").ok_or_else(|| bad("no method"))?;
    let params = root.child("params").into_iter().flat_map(|p| p.all("param"));
    let params = params.map(|p| {
        p.child("value")
            .ok_or_else(|| bad("no value"))
            .and_then(|v| value(v).map_err(|e| bad(&e.to_string())))
    });
    Ok((method.trim().to_owned(), params.collect::<Result<_, _>>()?))
}

/// Arguments, taken in order and checked for their type.
struct Arguments<'a> {
    rest: std::slice::Iter<'a, Value>,
}

impl Arguments<'_> {
    fn fault(kind: &str) -> Failure {
        Failure::Fault(-501, format!("Parameter that is supposed to be {kind} is not"))
    }

    fn text(&mut self) -> Result<&str, Failure> {
        match self.rest.next() {
            Some(Value::Text(text)) => Ok(text),
            _ => Err(Self::fault("string")),
        }
    }

    fn int(&mut self) -> Result<i64, Failure> {
        match self.rest.next() {
            Some(Value::Int(number)) => Ok(*number),
            _ => Err(Self::fault("integer")),
        }
    }

    /// An integer that may be left out.
    fn int_or(&mut self, default: i64) -> Result<i64, Failure> {
        if self.rest.len() == 0 { Ok(default) } else { self.int() }
    }

    /// A boolean that may be left out.
    fn flag(&mut self) -> Result<bool, Failure> {
        match self.rest.next() {
            Some(Value::Bool(flag)) => Ok(*flag),
            None => Ok(false),
            _ => Err(Self::fault("boolean")),
        }
    }
}

fn call(zone: &Arc<Zone>, method: &str, params: &[Value]) -> Result<Outcome, Failure> {
    const KNOWN: [&str; 8] = [
        "one.system.version",
        "one.zonepool.info",
        "one.templatepool.info",
        "one.vnpool.info",
        "one.vm.info",
        "one.vm.update",
        "one.vm.action",
        "one.vm.updateconf",
    ];
    if !KNOWN.contains(&method) {
        return Err(Failure::Fault(-506, format!("Method '{method}' not defined")));
    }
    let mut arguments = Arguments { rest: params.iter() };
    if !zone.knows(arguments.text()?) {
        return Err(Failure::new(
            256,
            -1,
            format!("[{method}] User couldn't be authenticated, aborting call."),
        ));
    }
    let mut state = zone.lock();
    match method {
        "one.system.version" => Ok(Outcome::Text(VERSION.to_owned())),
        "one.zonepool.info" => Ok(Outcome::Text(zone.pool_xml.clone())),
        "one.templatepool.info" => {
            range(&mut arguments)?;
            Ok(Outcome::Text(templates(&state)))
        }
        "one.vnpool.info" => {
            range(&mut arguments)?;
            Ok(Outcome::Text(networks(zone, &state)))
        }
        "one.vm.info" => {
            let id = vm(&state, method, arguments.int()?)?;
            arguments.flag()?;
            Ok(Outcome::Text(state.vms.get(&id).map(|vm| vm.to_xml(zone.plan)).unwrap_or_default()))
        }
        "one.vm.update" => {
            let id = vm(&state, method, arguments.int()?)?;
            let text = arguments.text()?.to_owned();
            let append = arguments.int()? != 0;
            let parsed = parse(&text).map_err(|why| {
                Failure::new(
                    8192,
                    i64::from(id),
                    format!("[{method}] Cannot update virtual machine. Parse error: {why}"),
                )
            })?;
            if let Some(vm) = state.vms.get_mut(&id) {
                vm.update(&text, parsed, append);
            }
            zone.changed.notify_one();
            Ok(Outcome::Number(id))
        }
        "one.vm.updateconf" => {
            let id = vm(&state, method, arguments.int()?)?;
            let text = arguments.text()?.to_owned();
            // 0 replaces, 1 appends.
            let append = match arguments.int_or(0)? {
                0 => false,
                1 => true,
                _ => return Err(Failure::new(4096, -1, format!("[{method}] Wrong update type"))),
            };
            let refused = |why: String| Failure::new(8192, -1, format!("[{method}] {why}"));
            let parsed = parse(&text).map_err(|why| refused(format!("Parse error: {why}")))?;
            if let Some(vm) = state.vms.get_mut(&id) {
                vm.reconfigure(&parsed, append, zone.plan).map_err(refused)?;
            }
            Ok(Outcome::Number(id))
        }
        _ => {
            let action = arguments.text()?.to_owned();
            let id = vm(&state, method, arguments.int()?)?;
            if let Some(vm) = state.vms.get_mut(&id) {
                vm.act(&action).map_err(|why| Failure::new(2048, -1, format!("[{method}] {why}")))?;
            }
            zone.changed.notify_one();
            Ok(Outcome::Number(id))
        }
    }
}

/// Filter, first and last: everything is everybody's here.
fn range(arguments: &mut Arguments<'_>) -> Result<(), Failure> {
    for _ in 0..3 {
        arguments.int()?;
    }
    Ok(())
}

fn vm(state: &ZoneState, method: &str, id: i64) -> Result<u32, Failure> {
    let known = u32::try_from(id).ok().filter(|id| state.vms.contains_key(id));
    known.ok_or_else(|| Failure::new(1024, id, format!("[{method}] Error getting virtual machine [{id}].")))
}

const OWNER: &str = "<UID>0</UID><GID>0</GID><UNAME>oneadmin</UNAME><GNAME>oneadmin</GNAME>";

fn templates(state: &ZoneState) -> String {
    let one = |(id, template): (&u32, &crate::zone::VmTemplate)| {
        format!(
            "<VMTEMPLATE><ID>{id}</ID>{OWNER}<NAME>{}</NAME><REGTIME>0</REGTIME><TEMPLATE>{}</TEMPLATE></VMTEMPLATE>",
            cdata(&template.name),
            xml(&template.content)
        )
    };
    format!("<VMTEMPLATE_POOL>{}</VMTEMPLATE_POOL>", state.templates.iter().map(one).collect::<String>())
}

fn networks(zone: &Zone, state: &ZoneState) -> String {
    let text = |v: String| serde_json::Value::String(v);
    let template: Attributes = [
        ("BRIDGE", "lo".to_owned()),
        ("NETWORK_ADDRESS", zone.plan.network().to_string()),
        ("NETWORK_MASK", "255.255.255.0".to_owned()),
        ("VN_MAD", "dummy".to_owned()),
    ]
    .into_iter()
    .map(|(k, v)| (k.to_owned(), text(v)))
    .collect();
    let (name, id) = NETWORK;
    let used = state.leases.len();
    let first = zone.plan.outside(FIRST);
    format!(
        "<VNET_POOL><VNET><ID>{id}</ID>{OWNER}<NAME>{name}</NAME><BRIDGE><![CDATA[lo]]></BRIDGE><STATE>1</STATE>\
         <USED_LEASES>{used}</USED_LEASES><VROUTERS/><TEMPLATE>{}</TEMPLATE><AR_POOL><AR><AR_ID>0</AR_ID>\
         <IP><![CDATA[{first}]]></IP><MAC><![CDATA[{}]]></MAC><SIZE><![CDATA[{SIZE}]]></SIZE><TYPE><![CDATA[IP4]]></TYPE>\
         <USED_LEASES>{used}</USED_LEASES></AR></AR_POOL></VNET></VNET_POOL>",
        xml(&template),
        zone.plan.mac(FIRST)
    )
}

/// ZONE_POOL of a sandbox: names with the URLs of XML-RPC and OneFlow.
pub(crate) fn zone_pool<'a>(zones: impl Iterator<Item = (&'a str, String, String)>) -> String {
    let one = |(at, (name, rpc, flow)): (usize, (&str, String, String))| {
        // As in a real federation: the master is 0, the others count from 100.
        let id = if at == 0 { 0 } else { 99 + at };
        format!(
            "<ZONE><ID>{id}</ID><NAME>{name}</NAME><STATE>0</STATE><TEMPLATE><ENDPOINT><![CDATA[{rpc}]]></ENDPOINT>\
             <ONEFLOW_ENDPOINT><![CDATA[{flow}]]></ONEFLOW_ENDPOINT></TEMPLATE><SERVER_POOL/></ZONE>"
        )
    };
    format!("<ZONE_POOL>{}</ZONE_POOL>", zones.enumerate().map(one).collect::<String>())
}
