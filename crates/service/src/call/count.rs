//! Counting what a request would take in. It costs nothing, and holds nothing.

use std::sync::Arc;

use super::{CallFailure, route};
use crate::{app::App, backend::Asked, model::ModelChoice};

/// The tokens that the input of this request is, on the model that would be asked first.
pub(crate) async fn count(app: &App, model: &ModelChoice, asked: Arc<Asked>) -> Result<u64, CallFailure> {
    let Some((backend, offer)) = route::offered(app, model).next() else {
        return Err(route::unknown_model(app, model));
    };
    let counted = backend.count(&offer.model_id, asked).await;
    counted.map_err(|failure| CallFailure::from_backend(backend.name(), failure.reason))
}
