//! The verbs on resources and subresources.

mod create;
mod delete;
mod eviction;
mod options;
mod patch;
mod pods;
mod read;
mod reviews;
mod scale;
mod update;

use std::{cell::RefCell, sync::Arc};

use bytes::Bytes;
use http::{Method, Response};
use serde_json::Value;

pub(crate) use self::{
    delete::{DeleteOptions, Propagation, delete_entry},
    update::{Manager, Part, finalize, settle},
};
use super::{
    ApiBody, ApiServer,
    encode::Encoder,
    protobuf, reply,
    resources::{Resource, Version},
    routes::{Form, Query, Target},
    selectors::{FieldSelector, LabelSelector},
    state::State,
    status::ApiError,
    store::{Entry, Filter},
    value,
};

/// A request for a resource.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) resource: Arc<Resource>,
    pub(crate) version: Version,
    pub(crate) target: Target,
    pub(crate) query: Query,
    pub(crate) form: Form,
    pub(crate) content_type: String,
    pub(crate) body: Bytes,
    pub(crate) manager: String,
    pub(crate) user: String,
    /// It came by one of the deprecated watch paths, which name single objects too.
    pub(crate) watch_path: bool,
    /// What the client is warned of.
    pub(crate) warnings: RefCell<Vec<String>>,
}

impl Call {
    pub(crate) fn new(resource: Arc<Resource>, version: Version, target: Target) -> Self {
        Self {
            resource,
            version,
            target,
            query: Query::default(),
            form: Form::Full,
            content_type: String::new(),
            body: Bytes::new(),
            manager: String::new(),
            user: String::new(),
            watch_path: false,
            warnings: RefCell::default(),
        }
    }

    /// The name in the path.
    fn name(&self) -> Result<&str, ApiError> {
        self.target
            .name
            .as_deref()
            .ok_or_else(ApiError::method_not_allowed)
    }

    fn key(&self, name: &str) -> String {
        key(&self.resource, self.target.namespace.as_deref(), name)
    }

    /// The object that the path names.
    fn existing(&self, state: &State) -> Result<Arc<Entry>, ApiError> {
        let name = self.name()?;
        let found = state.store(&self.resource)?.get(&self.key(name)).cloned();
        found.ok_or_else(|| ApiError::not_found(self.resource.subject(), name))
    }

    fn dry_run(&self) -> bool {
        self.query.get("dryRun").is_some()
    }

    /// Warns the client.
    fn warn(&self, warning: String) {
        self.warnings.borrow_mut().push(warning);
    }

