//! Results of the Rust client as objects of the Python façade: its dataclasses, called with plain arguments.

use claude_code_api_client::{
    BatchEvent, BatchJob, BatchJobList, CompleteResponse, Error, ErrorKind, Health, Route, Usage, UsageReport,
};
use pyo3::{
    exceptions::PyRuntimeError,
    prelude::*,
    sync::PyOnceLock,
    types::{PyDict, PyList, PyString, PyType},
};

static RESPONSE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static USAGE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static CACHE: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static BATCH_RESULT: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static BATCH_JOB: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static USAGE_STATS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static FROM_NATIVE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

const TYPES: &str = "claude_code_api._types";
const REPORTS: &str = "claude_code_api._reports";

pub(crate) fn response<'py>(py: Python<'py>, response: &CompleteResponse) -> PyResult<Bound<'py, PyAny>> {
    let cache = CACHE.import(py, TYPES, "Cache")?;
    let cache = cache.call1((response.cache.creation_input_tokens, response.cache.read_input_tokens))?;
    let route = response.route.as_ref().map(|route| self::route(py, route));
    // In two halves, as tuples end at twelve.
    let spec = (
        &response.id,
        &response.model,
        &response.content,
        usage(py, response.usage)?,
        response.cost,
        &response.project_id,
        &response.model_id,
        word(py, &response.stop_reason)?,
        &response.backend,
        response.cost_nanos,
        cache,
        route.transpose()?,
    );
    let more = PyDict::new(py);
    if response.replayed {
        more.set_item("replayed", true)?;
    }
    if let Some(tokens) = response.clamped_max_tokens {
        more.set_item("clamped_max_tokens", tokens)?;
    }
    RESPONSE.import(py, TYPES, "Response")?.call(spec, Some(&more))
}

/// As it stands in the response.
fn route<'py>(py: Python<'py>, route: &Route) -> PyResult<Bound<'py, PyAny>> {
    let json = serde_json::to_string(route).map_err(|error| no_json(&error))?;
    py.import("json")?.call_method1("loads", (json,))
}

pub(crate) fn usage(py: Python<'_>, usage: Usage) -> PyResult<Bound<'_, PyAny>> {
    USAGE.import(py, TYPES, "Usage")?.call1((usage.input_tokens, usage.output_tokens, usage.total_tokens))
}

pub(crate) fn batch_result<'py>(py: Python<'py>, event: &BatchEvent) -> PyResult<Bound<'py, PyAny>> {
    let BatchEvent { index, result, .. } = event;
    let spec = (
        result.id.as_deref(),
        &result.prompt,
        word(py, &result.status)?,
        result.content.as_deref(),
        result.usage.map(|tokens| usage(py, tokens)).transpose()?,
        result.cost,
        result.error.as_deref(),
        result.error_code.map(claude_code_api_client::ErrorCode::as_str),
        result.cost_nanos,
        result.call_id.as_deref(),
        result.model.as_deref(),
        result.model_id.as_deref(),
    );
    let more = PyDict::new(py);
    more.set_item("index", index)?;
    if let Some(route) = &result.route {
        more.set_item("route", self::route(py, route)?)?;
    }
    BATCH_RESULT.import(py, REPORTS, "BatchResult")?.call(spec, Some(&more))
}

pub(crate) fn batch_job<'py>(py: Python<'py>, job: &BatchJob) -> PyResult<Bound<'py, PyAny>> {
    let fields = (
        &job.id,
        &job.project_id,
        word(py, &job.status)?,
        job.total,
        job.completed,
        job.failed,
        job.total_cost,
        job.total_tokens,
        job.total_cost_nanos,
        &job.created_at,
        job.cancelled_at.as_deref(),
        job.ended_at.as_deref(),
    );
    let more = PyDict::new(py);
    more.set_item("expires_at", job.expires_at.as_deref())?;
    more.set_item("economy", job.economy)?;
    BATCH_JOB.import(py, REPORTS, "BatchJob")?.call(fields, Some(&more))
}

pub(crate) fn batch_jobs<'py>(py: Python<'py>, page: &BatchJobList) -> PyResult<Bound<'py, PyAny>> {
    let jobs = page.batches.iter().map(|job| batch_job(py, job)).collect::<PyResult<Vec<_>>>()?;
    Ok(PyList::new(py, jobs)?.into_any())
}

pub(crate) fn usage_stats<'py>(py: Python<'py>, report: &UsageReport) -> PyResult<Bound<'py, PyAny>> {
    let by_model = PyDict::new(py);
    for (model, usage) in &report.by_model {
        let one = PyDict::new(py);
        one.set_item("tokens", usage.tokens)?;
        one.set_item("cost", usage.cost)?;
        one.set_item("input_tokens", usage.input_tokens)?;
        one.set_item("output_tokens", usage.output_tokens)?;
        one.set_item("requests", usage.requests)?;
        one.set_item("cost_nanos", usage.cost_nanos)?;
        by_model.set_item(model, one)?;
    }
    let spec = (
        &report.project_id,
        word(py, &report.period)?,
        report.total_tokens,
        report.total_cost,
        by_model,
        report.limit,
        report.remaining,
        report.total_cost_nanos,
        report.cost_limit,
        report.cost_remaining,
        report.held_tokens,
        report.notional_cost,
    );
    let more = PyDict::new(py);
    more.set_item("period_start", &report.period_start)?;
    more.set_item("period_end", &report.period_end)?;
    USAGE_STATS.import(py, REPORTS, "UsageStats")?.call(spec, Some(&more))
}

pub(crate) fn health<'py>(py: Python<'py>, health: &Health) -> PyResult<Bound<'py, PyAny>> {
    let services = PyDict::new(py);
    for (name, service) in &health.services {
        let one = PyDict::new(py);
        one.set_item("status", word(py, &service.status)?)?;
        if let Some(detail) = &service.detail {
            one.set_item("detail", detail)?;
        }
        services.set_item(name, one)?;
    }
    let dict = PyDict::new(py);
    dict.set_item("status", word(py, &health.status)?)?;
    dict.set_item("version", &health.version)?;
    dict.set_item("services", services)?;
    Ok(dict.into_any())
}

/// The exception for an error. Which class it is, the façade knows.
pub(crate) fn exception(py: Python<'_>, error: &Error) -> PyErr {
    let made = FROM_NATIVE.import(py, "claude_code_api._errors", "from_native").and_then(|from_native| {
        let body = error.body().and_then(|body| serde_json::to_string(body).ok());
        let kind = match error.kind() {
            ErrorKind::Configuration => "configuration",
            ErrorKind::Connection => "connection",
            ErrorKind::Timeout => "timeout",
            ErrorKind::Api(code) => code.as_str(),
            _ => "unexpected",
        };
        from_native.call1((
            kind,
            error.to_string(),
            error.status(),
            error.request_id(),
            error.retry_after().map(|wait| wait.as_secs_f64()),
            error.is_retryable(),
            error.attempts(),
            body,
        ))
    });
    match made {
        Ok(exception) => PyErr::from_value(exception),
        Err(error) => error,
    }
}

/// An enum as it stands in JSON.
pub(crate) fn word<'py>(py: Python<'py>, value: &impl serde::Serialize) -> PyResult<Bound<'py, PyString>> {
    let value = serde_json::to_value(value).map_err(|error| no_json(&error))?;
    Ok(PyString::new(py, value.as_str().unwrap_or_default()))
}

fn no_json(error: &serde_json::Error) -> PyErr {
    PyRuntimeError::new_err(error.to_string())
}
