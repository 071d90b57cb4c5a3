//! The launches of due runs: templates are loaded, then everything else is decided purely.

use super::{Detail, Prefect1};
use crate::ecs_model::UnknownMembers;
use crate::launch::delivery::{Delivered, Delivery, deliver};
use crate::launch::request_check::{definition_problems, refusal, run_task_problems};
use crate::model::RunRefusal;
use crate::orchestrator::{DueRun, RenderError, Rendered};
use crate::prefect1::LoadTemplate;
use crate::prefect1::render::{self, AgentSettings, TemplatePlace};
use futures_util::future::join_all;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Loaded templates by path. Runs of one flow share theirs, so each is loaded once per batch.
type Templates = BTreeMap<String, Result<Map<String, Value>, RenderError>>;

/// What rendering needs to know of an agent.
pub(super) struct Renderer<'a> {
    pub(super) settings: &'a AgentSettings,
    pub(super) delivery: &'a Arc<Delivery>,
    pub(super) unknown_members: UnknownMembers,
    pub(super) load_template: &'a LoadTemplate,
}

impl Prefect1 {
    pub(super) async fn render(&self, runs: &[&DueRun<Detail>]) -> Vec<Result<Rendered, RenderError>> {
        self.with_renderer(async |renderer| {
            let paths: Vec<_> = runs.iter().map(|run| renderer.path_of(run)).collect();
            let templates = renderer.load(&paths).await;
            runs.iter().zip(paths).map(|(run, path)| renderer.render(run, path, &templates)).collect()
        })
        .await
    }

    /// Hands out what rendering needs to know.
    async fn with_renderer<T>(&self, render: impl AsyncFnOnce(Renderer<'_>) -> T) -> T {
        let session = self.session();
        render(Renderer {
            settings: &session.settings,
            delivery: &self.delivery,
            unknown_members: self.config.unknown_members,
            load_template: &self.load_template,
        })
        .await
    }
}

impl Renderer<'_> {
    /// The template that a run names, as it is to be loaded.
    fn path_of(&self, run: &DueRun<Detail>) -> Result<Option<String>, RenderError> {
        let path = render::template_path(self.settings, &run.detail.flow_run).map_err(RenderError::Refused)?;
        Ok(path.map(|path| match path.place {
            TemplatePlace::AgentFile(file) => file,
            TemplatePlace::Remote => path.written,
        }))
    }

    async fn load(&self, paths: &[Result<Option<String>, RenderError>]) -> Templates {
        let mut distinct: Vec<String> = paths.iter().filter_map(|path| path.clone().ok().flatten()).collect();
        distinct.sort_unstable();
        distinct.dedup();
        let load = |path: String| async move { (path.clone(), (self.load_template)(path).await) };
        join_all(distinct.into_iter().map(load)).await.into_iter().collect()
    }

    fn render(
        &self,
        run: &DueRun<Detail>,
        path: Result<Option<String>, RenderError>,
        templates: &Templates,
    ) -> Result<Rendered, RenderError> {
        let template = match path?.and_then(|path| templates.get(&path)) {
            Some(Ok(template)) => Some(template),
            Some(Err(error)) => return Err(error.clone()),
            None => None,
        };
        let refused = RenderError::Refused;
        let spec = render::launch_spec(self.settings, &run.detail.flow_run, template).map_err(refused)?;
        let problems =
            [definition_problems(&spec, self.unknown_members), run_task_problems(&spec, self.unknown_members)];
        if let Some(text) = refusal(&problems, &|_| true) {
            return Err(refused(RunRefusal(text)));
        }
        let Delivered { spec, warning } = deliver(spec, self.delivery).map_err(refused)?;
        Ok(Rendered { spec, warning })
    }
}