    fn subresource(&self) -> &str {
        self.target.subresource.as_deref().unwrap_or_default()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Result<Value, ApiError> {
        let media = self.content_type.split(';').next().unwrap_or_default().trim();
        if !media.is_empty()
            && !["json", "yaml", "protobuf"]
                .iter()
                .any(|known| media.contains(known))
        {
            let supported = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
            return Err(ApiError::unsupported_media_type(supported));
        }
        if media.contains("yaml") {
            return yaml(&self.body);
        }
        parse(&self.body).map_err(|error| match self.resource.extension {
            Some(_) => error,
            None => ApiError::bad_request(format!(
                "couldn't get version/kind; json parse error: {}",
                error.message
            )),
        })
    }

    pub(crate) fn api_version(&self) -> String {
        self.resource.api_version(&self.version.name)
    }

    fn encoder(&self) -> Encoder {
        Encoder::new(self.resource.clone(), &self.version.name, self.form, &self.query)
    }

    /// A response that carries one object.
    fn reply(&self, state: &State, code: u16, entry: &Entry) -> Response<ApiBody> {
        reply::json_bytes(code, self.encoder().single(entry, state.now))
    }
}

/// A body as JSON; the refusal's message is what was wrong with it, in Go's words where they are known.
fn parse(body: &[u8]) -> Result<Value, ApiError> {
    if protobuf::is_protobuf(body) {
        return protobuf::decode(body);
    }
    serde_json::from_slice(body).map_err(|error| {
        ApiError::bad_request(if error.is_eof() {
            "unexpected end of JSON input".to_owned()
        } else {
            error.to_string()
        })
    })
}

/// A body that is YAML, of which JSON is a part.
pub(crate) fn yaml(body: &[u8]) -> Result<Value, ApiError> {
    if let Ok(object) = serde_json::from_slice(body) {
        return Ok(object);
    }
    let text = std::str::from_utf8(body).map_err(|error| ApiError::bad_request(error.to_string()))?;
    serde_saphyr::from_str(text)
        .map_err(|error| ApiError::bad_request(format!("error decoding YAML: {error}")))
}

/// The key of an object in its store.
pub(crate) fn key(resource: &Resource, namespace: Option<&str>, name: &str) -> String {
    match namespace {
        Some(namespace) if resource.namespaced => format!("{namespace}/{name}"),
        _ => name.to_owned(),
    }
}

/// The `resourceVersion` parameter.
///
/// # Errors
/// 400 if it is no number.
pub(crate) fn revision(query: &Query) -> Result<Option<u64>, ApiError> {
    let parse = |text: &str| {
        text.parse().map_err(|_| {
            let error = super::field::FieldError::invalid(
                "resourceVersion",
                &text.into(),
                format!("strconv.ParseUint: parsing \"{text}\": invalid syntax"),
            );
            ApiError::bad_request(error.to_string())
        })
    };
    query.get("resourceVersion").map(parse).transpose()
}

/// The selection that a list, watch or collection deletion asks for.
fn filter(call: &Call) -> Result<Filter, ApiError> {
    let labels = LabelSelector::parse(call.query.get("labelSelector").unwrap_or_default())
        .map_err(ApiError::bad_request)?;
    let fields = call.query.get("fieldSelector").unwrap_or_default();
    let fields =
        FieldSelector::parse(fields, &call.resource, &call.version.name).map_err(ApiError::bad_request)?;
    Ok(Filter {
        namespace: call.target.namespace.clone(),
        name: call.target.name.clone(),
        labels,
        fields,
    })
}

/// Serves a request for a resource.
///
/// # Errors
/// The refusal.
pub(crate) fn serve(
    server: &ApiServer,
    state: &mut State,
    method: &Method,
    call: &Call,
) -> Result<Response<ApiBody>, ApiError> {
    let named = call.target.name.is_some();
    let subresource = call.target.subresource.as_deref();
    options::check(method, call)?;
    if let Some(warning) = call.resource.deprecation(&call.version.name) {
        call.warn(warning);
    }
    match (method.as_str(), named, subresource) {
        // A named path is read, whatever its query says.
        ("GET", _, None) if call.query.flag("watch") && (!named || call.watch_path) => {
            options::check_watch(call)?;
            let stream = super::watch::start(server, state, call, filter(call)?)?;
            Ok(reply::stream(stream))
        }
        ("GET", false, None) => read::list(state, call),
        ("GET", true, None) => read::get(state, call),
        ("POST", false, None) if call.resource.store.is_none() => reviews::answer(state, call),
        ("POST", false, None) => create::post(state, call),
        ("PUT", true, None) => update::put(state, call, Part::Main),
        ("PATCH", true, None) => patch::patch(state, call, Part::Main),
        ("DELETE", true, None) => delete::delete(state, call),
        ("DELETE", false, None) if !call.resource.is("", "namespaces") => {
            delete::delete_collection(state, call)
        }
        (method, true, Some(name)) => subresource_call(state, call, method, name),
        _ => Err(ApiError::method_not_allowed()),
    }
}

fn subresource_call(
    state: &mut State,
    call: &Call,
    method: &str,
    name: &str,
) -> Result<Response<ApiBody>, ApiError> {
    if !call.resource.subresources(&call.version).contains(&name) {
        return Err(match call.resource.extension {
            Some(_) => ApiError::not_found(call.resource.subject(), call.name()?),
            None => ApiError::unknown_resource(),
        });
    }
    match (name, method) {
        ("status" | "ephemeralcontainers" | "resize", "GET") => read::get(state, call),
        ("status", "PUT") => update::put(state, call, Part::Status),
        ("status", "PATCH") => patch::patch(state, call, Part::Status),
        ("resize", "PUT") => update::put(state, call, Part::Main),
        ("resize", "PATCH") => patch::patch(state, call, Part::Main),
        ("scale", "GET") => scale::get(state, call),
        ("scale", "PUT") => scale::put(state, call),
        ("scale", "PATCH") => scale::patch(state, call),
        ("finalize", "PUT") => update::put(state, call, Part::Finalize),
        ("eviction", "POST") => eviction::post(state, call),
        ("binding", "POST") => pods::bind(state, call),
        ("log", "GET") => pods::log(state, call),
        ("token", "POST") => reviews::token(state, call),
        _ => Err(ApiError::method_not_allowed()),
    }
}

/// Creates or applies an object without a request.
///
/// # Errors
/// The refusal; 404 if nothing serves the object's kind.
pub(crate) fn apply_manifest(state: &mut State, object: Value) -> Result<Arc<Value>, ApiError> {
    let api_version = value::text(&object, &["apiVersion"]).to_owned();
    let kind = value::text(&object, &["kind"]).to_owned();
    let (group, version) = api_version.rsplit_once('/').unwrap_or(("", &api_version));
    let resource = state
        .registry
        .by_kind(group, &kind)
        .filter(|found| found.version(version).is_some());
    let Some(resource) = resource.cloned() else {
        let message = format!("no matches for kind \"{kind}\" in version \"{api_version}\"");
        return Err(ApiError::new(404, "NotFound", message));
    };
    let namespace = value::namespace(&object);
    let namespace = resource.namespaced.then(|| {
        if namespace.is_empty() {
            "default".to_owned()
        } else {
            namespace.to_owned()
        }
    });
    let name = value::name(&object);
    let target = Target {
        group: group.to_owned(),
        version: version.to_owned(),
        namespace,
        resource: resource.plural.clone(),
        name: (!name.is_empty()).then(|| name.to_owned()),
        subresource: None,
    };
    let Some(version) = resource.version(version).cloned() else {
        return Err(ApiError::method_not_allowed());
    };
    let mut call = Call::new(resource, version, target);
    call.manager = "kubectl".to_owned();
    let known = call.target.name.is_some() && call.resource.store.is_some() && call.existing(state).is_ok();
    // A new node registers with its status; other kinds get theirs apart.
    let apart = call.version.status && (known || !call.resource.is("", "nodes"));
    let mut object = object;
    let status = if apart {
        value::remove(&mut object, &["status"])
    } else {
        None
    };
    let entry = if known {
        patch::apply(state, &call, Part::Main, object, true)?.entry
    } else {
        create::create(state, &call, object)?
    };
    match status {
        Some(status) => with_status(state, &call, &entry, status),
        None => Ok(entry.value.clone()),
    }
}

/// Writes the status that a manifest brings.
fn with_status(
    state: &mut State,
    call: &Call,
    entry: &Arc<Entry>,
    status: Value,
) -> Result<Arc<Value>, ApiError> {
    let mut object = Value::clone(&entry.value);
    value::set(&mut object, &["status"], status);
    let written = update::write(state, call, entry, object, Part::Status, &Manager::update(call))?;
    Ok(written.entry.value.clone())
}
